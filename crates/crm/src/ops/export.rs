//! Exporting a list as CSV, page by page, so that memory stays flat whatever the size.

use aisha_auth::Principal;
use aisha_csv::cell;
use aisha_db::{
    Bind, Db, RequestContext, Sql, SystemReason,
    record::{List, Record, list::record_list},
};
use aisha_kernel::{Error, cursor::Cursor};
use serde_json::Value;

/// Rows per page.
const PAGE: i64 = 500;

/// Writes the audit row that says who took what out.
///
/// # Errors
/// 503 when the database is away.
pub async fn export_record<R: Record>(db: &Db, me: &Principal, cx: &RequestContext, query: &str) -> Result<(), Error> {
    // Not by the principal's own transaction: whoever may only read may export, and leaves this trace all the same.
    let why = SystemReason {
        reason: "export",
        tenant: Some(me.tenant()),
        user: Some(me.user().0),
        role: Some(me.identity().role),
        request: cx.clone(),
    };
    db.system(&why, async |tx| {
        let mut sql = Sql::new(
            "INSERT INTO audit_log (tenant_id, action, table_name, entity, changed_by, role, request_id, ip, user_agent, \
             impersonator, new_values) SELECT current_tenant_id(), 'export', ",
        );
        sql.bind(Bind::text(R::DEF.table)).push(", ").bind(Bind::text(R::DEF.name)).push(
            ", current_user_id(), r ->> 'role', r ->> 'request_id', r ->> 'ip', r ->> 'user_agent', \
             (r ->> 'impersonator')::uuid, jsonb_build_object('query', ",
        );
        sql.bind(Bind::text(query)).push(") FROM (SELECT current_setting('app.request')::jsonb AS r) AS request");
        tx.rows(sql).await.map(|_| ())
    })
    .await
}

/// The pages of an export as CSV text; the first has the header.
pub struct Export<R> {
    db: Db,
    me: Principal,
    list: List,
    started: bool,
    done: bool,
    kind: std::marker::PhantomData<R>,
}

impl<R: Record> Export<R> {
    /// An export of everything the list holds, from its first page on.
    #[must_use]
    pub fn new(db: Db, me: Principal, mut list: List) -> Self {
        list.limit = PAGE;
        list.offset = 0;
        list.cursor = None;
        list.count = aisha_db::record::Count::None;
        Self { db, me, list, started: false, done: false, kind: std::marker::PhantomData }
    }

    /// The next piece of text; `None` at the end.
    ///
    /// # Errors
    /// 503 when the database went away in between.
    pub async fn next_page(&mut self) -> Result<Option<String>, Error> {
        if self.done {
            return Ok(None);
        }
        let page = record_list::<R>(&self.db, &self.me, &self.list).await?;
        match &page.next_cursor {
            Some(c) => self.list.cursor = Some(Cursor::decode(c).map_err(Error::internal)?),
            None => self.done = true,
        }
        let mut out = String::new();
        if !std::mem::replace(&mut self.started, true) {
            let names: Vec<&str> = R::DEF.all_fields().map(|f| f.name).collect();
            out.push_str(&names.join(","));
            out.push_str("\r\n");
        }
        for row in &page.rows {
            line::<R>(row, &mut out)?;
        }
        Ok(Some(out))
    }
}

fn line<R: Record>(row: &R, out: &mut String) -> Result<(), Error> {
    let value = serde_json::to_value(row).map_err(Error::internal)?;
    for (i, field) in R::DEF.all_fields().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match value.get(field.name) {
            None | Some(Value::Null) => {}
            Some(Value::String(s)) => cell::push(out, s),
            Some(Value::Array(items)) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                cell::push(out, &items.join("; "));
            }
            Some(other) => cell::push_quoted(out, &other.to_string()),
        }
    }
    out.push_str("\r\n");
    Ok(())
}
