//! Custom permissions: rights that a tenant names, to be put together into custom roles (`role`).
//!
//! A permission is one action, or `*`, on one kind of record, or `*`. It adds to what a role may do; which rows somebody
//! sees stays the business of the role. What can be granted at all stands in `aisha_auth::permission::GRANTABLE`.

use aisha_auth::{Action, Extra, Principal};
use aisha_db::{
    Bind, Db, PgRow, RequestContext, Sql,
    record::{
        Changes,
        changes::Mode,
        field::{Field, choice, text},
    },
    tx::Rows,
};
use aisha_kernel::{Error, new_id};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

/// A permission as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Permission {
    /// Identifier.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// Name, unique in the tenant.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Plural of the records, or `*`.
    pub resource: String,
    /// What it allows, or `*`.
    pub action: String,
    /// The custom roles that have it.
    pub roles: Vec<String>,
    /// The user who created it.
    pub created_by: Option<Uuid>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Counts the changes.
    pub version: i32,
}

const COLUMNS: &str = "id, tenant_id, name, description, resource, action, \
    ARRAY(SELECT r.role::text FROM role_permissions r \
          WHERE r.tenant_id = permissions.tenant_id AND r.permission_id = permissions.id ORDER BY 1), \
    created_by, created_at, updated_at, version";

/// What a client may set.
pub static FIELDS: [Field; 4] = [
    text(100).required().named("name", "Name, unique in the tenant."),
    text(2_000).named("description", "What it is for."),
    text(63).required().named("resource", "Plural of the records (contacts), or * for all of them."),
    choice(&["read", "create", "update", "delete", "export", "import", "*"])
        .required()
        .named("action", "What it allows; * is everything."),
];

/// Shown, but not to be set.
const READ_ONLY: [&str; 7] = ["id", "tenant_id", "roles", "created_by", "created_at", "updated_at", "version"];

fn from_row(row: &PgRow) -> Result<Permission, Error> {
    let read = || -> Result<Permission, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Permission {
            id: row.get(0)?,
            tenant_id: row.get(1)?,
            name: row.get(2)?,
            description: row.get(3)?,
            resource: row.get(4)?,
            action: row.get(5)?,
            roles: row.get(6)?,
            created_by: row.get(7)?,
            created_at: row.get(8)?,
            updated_at: row.get(9)?,
            version: row.get(10)?,
        })
    };
    read().map_err(Error::internal)
}

fn one(rows: &Rows) -> Result<Permission, Error> {
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// A body, checked.
#[derive(Debug)]
pub struct PermissionInput(Changes);

impl PermissionInput {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, mode: Mode) -> Result<Self, Error> {
        body.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
        let changes = Changes::read_fields(&FIELDS, &body, mode)?;
        // The choices of an action were checked with the fields.
        if let Some(resource) = changes.text("resource") {
            Extra::new(resource, "*")?;
        }
        Ok(Self(changes))
    }
}

/// Refuses to give what the giver does not have: an API key's list and the access level count, a module that is off does
/// not.
///
/// # Errors
/// 403, or 422 for what cannot be granted at all.
pub(crate) fn may_grant(me: &Principal, resource: &str, action: &str) -> Result<(), Error> {
    let extra = Extra::new(resource, action)?;
    match extra.each().find(|(resource, action)| !me.identity().may(resource, *action)) {
        None => Ok(()),
        Some((resource, action)) => {
            let more = format!("You may not grant more than you have: {} {resource}.", action.as_str());
            Err(Error::forbidden(more))
        }
    }
}

