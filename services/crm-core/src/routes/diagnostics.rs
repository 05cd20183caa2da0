//! `/api/diagnostics`: why somebody sees a record or not, and who sees a lead.

use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_auth::{Action, Principal};
use aisha_crm::care::{
    definition,
    diagnosis::{Question, Subject, access_diagnose, lead_fix_assignment, lead_visibility, user_counts},
};
use aisha_db::{Db, SystemReason, record::Record};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, path_id},
        idempotency::{Reply, once},
        query,
    },
};
use aisha_identity::standing::{Standing, Whom, standings};
use aisha_kernel::{Error, TenantId};
use serde_json::json;
use uuid::Uuid;

/// Users that a lead's visibility is worked out for.
const MOST_USERS: i64 = 1_000;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/diagnostics/access").route(web::get().to(access)))
        .service(web::resource("/api/diagnostics/users/{id}").route(web::get().to(user)))
        .service(web::resource("/api/diagnostics/leads/{id}/visibility").route(web::get().to(visibility)))
        .service(web::resource("/api/diagnostics/leads/{id}/fix-assignment").route(web::post().to(fix_assignment)));
}

async fn found(
    db: &Db,
    me: &Principal,
    caller: &Caller,
    whom: Option<&Whom>,
    limit: i64,
) -> Result<Vec<Standing>, Error> {
    let why = SystemReason {
        reason: "diagnostics",
        tenant: Some(me.tenant()),
        user: Some(me.user().0),
        role: Some(me.identity().role),
        request: caller.context().clone(),
    };
    db.system(&why, async |tx| standings(tx, me.tenant(), whom, limit).await).await
}

fn subject(standing: Standing) -> Subject {
    let Standing { identity, email, full_name, is_active, tenant_status, employee, custom_roles, .. } = standing;
    Subject { identity, email, full_name, is_active, tenant_status, employee, custom_roles }
}

/// The user that is meant: the caller unless another is named, which takes the right to read users. A superadmin other
/// than the caller is nobody of the tenant.
async fn person(db: &Db, me: &Principal, caller: &Caller, whom: Option<Whom>) -> Result<Standing, Error> {
    me.require("diagnostics", Action::Read)?;
    let myself = Whom::Id(me.user().0);
    let whom = whom.unwrap_or_else(|| myself.clone());
    let standing = found(db, me, caller, Some(&whom), 1).await?.pop();
    let standing = standing.filter(|s| s.identity.tenant_id.is_some() || s.identity.user_id == me.user());
    if standing.as_ref().is_none_or(|s| s.identity.user_id != me.user()) {
        me.require("users", Action::Read)?;
    }
    standing.ok_or_else(Error::not_found)
}

async fn access(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut whom, mut entity, mut id) = (None, None, None, None);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "user" => whom = Some(Whom::parse("user", &text)?),
            "entity" => {
                entity = Some(definition(&text).ok_or_else(|| Error::parameter("entity", "is no record type"))?);
            }
            "id" => id = Some(Uuid::parse_str(&text).map_err(|_| Error::parameter("id", "must be a UUID"))?),
            _ => return Err(Error::parameter(name, "is not a parameter of this request").into()),
        }
    }
    let question = match (entity, id) {
        (Some(def), Some(id)) => Some(Question { def, id }),
        (None, None) => None,
        (Some(_), None) => return Err(Error::parameter("id", "is required with entity").into()),
        (None, Some(_)) => return Err(Error::parameter("entity", "is required with id").into()),
    };
    let me = caller.in_tenant(tenant)?;
    let subject = match person(&db, &me, &caller, whom.clone()).await {
        Ok(standing) => subject(standing),
        // Whoever may ask about others learns that there is nobody, and no more.
        Err(e) if e.code.status() == 404 => {
            return Ok(ok(json!({
                "rules": [{ "rule": "user_exists", "passed": false, "detail": "There is no such user in this tenant." }],
                "verdict": { "can_read": false, "can_update": false, "can_delete": false },
                "suggestions": []
            })));
        }
        Err(e) => return Err(e.into()),
    };
    let whole = me.require("users", Action::Read).is_ok();
    Ok(ok(access_diagnose(&db, &me, caller.context(), &subject, question, whole).await?))
}

async fn user(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    let whom = Whom::parse("id", request.match_info().get("id").unwrap_or_default())?;
    let standing = person(&db, &me, &caller, Some(whom)).await.map_err(|e| {
        // Whom one may not ask about is not there.
        if e.code.status() == 403 { Error::not_found() } else { e }
    })?;
    let last_login_at = standing.last_login_at;
    let subject = subject(standing);
    let report = access_diagnose(&db, &me, caller.context(), &subject, None, true).await?;
    let records = user_counts(&db, &me, caller.context(), &subject).await?;
    let last = last_login_at.and_then(|t| t.format(&time::format_description::well_known::Rfc3339).ok());
    Ok(ok(json!({
        "user_id": report.user_id,
        "email": report.email,
        "full_name": subject.full_name,
        "role": subject.identity.role,
        "access_level": subject.identity.access,
        "scope": subject.identity.scope,
        "department": subject.identity.department,
        "is_active": subject.is_active,
        "employee_id": subject.identity.employee_id,
        "employee_name": subject.employee.as_ref().map(|(name, _)| name),
        "employee_status": subject.employee.as_ref().map(|(_, status)| status),
        "last_login_at": last,
        "rules": report.rules,
        "suggestions": report.suggestions,
        "records": records
    })))
}

async fn visibility(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("lead_diagnostics", Action::Read)?;
    let id = path_id(&request)?;
    let subjects: Vec<Subject> = found(&db, &me, &caller, None, MOST_USERS).await?.into_iter().map(subject).collect();
    Ok(ok(lead_visibility(&db, &me, caller.context(), id, &subjects).await?))
}

async fn fix_assignment(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let id = path_id(&request)?;
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require("lead_diagnostics", Action::Create)?;
    me.require(aisha_crm::Lead::DEF.plural, Action::Update)?;
    if let Some(other) = body.map.keys().find(|k| *k != "assigned_to") {
        return Err(Error::invalid(other, "is not a field of this request").into());
    }
    let assigned_to =
        body.map.get("assigned_to").cloned().ok_or_else(|| Error::invalid("assigned_to", "is required"))?;
    let reply = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        let lead = lead_fix_assignment(tx, id, &assigned_to).await?;
        Ok(Reply::new(actix_web::http::StatusCode::OK, &lead)?.version(lead.version))
    })
    .await?;
    Ok(reply.into_response())
}
