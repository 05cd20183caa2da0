//! Tenants: the organisations whose data nobody else may see.

use aisha_auth::{Action, Identity, Principal, Role};
use aisha_db::{
    Bind, Db, Json, PgRow, RequestContext, Sql, SystemReason, SystemTx,
    record::{
        Changes,
        changes::Mode,
        field::{Field, choice, integer, json, text, url},
        value::Parsed,
    },
    schema::tenant,
};
use aisha_kernel::{Error, ErrorCode, FieldError, TenantId, new_id};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

/// A tenant as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Tenant {
    /// Identifier; what every `tenant_id` refers to.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Short name for people and addresses; may change, so nothing refers to it.
    pub slug: String,
    /// `active`, `inactive` or `suspended`.
    pub status: String,
    /// Subscription plan.
    pub plan: String,
    /// Settings such as `timezone`, `currency` and `date_format`.
    pub settings: Json,
    /// Free-form data.
    pub metadata: Json,
    /// Colours and logos.
    pub branding_settings: Json,
    /// Address of the logo.
    pub logo_url: Option<String>,
    /// Main colour.
    pub primary_color: Option<String>,
    /// Second colour.
    pub accent_color: Option<String>,
    /// E-mail or web domain.
    pub domain: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// City.
    pub major_city: Option<String>,
    /// Industry.
    pub industry: Option<String>,
    /// `b2b`, `b2c` or `hybrid`.
    pub business_model: Option<String>,
    /// Where it sells.
    pub geographic_focus: Option<String>,
    /// Agent of the voice provider.
    pub elevenlabs_agent_id: Option<String>,
    /// Position in lists.
    pub display_order: i32,
    /// What managers see: `all` records of the tenant or those of their `department`.
    pub manager_scope: String,
    /// Counts the changes; the `ETag` is made of it.
    pub version: i32,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The same as `created_at`, under its older name.
    #[serde(with = "time::serde::rfc3339")]
    pub created_date: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

const COLUMNS: &str = "id, name, slug, status, plan, settings, metadata, branding_settings, logo_url, primary_color, \
    accent_color, domain, country, major_city, industry, business_model, geographic_focus, elevenlabs_agent_id, \
    display_order, manager_scope, version, created_at, updated_at";

/// What a client may set.
pub static FIELDS: [Field; 19] = [
    text(200).required().named("name", "Name."),
    text(63).named("slug", "Short name: lower-case letters, digits and hyphens; made from the name when absent."),
    choice(&["active", "inactive", "suspended"]).default("active").named("status", "Superadmins only."),
    text(50).default("free").named("plan", "Subscription plan; superadmins only."),
    json().named(
        "settings",
        "Settings such as timezone, currency and date_format; merged key by key. With require_totp true every user must set up two-step sign-in.",
    ),
    json().named("metadata", "Free-form data; replaced as a whole."),
    json().named("branding_settings", "Colours and logos; merged key by key."),
    url().named("logo_url", "Address of the logo."),
    text(50).named("primary_color", "Main colour."),
    text(50).named("accent_color", "Second colour."),
    text(200).named("domain", "E-mail or web domain."),
    text(200).named("country", "Country."),
    text(200).named("major_city", "City."),
    text(200).named("industry", "Industry."),
    choice(&["b2b", "b2c", "hybrid"]).named("business_model", "Whom it sells to."),
    choice(&["north_america", "europe", "asia", "south_america", "africa", "oceania", "global"])
        .named("geographic_focus", "Where it sells."),
    text(200).named("elevenlabs_agent_id", "Agent of the voice provider."),
    integer(0, i32::MAX).default("0").named("display_order", "Position in lists."),
    choice(&["all", "department"]).default("all").named("manager_scope", "What managers see."),
];

/// Shown, but not to be set.
const READ_ONLY: [&str; 5] = ["id", "version", "created_at", "updated_at", "created_date"];
/// Settings that clients of the manual's flat form send beside the other fields.
const FLAT: [&str; 3] = ["timezone", "currency", "date_format"];
/// What only the platform's operator decides.
const OPERATORS: [&str; 2] = ["status", "plan"];

