//! Merging records that are the same person or company: one survives, the others go to the trash, and everything that is
//! linked to them is linked to the survivor. [`super::merge_undo`] takes it back.

pub mod fields;
pub mod links;
pub mod log;

use aisha_db::{
    Bind, Json, Sql, TenantTx,
    record::{
        Changes, Field, Record, RecordDef,
        changes::Mode,
        list::scope,
        read::record_find,
        write::{Expected, record_update},
    },
};
use aisha_kernel::{Error, ErrorCode, FieldError, clock, new_id};
use fields::{Plan, Source, columns, writable};
use links::{Moved, move_links};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

/// Records that one merge takes.
const MOST_MERGED: usize = 20;
/// How long a merge can be undone: as long as the trash keeps what was merged.
pub const UNDO_DAYS: i64 = 30;

/// What to merge, and how.
#[derive(Debug, Clone)]
pub struct Merge {
    /// What goes to the trash, in the order in which it fills gaps.
    pub merge_ids: Vec<Uuid>,
    /// Fields and the records that they are taken from.
    chosen: Vec<(&'static Field, Uuid)>,
    /// Fields that get a new value.
    values: Changes,
    /// Their names.
    explicit: Vec<&'static str>,
    /// Show what would happen, and do nothing.
    pub dry_run: bool,
}

/// What a merge did or would do.
#[derive(Debug, Serialize)]
pub struct Merged<R> {
    /// What `/api/merges/{id}` knows it by; null for a dry run.
    pub merge_id: Option<Uuid>,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The survivor as it is now.
    pub record: R,
    /// What went to the trash.
    pub merged_ids: Vec<Uuid>,
    /// The survivor's fields that changed: `{before, after}`.
    pub fields: Json,
    /// How many links moved.
    pub links: Vec<Moved>,
    /// All of them.
    pub total_links: i64,
    /// Until when it can be undone; null for a dry run.
    #[serde(with = "time::serde::rfc3339::option")]
    pub undo_until: Option<OffsetDateTime>,
}

fn read_ids(survivor: Uuid, given: Option<Value>, problems: &mut Vec<FieldError>) -> Vec<Uuid> {
    let Some(Value::Array(list)) = given else {
        problems.push(FieldError::new("merge_ids", "is required: a list of ids"));
        return Vec::new();
    };
    if list.is_empty() || list.len() > MOST_MERGED {
        problems.push(FieldError::new("merge_ids", format!("must name 1 to {MOST_MERGED} records")));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(list.len());
    for (i, item) in list.iter().enumerate() {
        let at = || format!("merge_ids.{i}");
        match item.as_str().and_then(|s| Uuid::parse_str(s.trim()).ok()) {
            None => problems.push(FieldError::new(at(), "must be a UUID")),
            Some(id) if id == survivor => problems.push(FieldError::new(at(), "is the record that survives")),
            Some(id) if ids.contains(&id) => problems.push(FieldError::new(at(), "is given twice")),
            Some(id) => ids.push(id),
        }
    }
    ids
}

impl Merge {
    /// Reads the body of a request to merge into `survivor`.
    ///
    /// # Errors
    /// 422 naming what does not fit.
    pub fn read(def: &'static RecordDef, survivor: Uuid, mut body: Map<String, Value>) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let merge_ids = read_ids(survivor, body.remove("merge_ids"), &mut problems);
        let dry_run = match body.remove("dry_run") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(b)) => b,
            Some(_) => {
                problems.push(FieldError::new("dry_run", "must be true or false"));
                false
            }
        };
        let choices = match body.remove("fields") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                problems.push(FieldError::new("fields", "must be an object of fields"));
                Map::new()
            }
        };
        problems.extend(body.keys().map(|key| FieldError::new(key, "is not a field of a merge")));

        let (mut chosen, mut values, mut explicit) = (Vec::new(), Map::new(), Vec::new());
        for (name, choice) in choices {
            let at = || format!("fields.{name}");
            let Some(field) = def.field(&name).filter(|f| !f.read_only) else {
                problems.push(FieldError::new(at(), "is not a field to choose"));
                continue;
            };
            if explicit.contains(&field.name) || chosen.iter().any(|(f, _): &(&Field, Uuid)| f.name == field.name) {
                problems.push(FieldError::new(at(), format!("is given twice, also as {}", field.name)));
                continue;
            }
            match choice {
                Value::String(s) => match Uuid::parse_str(s.trim()) {
                    Ok(id) if id == survivor || merge_ids.contains(&id) => chosen.push((field, id)),
                    _ => problems.push(FieldError::new(at(), "must be the id of one of the merged records")),
                },
                Value::Object(mut map) if map.len() == 1 && map.contains_key("value") => {
                    explicit.push(field.name);
                    values.insert(field.name.to_owned(), map.remove("value").unwrap_or_default());
                }
                _ => problems
                    .push(FieldError::new(at(), "must be the id of one of the merged records or {\"value\": …}")),
            }
        }
        let values = Changes::read(def, &values, Mode::Update).unwrap_or_else(|e| {
            problems.extend(e.details.into_iter().map(|d| FieldError::new(format!("fields.{}", d.field), d.message)));
            Changes::default()
        });
        if problems.is_empty() {
            Ok(Self { merge_ids, chosen, values, explicit, dry_run })
        } else {
            Err(Error::validation(problems))
        }
    }
}

