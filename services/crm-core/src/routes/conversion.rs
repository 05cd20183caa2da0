//! Converting leads, promoting sources, taking both back, and the history of it; archiving sources.

use actix_web::{HttpRequest, Scope, http::StatusCode, web};
use aisha_auth::Action;
use aisha_crm::{
    BizdevSource, Lead,
    ops::{
        bizdev_promote::{PromoteInput, bizdev_archive, bizdev_promote},
        bizdev_rollback::bizdev_rollback,
        lead_convert::{ConvertInput, lead_convert},
        lead_rollback::lead_rollback,
        transition::{Transition, transition_list},
    },
};
use aisha_db::{Db, record::Record};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, expected, path_id},
        idempotency::{Reply, claim, once},
        query,
    },
};
use serde::Serialize;

/// Routes in the scope of leads.
pub fn leads(scope: Scope) -> Scope {
    scope
        .service(web::resource("/{id}/convert").route(web::post().to(convert)))
        .service(web::resource("/{id}/convert/rollback").route(web::post().to(convert_rollback)))
        .service(web::resource("/{id}/transitions").route(web::get().to(transitions::<Lead>)))
}

/// Routes in the scope of business development sources.
pub fn bizdev_sources(scope: Scope) -> Scope {
    scope
        .service(web::resource("/{id}/promote").route(web::post().to(promote)))
        .service(web::resource("/{id}/promote/rollback").route(web::post().to(promote_rollback)))
        .service(web::resource("/{id}/archive").route(web::post().to(archive)))
        .service(web::resource("/{id}/transitions").route(web::get().to(transitions::<BizdevSource>)))
}

async fn convert(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require("leads", Action::Update)?;
    let input = ConvertInput::read(&body.map)?;
    let reply = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        let done = lead_convert(tx, id, &input, expected).await?;
        Ok(Reply::new(StatusCode::OK, &done)?.version(done.lead.version))
    })
    .await?;
    Ok(reply.into_response())
}

async fn convert_rollback(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("leads", Action::Update)?;
    let reply = once(&db, &me, caller.context(), claim(&request, &[])?.as_ref(), async |tx| {
        let done = lead_rollback(tx, id, expected).await?;
        Ok(Reply::new(StatusCode::OK, &done)?.version(done.lead.version))
    })
    .await?;
    Ok(reply.into_response())
}

async fn promote(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require("bizdevsources", Action::Update)?;
    let input = PromoteInput::read(&body.map)?;
    let reply = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        let done = bizdev_promote(tx, id, &input, expected).await?;
        Ok(Reply::new(StatusCode::OK, &done)?.version(done.bizdev_source.version))
    })
    .await?;
    Ok(reply.into_response())
}

async fn promote_rollback(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("bizdevsources", Action::Update)?;
    let reply = once(&db, &me, caller.context(), claim(&request, &[])?.as_ref(), async |tx| {
        let done = bizdev_rollback(tx, id, expected).await?;
        Ok(Reply::new(StatusCode::OK, &done)?.version(done.bizdev_source.version))
    })
    .await?;
    Ok(reply.into_response())
}

async fn archive(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("bizdevsources", Action::Update)?;
    let reply = once(&db, &me, caller.context(), claim(&request, &[])?.as_ref(), async |tx| {
        let source = bizdev_archive(tx, id, expected).await?;
        Ok(Reply::new(StatusCode::OK, &source)?.version(source.version))
    })
    .await?;
    Ok(reply.into_response())
}

#[derive(Serialize)]
struct Listed {
    transitions: Vec<Transition>,
    total: usize,
}

async fn transitions<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require(R::DEF.plural, Action::Read)?;
    let transitions = transition_list::<R>(&db, &me, path_id(&request)?).await?;
    Ok(ok(Listed { total: transitions.len(), transitions }))
}
