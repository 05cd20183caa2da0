//! `/api/database`, `/api/synchealths`, `/api/testdata` and the data quality report.

mod archive;
mod test_data;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, rt, web, web::ServiceConfig};
use aisha_auth::{Action, Principal};
use aisha_crm::care::{
    consistency, definition,
    quality::{data_quality, data_quality_examples},
    repair::{self, Repair},
    run::{Acting, Run, RunFilter, fix_list, run_list, run_read},
    volume::check_volume,
};
use aisha_db::Db;
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, path_id},
        idempotency::Reply,
        query,
    },
};
use aisha_kernel::{Error, TenantId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use uuid::Uuid;

/// How long a request waits for its work: most is done by then, and the answer is the result.
const PATIENCE: Duration = Duration::from_secs(5);
/// The permission that all but the report takes.
const CARE: &str = "data_care";

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/database/consistency").route(web::get().to(look)))
        .service(web::resource("/api/database/consistency/check").route(web::post().to(check)))
        .service(web::resource("/api/database/consistency/fix").route(web::post().to(fix)))
        .service(web::resource("/api/database/consistency/runs").route(web::get().to(runs)))
        .service(web::resource("/api/database/consistency/runs/{id}").route(web::get().to(run)))
        .service(web::resource("/api/database/sync").route(web::post().to(sync)))
        .service(web::resource("/api/database/check-volume").route(web::get().to(volume)))
        .service(web::resource("/api/synchealths").route(web::get().to(sync_healths)))
        .service(web::resource("/api/synchealths/{id}").route(web::get().to(sync_health)))
        .service(web::resource("/api/reports/data-quality").route(web::get().to(quality)))
        .service(web::resource("/api/validation/analyze-data-quality").route(web::post().to(analyze)));
    archive::routes(cfg);
    test_data::routes(cfg);
}

/// A checked body: its fields, each taken once, and an error for what is left.
struct Fields(Map<String, Value>);

impl Fields {
    fn flag(&mut self, name: &str, default: bool) -> Result<bool, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(b)) => Ok(b),
            Some(_) => Err(Error::invalid(name, "must be true or false")),
        }
    }

    fn days(&mut self, name: &str) -> Result<Option<i64>, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => match v.as_i64().filter(|n| (1..=36_500).contains(n)) {
                Some(n) => Ok(Some(n)),
                None => Err(Error::invalid(name, "must be a whole number from 1 to 36500")),
            },
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(Error::invalid(name, "must be a text")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let wrong = || Error::invalid(name, "must be a list of texts");
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.into_iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    fn ids(&mut self, name: &str, most: usize) -> Result<Option<Vec<Uuid>>, Error> {
        if self.0.get(name).is_none_or(Value::is_null) {
            self.0.remove(name);
            return Ok(None);
        }
        let ids = self.texts(name)?;
        if ids.len() > most {
            return Err(Error::invalid(name, format!("may have at most {most} entries")));
        }
        let parsed: Result<Vec<Uuid>, _> = ids.iter().map(|id| Uuid::parse_str(id)).collect();
        parsed.map(Some).map_err(|_| Error::invalid(name, "must be a list of UUIDs"))
    }

    fn done(self) -> Result<(), Error> {
        match self.0.keys().next() {
            Some(other) => Err(Error::invalid(other, "is not a field of this request")),
            None => Ok(()),
        }
    }
}

async fn admin(
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    action: Action,
) -> Result<(Principal, Fields), Error> {
    let body = ObjectBody::read(request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require(CARE, action)?;
    Ok((me, Fields(body.map)))
}

fn reader(caller: &Caller, request: &HttpRequest) -> Result<Principal, Error> {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require(CARE, Action::Read)?;
    Ok(me)
}

fn check_names(fields: &mut Fields) -> Result<Vec<String>, Error> {
    let names = fields.texts("checks")?;
    if !consistency::unknown(&names).is_empty() {
        return Err(Error::invalid("checks", format!("must be of: {}", consistency::CHECKS.join(", "))));
    }
    Ok(names)
}

async fn look(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = reader(&caller, &request)?;
    let why = Acting::person(&me, caller.context()).why;
    Ok(ok(db.system(&why, async |tx| consistency::check_all(tx, &[]).await).await?))
}

async fn check(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Create).await?;
    let names = check_names(&mut fields)?;
    fields.done()?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (run_id, report) = repair::check_run(&db, &Acting::person(&me, caller.context()), &names).await?;
    Ok(ok(with(json!({ "run_id": run_id }), &report)?))
}

