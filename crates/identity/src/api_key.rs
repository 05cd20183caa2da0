//! API keys: they carry the rights of their user, narrowed by a list of permissions.

use crate::{
    audit::Entry,
    proof::{ACTIVE, COLUMNS, JOINS, identity},
    sql::{acting, col, id_of, one},
};
use aisha_auth::{Action, Grant, Identity, Role, api_key as secret};
use aisha_db::{Bind, Db, PgRow, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, ErrorCode, FieldError, TenantId, clock, new_id};
use serde::Serialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use uuid::Uuid;

/// Live keys that one user may have.
const MOST_KEYS: i64 = 100;

/// An API key as the API shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ApiKey {
    /// Id.
    pub id: Uuid,
    /// The tenant whose data it opens.
    pub tenant_id: Uuid,
    /// The user whose rights it carries.
    pub user_id: Uuid,
    /// What it is for.
    pub name: String,
    /// The key itself; shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The first characters of the key, to tell keys apart.
    pub prefix: String,
    /// What it may do, such as `read:contacts`, `write:*` or `*:*`.
    pub permissions: Vec<String>,
    /// When it stops working.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was last used, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The same as `created_at`, for older clients.
    #[serde(with = "time::serde::rfc3339")]
    pub created_date: OffsetDateTime,
}

const SHOWN: &str = "id, tenant_id, user_id, name, prefix, permissions, expires_at, last_used_at, created_at";

impl ApiKey {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        let created_at = col(row, 8)?;
        Ok(Self {
            id: col(row, 0)?,
            tenant_id: col(row, 1)?,
            user_id: col(row, 2)?,
            name: col(row, 3)?,
            key: None,
            prefix: col(row, 4)?,
            permissions: col(row, 5)?,
            expires_at: col(row, 6)?,
            last_used_at: col(row, 7)?,
            created_at,
            created_date: created_at,
        })
    }
}

/// What a client writes on a new key.
#[derive(Debug, Clone)]
pub struct ApiKeyInput {
    name: String,
    permissions: Vec<String>,
    expires_at: Option<OffsetDateTime>,
    user_id: Option<Uuid>,
    tenant_id: Option<TenantId>,
}

impl ApiKeyInput {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for a body that is no object or a tenant id that is no UUID; 422 with every problem.
    pub fn parse(body: &Value) -> Result<Self, Error> {
        let Some(map) = body.as_object() else {
            return Err(Error::new(ErrorCode::MalformedBody, "The body must be a JSON object."));
        };
        let mut problems = Vec::new();
        let mut problem = |field: &str, message: &str| problems.push(FieldError::new(field, message));
        const FIELDS: &[&str] = &["name", "permissions", "expires_at", "user_id", "tenant_id"];
        for name in map.keys().filter(|k| !FIELDS.contains(&k.as_str())) {
            problem(name, "is not a field of an API key");
        }
        let given = |name: &str| map.get(name).filter(|v| !v.is_null());
        let name = given("name").and_then(Value::as_str).map(str::trim).unwrap_or_default().to_owned();
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            problem("name", "is required, with at most 200 characters");
        }
        let mut permissions = Vec::new();
        match given("permissions").map(Value::as_array) {
            Some(Some(list)) if (1..=100).contains(&list.len()) => {
                for entry in list {
                    match entry.as_str().map(str::parse::<Grant>) {
                        Some(Ok(grant)) => permissions.push(grant.to_string()),
                        _ => problem("permissions", "must be entries such as read:contacts, write:accounts or *"),
                    }
                }
            }
            _ => problem("permissions", "is required: a list such as [\"read:contacts\"], or [\"*\"] for all"),
        }
        let expires_at = given("expires_at").and_then(|v| {
            let at = v.as_str().and_then(|s| OffsetDateTime::parse(s, &Rfc3339).ok());
            if at.is_none_or(|at| at <= clock::now()) {
                problem("expires_at", "must be a time in the future such as 2030-01-31T00:00:00Z");
            }
            at
        });
        let user_id = given("user_id").and_then(|v| {
            let id = v.as_str().and_then(|s| Uuid::try_parse(s).ok());
            if id.is_none() {
                problem("user_id", "must be a UUID");
            }
            id
        });
        let tenant_id = match given("tenant_id") {
            Some(Value::String(s)) => Some(TenantId::parse(s)?),
            Some(_) => Some(TenantId::parse("")?),
            None => None,
        };
        if problems.is_empty() {
            Ok(Self { name, permissions, expires_at, user_id, tenant_id })
        } else {
            Err(Error::validation(problems))
        }
    }
}

/// The tenant whose keys the request is about, for people only: a key that could make keys would outgrow its list.
fn tenant_for(me: &Identity, requested: Option<TenantId>, action: Action) -> Result<TenantId, Error> {
    me.require("api_keys", action)?;
    if me.grants.is_some() && !action.is_read() {
        return Err(Error::forbidden("An API key may not manage API keys."));
    }
    let me = std::sync::Arc::new(me.clone());
    Ok(me.in_tenant(requested)?.tenant())
}

