//! Reading the log.

use crate::sql::{at, col};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, Json, PgRow, Sql, SystemReason, Timestamp, tx::Rows};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// A row of the log as the API shows it.
#[derive(Debug, Serialize)]
pub struct LogEntry {
    /// Identifier.
    pub id: Uuid,
    /// The tenant it concerns; null for what concerns none.
    pub tenant_id: Option<Uuid>,
    /// The service that wrote it, or `frontend`.
    pub service: String,
    /// One of [`super::LEVELS`].
    pub level: String,
    /// The part of it that speaks.
    pub source: String,
    /// The sentence.
    pub message: String,
    /// What else it says.
    pub fields: Json,
    /// The request it belongs to, as in the answer's `x-request-id`.
    pub request_id: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// Whose request it was.
    pub user_id: Option<Uuid>,
    /// The address of that user, as far as the reader may see the user.
    pub user_email: Option<String>,
    /// When it was logged.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "l.id, l.tenant_id, l.service, l.level, l.source, l.message, l.fields, l.request_id, l.trace_id, \
    l.user_id, u.email, l.created_at";
const FROM: &str = " FROM system_logs l LEFT JOIN users u ON u.id = l.user_id WHERE ";

/// A count stops here.
const MOST_COUNTED: i64 = 10_000;

fn from_row(row: &PgRow) -> Result<LogEntry, Error> {
    Ok(LogEntry {
        id: col(row, 0)?,
        tenant_id: col(row, 1)?,
        service: col(row, 2)?,
        level: col(row, 3)?,
        source: col(row, 4)?,
        message: col(row, 5)?,
        fields: col(row, 6)?,
        request_id: col(row, 7)?,
        trace_id: col(row, 8)?,
        user_id: col(row, 9)?,
        user_email: col(row, 10)?,
        created_at: col(row, 11)?,
    })
}

/// Who reads, and so what is there.
#[derive(Debug, Clone)]
pub enum Reader {
    /// An admin: the rows of its tenant.
    Tenant(Principal),
    /// A superadmin: one tenant's rows if it names one, else all.
    Platform(SystemReason, Option<TenantId>),
}

impl Reader {
    async fn fetch(&self, db: &Db, statements: Vec<Sql>) -> Result<Vec<Rows>, Error> {
        match self {
            Self::Tenant(me) => db.fetch(me, statements).await,
            Self::Platform(why, _) => db.system(why, async |tx| tx.flight(statements.clone()).await).await,
        }
    }

    fn condition(&self) -> Sql {
        let tenant = match self {
            Self::Tenant(me) => Some(me.tenant()),
            Self::Platform(_, tenant) => *tenant,
        };
        let mut sql = Sql::new("true");
        if let Some(tenant) = tenant {
            sql.push(" AND l.tenant_id = ").bind(tenant.0);
        }
        sql
    }
}

/// What is wanted; nothing given is everything.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// Any of these levels.
    pub levels: Vec<String>,
    /// Exactly this source, or a module within it.
    pub source: Option<String>,
    /// This service.
    pub service: Option<String>,
    /// Text in message, source or fields, whatever its case.
    pub q: Option<String>,
    /// Text in the address of the user.
    pub user_email: Option<String>,
    /// This request.
    pub request_id: Option<String>,
    /// From this instant on.
    pub from: Option<OffsetDateTime>,
    /// Before this instant.
    pub to: Option<OffsetDateTime>,
    /// Only what concerns no tenant.
    pub platform: bool,
}