fn with(mut head: Value, tail: &impl Serialize) -> Result<Value, Error> {
    let tail = serde_json::to_value(tail).map_err(Error::internal)?;
    if let (Value::Object(head), Value::Object(tail)) = (&mut head, tail) {
        head.extend(tail);
    }
    Ok(head)
}

/// The run as it stands after a while: 200 when it is through, 202 while it goes on.
async fn answer(db: &Db, me: &Principal, id: Uuid, done: bool) -> ApiResult<HttpResponse> {
    let run = run_read(db, me, id).await?;
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(Reply::new(status, &run)?.at(format!("/api/database/consistency/runs/{id}")).into_response())
}

async fn fix(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Update).await?;
    let checks = check_names(&mut fields)?;
    let dry_run = fields.flag("dry_run", false)?;
    let assign_to = fields.text("assign_to")?;
    fields.done()?;
    let acting = Acting::person(&me, caller.context());
    let assign_to = match assign_to {
        Some(text) => Some(repair::assignee(&db, &acting, &text).await?),
        None => None,
    };
    if dry_run {
        let names: Vec<&str> = checks.iter().map(String::as_str).collect();
        let report = db.system(&acting.why, async |tx| consistency::check_all(tx, &names).await).await?;
        return Ok(ok(with(json!({ "dry_run": true }), &report)?));
    }
    let progress = repair::repair_begin(&db, &acting).await?;
    let id = progress.id;
    let worker = db.get_ref().clone();
    let task = rt::spawn(async move {
        let repair = Repair { checks, assign_to };
        if let Err(e) = repair::repair_run(&worker, &acting, progress, &repair).await {
            tracing::warn!(run_id = %id, error = %e, cause = ?e.cause, "a repair stopped");
        }
    });
    let done = tokio::time::timeout(PATIENCE, task).await.is_ok();
    answer(&db, &me, id, done).await
}

async fn sync(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (me, mut fields) = admin(&caller, &request, payload, Action::Update).await?;
    let incremental = match fields.text("mode")?.as_deref() {
        None | Some("incremental") => true,
        Some("full") => false,
        Some(_) => return Err(Error::invalid("mode", "must be incremental or full").into()),
    };
    fields.done()?;
    let acting = Acting::person(&me, caller.context());
    let progress = repair::sync_begin(&db, &acting, incremental).await?;
    let id = progress.id;
    let worker = db.get_ref().clone();
    let task = rt::spawn(async move {
        if let Err(e) = repair::sync_run(&worker, &acting, progress, incremental).await {
            tracing::warn!(run_id = %id, error = %e, cause = ?e.cause, "a synchronisation stopped");
        }
    });
    let done = tokio::time::timeout(PATIENCE, task).await.is_ok();
    answer(&db, &me, id, done).await
}

#[derive(Serialize)]
struct Runs {
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<Run>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    synchealths: Option<Vec<Run>>,
    total: i64,
    limit: i64,
    offset: i64,
}

/// `limit`, `offset` and `tenant_id`, and what else a list takes.
struct Paging {
    tenant: Option<TenantId>,
    limit: i64,
    offset: i64,
}

fn paging(request: &HttpRequest, mut other: impl FnMut(&str, &str) -> Result<bool, Error>) -> Result<Paging, Error> {
    let mut out = Paging { tenant: None, limit: query::DEFAULT_LIMIT, offset: 0 };
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => out.tenant = Some(TenantId::parse(&text)?),
            "limit" => out.limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => out.offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            _ if other(&name, &text)? => {}
            _ => return Err(Error::parameter(name, "is not a parameter of this list")),
        }
    }
    Ok(out)
}

