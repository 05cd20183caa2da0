//! `/api/system-logs`: what services and the web application report.

use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_audit::export::export_audited;
use aisha_auth::{Action, Role};
use aisha_db::{Db, SystemReason, acting, record::value};
use aisha_http::{
    ApiResult, Caller, csv_download, ok,
    record::{
        handlers::{ObjectBody, path_id},
        idempotency::Reply,
        query,
    },
};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use aisha_operations::system_log::{
    ClientReport, LEVELS, LogExport, LogFilter, LogPage, Reader, level, system_log_create, system_log_list,
    system_log_read,
};
use serde::Serialize;
use time::OffsetDateTime;

const RESOURCE: &str = "system_logs";

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/system-logs").route(web::get().to(list)).route(web::post().to(create)))
        .service(web::resource("/api/system-logs/export").route(web::get().to(export)))
        .service(web::resource("/api/system-logs/{id}").route(web::get().to(read)));
}

/// The platform acting for the caller.
pub(super) fn on_behalf(caller: &Caller, reason: &'static str, tenant: Option<TenantId>) -> SystemReason {
    acting(caller.identity(), reason, tenant, caller.context())
}

/// An instant of a parameter: RFC 3339, or a day, which begins at midnight UTC.
pub(super) fn instant(name: &str, text: &str) -> Result<OffsetDateTime, Error> {
    let wrong = |_| Error::parameter(name, "must be a time such as 2026-11-28T09:30:00Z, or a day such as 2026-11-28");
    value::timestamp(text).map_err(wrong)
}

/// What the caller may read: a superadmin everything, or the tenant it names; an admin its tenant.
fn reader(caller: &Caller, tenant: Option<TenantId>, action: Action) -> Result<Reader, Error> {
    let me = caller.identity();
    if me.role == Role::Superadmin {
        me.require(RESOURCE, action)?;
        return Ok(Reader::Platform(on_behalf(caller, "system_log_read", tenant), tenant));
    }
    let me = caller.in_tenant(tenant)?;
    me.require(RESOURCE, action)?;
    Ok(Reader::Tenant(me))
}

struct Wanted {
    tenant: Option<TenantId>,
    filter: LogFilter,
    cursor: Option<Cursor>,
    limit: i64,
    offset: i64,
}

fn text(name: &str, text: &str, most: usize) -> Result<Option<String>, Error> {
    let text = text.trim();
    if text.chars().count() > most || text.contains('\0') {
        return Err(Error::parameter(name, format!("must have at most {most} characters")));
    }
    Ok(Some(text.to_owned()).filter(|t| !t.is_empty()))
}

fn levels(given: &str) -> Result<Vec<String>, Error> {
    let wrong = || Error::parameter("level", format!("must be some of: {}", LEVELS.join(", ")));
    given.split(',').map(|name| level(name).map(str::to_owned).ok_or_else(wrong)).collect()
}

fn wanted(request: &HttpRequest, paged: bool) -> Result<Wanted, Error> {
    let mut out =
        Wanted { tenant: None, filter: LogFilter::default(), cursor: None, limit: query::DEFAULT_LIMIT, offset: 0 };
    let filter = &mut out.filter;
    for (name, given) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => out.tenant = Some(TenantId::parse(&given)?),
            "level" => filter.levels = levels(&given)?,
            "source" => filter.source = text(&name, &given, 200)?,
            "service" => filter.service = text(&name, &given, 63)?,
            "q" => filter.q = text(&name, &given, 200)?,
            "user_email" => filter.user_email = text(&name, &given, 320)?,
            "request_id" => filter.request_id = text(&name, &given, 64)?,
            "from" => filter.from = Some(instant(&name, &given)?),
            "to" => filter.to = Some(instant(&name, &given)?),
            "platform" => {
                filter.platform = given.parse().map_err(|_| Error::parameter("platform", "must be true or false"))?;
            }
            "limit" if paged => out.limit = query::number("limit", &given, 1, query::MAX_LIMIT)?,
            "offset" if paged => out.offset = query::number("offset", &given, 0, query::MAX_OFFSET)?,
            "cursor" if paged => out.cursor = Some(Cursor::decode(&given)?),
            _ => return Err(Error::parameter(name, "is not a parameter of this list")),
        }
    }
    if out.cursor.is_some() && out.offset > 0 {
        return Err(Error::parameter("offset", "cannot be combined with cursor"));
    }
    if let (Some(from), Some(to)) = (out.filter.from, out.filter.to)
        && from >= to
    {
        return Err(Error::parameter("to", "must be after from"));
    }
    Ok(out)
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    page: LogPage,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let Wanted { tenant, filter, cursor, limit, offset } = wanted(&request, true)?;
    let reader = reader(&caller, tenant, Action::Read)?;
    let page = system_log_list(&db, &reader, &filter, cursor.as_ref(), (limit, offset)).await?;
    Ok(ok(Listed { page, limit, offset }))
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let reader = reader(&caller, query::tenant_only(request.query_string())?, Action::Read)?;
    Ok(ok(system_log_read(&db, &reader, path_id(&request)?).await?))
}

async fn create(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.identity();
    // A superadmin's application reports too, in no tenant.
    let tenant = match body.tenant_id {
        None if me.role == Role::Superadmin => None,
        tenant => Some(caller.in_tenant(tenant)?.tenant()),
    };
    me.require(RESOURCE, Action::Create)?;
    let report = ClientReport::read(body.map)?;
    let entry = system_log_create(&db, me, tenant, caller.context(), &report).await?;
    let at = format!("/api/system-logs/{}", entry.id);
    Ok(Reply::new(StatusCode::CREATED, &entry)?.at(at).into_response())
}

async fn export(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let Wanted { tenant, filter, .. } = wanted(&request, false)?;
    let reader = reader(&caller, tenant, Action::Export)?;
    let me = caller.identity();
    let of = tenant.or(me.tenant_id);
    export_audited(&db, me, of, caller.context(), "system_logs", request.query_string()).await?;
    let export = LogExport::new(db.get_ref().clone(), reader, filter);
    Ok(csv_download("system-logs", export, LogExport::next_page).await?)
}
