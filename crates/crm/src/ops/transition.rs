//! Transitions: a record becomes another one (a lead a contact, a source an account), and may be taken back. What the
//! conversions and promotions have in common: the history, what was made and moved, whether it was touched since.
//!
//! Does not belong here: what a particular transition makes (`lead_convert`, `bizdev_promote`).

mod changed;
mod follow;

pub use changed::LINKS;
pub(crate) use changed::{Target, changed_since, refuse_changed};
pub(crate) use follow::{follow, follow_back, remove};

use aisha_auth::{Action, Principal};
use aisha_db::{
    Bind, Db, PgRow, Sql, TenantTx,
    record::{Record, read::record_read, value::Parsed},
};
use aisha_kernel::{Error, new_id};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

/// One row of a record's history, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Transition {
    /// Identifier.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// The lead or the source, whichever way it went.
    pub entity_id: Uuid,
    /// What it was.
    pub from_type: String,
    /// What it became.
    pub to_type: String,
    /// `convert`, `promote` or `rollback`.
    pub action: String,
    /// What was made, how much was moved, and the record as it was before.
    pub transition_data: Value,
    /// The user who did it.
    pub performed_by: Option<Uuid>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "id, tenant_id, entity_id, from_type, to_type, action, transition_data, performed_by, created_at";

/// What a conversion or promotion made and moved: enough to take it back, and to know whether that is still possible.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Made {
    /// Status of the lead or source before.
    pub status: String,
    /// The record before, as the API showed it.
    pub snapshot: Value,
    /// The contact that it became.
    pub contact: Option<Piece>,
    /// The account that was made or chosen.
    pub account: Option<Piece>,
    /// The opportunity that was made.
    pub opportunity: Option<Piece>,
    /// What went along.
    pub moved: Moved,
    /// Whether the source went to the trash.
    pub deleted_source: bool,
}

/// A record that a transition made, or chose.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Its id.
    pub id: Uuid,
    /// Its version then.
    pub version: i32,
    /// Whether the transition made it.
    pub created: bool,
}

impl Piece {
    /// A record that was just made.
    pub fn made<R: Record>(row: &R) -> Self {
        Self { id: row.id(), version: row.version(), created: true }
    }

    /// A record that was there before.
    pub fn chosen<R: Record>(row: &R) -> Self {
        Self { created: false, ..Self::made(row) }
    }
}

/// Records that went along with a transition. Shown as numbers: their ids are not everybody's to see.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Moved {
    /// Activities that belong to the new record now.
    pub activities: Vec<Uuid>,
    /// Notes that belong to the new record now.
    pub notes: Vec<Uuid>,
    /// Opportunities of the lead that got the contact.
    pub opportunities_contact: Vec<Uuid>,
    /// Opportunities of the lead that got the account.
    pub opportunities_account: Vec<Uuid>,
}

impl Made {
    /// The account, if the transition made it.
    pub fn new_account(&self) -> Option<&Piece> {
        self.account.as_ref().filter(|p| p.created)
    }
}

/// A transition that is about to be written down.
pub(crate) struct NewTransition<'a> {
    pub entity_id: Uuid,
    pub from_type: &'a str,
    pub to_type: &'a str,
    pub action: &'a str,
    pub data: Value,
}

/// Ids of what was moved as numbers.
fn shown(mut data: Value) -> Value {
    if let Some(Value::Object(moved)) = data.get_mut("moved") {
        for ids in moved.values_mut() {
            *ids = json!(ids.as_array().map_or(0, Vec::len));
        }
    }
    data
}

fn from_row(row: &PgRow) -> Result<Transition, Error> {
    let read = || -> Result<Transition, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Transition {
            id: row.get(0)?,
            tenant_id: row.get(1)?,
            entity_id: row.get(2)?,
            from_type: row.get(3)?,
            to_type: row.get(4)?,
            action: row.get(5)?,
            transition_data: shown(row.get::<aisha_db::Json>(6)?.value()),
            performed_by: row.get(7)?,
            created_at: row.get(8)?,
        })
    };
    read().map_err(Error::internal)
}

