//! Changing and deactivating users. Users are not deleted: their name stands on what they did.

use super::{
    User, UserInput, by_id,
    create::{access, role_above},
    employ::{self, Colleague},
    from_rows, invalid_tenant, navigation,
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

/// Changes what was sent. A deactivated user's sessions and API keys end, and so do the sessions of a user who gets a new
/// password.
/// `expected` is the version that the change is based on, if the caller cares.
///
/// # Errors
/// 412 when that version is no longer current;
/// 403 without the right, for a role above one's own, another tenant, one's own role or one's own deactivation; 404 for
/// nobody the caller may see; 409 naming `email`, or for the last active superadmin, or admin of the tenant; 422 naming the
/// field.
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

/// Deactivates: the user can no longer sign in; its sessions and API keys end. Its data stays. Again is no error.
///
/// # Errors
/// As [`update`].
pub async fn deactivate(
    db: &Db,
    me: &Identity,
    id: Uuid,
    expected: Expected,
    cx: &RequestContext,
) -> Result<User, Error> {
    me.require("users", Action::Delete)?;
    set_active(db, me, id, false, expected, cx).await
}

/// Lets a deactivated user sign in again. API keys stay ended. Again is no error.
///
/// # Errors
/// As [`update`]; 409 naming `email` when the employee record was given up and somebody else has the address by now.
pub async fn reactivate(
    db: &Db,
    me: &Identity,
    id: Uuid,
    expected: Expected,
    cx: &RequestContext,
) -> Result<User, Error> {
    me.require("users", Action::Update)?;
    set_active(db, me, id, true, expected, cx).await
}

async fn set_active(
    db: &Db,
    me: &Identity,
    id: Uuid,
    active: bool,
    expected: Expected,
    cx: &RequestContext,
) -> Result<User, Error> {
    let tenant = tenant_of(db, me, id).await?;
    let input = UserInput { is_active: Some(active), ..UserInput::default() };
    let why = acting(me, if active { "user reactivated" } else { "user deactivated" }, tenant, cx);
    let change = Change { me, id, tenant, input, expected, password_hash: None, cx };
    db.system(&why, async |tx: &mut SystemTx| change.apply(tx).await).await
}

/// A change of one user.
pub(super) struct Change<'a> {
    pub me: &'a Identity,
    pub id: Uuid,
    pub tenant: Option<TenantId>,
    pub input: UserInput,
    pub expected: Expected,
    pub password_hash: Option<String>,
    pub cx: &'a RequestContext,
}

struct Current {
    role: Role,
    email: String,
    active: bool,
    first_name: String,
    last_name: String,
}