fn one_of(name: &str, text: &str, allowed: &[&str]) -> Result<Option<String>, Error> {
    if allowed.contains(&text) {
        return Ok(Some(text.to_owned()));
    }
    Err(Error::parameter(name, format!("must be one of: {}", allowed.join(", "))))
}

fn run_filter(request: &HttpRequest, consistency: bool) -> Result<(Paging, RunFilter), Error> {
    let mut filter = RunFilter { consistency, ..RunFilter::default() };
    let paging = paging(request, |name, text| {
        match name {
            "sync_type" => {
                filter.sync_type = one_of(name, text, &["denormalization", "orphan_cleanup", "data_integrity"])?;
            }
            "status" => filter.status = one_of(name, text, &["running", "completed", "failed", "partial"])?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((paging, filter))
}

async fn listed(caller: &Caller, db: &Db, request: &HttpRequest, consistency: bool) -> Result<(Vec<Run>, Runs), Error> {
    let (Paging { tenant, limit, offset }, filter) = run_filter(request, consistency)?;
    let me = caller.in_tenant(tenant)?;
    me.require(CARE, Action::Read)?;
    let (rows, total) = run_list(db, &me, &filter, limit, offset).await?;
    Ok((rows, Runs { runs: None, synchealths: None, total, limit, offset }))
}

async fn runs(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (rows, list) = listed(&caller, &db, &request, true).await?;
    Ok(ok(Runs { runs: Some(rows), ..list }))
}

async fn sync_healths(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (rows, list) = listed(&caller, &db, &request, false).await?;
    Ok(ok(Runs { synchealths: Some(rows), ..list }))
}

async fn sync_health(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = reader(&caller, &request)?;
    Ok(ok(run_read(&db, &me, path_id(&request)?).await?))
}

async fn run(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let Paging { tenant, limit, offset } = paging(&request, |_, _| Ok(false))?;
    let me = caller.in_tenant(tenant)?;
    me.require(CARE, Action::Read)?;
    let run = run_read(&db, &me, id).await?;
    let (fixes, total) = fix_list(&db, &me, id, limit, offset).await?;
    Ok(ok(with(json!({ "fixes": fixes, "total": total, "limit": limit, "offset": offset }), &run)?))
}

async fn volume(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let mut exact = false;
    let Paging { tenant, .. } = paging(&request, |name, text| {
        if name != "count" {
            return Ok(false);
        }
        exact = one_of(name, text, &["exact", "capped"])?.as_deref() == Some("exact");
        Ok(true)
    })?;
    let me = caller.in_tenant(tenant)?;
    me.require(CARE, Action::Read)?;
    let tables = check_volume(&db, &me, caller.context(), exact).await?;
    let total: i64 = tables.iter().map(|t| t.rows).sum();
    Ok(ok(json!({ "tables": tables, "total": total, "exact": exact })))
}

async fn quality(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut entity, mut issue) = (None, None);
    let Paging { tenant, limit, .. } = paging(&request, |name, text| {
        match name {
            "entity" => entity = Some(definition(text).ok_or_else(|| Error::parameter("entity", "is no record type"))?),
            "issue" => issue = Some(text.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let me = caller.in_tenant(tenant)?;
    me.require("data_quality", Action::Read)?;
    match (entity, issue) {
        (None, Some(_)) => Err(Error::parameter("entity", "is required with issue").into()),
        (Some(def), Some(issue)) => {
            let records = data_quality_examples(&db, &me, def.name, &issue, limit).await?;
            Ok(ok(json!({ "entity": def.name, "issue": issue, "records": records, "limit": limit })))
        }
        (entity, None) => Ok(ok(json!({ "report": data_quality(&db, &me, entity).await? }))),
    }
}

/// The report under its older name; the body may name a tenant and nothing else.
async fn analyze(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require("data_quality", Action::Read)?;
    Fields(body.map).done()?;
    Ok(ok(json!({ "report": data_quality(&db, &me, None).await? })))
}
