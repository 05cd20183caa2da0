//! `/api/system`: whether all is well, and what the platform uses. For superadmins; about no tenant.

use super::system_logs::on_behalf;
use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_bus::Bus;
use aisha_db::Db;
use aisha_http::{ApiResult, Caller, ok, record::query};
use aisha_kernel::{Error, clock};
use aisha_operations::{
    database::database_at_work,
    diagnosis::{Finding, Status, diagnose, worst},
    instance::instance_list,
    performance::{Performance, PerformanceQuery, SORTS, SlowLimits, performance_list},
};
use serde_json::{Value, json};
use time::{Duration, format_description::well_known::Rfc3339};

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/system/diagnostics").route(web::post().to(diagnostics)))
        .service(web::resource("/api/system/metrics").route(web::get().to(metrics)));
}

fn allowed(caller: &Caller, request: &HttpRequest) -> Result<(), Error> {
    caller.identity().require("system", Action::Read)?;
    match query::pairs(request.query_string())?.into_iter().next() {
        Some((name, _)) => Err(Error::parameter(name, "is not a parameter of this request")),
        None => Ok(()),
    }
}

fn now() -> String {
    clock::now().format(&Rfc3339).unwrap_or_default()
}

/// The routes of the last hour that were slowest, and all of them together.
async fn last_hour(
    caller: &Caller,
    db: &Db,
    slow: SlowLimits,
    reason: &'static str,
) -> Result<(Vec<Performance>, Performance), Error> {
    let to = clock::now();
    let window = PerformanceQuery {
        from: to - Duration::hours(1),
        to,
        service: Some(crate::NAME.to_owned()),
        method: None,
        sort: SORTS[0].1,
        limit: 5,
        offset: 0,
        slow,
    };
    let (slowest, _, all) = performance_list(db, &on_behalf(caller, reason, None), &window).await?;
    Ok((slowest, all))
}

/// Connections, and how queries fare.
async fn at_work(caller: &Caller, db: &Db, slow: SlowLimits) -> Result<(Value, Value), Error> {
    let (connections, queries) = database_at_work(db).await?;
    let (slowest, all) = last_hour(caller, db, slow, "diagnostics").await?;
    let mut queries = queries.value();
    if let Some(map) = queries.as_object_mut() {
        map.insert("last_hour".into(), json!(all));
        map.insert("slowest_routes".into(), json!(slowest));
        map.insert("performance_logging".into(), aisha_telemetry::performance::kept().into());
    }
    Ok((connections.value(), queries))
}

async fn diagnostics(
    caller: Caller,
    db: web::Data<Db>,
    bus: web::Data<Bus>,
    slow: web::Data<SlowLimits>,
    request: HttpRequest,
) -> ApiResult {
    allowed(&caller, &request)?;
    let mut checks = diagnose(&db).await;
    let rabbitmq = async {
        Ok(if bus.is_connected() {
            (Status::Ok, "crm-core is connected.".to_owned())
        } else {
            (Status::Fail, "crm-core is not connected: events wait in event_outbox.".to_owned())
        })
    };
    checks.push(Finding::of("rabbitmq", rabbitmq).await);
    // Without a database the checks say so.
    let (connections, queries) = at_work(&caller, &db, **slow).await.unwrap_or_default();
    Ok(ok(json!({
        "status": worst(&checks),
        "checks": checks,
        "connections": connections,
        "query_performance": queries,
        "timestamp": now()
    })))
}

async fn metrics(caller: Caller, db: web::Data<Db>, slow: web::Data<SlowLimits>, request: HttpRequest) -> ApiResult {
    allowed(&caller, &request)?;
    let why = on_behalf(&caller, "system_metrics", None);
    let services = db.system(&why, async |tx| instance_list(tx).await).await?;
    let (slowest, last_hour) = last_hour(&caller, &db, **slow, "system_metrics").await?;
    let database = db.server_statistics().await?;
    Ok(ok(json!({
        "timestamp": now(),
        "services": services,
        "last_hour": last_hour,
        "slowest_routes": slowest,
        "database": database
    })))
}
