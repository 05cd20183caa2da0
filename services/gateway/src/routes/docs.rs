//! The API document of the whole platform, and the page that shows it. Nothing is loaded from elsewhere.

use super::{api_keys, auth, events, invitations, reset, sessions, status, totp, users, users_files, users_own};
use actix_web::{
    HttpResponse,
    http::header,
    web::{self, Bytes, ServiceConfig},
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_swagger_ui::{Config, SwaggerUi};
use uuid::Uuid;

/// The documents of the services behind the gateway, as they are checked in.
const SERVICES: &[&str] =
    &[include_str!("../../../../openapi/crm-core.json"), include_str!("../../../../openapi/tenant-resolver.json")];

/// The envelope of success.
#[derive(Serialize, ToSchema)]
pub struct Success<T: ToSchema> {
    /// `success`.
    pub status: String,
    /// The answer.
    pub data: T,
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// `error`.
    pub status: String,
    /// A stable code.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// What is wrong with single fields.
    pub details: Vec<ErrorDetail>,
    /// Finds the request in the logs.
    pub request_id: String,
    /// Seconds to wait, with 429 only.
    #[serde(rename = "retryAfter", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
pub struct ErrorDetail {
    /// The field's name.
    pub field: String,
    /// A sentence for a person.
    pub message: String,
}

/// The answer to a delete.
#[derive(Serialize, ToSchema)]
pub struct Deleted {
    /// What was deleted.
    pub id: Uuid,
}

/// What a client writes on a user. Read-only fields of a user are accepted and ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what UserInput::parse reads from JSON")]
pub struct UserBody {
    /// E-mail address; required for a new user.
    email: Option<String>,
    /// Given name.
    first_name: Option<String>,
    /// Family name.
    last_name: Option<String>,
    /// Stands in for both names where neither is given.
    full_name: Option<String>,
    /// `superadmin`, `admin`, `manager` or `employee` (the default); or the older `user`/`power-user`.
    role: Option<String>,
    /// With the older roles: `manager` (or null) or `employee`.
    employee_role: Option<String>,
    /// The tenant; required for a superadmin who makes somebody else than a superadmin. Never changes.
    tenant_id: Option<Uuid>,
    /// At least 8 characters with upper and lower case, digit and special character, and not a common one.
    password: Option<String>,
    /// `read` or `read_write` (the default).
    access_level: Option<String>,
    /// Whether the user may place calls.
    can_use_softphone: Option<bool>,
    /// Whether the user may sign in.
    is_active: Option<bool>,
    /// Which parts of the application the user's menu shows, such as `{"Reports": true}`; those that are absent follow the
    /// role.
    #[schema(value_type = Option<Object>)]
    navigation_permissions: Option<Value>,
    /// The department of the user's employee.
    department: Option<String>,
    /// Id in the directory that the tenant's users come from; unique in the tenant.
    external_id: Option<String>,
    /// Whether to send an invitation to a new user.
    send_invitation: Option<bool>,
    /// Names of further roles that add permissions.
    custom_roles: Option<Vec<String>>,
    /// Anything else.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// What a client writes on a new user.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what UserInput::parse and send_invitation read from JSON")]
pub struct NewUserBody {
    #[serde(flatten)]
    user: UserBody,
    /// Whether to send a link to choose a password, instead of `password`.
    send_invitation: Option<bool>,
}

/// What everybody may write on the own account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what update_myself reads from JSON")]
pub struct OwnBody {
    /// Given name.
    first_name: Option<String>,
    /// Family name.
    last_name: Option<String>,
    /// Stands in for both names where neither is given.
    full_name: Option<String>,
    /// Only `preferences`, an object that is replaced as a whole.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// The form of an import of users.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents the parts of a form")]
pub struct UserFileForm {
    /// UTF-8; comma, semicolon or tab.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// `true`: check everything, write nothing.
    dry_run: Option<bool>,
    /// `skip` (the default) or `update`.
    on_duplicate: Option<String>,
    /// Whether new users get an invitation where their row says nothing about it.
    send_invitation: Option<bool>,
    /// The tenant of rows that name none; for a superadmin.
    tenant_id: Option<Uuid>,
}

/// The list of a directory; or one of its users as the body itself.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what DirectorySync::parse reads from JSON")]
pub struct DirectoryBody {
    /// The users, 1 to 5,000.
    users: Vec<UserBody>,
    /// Whether to deactivate the users whom an earlier list named and this one does not.
    deactivate_missing: Option<bool>,
    /// Find out and change nothing.
    dry_run: Option<bool>,
    /// The tenant; required for a superadmin.
    tenant_id: Option<Uuid>,
}

/// What a client writes on an API key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what ApiKeyInput::parse reads from JSON")]
pub struct ApiKeyBody {
    /// What it is for.
    name: String,
    /// What it may do, such as `read:contacts`, `write:*` or `*`.
    permissions: Vec<String>,
    /// When it stops working (RFC 3339).
    expires_at: Option<String>,
    /// Whose rights it carries; oneself by default.
    user_id: Option<Uuid>,
    /// The tenant; required for a superadmin.
    tenant_id: Option<Uuid>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Aisha CRM", description = "The API of the platform, as the gateway serves it."),
    paths(
        auth::login, auth::refresh, auth::logout, auth::me, auth::change_password,
        sessions::list, sessions::delete, sessions::delete_others,
        invitations::show, invitations::accept, invitations::list, invitations::delete, invitations::invite,
        reset::forgot, reset::reset, reset::send,
        totp::read, totp::enrol, totp::verify, totp::disable, totp::recovery_codes, totp::read_user, totp::reset_user,
        users::list, users::create, users::read, users::update, users::patch, users::delete,
        users::deactivate, users::reactivate,
        users_own::read, users_own::update, users_own::patch, users_own::heartbeat, users_own::presence,
        users_files::import, users_files::export, users_files::sync,
        api_keys::list, api_keys::create, api_keys::delete,
        events::stream,
        status::read,
    ),
    security(("bearerAuth" = []), ("apiKeyAuth" = [])),
    modifiers(&Security),
    tags(
        (name = "auth", description = "Signing in, sessions, one's own account"),
        (name = "invitations", description = "Links by which new users choose a password"),
        (name = "users", description = "User accounts"),
        (name = "apikeys", description = "API keys"),
        (name = "events", description = "What happens, as it happens"),
        (name = "system", description = "The state of the platform"),
    )
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let key = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearerAuth", SecurityScheme::Http(bearer));
        components.add_security_scheme("apiKeyAuth", SecurityScheme::ApiKey(key));
    }
}

/// The gateway's own document. Needs neither network nor database; the same text every time.
#[must_use]
pub fn openapi_json() -> String {
    let document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    serde_json::to_string_pretty(&sorted(document)).unwrap_or_default() + "\n"
}

/// The document of the whole platform: the gateway's with the paths, components and tags of the services. Where two have
/// the same entry the gateway's stays: it is what answers.
static MERGED: LazyLock<Bytes> = LazyLock::new(|| {
    let mut all: Value = serde_json::from_str(&openapi_json()).unwrap_or_default();
    for text in SERVICES {
        merge(&mut all, serde_json::from_str(text).unwrap_or_default());
    }
    Bytes::from(serde_json::to_vec(&sorted(all)).unwrap_or_default())
});

fn merge(all: &mut Value, service: Value) {
    let Value::Object(mut service) = service else { return };
    if let Some(Value::Object(paths)) = service.remove("paths") {
        extend(all, &["paths"], paths);
    }
    if let Some(Value::Object(components)) = service.remove("components") {
        for (kind, entries) in components {
            if let Value::Object(entries) = entries {
                extend(all, &["components", &kind], entries);
            }
        }
    }
    if let (Some(Value::Array(more)), Some(Value::Array(tags))) = (service.remove("tags"), all.get_mut("tags")) {
        let name = |tag: &Value| tag.get("name").cloned();
        let new: Vec<Value> = more.into_iter().filter(|t| tags.iter().all(|known| name(known) != name(t))).collect();
        tags.extend(new);
    }
}

/// Adds entries to the object at `path`, which is made where it is missing.
fn extend(mut target: &mut Value, path: &[&str], entries: Map<String, Value>) {
    for name in path {
        let Value::Object(map) = target else { return };
        target = map.entry(*name).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(target) = target {
        for (name, entry) in entries {
            target.entry(name).or_insert(entry);
        }
    }
}

/// Keys in order at every depth.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// `/api-docs` and `/api-docs.json`.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/api-docs.json", web::get().to(document))
        .route("/api-docs", web::get().to(to_page))
        .service(SwaggerUi::new("/api-docs/{_:.*}").config(Config::new(["/api-docs.json"])));
}

async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(MERGED.clone())
}

async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/api-docs/")).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_document_is_stable_and_complete() {
        let text = openapi_json();
        assert_eq!(text, openapi_json());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert!(document["components"]["securitySchemes"]["bearerAuth"].is_object());
        let mut ids = std::collections::HashSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id} twice");
                assert!(operation["responses"]["429"].is_object(), "{method} {path} says nothing about limits");
            }
        }
        assert_eq!(ids.len(), 44);
    }

    #[test]
    fn the_documents_agree_where_they_overlap() {
        let own: Value = serde_json::from_str(&openapi_json()).unwrap();
        for text in SERVICES {
            let service: Value = serde_json::from_str(text).unwrap();
            for path in service["paths"].as_object().unwrap().keys() {
                assert!(own["paths"][path].is_null(), "{path} is the gateway's");
            }
            for (name, schema) in service["components"]["schemas"].as_object().into_iter().flatten() {
                let known = &own["components"]["schemas"][name];
                assert!(known.is_null() || known == schema, "{name} means two things");
            }
        }
    }

    #[test]
    fn services_add_and_never_replace() {
        let mut all = json!({"paths": {"/a": 1}, "components": {"schemas": {"A": 1}}, "tags": [{"name": "x"}]});
        merge(
            &mut all,
            json!({"paths": {"/a": 2, "/b": 2}, "components": {"schemas": {"A": 2, "B": 2}, "parameters": {"P": 1}},
                   "tags": [{"name": "x"}, {"name": "y"}]}),
        );
        assert_eq!(
            all,
            json!({"paths": {"/a": 1, "/b": 2}, "components": {"schemas": {"A": 1, "B": 2}, "parameters": {"P": 1}},
                   "tags": [{"name": "x"}, {"name": "y"}]})
        );
        assert!(serde_json::from_slice::<Value>(&MERGED).unwrap()["paths"]["/api/users"].is_object());
    }
}
