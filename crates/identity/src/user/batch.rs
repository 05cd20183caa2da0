//! Many users at once, each by the rules of one: what an import and a directory have in common. One that is refused does
//! not stop the others.

use super::{
    User, UserInput,
    create::{New, home, invitable, role_above},
    employ::{self, Found, email_taken},
    update::Change,
};
use crate::{
    Credentials,
    audit::Entry,
    hashing,
    invitation::issue,
    link::lock,
    sql::{acting, col},
};
use aisha_auth::{Identity, Role};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx, record::write::Expected};
use aisha_kernel::{Error, ErrorCode, FieldError, TenantId, new_id};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Users per transaction.
const PER_TRANSACTION: usize = 100;
/// Users of one request.
pub(super) const MOST: usize = 5_000;

/// What one row or entry asks for.
pub(super) struct Wish {
    pub number: u64,
    pub fields: Result<Map<String, Value>, Vec<FieldError>>,
    /// The address, for the answer; also of a row that cannot be used.
    pub email: Option<String>,
}

/// What becomes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Updated,
    Deactivated,
    Unchanged,
    Refused,
}

/// What became of a wish.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub number: u64,
    pub email: Option<String>,
    pub status: Status,
    pub id: Option<Uuid>,
    pub errors: Vec<FieldError>,
    /// Whether an invitation is on its way.
    pub invited: bool,
}

/// How wishes are fulfilled.
pub(super) struct Batch<'a> {
    pub db: &'a Db,
    pub credentials: &'a Credentials,
    pub me: &'a Identity,
    pub cx: &'a RequestContext,
    pub reason: &'static str,
    /// Where a user belongs for whom no tenant is named.
    pub tenant: Option<TenantId>,
    /// Change who is there already, or leave them as they are.
    pub change: bool,
    /// The list of a directory: its ids name users too, and whom it names is marked.
    pub directory: bool,
    /// Find out and change nothing.
    pub dry_run: bool,
}

/// A wish that can be tried.
struct Ready {
    number: u64,
    email: String,
    fields: Map<String, Value>,
    input: UserInput,
    tenant: Option<TenantId>,
    role: Role,
}

/// Who is there, as far as the wishes of one transaction are concerned.
#[derive(Default)]
struct There {
    by_email: HashMap<String, Known>,
    by_external_id: HashMap<String, Known>,
    employees: HashMap<String, Found>,
    /// Addresses that a dry run has tried: what it made is gone.
    tried: HashSet<String>,
}

impl There {
    fn remember(&mut self, item: &Ready, id: Uuid) {
        let known = Known {
            id,
            tenant: item.tenant,
            role: item.role,
            active: item.input.is_active.unwrap_or(true),
            version: 1,
            department: item.input.department.value().cloned(),
        };
        if let Some(external) = item.input.external_id.value() {
            self.by_external_id.insert(external.clone(), known.clone());
        }
        self.by_email.insert(item.email.clone(), known);
    }
}

/// Somebody who is there already.
#[derive(Debug, Clone)]
struct Known {
    id: Uuid,
    tenant: Option<TenantId>,
    role: Role,
    active: bool,
    version: i32,
    department: Option<String>,
}

impl Known {
    fn of(user: &User) -> Result<Self, Error> {
        Ok(Self {
            id: user.id,
            tenant: user.tenant_id.map(TenantId),
            role: user.role.parse()?,
            active: user.is_active,
            version: user.version,
            department: user.department.clone(),
        })
    }
}

/// The messages of an error about one row.
fn errors_of(e: Error) -> Vec<FieldError> {
    if e.details.is_empty() { vec![FieldError::new("row", e.message.into_owned())] } else { e.details }
}

impl Outcome {
    fn refused(number: u64, email: Option<String>, errors: Vec<FieldError>) -> Self {
        Self { number, email, status: Status::Refused, id: None, errors, invited: false }
    }
}

