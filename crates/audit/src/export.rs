//! The log as CSV, page by page, so that memory stays flat whatever its size.

use crate::{
    acting, col,
    log::{Entry, LogQuery, Reach, log_list},
};
use aisha_auth::Identity;
use aisha_csv::cell;
use aisha_db::{Bind, Db, RequestContext, Sql, Timestamp, record::Count};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use serde_json::Value;
use time::OffsetDateTime;

/// Entries per page.
const PAGE: i64 = 500;

const COLUMNS: &[&str] = &[
    "changed_at",
    "action",
    "entity_type",
    "entity_id",
    "user_email",
    "changed_by",
    "role",
    "impersonator",
    "reason",
    "ip",
    "user_agent",
    "request_id",
    "old_values",
    "new_values",
    "id",
    "tenant_id",
];

/// An export under way.
pub struct LogExport {
    db: Db,
    reach: Reach,
    query: LogQuery,
    started: bool,
    done: bool,
}

/// Writes the audit row that says who took what out of a log, and returns its time.
///
/// # Errors
/// 503 when the database is away.
pub async fn export_audited(
    db: &Db,
    me: &Identity,
    tenant: Option<TenantId>,
    cx: &RequestContext,
    table: &'static str,
    asked: &str,
) -> Result<OffsetDateTime, Error> {
    let mut sql = Sql::new(
        "INSERT INTO audit_log (tenant_id, action, table_name, changed_by, role, request_id, ip, user_agent, \
         impersonator, new_values) SELECT current_tenant_id(), 'export', ",
    );
    sql.bind(Bind::text(table)).push(
        ", current_user_id(), r ->> 'role', r ->> 'request_id', r ->> 'ip', r ->> 'user_agent', \
         (r ->> 'impersonator')::uuid, jsonb_build_object('query', ",
    );
    sql.bind(Bind::text(asked));
    sql.push(") FROM (SELECT current_setting('app.request')::jsonb AS r) AS request RETURNING changed_at");
    let rows = db.system(&acting(me, "export", tenant, cx), async |tx| tx.rows(sql.clone()).await).await?;
    let row = rows.first().ok_or_else(|| Error::internal("no row for the export"))?;
    col::<Timestamp>(row, 0).map(|at| at.0)
}

/// Begins an export of what the list holds, whatever its limit, and writes its audit row. The file ends before that row: what
/// happens after the beginning is not part of it.
///
/// # Errors
/// 503 when the database is away.
pub async fn export_log(
    db: &Db,
    reach: Reach,
    mut query: LogQuery,
    asked: &str,
    cx: &RequestContext,
) -> Result<LogExport, Error> {
    query.limit = PAGE;
    query.offset = 0;
    query.cursor = None;
    query.count = Count::None;
    let begun = export_audited(db, reach.identity(), reach.tenant_id(), cx, "audit_log", asked).await?;
    query.before = Some(query.before.map_or(begun, |before| before.min(begun)));
    Ok(LogExport { db: db.clone(), reach, query, started: false, done: false })
}

impl LogExport {
    /// The next piece of text; the first has the header, `None` is the end.
    ///
    /// # Errors
    /// 503 when the database went away in between.
    pub async fn next_page(&mut self) -> Result<Option<String>, Error> {
        if self.done {
            return Ok(None);
        }
        let page = log_list(&self.db, &self.reach, &self.query).await?;
        match &page.next_cursor {
            Some(cursor) => self.query.cursor = Some(Cursor::decode(cursor)?),
            None => self.done = true,
        }
        let mut out = String::new();
        if !std::mem::replace(&mut self.started, true) {
            out.push_str(&COLUMNS.join(","));
            out.push_str("\r\n");
        }
        for entry in &page.entries {
            line(entry, &mut out)?;
        }
        Ok(Some(out))
    }
}

fn line(entry: &Entry, out: &mut String) -> Result<(), Error> {
    let shown = serde_json::to_value(entry).map_err(Error::internal)?;
    for (i, column) in COLUMNS.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match shown.get(*column) {
            None | Some(Value::Null) => {}
            Some(Value::String(s)) => cell::push(out, s),
            Some(other) => cell::push_quoted(out, &other.to_string()),
        }
    }
    out.push_str("\r\n");
    Ok(())
}
