//! Events of records: what is written in the outbox, as the API shows it. What is no record (a user, a tenant) is passed on as
//! it was written: the row without its secrets, which never get there, and without what only some may read.

use aisha_db::{
    Bind, Json, Sql, TenantTx, Tx,
    outbox::OutboxRow,
    record::{Record, RecordDef, event},
};
use aisha_kernel::Error;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// `data` and `previous` of an event.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The record.
    pub data: Box<RawValue>,
    /// Former values of the fields that changed.
    pub previous: Option<Box<RawValue>>,
}

/// Columns that the API shows only to who may change the row: addresses and agents of a tenant's calling providers are half a
/// secret, and events reach others.
const UNTOLD: &[(&str, &[&str])] =
    &[("tenant", &["ai_calling_providers", "callfluent_key_set_at", "thoughtly_key_set_at"])];

/// An event as it was written: for what makes no record.
#[must_use]
pub fn as_written(row: &OutboxRow) -> Rendered {
    let untold = UNTOLD.iter().find(|(entity, _)| *entity == row.entity).map_or(&[][..], |(_, names)| *names);
    let told = |json: &Json| without(json, untold).unwrap_or_else(|| event::raw(json));
    let previous = row.previous.as_ref().map(told).filter(|p| p.get() != "{}");
    Rendered { data: told(&row.data), previous }
}

fn without(json: &Json, names: &[&str]) -> Option<Box<RawValue>> {
    if names.is_empty() {
        return None;
    }
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json.as_str()).ok()?;
    fields.retain(|name, _| !names.contains(&name.as_str()));
    to_raw_value(&fields).ok()
}

/// The events in the form in which the API shows their records, one for each row and in their order: in a caller's
/// transaction as that caller sees them.
///
/// # Errors
/// 503 when the database is away.
pub async fn render(tx: &mut Tx, rows: &[OutboxRow]) -> Result<Vec<Rendered>, Error> {
    let mut rendered: Vec<Rendered> = rows.iter().map(as_written).collect();
    macro_rules! each {
        ($($record:path),+ $(,)?) => {$( of_type::<$record>(tx, rows, &mut rendered).await?; )+};
    }
    use crate as aisha_crm;
    aisha_crm::records!(each);
    Ok(rendered)
}

/// Whether the events of this type are about records that the list of record types knows, and its plural.
#[must_use]
pub fn plural(entity: &str) -> Option<&'static str> {
    macro_rules! each {
        ($($record:path),+ $(,)?) => {
            [$((<$record as Record>::DEF.name, <$record as Record>::DEF.plural)),+]
        };
    }
    use crate as aisha_crm;
    aisha_crm::records!(each).into_iter().find(|(name, _)| *name == entity).map(|(_, plural)| plural)
}

/// Whose personal fields alone the transaction's role sees (`Some`), or that it sees everybody's: the rule of the select list,
/// for former values, which it does not make.
async fn masks(tx: &mut Tx, def: &RecordDef) -> Result<Option<Option<Uuid>>, Error> {
    if !def.fields.iter().any(|f| f.personal) {
        return Ok(None);
    }
    let rows = tx.rows(Sql::new("SELECT current_setting('role') = 'aisha_own', current_user_id()")).await?;
    let row = rows.first().ok_or_else(|| Error::internal("no role"))?;
    let (own, me): (bool, Option<Uuid>) = (row.get(0).map_err(Error::internal)?, row.get(1).map_err(Error::internal)?);
    Ok(own.then_some(me))
}

/// The user whom the record is about.
fn user_of(row: &OutboxRow) -> Option<Uuid> {
    row.data.value().get("user_id")?.as_str()?.parse().ok()
}

async fn of_type<R: Record>(tx: &mut Tx, rows: &[OutboxRow], rendered: &mut [Rendered]) -> Result<(), Error> {
    let (at, own): (Vec<usize>, Vec<&OutboxRow>) =
        rows.iter().enumerate().filter(|(_, row)| row.entity == R::DEF.name).unzip();
    if own.is_empty() {
        return Ok(());
    }
    let data = event::data::<R>(tx, &own).await?;
    let masks = masks(tx, R::DEF).await?;
    for ((at, row), data) in at.into_iter().zip(own).zip(data) {
        let whole = masks.is_none_or(|me| me.is_some() && user_of(row) == me);
        let previous = row.previous.as_ref().and_then(|json| event::previous(R::DEF, json, whole));
        if let Some(place) = rendered.get_mut(at) {
            *place = Rendered { data, previous };
        }
    }
    Ok(())
}

/// Which of the events are about a record that the caller sees, by the policies of the database: asked in its own
/// transaction. A record that is not in its table any more (archived, removed for good) is seen by nobody.
///
/// # Errors
/// 503 when the database is away.
pub async fn visible(tx: &mut TenantTx, rows: &[OutboxRow]) -> Result<Vec<bool>, Error> {
    let mut seen: HashSet<Uuid> = HashSet::new();
    macro_rules! each {
        ($($record:path),+ $(,)?) => {
            for def in [$(<$record as Record>::DEF),+] {
                let ids: Vec<Uuid> =
                    rows.iter().filter(|row| row.entity == def.name).filter_map(|row| row.record_id).collect();
                if !ids.is_empty() {
                    let mut sql = Sql::new(format!(
                        "SELECT id FROM {} WHERE tenant_id = current_tenant_id() AND id = ANY (", def.table
                    ));
                    sql.bind(Bind::Uuids(ids)).push(")");
                    for row in tx.rows(sql).await? {
                        seen.insert(row.get(0).map_err(Error::internal)?);
                    }
                }
            }
        };
    }
    use crate as aisha_crm;
    aisha_crm::records!(each);
    Ok(rows.iter().map(|row| row.record_id.is_some_and(|id| seen.contains(&id))).collect())
}
