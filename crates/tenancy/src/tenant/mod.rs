//! Tenants: the organisations whose data nobody else may see.

mod calling;
mod input;

pub use calling::{AiCallingProvider, ai_calling_provider};
pub use input::{FIELDS, INDUSTRIES, TenantInput};

use crate::module;
use aisha_auth::{Action, Identity, Principal, Role, sealing::Sealer};
use aisha_db::{Bind, Db, Json, PgRow, RequestContext, Sql, SystemReason, SystemTx, schema::tenant};
use aisha_kernel::{Error, ErrorCode, TenantId, new_id};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
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
    /// Address of the calling agent.
    pub call_agent_url: Option<String>,
    /// The providers of AI calls, for those who may change the tenant; of a key only whether there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ai_calling_providers: Option<Value>,
    /// Every module and whether it is on.
    pub modules: BTreeMap<&'static str, bool>,
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
    display_order, manager_scope, version, created_at, updated_at, call_agent_url, ai_calling_providers, \
    callfluent_key_set_at IS NOT NULL, thoughtly_key_set_at IS NOT NULL, \
    (SELECT coalesce(jsonb_object_agg(m.module_name, m.is_enabled), '{}') FROM module_settings m \
     WHERE m.tenant_id = tenant.id)";

/// What only the platform's operator decides.
const OPERATORS: [&str; 2] = ["status", "plan"];

fn from_row(row: &PgRow, identity: &Identity) -> Result<Tenant, Error> {
    // Addresses and agents of the providers are half a secret.
    let configures = identity.may("tenants", Action::Update);
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
            call_agent_url: row.get(23)?,
            ai_calling_providers: if configures {
                Some(calling::shown(&row.get::<Json>(24)?.value(), row.get(25)?, row.get(26)?))
            } else {
                None
            },
            modules: match row.get::<Json>(27)?.value() {
                Value::Object(switched) => module::states(&switched),
                _ => BTreeMap::new(),
            },
        })
    };
    read().map_err(Error::internal)
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
    sealer: &Sealer,
    input: &TenantInput,
) -> Result<Tenant, Error> {
    identity.require("tenants", Action::Create)?;
    let id = new_id();
    let calling = input.calling.sealed(sealer, TenantId(id))?;
    let base = match slugify(input.changes.text("name").unwrap_or_default()) {
        s if s.is_empty() => "tenant".to_owned(),
        s => s,
    };
    db.system(&why(identity, cx, "tenant_create", Some(TenantId(id))), async |tx| {
        let mut fixed = vec![("id", Bind::from(id))];
        if !input.changes.has("slug") {
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
        let mut insert = Sql::new("INSERT INTO tenant ");
        insert.append(input.changes.values(fixed)).push(" RETURNING id");
        let mut statements = vec![insert];
        if !calling.is_empty() {
            let mut update = Sql::new("UPDATE tenant SET ").prepared_once();
            update.append(calling.assignments()).push(" WHERE id = ").bind(id);
            statements.push(update);
        }
        statements.extend(module::switch(TenantId(id), identity.user_id.0, &input.modules));
        let mut select = Sql::new(format!("SELECT {COLUMNS} FROM tenant WHERE id = "));
        select.bind(id);
        statements.push(select);
        let rows = tx.flight(statements).await?.pop().unwrap_or_default();
        from_row(rows.first().ok_or_else(Error::not_found)?, identity)
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
    from_row(rows.first().ok_or_else(Error::not_found)?, me.identity())
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
        Ok((rows.iter().map(|r| from_row(r, identity)).collect::<Result<Vec<_>, _>>()?, total))
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
    sealer: &Sealer,
    input: &TenantInput,
    version: Option<i32>,
) -> Result<Tenant, Error> {
    me.require("tenants", Action::Update)?;
    let mut changes = input.changes.clone();
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
    let calling = input.calling.sealed(sealer, me.tenant())?;
    let mut set: Vec<Sql> = Vec::new();
    if !changes.is_empty() {
        set.push(changes.assignments());
    }
    set.extend(input.merged.iter().map(input::Merge::assignment));
    if !calling.is_empty() {
        set.push(calling.assignments());
    }
    let modules = module::switch(me.tenant(), me.user().0, &input.modules);
    if set.is_empty() && modules.is_none() {
        return tenant_read(db, me).await;
    }
    // Without a change of its own the tenant is still looked at, for its version.
    let mut sql = Sql::new("UPDATE tenant SET updated_at = updated_at");
    for assignment in set {
        sql.push(", ").append(assignment);
    }
    sql.push(" WHERE id = ").bind(me.tenant().0);
    if let Some(v) = version {
        sql.push(" AND version = ").bind(Bind::Int(i64::from(v)));
    }
    sql.push(format!(" RETURNING {COLUMNS}"));
    // The modules first, so that what is returned shows them.
    let flight: Vec<Sql> = modules.into_iter().chain([sql.prepared_once()]).collect();
    let outcome = db
        .write(me, cx, async |tx| {
            let rows = tx.flight(flight.clone()).await?.pop().unwrap_or_default();
            // Nothing found: the modules must not be switched either.
            from_row(rows.first().ok_or_else(Error::not_found)?, me.identity())
        })
        .await;
    match outcome {
        Err(e) if e.code == ErrorCode::NotFound => {
            tenant_read(db, me).await?;
            Err(Error::new(
                ErrorCode::PreconditionFailed,
                "Somebody changed this tenant first: read it again and repeat your change.",
            ))
        }
        other => other,
    }
}

/// Whether a text is the address of a web page or service: `http` or `https`, a host, and nobody's password.
pub(crate) fn is_web_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|u| {
        matches!(u.scheme(), "http" | "https") && u.has_host() && u.username().is_empty() && u.password().is_none()
    })
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
}