fn from_row(row: &PgRow) -> Result<Tenant, Error> {
    let read = || -> Result<Tenant, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Tenant {
            id: row.get(0)?,
            name: row.get(1)?,
            slug: row.get(2)?,
            status: row.get(3)?,
            plan: row.get(4)?,
            settings: row.get(5)?,
            metadata: row.get(6)?,
            branding_settings: row.get(7)?,
            logo_url: row.get(8)?,
            primary_color: row.get(9)?,
            accent_color: row.get(10)?,
            domain: row.get(11)?,
            country: row.get(12)?,
            major_city: row.get(13)?,
            industry: row.get(14)?,
            business_model: row.get(15)?,
            geographic_focus: row.get(16)?,
            elevenlabs_agent_id: row.get(17)?,
            display_order: row.get(18)?,
            manager_scope: row.get(19)?,
            version: row.get(20)?,
            created_at: row.get(21)?,
            created_date: row.get(21)?,
            updated_at: row.get(22)?,
        })
    };
    read().map_err(Error::internal)
}

/// A body, checked.
#[derive(Debug)]
pub struct TenantInput(Changes);

impl TenantInput {
    /// Reads a JSON object, the flat settings included.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, mode: Mode) -> Result<Self, Error> {
        body.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
        let flat: Vec<(String, Value)> = FLAT.iter().filter_map(|k| body.remove_entry(*k)).collect();
        let mut problems: Vec<FieldError> = Vec::new();
        for (key, value) in flat {
            match (&value, body.entry("settings").or_insert_with(|| Value::Object(Map::new()))) {
                (Value::String(s), Value::Object(settings)) if s.len() <= 100 => {
                    settings.insert(key, value);
                }
                _ => problems.push(FieldError::new(key, "must be a text of at most 100 characters")),
            }
        }
        if body.get("settings").and_then(|s| s.get("require_totp")).is_some_and(|v| !v.is_boolean()) {
            problems.push(FieldError::new("settings.require_totp", "must be true or false"));
        }
        if body.get("slug").is_some_and(|v| v.is_null() || v.as_str() == Some("")) {
            body.remove("slug");
        }
        if let Some(slug) = body.get("slug").and_then(Value::as_str)
            && slug != slugify(slug)
        {
            problems.push(FieldError::new("slug", "must consist of lower-case letters, digits and single hyphens"));
        }
        match Changes::read_fields(&FIELDS, &body, mode) {
            Ok(changes) if problems.is_empty() => Ok(Self(changes)),
            Ok(_) => Err(Error::validation(problems)),
            Err(mut e) => {
                e.details.extend(problems);
                Err(e)
            }
        }
    }
}

/// `Müller & Söhne GmbH` becomes `m-ller-s-hne-gmbh`: letters and digits of ASCII, everything else a single hyphen.
fn slugify(name: &str) -> String {
    let spaced: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    let slug = spaced.split_whitespace().collect::<Vec<_>>().join("-");
    let slug: String = slug.chars().take(50).collect();
    slug.trim_matches('-').to_owned()
}

fn why(identity: &Identity, cx: &RequestContext, reason: &'static str, tenant: Option<TenantId>) -> SystemReason {
    SystemReason { reason, tenant, user: Some(identity.user_id.0), role: Some(identity.role), request: cx.clone() }
}