impl LogFilter {
    fn condition(&self, reader: &Reader) -> Sql {
        let mut sql = reader.condition().prepared_once();
        if !self.levels.is_empty() {
            sql.push(" AND l.level = ANY (").bind(Bind::Texts(Some(self.levels.clone()))).push(")");
        }
        if let Some(source) = &self.source {
            sql.push(" AND (l.source = ").bind(Bind::text(source)).push(" OR starts_with(l.source, ");
            sql.bind(Bind::text(format!("{source}::"))).push("))");
        }
        for (column, value) in [("l.service", &self.service), ("l.request_id", &self.request_id)] {
            if let Some(value) = value {
                sql.push(format!(" AND {column} = ")).bind(Bind::text(value));
            }
        }
        if let Some(q) = &self.q {
            sql.push(" AND strpos(lower(l.message || ' ' || l.source || ' ' || l.fields::text), ");
            sql.bind(Bind::text(q.to_lowercase())).push(") > 0");
        }
        if let Some(email) = &self.user_email {
            sql.push(" AND strpos(u.email, ").bind(Bind::text(email.to_lowercase())).push(") > 0");
        }
        for (compare, instant) in [(">=", self.from), ("<", self.to)] {
            if let Some(instant) = instant {
                sql.push(format!(" AND l.created_at {compare} ")).bind(at(instant));
            }
        }
        if self.platform {
            sql.push(" AND l.tenant_id IS NULL");
        }
        sql
    }
}

/// A page of the log, newest first.
#[derive(Debug, Serialize)]
pub struct LogPage {
    /// The rows.
    #[serde(rename = "system-logs")]
    pub rows: Vec<LogEntry>,
    /// How many there are in all; at most 10,000 are counted.
    pub total: i64,
    /// Whether there are more than were counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_lower_bound: bool,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
}

const SORT: &str = "-created_at";

/// Rows of a page from the cursor on, or after `offset` rows.
pub(super) fn page_sql(
    reader: &Reader,
    filter: &LogFilter,
    cursor: Option<&Cursor>,
    limit: i64,
    offset: i64,
) -> Result<Sql, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS}{FROM}"));
    sql.append(filter.condition(reader));
    if let Some(cursor) = cursor {
        sql.push(" AND (l.created_at, l.id) < (").bind(at(cursor.instant(SORT)?));
        sql.push(", ").bind(cursor.id).push(")");
    }
    sql.push(" ORDER BY l.created_at DESC, l.id DESC LIMIT ").bind(Bind::Int(limit));
    sql.push(" OFFSET ").bind(Bind::Int(offset));
    Ok(sql)
}

/// The rows of a result, with the cursor of the page after them.
pub(super) fn page_rows(rows: &Rows, limit: i64) -> Result<(Vec<LogEntry>, Option<Cursor>), Error> {
    let entries = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let full = i64::try_from(entries.len()).unwrap_or(i64::MAX) >= limit;
    let next = entries.last().filter(|_| full).map(|last| Cursor::at(SORT, last.created_at.0, last.id));
    Ok((entries, next))
}

pub(super) async fn fetch(db: &Db, reader: &Reader, sql: Sql) -> Result<Rows, Error> {
    Ok(reader.fetch(db, vec![sql]).await?.pop().unwrap_or_default())
}

/// A page.
///
/// # Errors
/// 400 for a cursor of another list; 503 when the database is away.
pub async fn system_log_list(
    db: &Db,
    reader: &Reader,
    filter: &LogFilter,
    cursor: Option<&Cursor>,
    (limit, offset): (i64, i64),
) -> Result<LogPage, Error> {
    let page = page_sql(reader, filter, cursor, limit, offset)?;
    let mut count = Sql::new(format!("SELECT count(*) FROM (SELECT 1{FROM}"));
    count.append(filter.condition(reader)).push(" LIMIT ").bind(Bind::Int(MOST_COUNTED + 1)).push(") AS counted");
    let mut results = reader.fetch(db, vec![page, count]).await?;
    let counted = results.pop().unwrap_or_default();
    let total: i64 = counted.first().map_or(Ok(0), |r| col(r, 0))?;
    let (rows, next) = page_rows(&results.pop().unwrap_or_default(), limit)?;
    Ok(LogPage {
        rows,
        total: total.min(MOST_COUNTED),
        total_is_lower_bound: total > MOST_COUNTED,
        next_cursor: next.map(|c| c.encode()),
    })
}

/// One row.
///
/// # Errors
/// 404 for one that the reader may not see, too.
pub async fn system_log_read(db: &Db, reader: &Reader, id: Uuid) -> Result<LogEntry, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS}{FROM}"));
    sql.append(reader.condition()).push(" AND l.id = ").bind(id);
    from_row(fetch(db, reader, sql).await?.first().ok_or_else(Error::not_found)?)
}
