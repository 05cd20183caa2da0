//! Users from a CSV file.

use super::{
    batch::{Batch, MOST, Outcome, Status, Wish, counted, counts},
    input::{READ_ONLY, WRITABLE},
    reach,
};
use crate::Credentials;
use aisha_auth::{Action, Identity};
use aisha_csv::{
    cell::unescaped,
    file::{CsvFile, Row, Rows},
};
use aisha_db::{Db, RequestContext};
use aisha_kernel::{Error, FieldError, TenantId};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use utoipa::ToSchema;
use uuid::Uuid;

/// Rows that are read at once.
const READ: usize = 500;

/// What to do with a user who is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDuplicate {
    /// Leave the user as it is.
    #[default]
    Skip,
    /// Change what the row says, by the rules of any change; empty cells change nothing.
    Update,
}

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct UserImport {
    /// Name of the file, for the audit log.
    pub filename: Option<String>,
    /// Check everything, write nothing.
    pub dry_run: bool,
    /// What to do with duplicates.
    pub on_duplicate: OnDuplicate,
    /// Whether new users get an invitation where their row says nothing about it.
    pub send_invitation: Option<bool>,
    /// The tenant of rows that name none.
    pub tenant: Option<TenantId>,
}

/// What became of one row.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ImportedUser {
    /// 1 for the first row below the header.
    pub row: u64,
    /// The address in the row.
    pub email: Option<String>,
    /// `created`, `updated`, `skipped` or `error`.
    pub status: &'static str,
    /// The user; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// What is wrong with the row, field by field.
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<FieldError>,
    /// Whether an invitation is on its way.
    pub invited: bool,
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Rows in the file.
    pub total: usize,
    /// Users made.
    pub created: usize,
    /// Users changed.
    pub updated: usize,
    /// Rows that changed nothing.
    pub skipped: usize,
    /// Rows that were refused.
    pub failed: usize,
    /// Every row.
    pub results: Vec<ImportedUser>,
}

/// Makes users of the rows of a file, and with [`OnDuplicate::Update`] changes those that are there. Rows are written in
/// transactions of a hundred; one that is refused does not stop the others. The same file again changes nothing.
///
/// # Errors
/// 403 without the right or for another tenant; 422 naming `file` for one that cannot be used; 503 when the database is
/// away: what was written stays, and the file may be sent again.
pub async fn bulk_import(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    file: CsvFile,
    request: &UserImport,
    cx: &RequestContext,
) -> Result<Imported, Error> {
    me.require("users", Action::Import)?;
    let change = request.on_duplicate == OnDuplicate::Update;
    if change {
        me.require("users", Action::Update)?;
    }
    let tenant = reach(me, request.tenant)?;
    let header = Header::read(&file)?;
    let dry_run = request.dry_run;
    let batch = Batch { db, credentials, me, cx, reason: "user import", tenant, change, directory: false, dry_run };
    let mut rows = file.rows()?;
    let mut seen = HashSet::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    loop {
        let (rest, read) = read_some(rows).await?;
        rows = rest;
        let read = read?;
        if read.is_empty() {
            break;
        }
        let wishes = read.iter().map(|row| header.wish(row, request.send_invitation)).collect();
        outcomes.extend(batch.run(wishes, &mut seen).await?);
    }
    let mut values = counted(&outcomes, request.dry_run);
    if let (Some(map), Some(name)) = (values.as_object_mut(), &request.filename) {
        map.insert("filename".into(), name.as_str().into());
    }
    batch.report(values).await?;
    Ok(Imported::of(outcomes, request.dry_run))
}

async fn read_some(mut rows: Rows) -> Result<(Rows, Result<Vec<Row>, Error>), Error> {
    tokio::task::spawn_blocking(move || {
        let read = rows.next_batch(READ);
        (rows, read)
    })
    .await
    .map_err(Error::internal)
}

impl Imported {
    fn of(outcomes: Vec<Outcome>, dry_run: bool) -> Self {
        let [(_, created), (_, updated), (_, deactivated), (_, skipped), (_, failed)] = counts(&outcomes);
        let total = outcomes.len();
        let results = outcomes.into_iter().map(|o| ImportedUser {
            row: o.number,
            email: o.email,
            status: match o.status {
                Status::Created => "created",
                Status::Updated | Status::Deactivated => "updated",
                Status::Unchanged => "skipped",
                Status::Refused => "error",
            },
            id: o.id,
            errors: o.errors,
            invited: o.invited,
        });
        Self { dry_run, total, created, updated: updated + deactivated, skipped, failed, results: results.collect() }
    }
}

/// The field of each column; `None` for those that are only shown.
struct Header(Vec<Option<&'static str>>);

impl Header {
    fn read(file: &CsvFile) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let mut columns = Vec::new();
        for column in &file.header {
            let name: String =
                column.trim().to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
            let field = WRITABLE.iter().find(|f| **f == name).copied();
            if field.is_some() && columns.contains(&field) {
                problems.push(FieldError::new("file", format!("has two columns for {name}")));
            } else if field.is_none() && !READ_ONLY.contains(&name.as_str()) {
                let shown: String = column.chars().take(100).collect();
                problems.push(FieldError::new("file", format!("has a column {shown}, which is not a field of a user")));
            }
            columns.push(field);
        }
        if !columns.contains(&Some("email")) {
            problems.push(FieldError::new("file", "has no column email"));
        }
        if file.rows > MOST as u64 {
            problems.push(FieldError::new("file", format!("has more than {MOST} rows: split it")));
        }
        if problems.is_empty() { Ok(Self(columns)) } else { Err(Error::validation(problems)) }
    }

    fn wish(&self, row: &Row, send_invitation: Option<bool>) -> Wish {
        let mut fields = Map::new();
        let mut problems = Vec::new();
        if row.cells.len() > self.0.len() {
            problems.push(FieldError::new("row", "has more cells than the header: is a quote missing?"));
        }
        for (field, cell) in self.0.iter().zip(&row.cells) {
            let cell = unescaped(cell.trim());
            let Some(field) = field.filter(|_| !cell.is_empty()) else { continue };
            match value(field, cell) {
                Ok(v) => {
                    fields.insert(field.to_owned(), v);
                }
                Err(message) => problems.push(FieldError::new(field, message)),
            }
        }
        if let Some(send) = send_invitation {
            fields.entry("send_invitation").or_insert(send.into());
        }
        let email = fields.get("email").and_then(Value::as_str).map(str::to_lowercase);
        Wish { number: row.number, email, fields: if problems.is_empty() { Ok(fields) } else { Err(problems) } }
    }
}

/// A cell as the JSON that a client would send.
fn value(field: &str, cell: &str) -> Result<Value, &'static str> {
    match field {
        "can_use_softphone" | "is_active" | "send_invitation" => match cell.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" | "t" | "y" => Ok(true.into()),
            "false" | "no" | "0" | "f" | "n" => Ok(false.into()),
            _ => Err("must be true or false"),
        },
        "navigation_permissions" | "metadata" => serde_json::from_str(cell).map_err(|_| "must be a JSON object"),
        "custom_roles" => Ok(cell.split(';').map(str::trim).filter(|s| !s.is_empty()).collect()),
        "role" | "employee_role" | "access_level" => Ok(cell.to_lowercase().into()),
        _ => Ok(cell.into()),
    }
}