/// The live records among `ids` that the principal sees, locked in the order of their ids, with their columns as text.
pub(super) async fn lock<R: Record>(tx: &mut TenantTx, ids: &[Uuid], live: bool) -> Result<Vec<(Uuid, Json)>, Error> {
    let mut sql = Sql::new(format!("SELECT id, to_jsonb(t) FROM {} AS t WHERE tenant_id = ", R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(" AND id = ANY(").bind(Bind::Uuids(ids.to_vec())).push(")");
    sql.push(if live { " AND deleted_at IS NULL" } else { "" });
    scope::<R>(tx.principal(), &mut sql);
    sql.push(" ORDER BY id FOR UPDATE");
    let rows = tx.rows(sql).await?;
    rows.iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect::<Result<_, Box<dyn std::error::Error + Send + Sync>>>()
        .map_err(Error::internal)
}

/// The columns that a merge may write, for comparing.
pub(super) fn merged_columns<R: Record>() -> Vec<String> {
    writable(R::DEF).flat_map(columns).map(str::to_owned).collect()
}

/// Merges records into `survivor`, in the transaction of `tx`.
///
/// # Errors
/// 404 when the survivor, 422 when one of the others is none that the principal sees; 409 when one of them is a
/// converted lead, 412 when the survivor is not the expected version, 422 naming fields.
pub async fn record_merge<R: Record>(
    tx: &mut TenantTx,
    survivor: Uuid,
    merge: &Merge,
    expected: Expected,
) -> Result<Merged<R>, Error> {
    if merge.dry_run {
        tx.rows(Sql::new("SAVEPOINT dry_run")).await?;
    }
    let ids: Vec<Uuid> = std::iter::once(survivor).chain(merge.merge_ids.iter().copied()).collect();
    let locked = lock::<R>(tx, &ids, true).await?;
    let (_, before) = locked.iter().find(|(id, _)| *id == survivor).ok_or_else(Error::not_found)?;
    let sources: Vec<Source> = locked
        .iter()
        .map(|(id, row)| Source { id: *id, row: row.value().as_object().cloned().unwrap_or_default() })
        .collect();
    let find = |id: Uuid| sources.iter().find(|s| s.id == id);
    let unknown = merge.merge_ids.iter().enumerate().filter(|(_, id)| find(**id).is_none());
    let unknown: Vec<FieldError> =
        unknown.map(|(i, _)| FieldError::new(format!("merge_ids.{i}"), "refers to nothing that you may use")).collect();
    if !unknown.is_empty() {
        return Err(Error::validation(unknown));
    }
    let own = find(survivor).ok_or_else(Error::not_found)?;
    if let Expected::Version(v) = expected
        && own.row.get("version").and_then(Value::as_i64) != Some(i64::from(v))
    {
        let message = "Somebody has changed the record since you read it. Read it again before you merge.";
        return Err(Error::new(ErrorCode::PreconditionFailed, message));
    }
    let merged: Vec<&Source> = merge.merge_ids.iter().filter_map(|id| find(*id)).collect();
    let converted = |s: &&Source| s.row.get("converted_at").is_some_and(|at| !at.is_null());
    if merged.iter().any(converted) {
        return Err(Error::conflict(
            "A converted lead cannot be merged into another one: it stands for the contact it became.",
        ));
    }
    let plan = Plan::new(R::DEF, own, &merged, &merge.chosen, &merge.explicit)?;

    // The others first: the survivor may take over a name that only one live record can have.
    let mut trash = Sql::new(format!("UPDATE {} SET deleted_at = now(), deleted_by = ", R::DEF.table));
    trash.bind(tx.principal().user().0).push(", merged_into = ").bind(survivor);
    trash.push(" WHERE tenant_id = ").bind(tx.principal().tenant().0).push(" AND id = ANY(");
    trash.bind(Bind::Uuids(merge.merge_ids.clone())).push(") RETURNING id");
    let statements = std::iter::once(trash).chain(plan.update(R::DEF, survivor)).collect();
    tx.flight(statements).await?;
    if !merge.values.is_empty() {
        record_update::<R>(tx, survivor, &merge.values, Expected::Any).await.map_err(named)?;
    }
    let merge_id = new_id();
    let links = move_links(tx, R::DEF.name, merge_id, &merge.merge_ids, survivor).await?;
    let fields = log::write::<R>(tx, merge_id, survivor, &merge.merge_ids, before, &links).await?;
    let record: R = record_find(tx, survivor).await?;
    if merge.dry_run {
        tx.rows(Sql::new("ROLLBACK TO SAVEPOINT dry_run")).await?;
    }
    let done = !merge.dry_run;
    Ok(Merged {
        merge_id: done.then_some(merge_id),
        dry_run: merge.dry_run,
        record,
        merged_ids: merge.merge_ids.clone(),
        fields,
        total_links: links.iter().map(|l| l.count).sum(),
        links,
        undo_until: done.then(|| clock::now() + time::Duration::days(UNDO_DAYS)),
    })
}

/// A problem with a field, named as in the request.
fn named(mut e: Error) -> Error {
    for detail in &mut e.details {
        detail.field = format!("fields.{}", detail.field);
    }
    e
}
