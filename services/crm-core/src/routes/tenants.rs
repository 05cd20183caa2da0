//! `/api/tenants`: not tenant-scoped; a superadmin sees all, everybody else its own.

use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_auth::sealing::Sealer;
use aisha_db::{Db, record::changes::Mode};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{expected, path_id},
        idempotency::Reply,
        query::{self, MAX_LIMIT},
    },
};
use aisha_http::{
    body,
    body::{Json, Object},
};
use aisha_kernel::{Error, TenantId};
use aisha_tenancy::tenant::{Tenant, TenantInput, tenant_create, tenant_list, tenant_read, tenant_update};
use serde::Serialize;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/tenants").route(web::get().to(list)).route(web::post().to(create))).service(
        web::resource("/api/tenants/{id}")
            .route(web::get().to(read))
            .route(web::put().to(update))
            .route(web::patch().to(update)),
    );
}

#[derive(Serialize)]
struct Listed {
    tenants: Vec<Tenant>,
    total: i64,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut limit, mut offset, mut status) = (query::DEFAULT_LIMIT, 0, None);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "limit" => limit = query::number("limit", &text, 1, MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            "status" if ["active", "inactive", "suspended"].contains(&text.as_str()) => status = Some(text),
            "status" => return Err(Error::parameter(name, "must be active, inactive or suspended").into()),
            "tenant_id" => {
                caller.in_tenant(Some(TenantId::parse(&text)?))?;
            }
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let (tenants, total) =
        tenant_list(&db, caller.identity(), caller.context(), status.as_deref(), limit, offset).await?;
    Ok(ok(Listed { tenants, total, limit, offset }))
}

async fn create(caller: Caller, db: web::Data<Db>, sealer: web::Data<Sealer>, body: Json<Object>) -> ApiResult {
    let input = TenantInput::read(body.0.0, Mode::Create)?;
    let tenant = tenant_create(&db, caller.identity(), caller.context(), &sealer, &input).await?;
    let at = format!("/api/tenants/{}", tenant.id);
    Ok(Reply::new(StatusCode::CREATED, &tenant)?.at(at).version(tenant.version).into_response())
}

/// The tenant in the path. Another one is not "forbidden" but not there: nobody learns which tenants exist.
fn in_path(caller: &Caller, request: &HttpRequest) -> Result<aisha_auth::Principal, Error> {
    caller.in_tenant(Some(TenantId(path_id(request)?))).map_err(|_| Error::not_found())
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let tenant = tenant_read(&db, &in_path(&caller, &request)?).await?;
    Ok(Reply::new(StatusCode::OK, &tenant)?.version(tenant.version).into_response())
}

async fn update(
    caller: Caller,
    db: web::Data<Db>,
    sealer: web::Data<Sealer>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let me = in_path(&caller, &request)?;
    let version = match expected(&request)? {
        aisha_db::record::write::Expected::Any => None,
        aisha_db::record::write::Expected::Version(v) => Some(v),
    };
    body::require_json(request.headers())?;
    let bytes = body::read(request.headers(), &mut payload.into_inner(), body::MAX_BODY).await?;
    let Object(mut map) = body::parse(&bytes)?;
    map.remove("tenant_id");
    let input = TenantInput::read(map, Mode::Update)?;
    let tenant = tenant_update(&db, &me, caller.context(), &sealer, &input, version).await?;
    Ok(Reply::new(StatusCode::OK, &tenant)?.version(tenant.version).into_response())
}