impl Change<'_> {
    pub(super) async fn apply(&self, tx: &mut SystemTx) -> Result<User, Error> {
        let current = self.lock(tx).await?;
        let role = self.input.role.map_or(current.role, |r| r.resolve(Some(current.role)));
        let off = current.active && self.input.is_active == Some(false);
        let on = !current.active && self.input.is_active == Some(true);
        self.check(tx, &current, role, off).await?;
        let mut statements: Vec<Sql> = self.statement(&current, role).into_iter().collect();
        if off || self.password_hash.is_some() {
            let reason = if off { "user deactivated" } else { "password reset" };
            statements.push(end_sessions(self.id, self.me.sid, reason));
        }
        if off && let Some(tenant) = self.tenant {
            let mut keys = Sql::new("UPDATE api_key SET revoked_at = now() WHERE revoked_at IS NULL AND tenant_id = ");
            keys.bind(tenant.0).push(" AND user_id = ").bind(self.id);
            statements.push(keys);
        }
        if self.password_hash.is_some() {
            statements.push(reset_entry(self.me, self.id, self.tenant).insert(self.cx));
        }
        if on && let Some(tenant) = self.tenant {
            tx.flight(std::mem::take(&mut statements)).await?;
            let name = |sent: &Option<String>, stored: &String| sent.clone().unwrap_or_else(|| stored.clone());
            Colleague {
                user: self.id,
                tenant,
                email: self.input.email.as_deref().unwrap_or(&current.email),
                first_name: &name(&self.input.first_name, &current.first_name),
                last_name: &name(&self.input.last_name, &current.last_name),
                by: Some(self.me.user_id.0),
            }
            .return_to_work(tx)
            .await?;
        }
        statements.extend(employ::department(self.tenant, self.id, &self.input.department)?);
        statements.push(by_id(self.id));
        from_rows(tx.flight(statements).await?.pop().unwrap_or_default())
    }

    /// Reads the user as it is and keeps it so. Whoever may take a role or an account away takes turns with all others in
    /// the tenant who may, so that of two who deactivate each other the second sees what the first has done.
    async fn lock(&self, tx: &mut SystemTx) -> Result<Current, Error> {
        let mut statements = Vec::new();
        if self.input.is_active == Some(false) || self.input.role.is_some() {
            let mut turn = Sql::new("SELECT pg_advisory_xact_lock(hashtextextended('users of ' || ");
            turn.bind(Bind::text(self.tenant.map(|t| t.to_string()).unwrap_or_default())).push(", 0))::text");
            statements.push(turn);
        }
        let mut sql = Sql::new("SELECT role, email, is_active, version, first_name, last_name FROM users WHERE id = ");
        sql.bind(self.id).push(" FOR UPDATE");
        statements.push(sql);
        let row = one(tx.flight(statements).await?.pop().unwrap_or_default())?;
        let version: i32 = col(&row, 3)?;
        if self.expected != Expected::Any && self.expected != Expected::Version(version) {
            return Err(Error::new(ErrorCode::PreconditionFailed, "Somebody changed this user first: read it again."));
        }
        Ok(Current {
            role: col::<String>(&row, 0)?.parse()?,
            email: col(&row, 1)?,
            active: col(&row, 2)?,
            first_name: col(&row, 4)?,
            last_name: col(&row, 5)?,
        })
    }

    async fn check(&self, tx: &mut SystemTx, current: &Current, role: Role, off: bool) -> Result<(), Error> {
        let me = self.me;
        if current.role > me.role {
            return Err(Error::forbidden("You may not change somebody above you.").field("role", "is above your own"));
        }
        if role > me.role {
            return Err(role_above());
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
        let myself = self.id == me.user_id.0;
        if myself && role != current.role {
            return Err(Error::forbidden("You may not change your own role.").field("role", "is your own"));
        }
        if myself && off {
            return Err(Error::forbidden("You may not deactivate yourself.").field("is_active", "is your own"));
        }
        if (off || role < current.role) && current.active && !self.another(tx, current.role).await? {
            match current.role {
                Role::Superadmin => {
                    return Err(Error::conflict("This is the last active superadmin: make another one first.")
                        .field(if off { "is_active" } else { "role" }, "the platform must have a superadmin"));
                }
                Role::Admin if me.role != Role::Superadmin => {
                    let message = "This is the tenant's last active admin: make another one first, or ask the operator \
                                   of the platform.";
                    return Err(Error::conflict(message)
                        .field(if off { "is_active" } else { "role" }, "the tenant must have an admin"));
                }
                _ => {}
            }
        }
        if (role == Role::Superadmin) != (current.role == Role::Superadmin) {
            let message = "cannot change to or from superadmin, who belongs to no tenant: make a new user";
            return Err(Error::invalid("role", message));
        }
        Ok(())
    }

    /// Whether the tenant (or the platform) has another active user of the role; asked for those who run it only.
    async fn another(&self, tx: &mut SystemTx, role: Role) -> Result<bool, Error> {
        if role < Role::Admin {
            return Ok(true);
        }
        let mut sql = Sql::new("SELECT id FROM users WHERE is_active AND role = ");
        sql.bind(Bind::text(role.as_str())).push(" AND tenant_id IS NOT DISTINCT FROM ");
        sql.bind(Bind::Uuid(self.tenant.map(|t| t.0))).push(" AND id <> ").bind(self.id).push(" LIMIT 1");
        Ok(!tx.rows(sql).await?.is_empty())
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
        let navigation = i.navigation_permissions.as_ref().map(|v| navigation::overrides(role, v));
        set.extend(navigation.as_ref().map(|v| ("navigation_permissions", json(v))));
        set.extend(i.custom_roles.clone().map(|v| ("custom_roles", Bind::Texts(Some(v)))));
        set.extend(i.metadata.as_ref().map(|v| ("metadata", json(v))));
        match &i.external_id {
            Patch::Absent => {}
            Patch::Null => set.push(("external_id", Bind::Text(None, "text"))),
            Patch::Value(v) => set.push(("external_id", text(v))),
        }
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
