//! Notifications from events. However often an event is handed in, it is told once; however many records one request
//! assigns, its assignee is told once per record type.
//!
//! Belongs here: which events concern whom, and in which words. Does not belong here: where events come from.

use super::{
    create::{Draft, Many, RECEIVES, store},
    switched_off::{switched_off, switched_off_drafts},
};
use crate::sql::{col, instant, itself};
use aisha_db::{Bind, Db, Sql, SystemTx};
use aisha_kernel::{Error, TenantId};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use time::OffsetDateTime;
use uuid::Uuid;

/// A row of `event_outbox`, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Event {
    /// The event.
    pub id: Uuid,
    /// Its name, such as `lead.updated`.
    pub event: String,
    /// The first half of it.
    pub entity: String,
    /// The record.
    pub record_id: Option<Uuid>,
    /// The tenant; events of the platform concern nobody here.
    pub tenant_id: Option<Uuid>,
    /// When it happened, by which its audit row is found.
    pub created_at: OffsetDateTime,
    /// The record afterwards.
    pub data: Value,
    /// What it was before, of what changed.
    pub previous: Option<Value>,
}

/// What a record type is called: one, many, and the first part of its pages' addresses.
const NAMES: [(&str, &str, &str, &str); 9] = [
    ("account", "an account", "accounts", "accounts"),
    ("activity", "an activity", "activities", "activities"),
    ("bizdev_source", "a business source", "business sources", "bizdevsources"),
    ("cash_flow", "a cash flow entry", "cash flow entries", "cashflow"),
    ("contact", "a contact", "contacts", "contacts"),
    ("employee", "an employee", "employees", "employees"),
    ("lead", "a lead", "leads", "leads"),
    ("note", "a note", "notes", "notes"),
    ("opportunity", "an opportunity", "opportunities", "opportunities"),
];

fn id_in(data: &Value, name: &str) -> Option<Uuid> {
    data.get(name)?.as_str()?.parse().ok()
}

/// The employee that an event assigns its record to.
fn assignee(event: &Event) -> Option<Uuid> {
    let assigned = id_in(&event.data, "assigned_to")?;
    let (_, what) = event.event.rsplit_once('.')?;
    match what {
        "created" => Some(assigned),
        "updated" => {
            let before = event.previous.as_ref()?.get("assigned_to")?;
            (before.as_str() != Some(assigned.to_string().as_str())).then_some(assigned)
        }
        _ => None,
    }
}

/// Whether an event tells of the end of an import.
fn ended_import(event: &Event) -> bool {
    let status = |value: &Value| value.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    event.event == "import.updated"
        && event.previous.as_ref().is_some_and(|p| status(p) == "processing")
        && matches!(status(&event.data).as_str(), "completed" | "failed")
        && event.data.get("dry_run") != Some(&Value::Bool(true))
}

/// The same for events of any tenants, a transaction for each tenant; says how many events were told for the first time.
///
/// # Errors
/// 503 when the database is away: hand all of them in again, what was told is not told twice.
pub async fn notifications_from_batch(db: &Db, events: &[Event]) -> Result<usize, Error> {
    let mut tenants: BTreeMap<Uuid, Vec<Event>> = BTreeMap::new();
    for event in events.iter().filter(|e| assignee(e).is_some() || ended_import(e) || switched_off(e).is_some()) {
        if let Some(tenant) = event.tenant_id {
            tenants.entry(tenant).or_default().push(event.clone());
        }
    }
    let mut told = 0;
    for (tenant, events) in tenants {
        let why = itself("notifications", Some(TenantId(tenant)));
        told += db.system(&why, async |tx| notifications_from_events(tx, &events).await).await?;
    }
    Ok(told)
}

/// Makes notifications of events of the transaction's tenant; says how many were told for the first time. Events that
/// concern nobody are passed over.
///
/// # Errors
/// 503 when the database is away.
pub async fn notifications_from_events(tx: &mut SystemTx, events: &[Event]) -> Result<usize, Error> {
    let assigned: Vec<(&Event, Uuid, Uuid)> =
        events.iter().filter_map(|e| Some((e, e.record_id?, assignee(e)?))).collect();
    let imports: Vec<&Event> = events.iter().filter(|e| ended_import(e)).collect();
    let off: Vec<&Event> = events.iter().filter(|e| switched_off(e).is_some()).collect();
    let ids = assigned.iter().map(|(e, ..)| e.id).chain(imports.iter().chain(&off).map(|e| e.id)).collect();
    let new = claim(tx, ids).await?;
    if new.is_empty() {
        return Ok(0);
    }
    let assigned: Vec<_> = assigned.into_iter().filter(|(e, ..)| new.contains(&e.id)).collect();
    let mut drafts = assignments(tx, &assigned).await?;
    let imports: Vec<_> = imports.into_iter().filter(|e| new.contains(&e.id)).collect();
    drafts.extend(import_drafts(tx, &imports).await?);
    let off: Vec<_> = off.into_iter().filter(|e| new.contains(&e.id)).collect();
    drafts.extend(switched_off_drafts(tx, &off).await?);
    store(tx, drafts).await?;
    Ok(new.len())
}

