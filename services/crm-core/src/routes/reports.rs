//! `/api/reports/…`, `/api/cashflow/summary`, the calendar, and taking their numbers out as CSV.

use actix_web::{HttpRequest, HttpResponse, http::header, web, web::ServiceConfig};
use aisha_auth::{Action, Principal};
use aisha_crm::report::{
    Ask, CASH_FLOW, Group, REPORTS, Report, STATS, Span,
    calendar::{self, Wanted, calendar_feed, calendar_list},
    dashboard_bundle, dashboard_stats,
    period::{Period, day},
    report_run,
    table::report_csv,
};
use aisha_db::Db;
use aisha_http::{ApiResult, Caller, ok, record::query};
use aisha_kernel::{Error, TenantId};
use serde::Serialize;

/// Mounts the routes; before those of the records, whose `/{id}` would take `summary` and `calendar`.
pub fn routes(cfg: &mut ServiceConfig) {
    for report in REPORTS {
        for name in report.names {
            let get = web::get().to(move |caller, db, request| run(report, caller, db, request));
            cfg.service(web::resource(format!("/api/reports/{name}")).route(get));
        }
    }
    cfg.service(web::resource("/api/reports/dashboard-stats").route(web::get().to(stats)))
        .service(web::resource("/api/reports/dashboard-bundle").route(web::get().to(bundle)))
        .service(web::resource("/api/reports/calendar").route(web::get().to(calendar)))
        .service(web::resource("/api/activities/calendar").route(web::get().to(calendar)))
        .service(web::resource("/api/calendar.ics").route(web::get().to(feed)))
        .service(
            web::resource("/api/cashflow/summary")
                .route(web::get().to(|caller, db, request| run(CASH_FLOW, caller, db, request))),
        );
}

/// What a request asks for.
struct Asked {
    tenant_id: Option<TenantId>,
    ask: Ask,
    csv: bool,
}

fn flag(name: &str, text: &str) -> Result<bool, Error> {
    text.parse().map_err(|_| Error::parameter(name, "must be true or false"))
}

/// The names of first and last day, older ones included.
fn boundary(period: &mut Period, named: &mut [String; 2], name: &str, text: &str) -> Result<bool, Error> {
    let (end, at) = match name {
        "from" | "from_date" => (&mut period.from, 0),
        "to" | "to_date" => (&mut period.to, 1),
        _ => return Ok(false),
    };
    if end.is_some() {
        return Err(Error::parameter(name, "is given twice"));
    }
    *end = Some(day(name, text)?);
    if let Some(known) = named.get_mut(at) {
        name.clone_into(known);
    }
    Ok(true)
}

fn read(report: &Report, query: &str) -> Result<Asked, Error> {
    let mut out = Asked { tenant_id: None, ask: Ask::default(), csv: false };
    let mut named = ["from".to_owned(), "to".to_owned()];
    for (name, text) in query::pairs(query)? {
        match name.as_str() {
            "tenant_id" => out.tenant_id = Some(TenantId::parse(&text)?),
            "include_test_data" => out.ask.include_test_data = flag(&name, &text)?,
            "format" => {
                out.csv = match text.as_str() {
                    "csv" => true,
                    "json" => false,
                    _ => return Err(Error::parameter(name, "must be json or csv")),
                };
            }
            "group" if report.grouped => {
                out.ask.group = Group::ALL
                    .into_iter()
                    .find(|g| g.as_str() == text)
                    .ok_or_else(|| Error::parameter(name, "must be day, week or month"))?;
            }
            _ if report.span != Span::Whole && boundary(&mut out.ask.period, &mut named, &name, &text)? => {}
            _ => return Err(Error::parameter(name, "is not a parameter of this report")),
        }
    }
    let [from, to] = &named;
    out.ask.period = out.ask.period.checked(report.span, from, to)?;
    Ok(out)
}

/// Taking numbers out takes more than seeing them.
fn may(me: &Principal, asked: &Asked) -> Result<(), Error> {
    if asked.csv { me.require("reports", Action::Export) } else { Ok(()) }
}

/// Answers in the form that was asked for.
fn answer(report: &Report, asked: &Asked, data: impl Serialize) -> ApiResult {
    if !asked.csv {
        return Ok(ok(data));
    }
    let json = serde_json::to_string(&data).map_err(Error::internal)?;
    let name = report.names.first().copied().unwrap_or_default();
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")))
        .body(report_csv(report, &json)?))
}

async fn run(report: &'static Report, caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let asked = read(report, request.query_string())?;
    let me = caller.in_tenant(asked.tenant_id)?;
    may(&me, &asked)?;
    answer(report, &asked, report_run(&db, &me, report, &asked.ask).await?)
}

async fn stats(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let asked = read(STATS, request.query_string())?;
    let me = caller.in_tenant(asked.tenant_id)?;
    may(&me, &asked)?;
    answer(STATS, &asked, dashboard_stats(&db, &me, &asked.ask).await?)
}

async fn bundle(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let asked = read(STATS, request.query_string())?;
    if asked.csv {
        return Err(Error::parameter("format", "must be json: a dashboard is more than one table").into());
    }
    let me = caller.in_tenant(asked.tenant_id)?;
    Ok(ok(dashboard_bundle(&db, &me, &asked.ask).await?))
}

async fn calendar(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let mut tenant = None;
    let mut named = ["from_date".to_owned(), "to_date".to_owned()];
    let mut wanted = Wanted {
        period: Period::default(),
        assigned_to: None,
        include_test_data: false,
        limit: calendar::DEFAULT_LIMIT,
    };
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "include_test_data" => wanted.include_test_data = flag(&name, &text)?,
            "assigned_to" => {
                let id = text.parse().map_err(|_| Error::parameter(name, "must be the id of an employee"))?;
                wanted.assigned_to = Some(id);
            }
            "limit" => wanted.limit = query::number("limit", &text, 1, calendar::MAX_LIMIT)?,
            _ if boundary(&mut wanted.period, &mut named, &name, &text)? => {}
            _ => return Err(Error::parameter(name, "is not a parameter of the calendar").into()),
        }
    }
    let [from, to] = &named;
    wanted.period = wanted.period.checked(calendar::SPAN, from, to)?;
    let me = caller.in_tenant(tenant)?;
    Ok(ok(calendar_list(&db, &me, &wanted).await?))
}

async fn feed(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    Ok(HttpResponse::Ok()
        .content_type("text/calendar; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"aisha.ics\""))
        .body(calendar_feed(&db, &me).await?))
}
