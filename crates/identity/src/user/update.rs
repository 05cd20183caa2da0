//! Changing and deactivating users. Users are not deleted: their name stands on what they did.

use super::{
    User, UserInput, by_id,
    create::{access, colleague, email_taken},
    from_rows, invalid_tenant,
    password::{end_sessions, reset_entry},
    tenant_of,
};
use crate::{
    hashing,
    sql::{acting, boolean, col, json, one},
};
use aisha_auth::{Action, Identity, Role};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx, record::write::Expected};
use aisha_kernel::{Error, ErrorCode, Patch, TenantId};
use uuid::Uuid;

/// Changes what was sent. A deactivated user's sessions end, and so do those of a user who gets a new password.
/// `expected` is the version that the change is based on, if the caller cares.
///
/// # Errors
/// 412 when that version is no longer current;
/// 403 without the right, for a role above one's own, another tenant, one's own role or one's own deactivation; 404 for
/// nobody the caller may see; 409 naming `email`, or for the last active superadmin; 422 naming the field.
pub async fn update(
    db: &Db,
    me: &Identity,
    id: Uuid,
    mut input: UserInput,
    expected: Expected,
    cx: &RequestContext,
) -> Result<User, Error> {
    me.require("users", Action::Update)?;
    let tenant = tenant_of(db, me, id).await?;
    let password_hash = match input.password.take() {
        Some(password) => Some(hashing::hash(password).await?),
        None => None,
    };
    let why = acting(me, "user changed", tenant, cx);
    let change = Change { me, id, tenant, input, expected, password_hash, cx };
    db.system(&why, async |tx: &mut SystemTx| change.apply(tx).await).await
}

/// Deactivates: the user can no longer sign in and its sessions end. Again is no error.
///
/// # Errors
/// As [`update`].
pub async fn deactivate(db: &Db, me: &Identity, id: Uuid, cx: &RequestContext) -> Result<(), Error> {
    me.require("users", Action::Delete)?;
    let tenant = tenant_of(db, me, id).await?;
    let input = UserInput { is_active: Some(false), ..UserInput::default() };
    let why = acting(me, "user deactivated", tenant, cx);
    let change = Change { me, id, tenant, input, expected: Expected::Any, password_hash: None, cx };
    db.system(&why, async |tx: &mut SystemTx| change.apply(tx).await.map(drop)).await
}

struct Change<'a> {
    me: &'a Identity,
    id: Uuid,
    tenant: Option<TenantId>,
    input: UserInput,
    expected: Expected,
    password_hash: Option<String>,
    cx: &'a RequestContext,
}

struct Current {
    role: Role,
    email: String,
    active: bool,
}