/// The tenant's permissions by name.
///
/// # Errors
/// 403; 503 when the database is away.
pub async fn permission_list(
    db: &Db,
    me: &Principal,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Permission>, i64), Error> {
    me.require("permissions", Action::Read)?;
    let mut page = Sql::new(format!("SELECT {COLUMNS} FROM permissions WHERE tenant_id = "));
    page.bind(me.tenant().0).push(" ORDER BY name LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut count = Sql::new("SELECT count(*) FROM permissions WHERE tenant_id = ");
    count.bind(me.tenant().0);
    let mut results = db.fetch(me, vec![page, count]).await?;
    let counted = results.pop().unwrap_or_default();
    let total = counted.first().map_or(Ok(0), |r| r.get::<i64>(0)).map_err(Error::internal)?;
    let rows = results.pop().unwrap_or_default();
    Ok((rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?, total))
}

/// One permission.
///
/// # Errors
/// 403, 404.
pub async fn permission_read(db: &Db, me: &Principal, id: Uuid) -> Result<Permission, Error> {
    me.require("permissions", Action::Read)?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM permissions WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    one(&db.fetch(me, vec![sql]).await?.pop().unwrap_or_default())
}

/// Makes a permission. It gives nothing until a role has it.
///
/// # Errors
/// 403, 409 when the name is taken, 422.
pub async fn permission_create(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    input: &PermissionInput,
) -> Result<Permission, Error> {
    me.require("permissions", Action::Create)?;
    let text = |name: &str| input.0.text(name).unwrap_or_default();
    may_grant(me, text("resource"), text("action"))?;
    let fixed = vec![
        ("tenant_id", Bind::from(me.tenant().0)),
        ("id", Bind::from(new_id())),
        ("created_by", Bind::from(me.user().0)),
    ];
    let mut sql = Sql::new("INSERT INTO permissions ");
    sql.append(input.0.values(fixed)).push(format!(" RETURNING {COLUMNS}"));
    one(&db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?)
}

/// Changes a permission, for every role that has it.
///
/// # Errors
/// 403, 404, 409 when the name is taken, 422.
pub async fn permission_update(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    id: Uuid,
    input: &PermissionInput,
) -> Result<Permission, Error> {
    me.require("permissions", Action::Update)?;
    let mut sql = Sql::new("UPDATE permissions SET updated_at = updated_at");
    if !input.0.is_empty() {
        sql.push(", ").append(input.0.assignments());
    }
    sql.push(" WHERE tenant_id = ").bind(me.tenant().0).push(" AND id = ").bind(id);
    sql.push(format!(" RETURNING {COLUMNS}"));
    let sql = sql.prepared_once();
    db.write(me, cx, async |tx| {
        let changed = one(&tx.rows(sql.clone()).await?)?;
        may_grant(me, &changed.resource, &changed.action)?;
        Ok(changed)
    })
    .await
}

/// Removes a permission, also from the roles that have it.
///
/// # Errors
/// 403, 404.
pub async fn permission_delete(db: &Db, me: &Principal, cx: &RequestContext, id: Uuid) -> Result<(), Error> {
    me.require("permissions", Action::Delete)?;
    let mut sql = Sql::new("DELETE FROM permissions WHERE tenant_id = ");
    sql.bind(me.tenant().0).push(" AND id = ").bind(id).push(" RETURNING id");
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    if rows.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_records_can_be_granted() {
        let read = |v: Value| match v {
            Value::Object(map) => PermissionInput::read(map, Mode::Create),
            _ => Err(Error::not_found()),
        };
        assert!(read(json!({"name": "bulk_delete", "resource": "*", "action": "delete"})).is_ok());
        for (bad, field) in [
            (json!({"name": "x", "resource": "users", "action": "create"}), "resource"),
            (json!({"name": "x", "resource": "tenants", "action": "*"}), "resource"),
            (json!({"name": "x", "resource": "contact", "action": "read"}), "resource"),
            (json!({"name": "x", "resource": "contacts", "action": "write"}), "action"),
            (json!({"resource": "contacts", "action": "read"}), "name"),
            (json!({"name": "", "resource": "contacts", "action": "read"}), "name"),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err().details[0].field, field, "{bad}");
        }
    }
}
