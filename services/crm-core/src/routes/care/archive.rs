//! `/api/database/archive`.

use super::{CARE, Fields, PATIENCE, Paging, admin, paging};
use actix_web::{HttpRequest, http::StatusCode, rt, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_crm::care::{
    archive::{
        ArchiveFilter, ArchivedRecord, Wanted, Which, archive, archive_list, new_batch, parts, restore, retention,
    },
    definition,
};
use aisha_db::Db;
use aisha_http::{ApiResult, Caller, ok, record::idempotency::Reply};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// Most ids of one request.
const MOST: usize = 10_000;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/database/archive").route(web::get().to(list)).route(web::post().to(create)))
        .service(web::resource("/api/database/archive/restore").route(web::post().to(back)));
}

fn wanted(fields: &mut Fields) -> Result<Wanted, Error> {
    Ok(Wanted {
        activities_older_than_days: fields.days("activities_older_than_days")?,
        opportunities_older_than_days: fields.days("opportunities_older_than_days")?,
        include_bizdev: fields.flag("include_bizdev", true)?,
    })
}

async fn create(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Create).await?;
    let wanted = wanted(&mut fields)?;
    let dry_run = fields.flag("dry_run", false)?;
    fields.done()?;
    let parts = parts(wanted, retention(&db, &me).await?);
    let batch = new_batch();
    let (worker, cx) = (db.get_ref().clone(), caller.context().clone());
    let task = rt::spawn(async move { archive(&worker, &me, &cx, &parts, batch, dry_run).await });
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(done) => Ok(ok(done.map_err(Error::internal)??)),
        Err(_) => {
            let at = format!("/api/database/archive?batch_id={batch}");
            let so_far = json!({ "batch_id": batch, "dry_run": dry_run, "status": "running" });
            Ok(Reply::new(StatusCode::ACCEPTED, &so_far)?.at(at).into_response())
        }
    }
}

#[derive(Serialize)]
struct Listed {
    archived_records: Vec<ArchivedRecord>,
    total: i64,
    limit: i64,
    offset: i64,
}

fn day(name: &str, text: &str) -> Result<String, Error> {
    aisha_db::record::value::date(text)
        .map(|_| text.to_owned())
        .map_err(|_| Error::parameter(name, "must be a day such as 2026-11-21"))
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let mut filter = ArchiveFilter::default();
    let Paging { tenant, limit, offset } = paging(&request, |name, text| {
        match name {
            "entity_type" => {
                let def = definition(text).ok_or_else(|| Error::parameter(name, "is no record type"))?;
                filter.entity_type = Some(def.name);
            }
            "batch_id" => {
                let id = Uuid::parse_str(text).map_err(|_| Error::parameter(name, "must be a UUID"))?;
                filter.batch_id = Some(id);
            }
            "q" if text.chars().count() > 200 || text.contains('\0') => {
                return Err(Error::parameter("q", "must have at most 200 characters"));
            }
            "q" => filter.q = Some(text.to_owned()),
            "from" => filter.from = Some(day(name, text)?),
            "to" => filter.to = Some(day(name, text)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let me = caller.in_tenant(tenant)?;
    me.require(CARE, Action::Read)?;
    let (archived_records, total) = archive_list(&db, &me, &filter, limit, offset).await?;
    Ok(ok(Listed { archived_records, total, limit, offset }))
}

async fn back(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Delete).await?;
    let ids = fields.ids("ids", MOST)?;
    let batch = fields.text("batch_id")?;
    fields.done()?;
    let which = match (ids, batch) {
        (Some(ids), None) => Which::Ids(ids),
        (None, Some(batch)) => {
            Which::Batch(Uuid::parse_str(&batch).map_err(|_| Error::invalid("batch_id", "must be a UUID"))?)
        }
        _ => return Err(Error::invalid("ids", "give either ids or batch_id").into()),
    };
    Ok(ok(restore(&db, &me, caller.context(), &which).await?))
}