/// The events of these that nobody has made into notifications yet. They are this transaction's from now on.
async fn claim(tx: &mut SystemTx, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, Error> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let mut sql = Sql::new(
        "INSERT INTO notification_event (tenant_id, event_id) SELECT DISTINCT current_tenant_id(), id FROM unnest(",
    );
    sql.bind(Bind::Uuids(ids)).push(") AS id ORDER BY id ON CONFLICT DO NOTHING RETURNING event_id");
    tx.rows(sql).await?.iter().map(|row| col(row, 0)).collect()
}

/// Who is told of an assignment, and who made it.
struct Assignment {
    user_id: Uuid,
    actor: Option<Uuid>,
    actor_name: Option<String>,
    request_id: Option<String>,
}

/// Of each event whose assignee is told: active, not the one who did it, and not averse to it. The audit row of the same
/// change says who did it.
async fn recipients(tx: &mut SystemTx, assigned: &[(&Event, Uuid, Uuid)]) -> Result<HashMap<Uuid, Assignment>, Error> {
    let mut sql = Sql::new(
        "SELECT e.id, u.id, a.changed_by, nullif(w.full_name, ''), a.request_id \
         FROM unnest(",
    );
    sql.bind(Bind::Uuids(assigned.iter().map(|(e, ..)| e.id).collect())).push(", ");
    sql.bind(Bind::Uuids(assigned.iter().map(|(_, record, _)| *record).collect())).push(", ");
    sql.bind(Bind::Uuids(assigned.iter().map(|(.., employee)| *employee).collect())).push(", CAST(");
    sql.bind(Bind::Texts(Some(assigned.iter().map(|(e, ..)| instant(e.created_at)).collect())));
    // A clock that was rounded to milliseconds on the way still finds its row.
    sql.push(format!(
        " AS timestamptz[])) AS e (id, record_id, employee_id, at) \
         JOIN employees m ON m.tenant_id = current_tenant_id() AND m.id = e.employee_id \
         JOIN users u ON u.id = m.user_id AND {RECEIVES}'assignment') \
         LEFT JOIN LATERAL (SELECT changed_by, request_id FROM audit_log \
             WHERE tenant_id = current_tenant_id() AND record_id = e.record_id \
               AND changed_at BETWEEN e.at - interval '1 ms' AND e.at + interval '1 ms' \
             ORDER BY abs(extract(epoch FROM changed_at - e.at)) LIMIT 1) AS a ON true \
         LEFT JOIN users w ON w.id = a.changed_by \
         WHERE a.changed_by IS DISTINCT FROM u.id"
    ));
    let mut out = HashMap::new();
    for row in tx.rows(sql).await? {
        let told = Assignment {
            user_id: col(&row, 1)?,
            actor: col(&row, 2)?,
            actor_name: col(&row, 3)?,
            request_id: col(&row, 4)?,
        };
        out.insert(col::<Uuid>(&row, 0)?, told);
    }
    Ok(out)
}

async fn assignments(tx: &mut SystemTx, assigned: &[(&Event, Uuid, Uuid)]) -> Result<Vec<Draft>, Error> {
    if assigned.is_empty() {
        return Ok(Vec::new());
    }
    let told = recipients(tx, assigned).await?;
    let mut groups: BTreeMap<(Uuid, String), Draft> = BTreeMap::new();
    for (event, record, _) in assigned {
        let Some(to) = told.get(&event.id) else { continue };
        // One request is one occasion; what no request did, one statement.
        let occasion = to.request_id.clone().unwrap_or_else(|| instant(event.created_at));
        let by = to.actor.map(|id| id.to_string()).unwrap_or_default();
        let group = format!("assignment:{}:{by}:{occasion}", event.entity);
        match groups.get_mut(&(to.user_id, group.clone())) {
            Some(draft) => draft.count += 1,
            None => {
                groups.insert((to.user_id, group.clone()), assignment(event, *record, to, group));
            }
        }
    }
    Ok(groups.into_values().collect())
}

fn assignment(event: &Event, record: Uuid, to: &Assignment, group_key: String) -> Draft {
    let known = NAMES.iter().find(|(entity, ..)| *entity == event.entity);
    let (one, many, at) = known.map_or(("a record", "records", None), |(_, one, many, at)| (*one, *many, Some(*at)));
    let (title, before, after) = match &to.actor_name {
        Some(name) => (format!("{name} assigned {one} to you"), format!("{name} assigned "), format!(" {many} to you")),
        None => {
            let mut first = one.chars();
            let one = first.next().map(|c| c.to_uppercase().chain(first).collect::<String>()).unwrap_or_default();
            (format!("{one} was assigned to you"), String::new(), format!(" {many} were assigned to you"))
        }
    };
    Draft {
        user_id: to.user_id,
        kind: "assignment",
        title,
        message: name_of(&event.data),
        link: at.map(|at| format!("/{at}/{record}")),
        related_type: Some(event.entity.clone()),
        related_id: Some(record),
        count: 1,
        group_key,
        event_id: Some(event.id),
        many: Some(Many { before, after, link: at.map(|at| format!("/{at}")) }),
    }
}