impl Change<'_> {
    async fn apply(&self, tx: &mut SystemTx) -> Result<User, Error> {
        let current = self.lock(tx).await?;
        let role = self.input.role.map_or(current.role, |r| r.resolve(Some(current.role)));
        let off = current.active && self.input.is_active == Some(false);
        self.check(tx, &current, role, off).await?;
        if let Some(email) = self.input.email.as_deref().filter(|e| *e != current.email) {
            self.move_email(tx, &current.email, email).await?;
        }
        let mut statements: Vec<Sql> = self.statement(&current, role).into_iter().collect();
        if off || self.password_hash.is_some() {
            let reason = if off { "user deactivated" } else { "password reset" };
            statements.push(end_sessions(self.id, self.me.sid, reason));
        }
        if self.password_hash.is_some() {
            statements.push(reset_entry(self.me, self.id, self.tenant).insert(self.cx));
        }
        statements.push(by_id(self.id));
        from_rows(tx.flight(statements).await?.pop().unwrap_or_default())
    }

    async fn lock(&self, tx: &mut SystemTx) -> Result<Current, Error> {
        let mut sql = Sql::new("SELECT role, email, is_active, version FROM users WHERE id = ");
        sql.bind(self.id).push(" FOR UPDATE");
        let row = one(tx.rows(sql).await?)?;
        let version: i32 = col(&row, 3)?;
        if self.expected != Expected::Any && self.expected != Expected::Version(version) {
            return Err(Error::new(ErrorCode::PreconditionFailed, "Somebody changed this user first: read it again."));
        }
        Ok(Current { role: col::<String>(&row, 0)?.parse()?, email: col(&row, 1)?, active: col(&row, 2)? })
    }

    async fn check(&self, tx: &mut SystemTx, current: &Current, role: Role, off: bool) -> Result<(), Error> {
        let me = self.me;
        if current.role > me.role || role > me.role {
            return Err(Error::forbidden("You may not change somebody above you, nor give a role above your own."));
        }
        let moved = match self.input.tenant_id {
            Patch::Absent => false,
            Patch::Null => self.tenant.is_some(),
            Patch::Value(asked) => self.tenant != Some(TenantId(asked)),
        };
        if moved {
            return Err(match me.role {
                Role::Superadmin => Error::invalid("tenant_id", "cannot be changed: make a new user there"),
                _ => invalid_tenant(),
            });
        }
        let demoted = current.role == Role::Superadmin && role != Role::Superadmin;
        if (demoted || off) && current.role == Role::Superadmin && self.is_last_superadmin(tx).await? {
            return Err(Error::conflict("This is the last active superadmin."));
        }
        let myself = self.id == me.user_id.0;
        if myself && role != current.role {
            return Err(Error::forbidden("You may not change your own role."));
        }
        if myself && off {
            return Err(Error::forbidden("You may not deactivate yourself."));
        }
        if (role == Role::Superadmin) != (current.role == Role::Superadmin) {
            let message = "cannot change to or from superadmin, who belongs to no tenant: make a new user";
            return Err(Error::invalid("role", message));
        }
        Ok(())
    }

    /// Locks all superadmins in the order of their ids, so that two who deactivate each other cannot both succeed.
    async fn is_last_superadmin(&self, tx: &mut SystemTx) -> Result<bool, Error> {
        let sql = Sql::new("SELECT id FROM users WHERE role = 'superadmin' AND is_active ORDER BY id FOR UPDATE");
        for row in &tx.rows(sql).await? {
            if col::<Uuid>(row, 0)? != self.id {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The address is unique across users and employees, except for the employee of this user, which moves along.
    async fn move_email(&self, tx: &mut SystemTx, from: &str, to: &str) -> Result<(), Error> {
        let Some(tenant) = self.tenant else { return Ok(()) };
        match colleague(tx, tenant, to).await? {
            Some((_, user)) if user != Some(self.id) => Err(email_taken()),
            Some(_) => Ok(()),
            None => {
                let mut sql = Sql::new("UPDATE employees SET email = ");
                sql.bind(Bind::text(to)).push(" WHERE tenant_id = ").bind(tenant.0);
                sql.push(" AND user_id = ").bind(self.id).push(" AND email = ").bind(Bind::text(from));
                tx.rows(sql).await.map(drop)
            }
        }
    }

    /// The UPDATE of what differs; nothing when nothing was sent.
    fn statement(&self, current: &Current, role: Role) -> Option<Sql> {
        let i = &self.input;
        let mut set: Vec<(&'static str, Bind)> = Vec::new();
        let text = |t: &String| Bind::text(t.as_str());
        set.extend(i.email.as_ref().map(|v| ("email", text(v))));
        set.extend(i.first_name.as_ref().map(|v| ("first_name", text(v))));
        set.extend(i.last_name.as_ref().map(|v| ("last_name", text(v))));
        set.extend((role != current.role).then(|| ("role", Bind::text(role.as_str()))));
        set.extend(i.access_level.map(|v| ("access_level", Bind::text(access(v)))));
        set.extend(i.can_use_softphone.map(|v| ("can_use_softphone", boolean(v))));
        set.extend(i.navigation_permissions.as_ref().map(|v| ("navigation_permissions", json(v))));
        set.extend(i.custom_roles.clone().map(|v| ("custom_roles", Bind::Texts(Some(v)))));
        set.extend(i.metadata.as_ref().map(|v| ("metadata", json(v))));
        set.extend(self.password_hash.clone().map(|v| ("password_hash", Bind::text(v))));
        set.extend(i.is_active.map(|v| ("is_active", boolean(v))));
        if set.is_empty() {
            return None;
        }
        let mut sql = Sql::new("UPDATE users SET ").prepared_once();
        for (n, (column, bind)) in set.into_iter().enumerate() {
            sql.push(if n == 0 { "" } else { ", " }).push(column).push(" = ").bind(bind);
        }
        if self.password_hash.is_some() {
            sql.push(", password_changed_at = now()");
        }
        match i.is_active {
            Some(true) => sql.push(", deactivated_at = NULL"),
            Some(false) => sql.push(", deactivated_at = coalesce(deactivated_at, now())"),
            None => &mut sql,
        };
        sql.push(" WHERE id = ").bind(self.id);
        Some(sql)
    }
}