fn manages_all(me: &Identity) -> bool {
    me.role >= Role::Admin
}

/// Makes a key for oneself, or as an admin for a user of the tenant; the answer shows it.
///
/// # Errors
/// 403 without the right or for somebody above; 400 when a superadmin names no tenant; 422 naming the field.
pub async fn create(
    db: &Db,
    me: &Identity,
    input: &ApiKeyInput,
    tenant: Option<TenantId>,
    cx: &RequestContext,
) -> Result<ApiKey, Error> {
    let tenant = tenant_for(me, input.tenant_id.or(tenant), Action::Create)?;
    let owner = input.user_id.unwrap_or(me.user_id.0);
    if owner != me.user_id.0 && !manages_all(me) {
        return Err(Error::forbidden("You may make API keys for yourself only."));
    }
    let key = secret::generate().map_err(|_| Error::internal("no randomness"))?;
    let prefix = secret::prefix(&key.shown).ok_or_else(|| Error::internal("a key without a prefix"))?;
    let id = new_id();
    let mut insert = Sql::new(
        "INSERT INTO api_key (tenant_id, id, name, prefix, key_hash, permissions, user_id, expires_at, created_by) VALUES (",
    );
    insert.bind(tenant.0).push(", ").bind(id).push(", ").bind(Bind::text(&input.name)).push(", ");
    insert.bind(Bind::text(prefix)).push(", ").bind(Bind::Bytes(key.hash.clone())).push(", ");
    insert.bind(Bind::Texts(Some(input.permissions.clone()))).push(", ").bind(owner).push(", ");
    insert.bind(Bind::Text(input.expires_at.and_then(|at| at.format(&Rfc3339).ok()), "timestamptz")).push(", ");
    insert.bind(me.user_id.0).push(") RETURNING ").push(SHOWN);
    let entry = audit(me, "API_KEY_CREATED", tenant, id, &json!({ "name": input.name, "user_id": owner }));
    let why = acting(me, "api key created", Some(tenant), cx);
    let mut made = db
        .system(&why, async |tx: &mut SystemTx| {
            check_owner(tx, me, tenant, owner).await?;
            let rows = tx.flight(vec![insert.clone(), entry.insert(cx)]).await?;
            ApiKey::from_row(&one(rows.into_iter().next().unwrap_or_default())?)
        })
        .await?;
    made.key = Some(key.shown);
    Ok(made)
}

/// The owner must be an active user of the tenant, not above the caller, with room for one more key.
async fn check_owner(tx: &mut SystemTx, me: &Identity, tenant: TenantId, owner: Uuid) -> Result<(), Error> {
    let mut sql = Sql::new("SELECT role FROM users WHERE is_active AND tenant_id = ");
    sql.bind(tenant.0).push(" AND id = ").bind(owner).push(" FOR UPDATE");
    let mut count = Sql::new("SELECT count(*) FROM api_key WHERE revoked_at IS NULL AND tenant_id = ");
    count.bind(tenant.0).push(" AND user_id = ").bind(owner);
    let mut results = tx.flight(vec![sql, count]).await?.into_iter();
    let rows = results.next().unwrap_or_default();
    let Some(row) = rows.first() else {
        let message = "must be an active user of the tenant; a superadmin belongs to none and has no keys";
        return Err(Error::invalid("user_id", message));
    };
    if col::<String>(row, 0)?.parse::<Role>()? > me.role {
        return Err(Error::forbidden("You may not make API keys for somebody above you."));
    }
    if col::<i64>(&one(results.next().unwrap_or_default())?, 0)? >= MOST_KEYS {
        return Err(Error::conflict("This user has too many API keys: revoke one first."));
    }
    Ok(())
}

fn audit(me: &Identity, action: &'static str, tenant: TenantId, id: Uuid, values: &Value) -> Entry {
    Entry {
        action,
        tenant: Some(tenant.0),
        table: "api_key",
        record: Some(id),
        user: Some(me.user_id.0),
        role: Some(me.role),
        values: values.clone(),
    }
}

