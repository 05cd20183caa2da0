//! Importing a CSV file: rows become records in batches, each batch in a transaction of its own together with its
//! progress, so that a stopped import says exactly how far it came and can be undone.

mod plan;

use aisha_auth::Principal;
use aisha_csv::file::{CsvFile, Row, Rows};
use aisha_db::{
    Bind, Db, RequestContext, Sql, TenantTx,
    record::{
        Changes, Record,
        bulk::{custom_required, insert_each, references_resolve, rows_checked},
        custom,
    },
};
use aisha_kernel::{Error, ErrorCode, FieldError, new_id};
use plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// Rows per transaction: large enough that statements cost little per row, small enough to show progress.
const BATCH: usize = 1_000;
/// Rows whose errors are kept.
const KEPT_ERRORS: usize = 1_000;

/// What to do with a row that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDuplicate {
    /// Leave the record as it is.
    #[default]
    Skip,
    /// Write the row's values into it; empty cells change nothing.
    Update,
    /// Create another one where the record type allows it.
    Create,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Name of the uploaded file.
    pub filename: Option<String>,
    /// CSV column to field; without one, columns are matched by name.
    pub mapping: Option<BTreeMap<String, String>>,
    /// Check everything, write nothing.
    pub dry_run: bool,
    /// What to do with duplicates.
    pub on_duplicate: OnDuplicate,
}

