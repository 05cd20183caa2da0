//! Roles as people see them: the four of the permission matrix, and a tenant's own, which are names for lists of custom
//! permissions. A user has one of the four and any number of the tenant's (`users.custom_roles`).

use crate::permission::may_grant;
use aisha_auth::{
    Action, Principal, Role,
    permission::{GRANTABLE, allows, special},
};
use aisha_db::{Bind, Db, RequestContext, Sql, TenantTx};
use aisha_kernel::{Error, FieldError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most permissions of one role.
const MOST: usize = 100;
const LONGEST_NAME: usize = 100;

/// A role as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct RoleView {
    /// Name.
    pub name: String,
    /// Whether it is one of the four that every tenant has.
    pub built_in: bool,
    /// Active users of the tenant that have it.
    pub users: i64,
    /// The permissions of a custom role.
    pub permissions: Vec<RolePermission>,
    /// What it allows, such as `delete:contacts`.
    pub rights: Vec<String>,
}

/// A permission of a custom role.
#[derive(Debug, Clone, Serialize)]
pub struct RolePermission {
    /// Identifier.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Plural of the records, or `*`.
    pub resource: String,
    /// What it allows, or `*`.
    pub action: String,
}

fn built_in(role: Role, users: i64) -> RoleView {
    let resources = GRANTABLE.into_iter().chain(special());
    let rights = resources.flat_map(|r| Action::ALL.map(|a| (r, a))).filter(|(r, a)| allows(role, r, *a));
    RoleView {
        name: role.as_str().to_owned(),
        built_in: true,
        users,
        permissions: Vec::new(),
        rights: rights.map(|(r, a)| format!("{}:{r}", a.as_str())).collect(),
    }
}

/// Built-in roles, strongest first, then the tenant's own by name: those with permissions and those that users have.
///
/// # Errors
/// 403; 503 when the database is away.
pub async fn role_list(db: &Db, me: &Principal) -> Result<Vec<RoleView>, Error> {
    me.require("permissions", Action::Read)?;
    db.read(me, async |tx| roles(tx, None).await).await
}

async fn roles(tx: &mut TenantTx, only: Option<&str>) -> Result<Vec<RoleView>, Error> {
    let tenant = tx.principal().tenant().0;
    let mut granted = Sql::new(
        "SELECT r.role, p.id, p.name, p.resource, p.action FROM role_permissions r \
         JOIN permissions p ON p.tenant_id = r.tenant_id AND p.id = r.permission_id WHERE r.tenant_id = ",
    );
    granted.bind(tenant);
    if let Some(name) = only {
        granted.push(" AND r.role = ").bind(Bind::text(name));
    }
    granted.push(" ORDER BY r.role, p.name");
    let mut by_role = Sql::new("SELECT role, count(*) FROM users WHERE is_active AND tenant_id = ");
    by_role.bind(tenant).push(" GROUP BY role");
    let mut by_custom =
        Sql::new("SELECT name, count(*) FROM users, unnest(custom_roles) AS name WHERE is_active AND tenant_id = ");
    by_custom.bind(tenant).push(" GROUP BY name");
    let mut results = tx.flight(vec![granted, by_role, by_custom]).await?.into_iter();
    let mut next = || results.next().unwrap_or_default();
    let (granted, by_role, by_custom) = (next(), next(), next());
    let read = || -> Result<Vec<RoleView>, Box<dyn std::error::Error + Send + Sync>> {
        let mut custom: BTreeMap<String, RoleView> = BTreeMap::new();
        let empty = |name: &String| RoleView {
            name: name.clone(),
            built_in: false,
            users: 0,
            permissions: Vec::new(),
            rights: Vec::new(),
        };
        for row in &granted {
            let name: String = row.get(0)?;
            let role = custom.entry(name.clone()).or_insert_with(|| empty(&name));
            let permission =
                RolePermission { id: row.get(1)?, name: row.get(2)?, resource: row.get(3)?, action: row.get(4)? };
            let right = format!("{}:{}", permission.action, permission.resource);
            if !role.rights.contains(&right) {
                role.rights.push(right);
            }
            role.permissions.push(permission);
        }
        for row in &by_custom {
            let name: String = row.get(0)?;
            if only.is_none_or(|wanted| wanted == name) {
                custom.entry(name.clone()).or_insert_with(|| empty(&name)).users = row.get(1)?;
            }
        }
        let mut users: BTreeMap<String, i64> = BTreeMap::new();
        for row in &by_role {
            users.insert(row.get(0)?, row.get(1)?);
        }
        let matrix = Role::ALL.into_iter().rev().filter(|_| only.is_none());
        let matrix = matrix.map(|role| built_in(role, users.get(role.as_str()).copied().unwrap_or(0)));
        Ok(matrix.chain(custom.into_values()).collect())
    };
    read().map_err(Error::internal)
}

