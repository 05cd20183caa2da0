//! Making users, with the employee that comes with them.

use super::{
    User, UserInput, by_id,
    employ::{self, Colleague, Found},
    from_rows, invalid_tenant, navigation,
};
use crate::{
    credentials::Credentials,
    hashing,
    invitation::{InvitedUser, issue},
    link::lock,
    sql::{acting, boolean, json},
};
use aisha_auth::{AccessLevel, Action, Identity, Role};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, Patch, TenantId, new_id};
use serde_json::json as value;
use uuid::Uuid;

/// Makes a user. `tenant` is the one the request names outside the body. A user of a tenant gets an employee record: the
/// live one with the same e-mail address and no user yet, else a new one.
///
/// # Errors
/// 403 without the right, for a role above one's own or another tenant; 409 naming `email`; 422 naming the field.
pub async fn create(
    db: &Db,
    me: &Identity,
    input: UserInput,
    tenant: Option<TenantId>,
    cx: &RequestContext,
) -> Result<User, Error> {
    let new = prepare(me, input, tenant).await?;
    let why = acting(me, "user created", new.tenant, cx);
    db.system(&why, async |tx: &mut SystemTx| new.insert(tx).await).await
}

/// Makes a user without a password and sends an invitation to choose one, both or neither.
///
/// # Errors
/// As [`create`]; 422 naming `send_invitation` for a user who would have a password or not be active.
pub async fn create_invited(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    input: UserInput,
    tenant: Option<TenantId>,
    cx: &RequestContext,
) -> Result<InvitedUser, Error> {
    invitable(&input)?;
    let new = prepare(me, input, tenant).await?;
    let why = acting(me, "user created", new.tenant, cx);
    db.system(&why, async |tx: &mut SystemTx| {
        let user = new.insert(tx).await?;
        let person = lock(tx, me, user.id).await?;
        let invitation = issue(tx, credentials, me, &person, cx).await?;
        Ok(InvitedUser { user, invitation: Some(invitation) })
    })
    .await
}

/// Refuses an invitation that would be of no use.
pub(super) fn invitable(input: &UserInput) -> Result<(), Error> {
    if input.password.is_some() {
        return Err(Error::invalid("send_invitation", "cannot be true with a password: the user chooses one"));
    }
    if input.is_active == Some(false) {
        return Err(Error::invalid("send_invitation", "cannot be true for a user who is not active"));
    }
    Ok(())
}

/// A user that may be made by the caller.
async fn prepare(me: &Identity, mut input: UserInput, tenant: Option<TenantId>) -> Result<New, Error> {
    me.require("users", Action::Create)?;
    let role = input.role.map_or(Role::Employee, |r| r.resolve(None));
    if role > me.role {
        return Err(role_above());
    }
    let tenant = home(me, role, &input.tenant_id, tenant)?;
    let password_hash = match input.password.take() {
        Some(password) => Some(hashing::hash(password).await?),
        None => None,
    };
    Ok(New { id: new_id(), tenant, role, password_hash, input, created_by: Some(me.user_id.0) })
}

/// 403 for a role above the caller's.
pub(super) fn role_above() -> Error {
    Error::forbidden("You may not give a role above your own.").field("role", "is above your own")
}

/// Where a new user of this role belongs.
pub(super) fn home(
    me: &Identity,
    role: Role,
    in_body: &Patch<Uuid>,
    in_query: Option<TenantId>,
) -> Result<Option<TenantId>, Error> {
    let in_body = in_body.value().copied().map(TenantId);
    if role == Role::Superadmin {
        return match in_body {
            None => Ok(None),
            Some(_) => Err(Error::invalid("tenant_id", "must be empty: a superadmin belongs to no tenant")),
        };
    }
    if let (Some(a), Some(b)) = (in_body, in_query)
        && a != b
    {
        return Err(Error::invalid("tenant_id", "differs between query and body"));
    }
    match (me.tenant_id, in_body.or(in_query)) {
        (Some(own), asked) if asked.is_none_or(|t| t == own) => Ok(Some(own)),
        (Some(_), _) => Err(invalid_tenant()),
        (None, Some(asked)) => Ok(Some(asked)),
        (None, None) => Err(Error::invalid("tenant_id", "is required: everybody but a superadmin belongs to a tenant")),
    }
}

/// A user to be made.
pub(super) struct New {
    pub id: Uuid,
    pub tenant: Option<TenantId>,
    pub role: Role,
    pub password_hash: Option<String>,
    pub input: UserInput,
    pub created_by: Option<Uuid>,
}

impl New {
    fn email(&self) -> &str {
        self.input.email.as_deref().unwrap_or_default()
    }

