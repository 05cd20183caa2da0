//! `/api/testdata`.

use super::{admin, reader};
use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_crm::care::{
    definition,
    test_data::{CONFIRMATION, Which, test_data_cleanup, test_data_counts, test_data_mark},
};
use aisha_db::{Db, record::filter::Filter};
use aisha_http::{ApiResult, Caller, ok};
use aisha_kernel::Error;
use serde_json::{Value, json};

/// Most ids of one request.
const MOST: usize = 10_000;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/testdata").route(web::get().to(counts)))
        .service(web::resource("/api/testdata/mark").route(web::post().to(mark)))
        .service(web::resource("/api/testdata/cleanup").route(web::post().to(cleanup)));
}

async fn counts(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = reader(&caller, &request)?;
    let records = test_data_counts(&db, &me).await?;
    let total: i64 = records.iter().map(|r| r.live + r.in_trash + r.archived).sum();
    Ok(ok(json!({ "testdata": records, "total": total })))
}

async fn mark(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Create).await?;
    let entity = fields.text("entity")?.ok_or_else(|| Error::invalid("entity", "is required"))?;
    let def = definition(&entity).ok_or_else(|| Error::invalid("entity", "is no record type"))?;
    let ids = fields.ids("ids", MOST)?;
    let filter = fields.0.remove("filter").filter(|v| !v.is_null());
    if fields.0.get("is_test_data").is_none_or(Value::is_null) {
        return Err(Error::invalid("is_test_data", "is required").into());
    }
    let flag = fields.flag("is_test_data", true)?;
    fields.done()?;
    let which = match (ids, filter) {
        (Some(ids), None) => Which::Ids(ids),
        (None, Some(filter)) => Which::Filter(Filter::parse(def, &filter)?),
        _ => return Err(Error::invalid("ids", "give either ids or filter").into()),
    };
    let marked = test_data_mark(&db, &me, caller.context(), def, &which, flag).await?;
    Ok(ok(json!({ "entity": def.name, "is_test_data": flag, "marked": marked })))
}

async fn cleanup(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Delete).await?;
    let dry_run = fields.flag("dry_run", false)?;
    let confirm = fields.text("confirm")?;
    fields.done()?;
    if !dry_run && confirm.as_deref() != Some(CONFIRMATION) {
        let message = format!("must be exactly “{CONFIRMATION}”: this cannot be undone");
        return Err(Error::invalid("confirm", message).into());
    }
    Ok(ok(test_data_cleanup(&db, &me, caller.context(), dry_run).await?))
}
