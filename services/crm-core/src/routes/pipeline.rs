//! What the record types of the pipeline have beside the generic routes: stages, winning and losing a deal, completing and
//! putting off an activity, the people of an account.

use actix_web::{HttpRequest, Scope, http::StatusCode, web};
use aisha_auth::Action;
use aisha_crm::ops::{
    activity_plan::{activity_complete, activity_reschedule},
    pipeline::{Stage, StageChange, opportunity_close, stage_history, stage_list},
    related_people::{RelatedPerson, related_people},
};
use aisha_db::{Db, TenantTx, record::Record, record::write::Expected};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, expected, path_id},
        idempotency::{Reply, once},
        query::{self, DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET},
    },
};
use aisha_kernel::{Error, FieldError, TenantId};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Routes in the scope of opportunities.
pub fn opportunities(scope: Scope) -> Scope {
    scope
        .service(web::resource("/stages").route(web::get().to(stages)))
        .service(web::resource("/{id}/history").route(web::get().to(history)))
        .service(web::resource("/{id}/win").route(web::post().to(win)))
        .service(web::resource("/{id}/lose").route(web::post().to(lose)))
}

/// Routes in the scope of activities.
pub fn activities(scope: Scope) -> Scope {
    scope
        .service(web::resource("/{id}/complete").route(web::post().to(complete)))
        .service(web::resource("/{id}/reschedule").route(web::post().to(reschedule)))
}

/// Routes in the scope of accounts.
pub fn accounts(scope: Scope) -> Scope {
    scope.service(web::resource("/{id}/related-people").route(web::get().to(people)))
}

#[derive(Serialize)]
struct Stages {
    stages: Vec<Stage>,
}

async fn stages(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("opportunities", Action::Read)?;
    Ok(ok(Stages { stages: stage_list(&db, &me).await? }))
}

#[derive(Serialize)]
struct History {
    history: Vec<StageChange>,
}

async fn history(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("opportunities", Action::Read)?;
    Ok(ok(History { history: stage_history(&db, &me, path_id(&request)?).await? }))
}

/// A named change of one record: reads the body, of which only `allowed` fields are taken, and runs `f` once.
async fn change<R: Record>(
    caller: &Caller,
    db: &Db,
    request: &HttpRequest,
    payload: web::Payload,
    allowed: &[&str],
    f: impl AsyncFn(&mut TenantTx, Uuid, Map<String, Value>, Expected) -> Result<R, Error>,
) -> ApiResult {
    let (id, expected) = (path_id(request)?, expected(request)?);
    let input = ObjectBody::read(request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(input.tenant_id)?;
    me.require(R::DEF.plural, Action::Update)?;
    let odd = input.map.keys().filter(|k| !allowed.contains(&k.as_str()));
    let odd: Vec<FieldError> =
        odd.map(|k| FieldError::new(k, format!("is not taken here, only {}", allowed.join(", ")))).collect();
    if !odd.is_empty() {
        return Err(Error::validation(odd).into());
    }
    let reply = once(db, &me, caller.context(), input.claim.as_ref(), async |tx| {
        let row = f(tx, id, input.map.clone(), expected).await?;
        Ok(Reply::new(StatusCode::OK, &row)?.version(row.version()))
    })
    .await?;
    Ok(reply.into_response())
}

/// What may be said on winning or losing a deal.
pub const CLOSING: [&str; 4] = ["amount", "close_date", "lost_reason", "description"];
/// What may be said on completing an activity.
pub const COMPLETING: [&str; 3] = ["outcome", "duration", "description"];
/// What may be said on putting an activity off.
pub const RESCHEDULING: [&str; 4] = ["due_date", "due_time", "timezone", "assigned_to"];

async fn win(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let f = async |tx: &mut TenantTx, id, fields, expected| opportunity_close(tx, id, "won", fields, expected).await;
    change(&caller, &db, &request, payload, &CLOSING, f).await
}

async fn lose(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let f = async |tx: &mut TenantTx, id, fields, expected| opportunity_close(tx, id, "lost", fields, expected).await;
    change(&caller, &db, &request, payload, &CLOSING, f).await
}

async fn complete(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    change(&caller, &db, &request, payload, &COMPLETING, activity_complete).await
}

async fn reschedule(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    change(&caller, &db, &request, payload, &RESCHEDULING, activity_reschedule).await
}

#[derive(Serialize)]
struct People {
    people: Vec<RelatedPerson>,
    total: i64,
    limit: i64,
    offset: i64,
}

async fn people(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut limit, mut offset) = (None, DEFAULT_LIMIT, 0);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => limit = query::number("limit", &text, 1, MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, MAX_OFFSET)?,
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let me = caller.in_tenant(tenant)?;
    // It shows both.
    for resource in ["accounts", "contacts", "leads"] {
        me.require(resource, Action::Read)?;
    }
    let (people, total) = related_people(&db, &me, path_id(&request)?, limit, offset).await?;
    Ok(ok(People { people, total, limit, offset }))
}