/// Creates a tenant; superadmins only. Without a slug one is made from the name, with a number when it is taken.
///
/// # Errors
/// 403, 409 when a given slug is taken, 422 naming the fields.
pub async fn tenant_create(
    db: &Db,
    identity: &Identity,
    cx: &RequestContext,
    input: &TenantInput,
) -> Result<Tenant, Error> {
    identity.require("tenants", Action::Create)?;
    let id = new_id();
    let base = match slugify(input.0.text("name").unwrap_or_default()) {
        s if s.is_empty() => "tenant".to_owned(),
        s => s,
    };
    db.system(&why(identity, cx, "tenant_create", Some(TenantId(id))), async |tx| {
        let mut fixed = vec![("id", Bind::from(id))];
        if !input.0.has("slug") {
            // Whoever makes a slug waits for the other: two tenants of one name at once get two slugs.
            let mut sql = Sql::new(
                "SELECT (SELECT min(n) FROM generate_series(1, 10000) AS n \
                WHERE NOT EXISTS (SELECT FROM tenant WHERE slug = CASE n WHEN 1 THEN ",
            );
            sql.bind(Bind::text(&base)).push(" ELSE ").bind(Bind::text(format!("{base}-"))).push(" || n END))");
            let mut lock = tx.flight(vec![Sql::new("SELECT pg_advisory_xact_lock(7302)"), sql]).await?;
            let n: Option<i32> = lock
                .pop()
                .and_then(|r| r.first().map(|row| row.get(0)))
                .transpose()
                .map_err(Error::internal)?
                .flatten();
            let slug = match n {
                Some(1) => base.clone(),
                Some(n) => format!("{base}-{n}"),
                None => {
                    return Err(Error::conflict("No free slug can be made from this name.").field("slug", "give one"));
                }
            };
            fixed.push(("slug", Bind::text(slug)));
        }
        let mut sql = Sql::new("INSERT INTO tenant ");
        sql.append(input.0.values(fixed)).push(format!(" RETURNING {COLUMNS}"));
        let rows = tx.rows(sql).await?;
        from_row(rows.first().ok_or_else(Error::not_found)?)
    })
    .await
}