/// A checked import, ready to run.
#[derive(Debug, Clone)]
pub struct Import {
    /// Its id, as in `GET /api/imports/{id}`.
    pub id: Uuid,
    file: CsvFile,
    plan: Plan,
    request: ImportRequest,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    read: i64,
    created: i64,
    updated: i64,
    skipped: i64,
    failed: i64,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            created: self.created + other.created,
            updated: self.updated + other.updated,
            skipped: self.skipped + other.skipped,
            failed: self.failed + other.failed,
        }
    }

    /// The counts under their names in `import_log`.
    fn columns(self) -> [(&'static str, i64); 5] {
        [
            ("total_records", self.read),
            ("success_count", self.created),
            ("updated_count", self.updated),
            ("skipped_count", self.skipped),
            ("error_count", self.failed),
        ]
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
struct Done {
    tally: Tally,
    failed: Vec<RowError>,
}

#[derive(Debug, Clone, Serialize)]
struct RowError {
    row_number: u64,
    errors: Vec<FieldError>,
}

impl Import {
    /// Checks file and mapping against each other.
    ///
    /// # Errors
    /// 422 naming the column or field.
    pub fn new<R: Record>(file: CsvFile, request: ImportRequest) -> Result<Self, Error> {
        let plan = Plan::new(R::DEF, &file.header, request.mapping.as_ref())?;
        Ok(Self { id: new_id(), file, plan, request })
    }

    /// Writes the import's row in `import_log`.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn register<R: Record>(&self, db: &Db, me: &Principal, cx: &RequestContext) -> Result<(), Error> {
        let (mapping, unmapped) = self.plan.describe(&self.file.header);
        let metadata = serde_json::json!({ "rows": self.file.rows, "unmapped_columns": unmapped });
        let on_duplicate = serde_json::to_value(self.request.on_duplicate).unwrap_or_default();
        db.write(me, cx, async |tx| {
            let mut sql = Sql::new(
                "INSERT INTO import_log (tenant_id, id, created_by, entity_type, filename, dry_run, on_duplicate, mapping, metadata) VALUES (",
            );
            sql.bind(tx.principal().tenant().0).push(", ").bind(self.id).push(", ").bind(tx.principal().user().0);
            sql.push(", ").bind(Bind::text(R::DEF.plural)).push(", ");
            sql.bind(Bind::Text(self.request.filename.clone(), "text")).push(", ");
            sql.bind(Bind::Text(Some(self.request.dry_run.to_string()), "boolean")).push(", ");
            sql.bind(Bind::text(on_duplicate.as_str().unwrap_or("skip"))).push(", ");
            sql.bind(Bind::Text(Some(Value::Object(mapping.clone()).to_string()), "jsonb")).push(", ");
            sql.bind(Bind::Text(Some(metadata.to_string()), "jsonb")).push(")");
            tx.rows(sql).await.map(|_| ())
        })
        .await
    }

    /// Runs the import to its end and writes the outcome to `import_log`.
    ///
    /// # Errors
    /// What stopped it; `import_log` then says `failed` and how far it came.
    pub async fn run<R: Record>(&self, db: &Db, me: &Principal, cx: &RequestContext) -> Result<(), Error> {
        let mut rows = self.file.rows()?;
        let mut tally = Tally::default();
        let mut errors: Vec<RowError> = Vec::new();
        let mut seen: HashSet<String> = HashSet::new();
        let outcome = loop {
            let (back, first, second) = read_two(rows).await?;
            rows = back;
            let (first, second) = match (first, second) {
                (Ok(first), _) if first.is_empty() => break Ok(()),
                (Ok(first), Ok(second)) => (first, second),
                (Err(e), _) | (_, Err(e)) => break Err(e),
            };
            // Two batches at once keep both the service and Postgres busy, unless one could make what the other skips.
            let done = if self.request.dry_run || self.plan.share_a_key(R::DEF, &first, &second) {
                let first = self.batch::<R>(db, me, cx, &first, &mut seen).await;
                let second = match first {
                    Ok(_) => self.batch::<R>(db, me, cx, &second, &mut seen).await,
                    Err(_) => Ok(Done::default()),
                };
                [first, second]
            } else {
                let (mut one, mut other) = (HashSet::new(), HashSet::new());
                let first = self.batch::<R>(db, me, cx, &first, &mut one);
                let second = self.batch::<R>(db, me, cx, &second, &mut other);
                let (first, second) = futures_util::join!(first, second);
                [first, second]
            };
            let mut failure = None;
            for batch in done {
                match batch {
                    Ok(Done { tally: t, failed }) => {
                        tally = tally.plus(t);
                        let room = KEPT_ERRORS.saturating_sub(errors.len());
                        errors.extend(failed.into_iter().take(room));
                    }
                    Err(e) => failure = failure.or(Some(e)),
                }
            }
            if let Some(e) = failure {
                break Err(e);
            }
        };
        let failure = outcome.as_ref().err().map(|e| e.message.to_string());
        self.finish(db, me, cx, tally, &errors, failure).await?;
        outcome
    }

    async fn batch<R: Record>(
        &self,
        db: &Db,
        me: &Principal,
        cx: &RequestContext,
        batch: &[Row],
        seen: &mut HashSet<String>,
    ) -> Result<Done, Error> {
        if batch.is_empty() {
            return Ok(Done::default());
        }
        let dry_run = self.request.dry_run;
        let already: &HashSet<String> = seen;
        let run = async |tx: &mut TenantTx| {
            if dry_run {
                tx.rows(Sql::new("SAVEPOINT dry_run")).await?;
            }
            let definitions = custom::definitions(tx, R::DEF.name).await?;
            let required = custom_required::<R>(tx).await?;
            let mut items: Vec<Result<Changes, Vec<FieldError>>> =
                batch.iter().map(|row| self.plan.changes(row, &definitions)).collect();
            references_resolve(tx, &mut items).await?;
            let mut keys: Vec<Option<String>> =
                items.iter().map(|i| i.as_ref().ok().and_then(|c| key_of::<R>(c))).collect();
            let mut checked = rows_checked(items, &definitions, &required);
            for (key, _) in keys.iter_mut().zip(&checked).filter(|(_, item)| item.is_err()) {
                *key = None;
            }
            let mut tally = Tally { read: i64::try_from(batch.len()).unwrap_or_default(), ..Tally::default() };
            let mut failed = Vec::new();

            let existing = match self.request.on_duplicate {
                OnDuplicate::Create => HashMap::new(),
                _ => existing::<R>(tx, &keys).await?,
            };
            let mut fresh: Vec<(u64, Map<String, Value>)> = Vec::new();
            let mut updates: Vec<(u64, Uuid, Map<String, Value>)> = Vec::new();
            let mut here: HashSet<&String> = HashSet::new();
            for ((row, item), key) in batch.iter().zip(&mut checked).zip(&keys) {
                let values = match item {
                    Ok(values) => std::mem::take(values),
                    Err(errors) => {
                        failed.push(RowError { row_number: row.number, errors: std::mem::take(errors) });
                        continue;
                    }
                };
                let Some(key) = key.as_ref().filter(|_| self.request.on_duplicate != OnDuplicate::Create) else {
                    fresh.push((row.number, values));
                    continue;
                };
                let known = existing.get(key).copied();
                let repeated = !here.insert(key) || (dry_run && already.contains(key));
                match (self.request.on_duplicate, known) {
                    (OnDuplicate::Update, Some(id)) if !repeated => updates.push((row.number, id, values)),
                    (_, None) if !repeated => fresh.push((row.number, values)),
                    _ => tally.skipped += 1,
                }
            }
            let (numbers, rows): (Vec<u64>, Vec<_>) = fresh.into_iter().unzip();
            for (number, id) in numbers.into_iter().zip(insert_each::<R>(tx, rows, Some(self.id)).await?) {
                match (id, self.request.on_duplicate) {
                    (Ok(Some(_)), _) => tally.created += 1,
                    (Err(errors), _) => failed.push(RowError { row_number: number, errors }),
                    (Ok(None), OnDuplicate::Create) => failed.push(RowError {
                        row_number: number,
                        errors: vec![FieldError::new(R::DEF.key.0, "is already taken by another record")],
                    }),
                    (Ok(None), _) => tally.skipped += 1,
                }
            }
            tally.updated += self.update_each::<R>(tx, updates, &mut failed).await?;
            tally.failed += i64::try_from(failed.len()).unwrap_or_default();
            if dry_run {
                // What would have happened is known; nothing of it may stay.
                tx.rows(Sql::new("ROLLBACK TO SAVEPOINT dry_run")).await?;
            }
            self.progress(tx, tally).await?;
            Ok((tally, failed, keys))
        };
        let (tally, failed, keys) = db.write(me, cx, run).await?;
        if dry_run {
            // Later batches do not find these in the database.
            seen.extend(keys.into_iter().flatten());
        }
        Ok(Done { tally, failed })
    }

    /// [`Import::update_many`], but a row that the database refuses gets its own error: the rows are halved until the bad
    /// ones stand alone.
    async fn update_each<R: Record>(
        &self,
        tx: &mut TenantTx,
        updates: Vec<(u64, Uuid, Map<String, Value>)>,
        failed: &mut Vec<RowError>,
    ) -> Result<i64, Error> {
        let mut updated = 0;
        let mut left = vec![updates];
        while let Some(mut updates) = left.pop() {
            let Some(row_number) = updates.first().map(|(number, ..)| *number) else { continue };
            tx.rows(Sql::new("SAVEPOINT update_each")).await?;
            match self.update_many::<R>(tx, updates.clone()).await {
                Ok(n) => {
                    tx.rows(Sql::new("RELEASE SAVEPOINT update_each")).await?;
                    updated += n;
                }
                Err(e) if matches!(e.code, ErrorCode::ValidationFailed | ErrorCode::Conflict) => {
                    tx.rows(Sql::new("ROLLBACK TO SAVEPOINT update_each")).await?;
                    if updates.len() == 1 {
                        failed.push(RowError { row_number, errors: e.details });
                    } else {
                        let second = updates.split_off(updates.len() / 2);
                        left.extend([second, updates]);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(updated)
    }

    /// Writes rows into the records they name, keeping what was there for the undo.
    async fn update_many<R: Record>(
        &self,
        tx: &mut TenantTx,
        updates: Vec<(u64, Uuid, Map<String, Value>)>,
    ) -> Result<i64, Error> {
        let Some(first) = updates.first().map(|(number, ..)| i64::try_from(*number).unwrap_or_default()) else {
            return Ok(0);
        };
        let columns = self.plan.columns();
        let table = R::DEF.table;
        let payload: Vec<Value> = updates
            .into_iter()
            .map(|(number, id, mut row)| {
                row.insert("import_row_number".into(), number.into());
                row.insert("import_record_id".into(), id.to_string().into());
                Value::Object(row)
            })
            .collect();
        let types: String = columns.iter().map(|(c, t, _)| format!(", {c} {t}")).collect();
        let old: Vec<String> = columns.iter().map(|(c, ..)| format!("'{c}', t.{c}")).collect();
        let set: Vec<String> = columns
            .iter()
            .map(|(c, _, given)| match *c {
                custom::FIELD => format!("{c} = t.{c} || coalesce(r.{c}, '{{}}')"),
                _ => format!("{c} = CASE WHEN r.{given} IS NULL THEN t.{c} ELSE r.{c} END"),
            })
            .collect();
        let from = format!("AS r(import_row_number integer, import_record_id uuid{types})");
        let rows = Bind::Text(Some(Value::Array(payload).to_string()), "jsonb");
        let mut sql = Sql::new(
            "INSERT INTO import_row (tenant_id, import_id, row_number, record_id, version, previous) SELECT t.tenant_id, ",
        );
        sql.bind(self.id)
            .push(format!(", r.import_row_number, t.id, t.version + 1, jsonb_build_object({}) ", old.join(", ")));
        sql.push(format!("FROM {table} t JOIN jsonb_to_recordset(")).bind(rows.clone());
        sql.push(format!(") {from} ON r.import_record_id = t.id WHERE t.tenant_id = ")).bind(tx.principal().tenant().0);
        sql.push(" AND t.deleted_at IS NULL FOR UPDATE OF t");
        let keep = sql.prepared_once();
        let mut sql = Sql::new(format!("UPDATE {table} t SET {} FROM jsonb_to_recordset(", set.join(", ")));
        sql.bind(rows).push(format!(") {from} WHERE r.import_record_id = t.id AND t.tenant_id = "));
        sql.bind(tx.principal().tenant().0).push(" AND t.deleted_at IS NULL RETURNING t.id");
        let update = sql.prepared_once();
        // A row that held these values already keeps its version: whoever changes it next must not look like the import.
        let mut sql =
            Sql::new(format!("UPDATE import_row i SET version = t.version FROM {table} t WHERE i.tenant_id = "));
        sql.bind(tx.principal().tenant().0).push(" AND i.import_id = ").bind(self.id).push(" AND i.row_number >= ");
        sql.bind(Bind::Int(first))
            .push(" AND t.tenant_id = i.tenant_id AND t.id = i.record_id AND t.version = i.version - 1");
        let mut results = tx.flight(vec![keep, update, sql]).await?;
        results.pop();
        Ok(results.pop().map_or(0, |r| i64::try_from(r.len()).unwrap_or_default()))
    }

    /// Adds a batch to what `import_log` shows, in the transaction of the batch.
    async fn progress(&self, tx: &mut TenantTx, t: Tally) -> Result<(), Error> {
        let mut sql = Sql::new("UPDATE import_log SET updated_at = now()");
        for (column, n) in t.columns() {
            sql.push(format!(", {column} = {column} + ")).bind(Bind::Int(n));
        }
        sql.push(" WHERE tenant_id = current_tenant_id() AND id = ").bind(self.id);
        tx.rows(sql).await.map(|_| ())
    }

    async fn finish(
        &self,
        db: &Db,
        me: &Principal,
        cx: &RequestContext,
        tally: Tally,
        errors: &[RowError],
        failure: Option<String>,
    ) -> Result<(), Error> {
        let errors = serde_json::to_string(errors).map_err(Error::internal)?;
        db.write(me, cx, async |tx| {
            let mut sql = Sql::new("UPDATE import_log SET completed_at = now(), status = ");
            sql.bind(Bind::text(if failure.is_some() { "failed" } else { "completed" })).push(", errors = ");
            sql.bind(Bind::Text(Some(errors.clone()), "jsonb")).push(", metadata = metadata || ");
            let why = serde_json::json!({ "failure": failure });
            sql.bind(Bind::Text(Some(why.to_string()), "jsonb"));
            for (column, n) in tally.columns() {
                sql.push(format!(", {column} = ")).bind(Bind::Int(n));
            }
            sql.push(" WHERE tenant_id = current_tenant_id() AND id = ").bind(self.id);
            tx.rows(sql).await.map(|_| ())
        })
        .await
    }
}

type Batch = Result<Vec<Row>, Error>;

async fn read_two(mut rows: Rows) -> Result<(Rows, Batch, Batch), Error> {
    tokio::task::spawn_blocking(move || {
        let (first, second) = (rows.next_batch(BATCH), rows.next_batch(BATCH));
        (rows, first, second)
    })
    .await
    .map_err(Error::internal)
}

/// The compared form of the record's key, if the row has one.
fn key_of<R: Record>(changes: &Changes) -> Option<String> {
    changes.text(R::DEF.key.0).map(str::to_lowercase)
}

/// The oldest live record of each key. Written so that every key is one descent of the key's index: with `= ANY(…)` a table
/// that grows faster than its statistics is read whole for every batch (measured: 633 ms against 10).
async fn existing<R: Record>(tx: &mut TenantTx, keys: &[Option<String>]) -> Result<HashMap<String, Uuid>, Error> {
    let wanted: HashSet<String> = keys.iter().flatten().cloned().collect();
    let (_, column) = R::DEF.key;
    let mut sql = Sql::new("SELECT wanted.key, found.id FROM unnest(");
    sql.bind(Bind::Texts(Some(wanted.into_iter().collect()))).push(format!(
        ") AS wanted(key) CROSS JOIN LATERAL (SELECT id FROM {} WHERE deleted_at IS NULL AND {column} >= wanted.key \
         AND {column} <= wanted.key AND tenant_id = ",
        R::DEF.table
    ));
    sql.bind(tx.principal().tenant().0).push(format!(" ORDER BY {column}, created_at, id LIMIT 1) AS found"));
    let rows = tx.rows(sql).await?;
    rows.iter()
        .map(|r| Ok((r.get(0)?, r.get(1)?)))
        .collect::<Result<_, Box<dyn std::error::Error + Send + Sync>>>()
        .map_err(Error::internal)
}