/// A page of keys that were not revoked, newest first: one's own, for admins those of the tenant.
///
/// # Errors
/// 403 without the right; 400 when a superadmin names no tenant or for a limit out of range.
pub async fn list(
    db: &Db,
    me: &Identity,
    tenant: Option<TenantId>,
    limit: i64,
    offset: i64,
) -> Result<(Vec<ApiKey>, i64), Error> {
    let tenant = tenant_for(me, tenant, Action::Read)?;
    if !(1..=200).contains(&limit) || !(0..=1_000_000).contains(&offset) {
        return Err(Error::parameter("limit", "must be between 1 and 200, and offset between 0 and 1000000"));
    }
    let mut condition = Sql::new(" FROM api_key WHERE revoked_at IS NULL AND tenant_id = ");
    condition.bind(tenant.0);
    if !manages_all(me) {
        condition.push(" AND user_id = ").bind(me.user_id.0);
    }
    let mut count = Sql::new("SELECT count(*)");
    count.append(condition.clone());
    let mut page = Sql::new(format!("SELECT {SHOWN}"));
    page.append(condition).push(" ORDER BY created_at DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let why = acting(me, "api keys", Some(tenant), &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| {
        let mut results = tx.flight(vec![count.clone(), page.clone()]).await?;
        let keys = results.pop().unwrap_or_default().iter().map(ApiKey::from_row).collect::<Result<Vec<_>, _>>()?;
        Ok((keys, col(&one(results.pop().unwrap_or_default())?, 0)?))
    })
    .await
}

/// Revokes a key.
///
/// # Errors
/// 403 without the right; 404 for no live key that the caller may see.
pub async fn revoke(
    db: &Db,
    me: &Identity,
    id: Uuid,
    tenant: Option<TenantId>,
    cx: &RequestContext,
) -> Result<(), Error> {
    let tenant = tenant_for(me, tenant, Action::Delete)?;
    let mut sql = Sql::new("UPDATE api_key SET revoked_at = now() WHERE revoked_at IS NULL AND tenant_id = ");
    sql.bind(tenant.0).push(" AND id = ").bind(id);
    if !manages_all(me) {
        sql.push(" AND user_id = ").bind(me.user_id.0);
    }
    sql.push(" RETURNING id");
    let entry = audit(me, "API_KEY_REVOKED", tenant, id, &json!({}));
    let why = acting(me, "api key revoked", Some(tenant), cx);
    db.system(&why, async |tx: &mut SystemTx| {
        id_of(tx.rows(sql.clone()).await?)?;
        tx.rows(entry.insert(cx)).await.map(drop)
    })
    .await
}

/// Who a key acts for and what they may do now; `None` for a key that is unknown, revoked or expired, or whose user or
/// tenant is not active. Notes the use, at most once a minute.
///
/// # Errors
/// 503 when the database is away.
pub async fn key_identity(db: &Db, key: &str) -> Result<Option<Identity>, Error> {
    let Some(prefix) = secret::prefix(key) else { return Ok(None) };
    let mut sql = Sql::new(
        "SELECT id, tenant_id, key_hash, permissions, coalesce(last_used_at < now() - interval '1 minute', true) \
         FROM api_key WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND prefix = ",
    );
    sql.bind(Bind::text(prefix));
    let why = SystemReason { reason: "authenticate", ..SystemReason::default() };
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    if !bool::from(col::<Vec<u8>>(row, 2)?.ct_eq(&secret::hash(key))) {
        return Ok(None);
    }
    let (id, tenant, stale): (Uuid, Uuid, bool) = (col(row, 0)?, col(row, 1)?, col(row, 4)?);
    // An entry that can no longer be read grants nothing.
    let grants: Vec<Grant> = col::<Vec<String>>(row, 3)?.iter().filter_map(|g| g.parse().ok()).collect();
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM api_key k JOIN users u ON u.id = k.user_id {JOINS}"));
    sql.push(" WHERE k.tenant_id = ").bind(tenant).push(" AND k.id = ").bind(id);
    sql.push(" AND k.revoked_at IS NULL AND ").push(ACTIVE);
    let mut used = Sql::new("UPDATE api_key SET last_used_at = now() WHERE tenant_id = ");
    used.bind(tenant).push(" AND id = ").bind(id);
    let why = SystemReason { reason: "authenticate", tenant: Some(TenantId(tenant)), ..SystemReason::default() };
    let found = db
        .system(&why, async |tx: &mut SystemTx| {
            let rows = tx.rows(sql.clone()).await?;
            if stale && !rows.is_empty() {
                tx.rows(used.clone()).await?;
            }
            Ok(rows)
        })
        .await?;
    found.first().map(|row| identity(row, id, Some(grants))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_checked_at_once() {
        let fields = |v: Value| -> Vec<String> {
            ApiKeyInput::parse(&v).unwrap_err().details.into_iter().map(|d| d.field).collect()
        };
        assert_eq!(fields(json!({})), ["name", "permissions"]);
        assert_eq!(
            fields(json!({"name": "n", "permissions": ["fly:x"], "expires_at": "2001-01-01T00:00:00Z", "key": "mine"})),
            ["key", "permissions", "expires_at"]
        );
        let good = ApiKeyInput::parse(&json!({"name": " n ", "permissions": ["*", "read:contacts"]})).unwrap();
        assert_eq!((good.name.as_str(), good.permissions), ("n", vec!["*:*".to_owned(), "read:contacts".to_owned()]));
    }
}