/// Writes a transition down.
pub(crate) async fn transition_create(tx: &mut TenantTx, new: NewTransition<'_>) -> Result<Transition, Error> {
    let mut sql = Sql::new(
        "INSERT INTO entity_transitions (tenant_id, id, performed_by, entity_id, from_type, to_type, action, \
         transition_data) VALUES (",
    );
    sql.bind(tx.principal().tenant().0).push(", ").bind(new_id()).push(", ").bind(tx.principal().user().0);
    sql.push(", ").bind(new.entity_id);
    for text in [new.from_type, new.to_type, new.action] {
        sql.push(", ").bind(Bind::text(text));
    }
    sql.push(", ").bind(Bind::Text(Some(new.data.to_string()), "jsonb")).push(format!(") RETURNING {COLUMNS}"));
    from_row(tx.rows(sql).await?.first().ok_or_else(Error::not_found)?)
}

/// The last conversion or promotion of a record: its id, who did it, and what it made.
pub(crate) async fn transition_last(
    tx: &mut TenantTx,
    entity_id: Uuid,
    action: &'static str,
) -> Result<Option<(Uuid, Option<Uuid>, Made)>, Error> {
    let mut sql = Sql::new("SELECT id, performed_by, transition_data FROM entity_transitions WHERE tenant_id = ");
    sql.bind(tx.principal().tenant().0).push(" AND entity_id = ").bind(entity_id);
    sql.push(format!(" AND action = '{action}' ORDER BY created_at DESC LIMIT 1"));
    let rows = tx.rows(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let data: aisha_db::Json = row.get(2).map_err(Error::internal)?;
    let made = serde_json::from_str(data.as_str()).map_err(Error::internal)?;
    Ok(Some((row.get(0).map_err(Error::internal)?, row.get(1).map_err(Error::internal)?, made)))
}

/// The history of a record, newest first.
///
/// # Errors
/// 404 when the principal does not see the record.
pub async fn transition_list<R: Record>(db: &Db, me: &Principal, id: Uuid) -> Result<Vec<Transition>, Error> {
    record_read::<R>(db, me, id).await?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM entity_transitions WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" AND entity_id = ").bind(id).push(" ORDER BY created_at DESC, id DESC");
    db.fetch(me, vec![sql]).await?.pop().unwrap_or_default().iter().map(from_row).collect()
}

/// Taking a transition back removes records for good: the one who made it may, and whoever may delete them.
pub(crate) fn require_rollback(me: &Principal, performed_by: Option<Uuid>, resources: &[&str]) -> Result<(), Error> {
    if performed_by == Some(me.user().0) {
        return Ok(());
    }
    resources.iter().try_for_each(|resource| me.require(resource, Action::Delete))
}

/// The live employee that a request names, by id or e-mail address.
pub(crate) async fn employee_named(tx: &mut TenantTx, by: Option<&Parsed>) -> Result<Option<Uuid>, Error> {
    let mut sql = Sql::new("SELECT id FROM employees WHERE deleted_at IS NULL AND tenant_id = ");
    sql.bind(tx.principal().tenant().0);
    match by {
        Some(Parsed::EmployeeEmail(email)) => sql.push(" AND email = ").bind(Bind::text(email)),
        Some(Parsed::Value(id)) if !id.is_null() => sql.push(" AND id = ").bind(id.clone()),
        _ => return Ok(None),
    };
    let rows = tx.rows(sql).await?;
    let row = rows.first().ok_or_else(|| Error::invalid("assigned_to", "refers to nothing that you may use"))?;
    row.get(0).map(Some).map_err(Error::internal)
}

/// The assignee of a record that is about to be made from another one: who is named, else who had that one, if still there.
pub(crate) async fn assignee(
    tx: &mut TenantTx,
    named: Option<&Parsed>,
    before: Option<Uuid>,
) -> Result<Option<Uuid>, Error> {
    if let Some(named) = employee_named(tx, named).await? {
        return Ok(Some(named));
    }
    match employee_named(tx, Some(&Parsed::Value(Bind::Uuid(before)))).await {
        Ok(id) => Ok(id),
        Err(e) if e.code == aisha_kernel::ErrorCode::ValidationFailed => Ok(None),
        Err(e) => Err(e),
    }
}

/// The same error with its fields under the names that the request has for them.
pub(crate) fn renamed(mut e: Error, name: impl Fn(&str) -> Option<String>) -> Error {
    for detail in &mut e.details {
        if let Some(name) = name(&detail.field) {
            detail.field = name;
        }
    }
    e
}
