//! The log of imports.

use actix_web::{HttpRequest, web};
use aisha_auth::{Action, Principal};
use aisha_db::{Bind, Db, Json, PgRow, Sql};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::path_id,
        query::{self, MAX_LIMIT},
    },
};
use aisha_kernel::{Error, TenantId};
use serde::Serialize;
use uuid::Uuid;

/// An import as the API shows it.
#[derive(Debug, Serialize)]
pub struct ImportLog {
    id: Uuid,
    tenant_id: Uuid,
    /// The record type, plural.
    pub entity_type: String,
    filename: Option<String>,
    status: String,
    dry_run: bool,
    on_duplicate: String,
    mapping: Json,
    total_records: i32,
    success_count: i32,
    updated_count: i32,
    skipped_count: i32,
    error_count: i32,
    errors: Json,
    metadata: Json,
    created_by: Option<Uuid>,
    created_at: String,
    completed_at: Option<String>,
    undone_at: Option<String>,
    undo_result: Option<Json>,
}

fn columns(errors: &str) -> String {
    let at = |c: &str| format!("to_char({c} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    format!(
        "id, tenant_id, entity_type, filename, status, dry_run, on_duplicate, mapping, total_records, success_count, \
         updated_count, skipped_count, error_count, {errors}, metadata, created_by, {}, {}, {}, undo_result",
        at("created_at"),
        at("completed_at"),
        at("undone_at")
    )
}

fn from_row(row: &PgRow) -> Result<ImportLog, Error> {
    let read = || -> Result<ImportLog, Box<dyn std::error::Error + Send + Sync>> {
        Ok(ImportLog {
            id: row.get(0)?,
            tenant_id: row.get(1)?,
            entity_type: row.get(2)?,
            filename: row.get(3)?,
            status: row.get(4)?,
            dry_run: row.get(5)?,
            on_duplicate: row.get(6)?,
            mapping: row.get(7)?,
            total_records: row.get(8)?,
            success_count: row.get(9)?,
            updated_count: row.get(10)?,
            skipped_count: row.get(11)?,
            error_count: row.get(12)?,
            errors: row.get(13)?,
            metadata: row.get(14)?,
            created_by: row.get(15)?,
            created_at: row.get(16)?,
            completed_at: row.get(17)?,
            undone_at: row.get(18)?,
            undo_result: row.get(19)?,
        })
    };
    read().map_err(Error::internal)
}

/// One import that `me` sees.
pub async fn find(db: &Db, me: &Principal, id: Uuid) -> Result<ImportLog, Error> {
    let mut sql = Sql::new(format!("SELECT {} FROM import_log WHERE tenant_id = ", columns("errors")));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    let log = from_row(rows.first().ok_or_else(Error::not_found)?)?;
    // The rows that failed are records of a module that may be off.
    me.require(&log.entity_type, Action::Read)?;
    Ok(log)
}

/// `GET /api/imports/{id}`
pub async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("imports", Action::Read)?;
    Ok(ok(find(&db, &me, path_id(&request)?).await?))
}

#[derive(Serialize)]
struct Listed {
    imports: Vec<ImportLog>,
    total: i64,
    limit: i64,
    offset: i64,
}

/// `GET /api/imports`: newest first, without the rows' errors.
pub async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut limit, mut offset) = (None, query::DEFAULT_LIMIT, 0);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => limit = query::number("limit", &text, 1, MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let me = caller.in_tenant(tenant)?;
    me.require("imports", Action::Read)?;
    let hidden: Vec<String> = me.identity().disabled_resources().into_iter().map(str::to_owned).collect();
    let hidden = Bind::Texts(Some(hidden));
    let mut sql = Sql::new(format!("SELECT {} FROM import_log WHERE tenant_id = ", columns("'[]'::jsonb")));
    sql.bind(me.tenant().0).push(" AND entity_type <> ALL (").bind(hidden.clone());
    sql.push(") ORDER BY created_at DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    sql.push(" OFFSET ").bind(Bind::Int(offset));
    let mut count = Sql::new("SELECT count(*) FROM import_log WHERE tenant_id = ");
    count.bind(me.tenant().0).push(" AND entity_type <> ALL (").bind(hidden).push(")");
    let mut results = db.fetch(&me, vec![sql, count]).await?;
    let counted = results.pop().unwrap_or_default();
    let total = counted.first().map_or(Ok(0), |r| r.get(0)).map_err(Error::internal)?;
    let rows = results.pop().unwrap_or_default();
    let imports = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    Ok(ok(Listed { imports, total, limit, offset }))
}