/// Reads a tenant: its own for everybody, any for a superadmin.
///
/// # Errors
/// 404 for every other.
pub async fn tenant_read(db: &Db, me: &Principal) -> Result<Tenant, Error> {
    me.require("tenants", Action::Read)?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM tenant WHERE id = "));
    sql.bind(me.tenant().0);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// A page of tenants: all for a superadmin, the own one for everybody else.
///
/// # Errors
/// 503 when the database is away.
pub async fn tenant_list(
    db: &Db,
    identity: &Identity,
    cx: &RequestContext,
    status: Option<&str>,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Tenant>, i64), Error> {
    identity.require("tenants", Action::Read)?;
    let only = match (identity.role, identity.tenant_id) {
        (Role::Superadmin, _) => None,
        (_, Some(own)) => Some(own.0),
        (_, None) => return Err(Error::new(ErrorCode::InvalidTenant, "Access denied: Invalid tenant")),
    };
    let mut wanted = Sql::new(" FROM tenant WHERE ");
    match only {
        Some(id) => wanted.push("id = ").bind(id),
        None => wanted.push("true"),
    };
    if let Some(status) = status {
        wanted.push(" AND status = ").bind(Bind::text(status));
    }
    let mut rows = Sql::new(format!("SELECT {COLUMNS}"));
    rows.append(wanted.clone()).push(" ORDER BY display_order, name, id LIMIT ").bind(Bind::Int(limit));
    rows.push(" OFFSET ").bind(Bind::Int(offset));
    let mut count = Sql::new("SELECT count(*)");
    count.append(wanted);
    db.system(&why(identity, cx, "tenant_list", None), async |tx| {
        let mut results = tx.flight(vec![rows.clone(), count.clone()]).await?;
        let counted = results.pop().unwrap_or_default();
        let total = counted.first().map_or(Ok(0), |r| r.get::<i64>(0)).map_err(Error::internal)?;
        let rows = results.pop().unwrap_or_default();
        Ok((rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?, total))
    })
    .await
}

/// Every tenant's id, for work that goes through them one by one.
///
/// # Errors
/// 503 when the database is away.
pub async fn tenant_ids(tx: &mut SystemTx) -> Result<Vec<TenantId>, Error> {
    // Spelled out: with diesel's traits in scope, `first()` of any list here would mean theirs.
    let all = diesel::QueryDsl::order(diesel::QueryDsl::select(tenant::table, tenant::id), tenant::id);
    let ids: Vec<Uuid> =
        diesel_async::RunQueryDsl::load(all, tx.conn().await?).await.map_err(aisha_db::error::from_diesel)?;
    Ok(ids.into_iter().map(TenantId).collect())
}

/// Changes a tenant. Its admins change its configuration; status and plan are the superadmin's.
///
/// # Errors
/// 403, 404, 409 when a slug is taken, 412 when `version` is not the current one, 422 naming the fields.
pub async fn tenant_update(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    input: &TenantInput,
    version: Option<i32>,
) -> Result<Tenant, Error> {
    me.require("tenants", Action::Update)?;
    let mut changes = input.0.clone();
    if me.identity().role != Role::Superadmin && OPERATORS.iter().any(|f| changes.has(f)) {
        // Sending back what was read is no attempt to change it.
        let current = tenant_read(db, me).await?;
        for (field, held) in [("status", current.status), ("plan", current.plan)] {
            if changes.text(field).is_some_and(|v| v != held) {
                let refused = Error::forbidden("Only the operator of the platform may change this.");
                return Err(refused.field(field, "is not yours to change"));
            }
        }
        changes.take(|column, _| OPERATORS.contains(&column));
    }
    let mut sql = Sql::new("UPDATE tenant SET ");
    // Objects are merged, so that one setting can be changed without knowing the others.
    let mut merged: Vec<(&'static str, Bind)> = Vec::new();
    changes.take(|column, value| match (column, value) {
        ("settings" | "branding_settings", Parsed::Value(bind)) => {
            merged.push((column, bind.clone()));
            true
        }
        _ => false,
    });
    if changes.is_empty() && merged.is_empty() {
        return tenant_read(db, me).await;
    }
    sql.append(changes.assignments());
    for (i, (column, bind)) in merged.into_iter().enumerate() {
        sql.push(if i > 0 || !changes.is_empty() { ", " } else { "" }).push(format!("{column} = {column} || "));
        sql.bind(bind);
    }
    sql.push(" WHERE id = ").bind(me.tenant().0);
    if let Some(v) = version {
        sql.push(" AND version = ").bind(Bind::Int(i64::from(v)));
    }
    sql.push(format!(" RETURNING {COLUMNS}"));
    let sql = sql.prepared_once();
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    match rows.first() {
        Some(row) => from_row(row),
        None => {
            tenant_read(db, me).await?;
            Err(Error::new(
                ErrorCode::PreconditionFailed,
                "Somebody changed this tenant first: read it again and repeat your change.",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_made_of_names() {
        for (name, slug) in
            [("Acme Corporation", "acme-corporation"), ("  A & B -- C ", "a-b-c"), ("日本", ""), ("é", "")]
        {
            assert_eq!(slugify(name), slug);
        }
        assert!(slugify(&"long ".repeat(50)).len() <= 50);
    }

    #[test]
    fn two_step_sign_in_is_asked_for_or_not() {
        let read = |v: Value| {
            let Value::Object(map) = serde_json::json!({"settings": {"require_totp": v}}) else { return false };
            TenantInput::read(map, Mode::Update).is_ok()
        };
        assert!(read(true.into()) && read(false.into()));
        assert!(!read("true".into()) && !read(1.into()) && !read(Value::Null));
    }

    #[test]
    fn the_flat_form_is_taken() {
        let body = serde_json::json!({"timezone": "America/New_York", "settings": {"currency": "USD"}});
        let Value::Object(map) = body else { return };
        let input = TenantInput::read(map, Mode::Update).unwrap();
        assert!(input.0.text("settings").is_some_and(|s| s.contains("America/New_York") && s.contains("USD")));
        let bad = serde_json::json!({"timezone": 5, "slug": "Not A Slug", "colour": "red"});
        let Value::Object(map) = bad else { return };
        assert_eq!(TenantInput::read(map, Mode::Create).unwrap_err().details.len(), 4);
    }
}