impl Batch<'_> {
    /// Fulfils the wishes in their order. `seen` are addresses that a dry run has come across: the database does not know
    /// them.
    ///
    /// # Errors
    /// 503 when the database is away; what was done before stays, and a repetition goes on from there.
    pub async fn run(&self, wishes: Vec<Wish>, seen: &mut HashSet<String>) -> Result<Vec<Outcome>, Error> {
        let mut done = Vec::with_capacity(wishes.len());
        let mut ready: Vec<Ready> = Vec::new();
        for wish in wishes {
            let (number, email) = (wish.number, wish.email.clone());
            match wish.fields.and_then(|fields| self.ready(number, fields)) {
                Ok(item) => {
                    if ready.len() == PER_TRANSACTION || ready.first().is_some_and(|r| r.tenant != item.tenant) {
                        done.extend(self.transaction(std::mem::take(&mut ready), seen).await?);
                    }
                    ready.push(item);
                }
                Err(errors) => done.push(Outcome::refused(number, email, errors)),
            }
        }
        done.extend(self.transaction(ready, seen).await?);
        done.sort_by_key(|o| o.number);
        Ok(done)
    }

    fn ready(&self, number: u64, fields: Map<String, Value>) -> Result<Ready, Vec<FieldError>> {
        let input = UserInput::parse(&Value::Object(fields.clone()), true).map_err(errors_of)?;
        let role = input.role.map_or(Role::Employee, |r| r.resolve(None));
        if role > self.me.role {
            return Err(errors_of(role_above()));
        }
        let default = self.tenant.filter(|_| !input.tenant_id.is_present());
        let tenant = home(self.me, role, &input.tenant_id, default.or(self.me.tenant_id)).map_err(|e| {
            if e.details.is_empty() { vec![FieldError::new("tenant_id", e.message.into_owned())] } else { e.details }
        })?;
        if self.tenant.is_some() && tenant != self.tenant {
            return Err(vec![FieldError::new("tenant_id", "differs from that of the request")]);
        }
        let email = input.email.clone().unwrap_or_default();
        Ok(Ready { number, email, fields, input, tenant, role })
    }

    /// Some wishes in one tenant, each behind a savepoint.
    async fn transaction(&self, mut items: Vec<Ready>, seen: &mut HashSet<String>) -> Result<Vec<Outcome>, Error> {
        let Some(tenant) = items.first().map(|i| i.tenant) else { return Ok(Vec::new()) };
        // In one order whatever the file's, so that two files with the same people do not wait for each other. Rows about
        // the same person keep theirs.
        items.sort_by(|a, b| a.email.cmp(&b.email));
        let hashes = self.hashes(&items, tenant).await?;
        let why = acting(self.me, self.reason, tenant, self.cx);
        let already: &HashSet<String> = seen;
        let done = self
            .db
            .system(&why, async |tx: &mut SystemTx| {
                let mut done: Vec<Outcome> = Vec::with_capacity(items.len());
                let mut there = self.look_up(tx, tenant, &items).await?;
                for (item, hash) in items.iter().zip(&hashes) {
                    let repeated = self.dry_run && (already.contains(&item.email) || there.tried.contains(&item.email));
                    done.push(Box::pin(self.one(tx, item, hash.clone(), repeated, &mut there)).await?);
                    there.tried.insert(item.email.clone());
                }
                Ok(done)
            })
            .await?;
        if self.dry_run {
            seen.extend(items.into_iter().map(|i| i.email));
        }
        Ok(done)
    }

    /// Who of the wishes' people is there already: users by address and by the directory's id, employees by address.
    async fn look_up(&self, tx: &mut SystemTx, tenant: Option<TenantId>, items: &[Ready]) -> Result<There, Error> {
        let emails: Vec<String> = items.iter().map(|i| i.email.clone()).collect();
        let mut sql = Sql::new(
            "SELECT u.id, u.tenant_id, u.role, u.is_active, u.version, e.department, u.email, u.external_id FROM users u \
             LEFT JOIN employees e ON e.tenant_id = u.tenant_id AND e.user_id = u.id AND e.deleted_at IS NULL \
             WHERE u.email = ANY(",
        );
        sql.bind(Bind::Texts(Some(emails.clone()))).push(")");
        if let (true, Some(tenant)) = (self.directory, tenant) {
            let ids = items.iter().filter_map(|i| i.input.external_id.value().cloned()).collect();
            sql.push(" OR u.tenant_id = ").bind(tenant.0).push(" AND u.external_id = ANY(");
            sql.bind(Bind::Texts(Some(ids))).push(")");
        }
        let mut there = There::default();
        for row in &tx.rows(sql).await? {
            let known = Known {
                id: col(row, 0)?,
                tenant: col::<Option<Uuid>>(row, 1)?.map(TenantId),
                role: col::<String>(row, 2)?.parse()?,
                active: col(row, 3)?,
                version: col(row, 4)?,
                department: col(row, 5)?,
            };
            if let Some(external) = col::<Option<String>>(row, 7)?.filter(|_| known.tenant == tenant) {
                there.by_external_id.insert(external, known.clone());
            }
            there.by_email.insert(col(row, 6)?, known);
        }
        if let Some(tenant) = tenant {
            there.employees = employ::find(tx, tenant, emails).await?;
        }
        Ok(there)
    }

    /// Hashes the passwords that will be needed, a few at a time and before a transaction is open.
    async fn hashes(&self, items: &[Ready], tenant: Option<TenantId>) -> Result<Vec<Option<String>>, Error> {
        if self.dry_run || items.iter().all(|i| i.input.password.is_none()) {
            return Ok(vec![None; items.len()]);
        }
        let mut sql = Sql::new("SELECT email FROM users WHERE email = ANY(");
        sql.bind(Bind::Texts(Some(items.iter().map(|i| i.email.clone()).collect()))).push(")");
        let why = acting(self.me, self.reason, tenant, self.cx);
        let rows = self.db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
        let known: HashSet<String> = rows.iter().map(|r| col(r, 0)).collect::<Result<_, _>>()?;
        let one = |item: &Ready| {
            let password = item.input.password.clone().filter(|_| self.change || !known.contains(&item.email));
            async move {
                match password {
                    Some(password) => hashing::hash(password).await.map(Some),
                    None => Ok(None),
                }
            }
        };
        join_all(items.iter().map(one)).await.into_iter().collect()
    }

    /// One wish behind a savepoint.
    async fn one(
        &self,
        tx: &mut SystemTx,
        item: &Ready,
        hash: Option<String>,
        repeated: bool,
        there: &mut There,
    ) -> Result<Outcome, Error> {
        let mut attempt = self.attempt(tx, item, hash.clone(), repeated, there).await;
        if attempt.as_ref().is_err_and(|e| e.code == ErrorCode::Conflict) {
            // Somebody else may have made the user in the meantime: then it is there.
            tx.flight(end_savepoint(false)).await?;
            let fresh = self.look_up(tx, item.tenant, std::slice::from_ref(item)).await?;
            there.by_email.extend(fresh.by_email);
            there.by_external_id.extend(fresh.by_external_id);
            there.employees.extend(fresh.employees);
            attempt = self.attempt(tx, item, hash, repeated, there).await;
        }
        match attempt {
            Ok((status, id)) => {
                tx.flight(end_savepoint(!self.dry_run)).await?;
                let id = id.filter(|_| !(self.dry_run && status == Status::Created));
                let invited = status == Status::Created && !self.dry_run && item.input.send_invitation();
                let email = Some(item.email.clone());
                Ok(Outcome { number: item.number, email, status, id, errors: Vec::new(), invited })
            }
            Err(e) if e.code.status() < 500 => {
                tx.flight(end_savepoint(false)).await?;
                Ok(Outcome::refused(item.number, Some(item.email.clone()), errors_of(e)))
            }
            Err(e) => Err(e),
        }
    }

    /// Opens the savepoint and tries; the caller closes it.
    async fn attempt(
        &self,
        tx: &mut SystemTx,
        item: &Ready,
        password_hash: Option<String>,
        repeated: bool,
        there: &mut There,
    ) -> Result<(Status, Option<Uuid>), Error> {
        let by_id = item.input.external_id.value().filter(|_| self.directory);
        let known = by_id.and_then(|id| there.by_external_id.get(id)).or_else(|| there.by_email.get(&item.email));
        let mut statements = vec![Sql::new("SAVEPOINT one")];
        let Some(known) = known.cloned() else {
            if repeated {
                tx.flight(statements).await?;
                return Ok((Status::Unchanged, None));
            }
            let new = New {
                id: new_id(),
                tenant: item.tenant,
                role: item.role,
                password_hash,
                input: item.input.clone(),
                created_by: Some(self.me.user_id.0),
            };
            match new.statements(there.employees.get(&item.email).copied()) {
                Ok(more) => statements.extend(more),
                Err(e) => {
                    tx.flight(statements).await?;
                    return Err(e);
                }
            }
            statements.extend(self.mark(new.id));
            tx.flight(statements).await?;
            if item.input.send_invitation() {
                invitable(&item.input)?;
                let person = lock(tx, self.me, new.id).await?;
                issue(tx, self.credentials, self.me, &person, self.cx).await?;
            }
            if !self.dry_run {
                there.remember(item, new.id);
            }
            return Ok((Status::Created, Some(new.id)));
        };
        tx.flight(statements).await?;
        if known.tenant != item.tenant {
            return Err(email_taken());
        }
        if !self.change {
            return Ok((Status::Unchanged, Some(known.id)));
        }
        let input = match as_edited(&item.fields, known.role) {
            Some(fields) => UserInput::parse(&Value::Object(fields), true)?,
            None => item.input.clone(),
        };
        let change = Change {
            me: self.me,
            id: known.id,
            tenant: known.tenant,
            input: UserInput { password: None, ..input },
            expected: Expected::Any,
            password_hash,
            cx: self.cx,
        };
        let user: User = change.apply(tx).await?;
        if let Some(mark) = self.mark(user.id) {
            tx.rows(mark).await?;
        }
        let status = if known.active && !user.is_active {
            Status::Deactivated
        } else if known.version != user.version || known.department != user.department {
            Status::Updated
        } else {
            Status::Unchanged
        };
        if !self.dry_run {
            there.by_email.insert(item.email.clone(), Known::of(&user)?);
        }
        Ok((status, Some(user.id)))
    }

    /// Remembers that the directory named the user: only such users can be missing from its next list.
    fn mark(&self, user: Uuid) -> Option<Sql> {
        self.directory.then(|| {
            let mut sql = Sql::new("UPDATE users SET synced_at = now() WHERE id = ");
            sql.bind(user);
            sql
        })
    }

    /// Writes the audit row that says who brought in how many.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn report(&self, values: Value) -> Result<(), Error> {
        let entry = Entry {
            action: "DATA_IMPORT",
            tenant: self.tenant.or(self.me.tenant_id).map(|t| t.0),
            table: "users",
            record: None,
            user: Some(self.me.user_id.0),
            role: Some(self.me.role),
            values,
        };
        let why = acting(self.me, self.reason, self.tenant, self.cx);
        self.db.system(&why, async |tx: &mut SystemTx| tx.rows(entry.insert(self.cx)).await.map(drop)).await
    }
}