/// What a record is called.
fn name_of(data: &Value) -> String {
    let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::trim).filter(|s| !s.is_empty());
    let person = [text("first_name"), text("last_name")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    if !person.is_empty() {
        return person;
    }
    ["name", "subject", "title", "company_name", "description"]
        .into_iter()
        .find_map(text)
        .map(|name| name.chars().take(200).collect())
        .unwrap_or_default()
}

async fn import_drafts(tx: &mut SystemTx, imports: &[&Event]) -> Result<Vec<Draft>, Error> {
    let started: Vec<(&Event, Uuid, Uuid)> =
        imports.iter().filter_map(|e| Some((*e, e.record_id?, id_in(&e.data, "created_by")?))).collect();
    if started.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = Sql::new("SELECT u.id FROM users u WHERE u.id = ANY (");
    sql.bind(Bind::Uuids(started.iter().map(|(.., user)| *user).collect()));
    sql.push(format!(") AND {RECEIVES}'import')"));
    let told: HashSet<Uuid> = tx.rows(sql).await?.iter().map(|row| col(row, 0)).collect::<Result<_, _>>()?;
    Ok(started.into_iter().filter(|(.., user)| told.contains(user)).map(|(e, id, user)| import(e, id, user)).collect())
}

fn import(event: &Event, id: Uuid, user_id: Uuid) -> Draft {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str);
    let count = |name: &str| event.data.get(name).and_then(Value::as_i64).unwrap_or_default();
    let what = text("filename").or_else(|| text("entity_type")).unwrap_or_default();
    let outcome = if text("status") == Some("failed") { "stopped" } else { "is finished" };
    let failure = event.data.pointer("/metadata/failure").and_then(Value::as_str);
    let counts = format!(
        "{} created, {} updated, {} skipped, {} with errors.",
        count("success_count"),
        count("updated_count"),
        count("skipped_count"),
        count("error_count")
    );
    Draft {
        user_id,
        kind: "import",
        title: format!("The import of {what} {outcome}"),
        message: failure.map_or_else(|| counts.clone(), |why| format!("{why} {counts}")),
        link: Some(format!("/imports/{id}")),
        related_type: Some("import".into()),
        related_id: Some(id),
        count: 1,
        group_key: format!("import:{id}"),
        event_id: Some(event.id),
        many: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, data: Value, previous: Option<Value>) -> Event {
        Event {
            id: Uuid::from_u128(1),
            event: name.into(),
            entity: name.split('.').next().unwrap_or_default().into(),
            record_id: Some(Uuid::from_u128(2)),
            tenant_id: Some(Uuid::from_u128(3)),
            created_at: OffsetDateTime::UNIX_EPOCH,
            data,
            previous,
        }
    }

    #[test]
    fn only_a_new_assignee_is_told() {
        let (ann, bob) = (Uuid::from_u128(10), Uuid::from_u128(11));
        let to = json!({ "assigned_to": ann });
        assert_eq!(assignee(&event("lead.created", to.clone(), None)), Some(ann));
        assert_eq!(assignee(&event("lead.updated", to.clone(), Some(json!({"assigned_to": bob})))), Some(ann));
        assert_eq!(assignee(&event("lead.updated", to.clone(), Some(json!({"assigned_to": null})))), Some(ann));
        for (name, data, previous) in [
            ("lead.updated", to.clone(), Some(json!({"status": "new"}))),
            ("lead.updated", to.clone(), Some(json!({"assigned_to": ann}))),
            ("lead.updated", json!({"assigned_to": null}), Some(json!({"assigned_to": bob}))),
            ("lead.restored", to.clone(), Some(json!({"assigned_to": bob}))),
            ("lead.deleted", to.clone(), None),
            ("lead.created", json!({"assigned_to": "nobody"}), None),
        ] {
            assert_eq!(assignee(&event(name, data, previous)), None, "{name}");
        }
    }

    #[test]
    fn an_import_is_told_when_it_ends() {
        let done = |status: &str, dry_run| json!({ "status": status, "dry_run": dry_run });
        let was = Some(json!({ "status": "processing" }));
        assert!(ended_import(&event("import.updated", done("completed", false), was.clone())));
        assert!(ended_import(&event("import.updated", done("failed", false), was.clone())));
        assert!(!ended_import(&event("import.updated", done("completed", true), was.clone())));
        assert!(!ended_import(&event("import.updated", done("undone", false), Some(json!({"status": "completed"})))));
        assert!(!ended_import(&event("import.created", done("processing", false), None)));
        assert!(!ended_import(&event("lead.updated", done("completed", false), was)));
    }
}
