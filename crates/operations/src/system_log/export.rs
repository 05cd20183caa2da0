//! Exporting the log as CSV, page by page, so that memory stays flat whatever the size.

use super::{
    LogFilter, Reader,
    entry::{LogEntry, fetch, page_rows, page_sql},
};
use aisha_csv::cell;
use aisha_db::Db;
use aisha_kernel::{Error, cursor::Cursor};

/// Rows per page.
const PAGE: i64 = 500;
const HEADER: &str =
    "created_at,level,service,source,message,request_id,trace_id,tenant_id,user_email,user_id,fields\r\n";

/// The pages of an export as CSV text; the first has the header.
pub struct LogExport {
    db: Db,
    reader: Reader,
    filter: LogFilter,
    cursor: Option<Cursor>,
    started: bool,
    done: bool,
}

impl LogExport {
    /// An export of everything that the filter lets through.
    #[must_use]
    pub fn new(db: Db, reader: Reader, filter: LogFilter) -> Self {
        Self { db, reader, filter, cursor: None, started: false, done: false }
    }

    /// The next piece of text; `None` at the end.
    ///
    /// # Errors
    /// 503 when the database went away in between.
    pub async fn next_page(&mut self) -> Result<Option<String>, Error> {
        if self.done {
            return Ok(None);
        }
        let sql = page_sql(&self.reader, &self.filter, self.cursor.as_ref(), PAGE, 0)?;
        let (entries, next) = page_rows(&fetch(&self.db, &self.reader, sql).await?, PAGE)?;
        self.done = next.is_none();
        self.cursor = next;
        let mut out = String::new();
        if !std::mem::replace(&mut self.started, true) {
            out.push_str(HEADER);
        }
        entries.iter().for_each(|entry| line(entry, &mut out));
        Ok(Some(out))
    }
}

fn line(entry: &LogEntry, out: &mut String) {
    let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        crate::sql::instant(entry.created_at.0),
        entry.level.clone(),
        entry.service.clone(),
        entry.source.clone(),
        entry.message.clone(),
        text(&entry.request_id),
        text(&entry.trace_id),
        id(entry.tenant_id),
        text(&entry.user_email),
        id(entry.user_id),
    ];
    for value in &cells {
        cell::push(out, value);
        out.push(',');
    }
    cell::push_quoted(out, entry.fields.as_str());
    out.push_str("\r\n");
}