    async fn insert(&self, tx: &mut SystemTx) -> Result<User, Error> {
        let found = match self.tenant {
            Some(tenant) => employ::find(tx, tenant, vec![self.email().to_owned()]).await?.remove(self.email()),
            None => None,
        };
        let mut statements = self.statements(found)?;
        statements.push(by_id(self.id));
        from_rows(tx.flight(statements).await?.pop().unwrap_or_default())
    }

    /// The statements that make the user, and in a tenant its employee, of `found` where there is one.
    ///
    /// # Errors
    /// 409 naming `email` when that employee is somebody else's; 422 naming `department`.
    pub fn statements(&self, found: Option<Found>) -> Result<Vec<Sql>, Error> {
        let mut statements = vec![self.statement()];
        if let Some(tenant) = self.tenant {
            let name = |n: &'_ Option<String>| n.clone().unwrap_or_default();
            let (first_name, last_name) = (name(&self.input.first_name), name(&self.input.last_name));
            let colleague = Colleague {
                user: self.id,
                tenant,
                email: self.email(),
                first_name: &first_name,
                last_name: &last_name,
                by: self.created_by,
            };
            statements.push(colleague.employ(found)?);
        }
        statements.extend(employ::department(self.tenant, self.id, &self.input.department)?);
        Ok(statements)
    }

    fn statement(&self) -> Sql {
        let i = &self.input;
        let empty = value!({});
        let text = |t: Option<&String>| Bind::text(t.map(String::as_str).unwrap_or_default());
        let mut sql = Sql::new(
            "INSERT INTO users (id, tenant_id, email, password_hash, password_changed_at, first_name, last_name, role, \
             access_level, can_use_softphone, is_active, deactivated_at, navigation_permissions, custom_roles, \
             metadata, external_id, created_by) VALUES (",
        );
        sql.bind(self.id).push(", ").bind(Bind::Uuid(self.tenant.map(|t| t.0))).push(", ");
        sql.bind(Bind::text(self.email())).push(", ");
        sql.bind(Bind::Text(self.password_hash.clone(), "text"));
        sql.push(if self.password_hash.is_some() { ", now(), " } else { ", NULL, " });
        sql.bind(text(i.first_name.as_ref())).push(", ").bind(text(i.last_name.as_ref())).push(", ");
        sql.bind(Bind::text(self.role.as_str())).push(", ");
        sql.bind(Bind::text(access(i.access_level.unwrap_or(AccessLevel::ReadWrite)))).push(", ");
        sql.bind(boolean(i.can_use_softphone.unwrap_or(false))).push(", ");
        let active = i.is_active.unwrap_or(true);
        sql.bind(boolean(active)).push(if active { ", NULL, " } else { ", now(), " });
        let navigation = i.navigation_permissions.as_ref().unwrap_or(&empty);
        sql.bind(json(&navigation::overrides(self.role, navigation))).push(", ");
        sql.bind(Bind::Texts(Some(i.custom_roles.clone().unwrap_or_default()))).push(", ");
        sql.bind(json(i.metadata.as_ref().unwrap_or(&empty))).push(", ");
        sql.bind(Bind::Text(i.external_id.value().cloned(), "text")).push(", ").bind(Bind::Uuid(self.created_by));
        sql.push(")");
        sql
    }
}

pub(super) fn access(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::Read => "read",
        AccessLevel::ReadWrite => "read_write",
    }
}

/// What became of the first superadmin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Superadmin {
    /// It was made.
    Created,
    /// Somebody already has the address; nothing was changed.
    Exists,
}

/// Makes a superadmin from the command line, where there is nobody yet to ask for leave.
///
/// # Errors
/// 422 for an address or password that cannot be used; 503 when the database is away.
pub async fn create_superadmin(db: &Db, email: &str, password: &str) -> Result<Superadmin, Error> {
    let mut input = UserInput::parse(
        &value!({ "email": email, "password": password, "first_name": "Super", "last_name": "Admin" }),
        true,
    )?;
    let why = SystemReason { reason: "command line", ..SystemReason::default() };
    let mut sql = Sql::new("SELECT id FROM users WHERE email = ");
    sql.bind(Bind::text(input.email.clone().unwrap_or_default()));
    if !db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?.is_empty() {
        return Ok(Superadmin::Exists);
    }
    let password_hash = hashing::hash(input.password.take().unwrap_or_default()).await?;
    let new = New {
        id: new_id(),
        tenant: None,
        role: Role::Superadmin,
        password_hash: Some(password_hash),
        input,
        created_by: None,
    };
    db.system(&why, async |tx: &mut SystemTx| new.insert(tx).await).await?;
    Ok(Superadmin::Created)
}