/// An exported row has the role twice, as `role` and as `employee_role`. Where only the second was edited, it is meant.
fn as_edited(fields: &Map<String, Value>, current: Role) -> Option<Map<String, Value>> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let edited = text("employee_role").filter(|tier| ["manager", "employee"].contains(tier))?;
    if current >= Role::Admin || text("role") != Some(current.as_str()) || edited == current.as_str() {
        return None;
    }
    let mut fields = fields.clone();
    fields.remove("role");
    Some(fields)
}

/// The end of the savepoint `one`: what happened behind it stays or is taken back.
pub(super) fn end_savepoint(keep: bool) -> Vec<Sql> {
    let undo = (!keep).then(|| Sql::new("ROLLBACK TO SAVEPOINT one"));
    undo.into_iter().chain([Sql::new("RELEASE SAVEPOINT one")]).collect()
}

/// How many of each, for the answer and the audit log.
pub(super) fn counts(outcomes: &[Outcome]) -> [(Status, usize); 5] {
    [Status::Created, Status::Updated, Status::Deactivated, Status::Unchanged, Status::Refused]
        .map(|status| (status, outcomes.iter().filter(|o| o.status == status).count()))
}

/// The counts as JSON under their names.
pub(super) fn counted(outcomes: &[Outcome], dry_run: bool) -> Value {
    let mut map = Map::from_iter([("dry_run".to_owned(), json!(dry_run))]);
    for (status, n) in counts(outcomes) {
        map.insert(format!("{status:?}").to_lowercase(), n.into());
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_tier_counts_unless_the_role_was_edited_too() {
        let edited = |body: Value, current| {
            let Value::Object(fields) = body else { unreachable!() };
            as_edited(&fields, current).is_some()
        };
        assert!(edited(json!({"role": "manager", "employee_role": "employee"}), Role::Manager));
        assert!(!edited(json!({"role": "employee", "employee_role": "manager"}), Role::Manager));
        assert!(!edited(json!({"role": "manager", "employee_role": "manager"}), Role::Manager));
        assert!(!edited(json!({"role": "admin", "employee_role": "employee"}), Role::Admin));
        assert!(!edited(json!({"role": "manager"}), Role::Manager));
    }
}