/// The name of a custom role.
fn custom_name(name: &str) -> Result<&str, Error> {
    const TAKEN: [&str; 6] = ["superadmin", "admin", "manager", "employee", "user", "power-user"];
    let name = name.trim();
    if TAKEN.contains(&name.to_lowercase().as_str()) {
        return Err(Error::invalid("name", "is a built-in role, whose rights stand in the permission matrix"));
    }
    // What was no UTF-8 in the path comes as the replacement character.
    let odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains(odd) {
        return Err(Error::invalid("name", format!("must have 1 to {LONGEST_NAME} characters")));
    }
    Ok(name)
}

/// The permissions of a role, by id or name.
#[derive(Debug)]
pub struct RoleInput {
    ids: Vec<Uuid>,
    names: Vec<String>,
}

impl RoleInput {
    /// Reads `{permissions: […]}`; what a list showed can be sent back.
    ///
    /// # Errors
    /// 422.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Error> {
        const SHOWN: [&str; 6] = ["permissions", "name", "built_in", "users", "rights", "tenant_id"];
        let unknown = body.keys().filter(|k| !SHOWN.contains(&k.as_str()));
        let mut problems: Vec<FieldError> = unknown.map(|k| FieldError::new(k, "is not a field of a role")).collect();
        let (mut ids, mut names) = (Vec::new(), Vec::new());
        match body.get("permissions").and_then(Value::as_array).filter(|l| (1..=MOST).contains(&l.len())) {
            None => {
                let message = format!("must be a list of 1 to {MOST} names or ids; delete the role to take all away");
                problems.push(FieldError::new("permissions", message));
            }
            Some(list) => {
                for item in list {
                    let text = item.as_str().or_else(|| item.get("id").and_then(Value::as_str)).map(str::trim);
                    match text.filter(|t| !t.is_empty() && !t.contains('\0')) {
                        Some(text) => match Uuid::parse_str(text) {
                            Ok(id) => ids.push(id),
                            Err(_) => names.push(text.to_owned()),
                        },
                        None => problems.push(FieldError::new("permissions", "must consist of names or ids")),
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Self { ids, names }) } else { Err(Error::validation(problems)) }
    }
}

/// Gives a custom role exactly these permissions; it exists from then on.
///
/// # Errors
/// 403 for what the caller does not have itself, 422 for a built-in role or a permission that there is not.
pub async fn role_set(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    name: &str,
    input: &RoleInput,
) -> Result<RoleView, Error> {
    me.require("permissions", Action::Update)?;
    let name = custom_name(name)?;
    let tenant = me.tenant().0;
    db.write(me, cx, async |tx| {
        // Of two who set the same role at once one comes after the other, and its list holds.
        let mut lock = Sql::new("SELECT pg_advisory_xact_lock(7303, hashtext(");
        lock.bind(Bind::text(format!("{tenant} {name}"))).push("))");
        let mut wanted = Sql::new("SELECT id, name, resource, action FROM permissions WHERE tenant_id = ");
        wanted.bind(tenant).push(" AND (id = ANY (").bind(Bind::Uuids(input.ids.clone())).push(") OR name = ANY (");
        wanted.bind(Bind::Texts(Some(input.names.clone()))).push(")) FOR SHARE");
        let found = tx.flight(vec![lock, wanted]).await?.pop().unwrap_or_default();
        let mut ids: Vec<Uuid> = Vec::with_capacity(found.len());
        let mut names: Vec<String> = Vec::with_capacity(found.len());
        for row in &found {
            ids.push(row.get(0).map_err(Error::internal)?);
            names.push(row.get(1).map_err(Error::internal)?);
            let text = |at: usize| row.get::<String>(at).map_err(Error::internal);
            may_grant(me, &text(2)?, &text(3)?)?;
        }
        let missing_ids = input.ids.iter().filter(|id| !ids.contains(id)).map(Uuid::to_string);
        let missing_names = input.names.iter().filter(|n| !names.contains(n)).cloned();
        let missing: Vec<FieldError> = missing_ids
            .chain(missing_names)
            .map(|m| FieldError::new("permissions", format!("has {m}, which is not a permission")))
            .collect();
        if !missing.is_empty() {
            return Err(Error::validation(missing));
        }
        let mut taken = Sql::new("DELETE FROM role_permissions WHERE tenant_id = ");
        taken.bind(tenant).push(" AND role = ").bind(Bind::text(name));
        taken.push(" AND permission_id <> ALL (").bind(Bind::Uuids(ids.clone())).push(")");
        let mut given = Sql::new("INSERT INTO role_permissions (tenant_id, role, permission_id, created_by) SELECT ");
        given.bind(tenant).push(", ").bind(Bind::text(name)).push(", id, ").bind(me.user().0).push(" FROM unnest(");
        given.bind(Bind::Uuids(ids)).push(") AS id ON CONFLICT (tenant_id, role, permission_id) DO NOTHING");
        tx.flight(vec![taken, given]).await?;
        roles(tx, Some(name)).await?.pop().ok_or_else(Error::not_found)
    })
    .await
}

/// Removes a custom role, also from the users that have it: a later role of the same name gives them nothing.
///
/// # Errors
/// 403, 404, 422 for a built-in role.
pub async fn role_delete(db: &Db, me: &Principal, cx: &RequestContext, name: &str) -> Result<(), Error> {
    me.require("permissions", Action::Delete)?;
    let name = custom_name(name)?;
    let mut role = Sql::new("DELETE FROM role_permissions WHERE tenant_id = ");
    role.bind(me.tenant().0).push(" AND role = ").bind(Bind::text(name)).push(" RETURNING id");
    let mut users = Sql::new("UPDATE users SET custom_roles = array_remove(custom_roles, ");
    users.bind(Bind::text(name)).push(") WHERE tenant_id = ").bind(me.tenant().0).push(" AND ");
    users.bind(Bind::text(name)).push(" = ANY (custom_roles) RETURNING id");
    let results = db.write(me, cx, async |tx| tx.flight(vec![role.clone(), users.clone()]).await).await?;
    if results.iter().all(Vec::is_empty) { Err(Error::not_found()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn built_in_roles_keep_their_names() {
        for taken in ["admin", " Admin ", "SUPERADMIN", "power-user", "user", ""] {
            assert!(custom_name(taken).is_err(), "{taken}");
        }
        assert_eq!(custom_name(" financial_manager ").unwrap(), "financial_manager");
        assert!(custom_name(&"x".repeat(101)).is_err() && custom_name("a\u{fffd}").is_err());
        let rights = built_in(Role::Employee, 0).rights;
        assert!(rights.iter().any(|r| r == "read:contacts") && !rights.iter().any(|r| r == "delete:contacts"));
    }

    #[test]
    fn permissions_are_names_or_ids() {
        let read = |v: Value| v.as_object().map_or_else(|| Err(Error::not_found()), RoleInput::read);
        let id = Uuid::from_u128(5);
        let input = read(json!({"permissions": ["bulk_delete", id, {"id": id, "name": "x"}]})).unwrap();
        assert_eq!((input.names, input.ids), (vec!["bulk_delete".to_owned()], vec![id, id]));
        for bad in
            [json!({}), json!({"permissions": []}), json!({"permissions": [5]}), json!({"permissions": ["a\u{0}"]})]
        {
            assert_eq!(read(bad).unwrap_err().details[0].field, "permissions");
        }
        assert_eq!(read(json!({"permissions": ["a"], "colour": 1})).unwrap_err().details[0].field, "colour");
    }
}
