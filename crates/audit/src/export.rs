//! The log as CSV, page by page, so that memory stays flat whatever its size.

use crate::{
    acting,
    log::{Count, Entry, LogQuery, Reach, log_list},
};
use aisha_csv::cell;
use aisha_db::{Bind, Db, RequestContext, Sql};
use aisha_kernel::{Error, cursor::Cursor};
use serde_json::Value;

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

/// Begins an export of what the list holds, whatever its limit, and writes the audit row that says who took what out. The
/// file ends before that row: what happens after the beginning is not part of it.
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
    let mut sql = Sql::new(
        "INSERT INTO audit_log (tenant_id, action, table_name, changed_by, role, request_id, ip, user_agent, \
         impersonator, new_values) SELECT current_tenant_id(), 'export', 'audit_log', current_user_id(), r ->> 'role', \
         r ->> 'request_id', r ->> 'ip', r ->> 'user_agent', (r ->> 'impersonator')::uuid, jsonb_build_object('query', ",
    );
    sql.bind(Bind::text(asked));
    sql.push(") FROM (SELECT current_setting('app.request')::jsonb AS r) AS request RETURNING changed_at");
    let why = acting(reach.identity(), "export", reach.tenant_id(), cx);
    let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
    let begun = rows.first().ok_or_else(|| Error::internal("no row for the export"))?;
    let begun = crate::col(begun, 0)?;
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
            Some(cursor) => self.query.cursor = Some(Cursor::decode(cursor).map_err(Error::internal)?),
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
