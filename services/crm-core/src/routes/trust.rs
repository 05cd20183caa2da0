//! `GET /api/trust`: what keeps a tenant apart, and that it does so now.

use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_audit::trust::{chain_state, isolation};
use aisha_auth::Action;
use aisha_crm::care::archive::retention;
use aisha_db::Db;
use aisha_http::{ApiResult, Caller, ok, record::query};
use aisha_identity::sign_in_facts::sign_in_facts;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

/// Mounts the route.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/trust").route(web::get().to(trust)));
}

async fn trust(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("trust", Action::Read)?;
    let isolated = isolation(&db, &me, caller.context()).await?;
    let chain = chain_state(&db, &me, caller.context()).await?;
    let sign_in = sign_in_facts(&db, &me, caller.context()).await?;
    let kept = retention(&db, &me).await?;
    let verified = chain.verified.as_ref().map(aisha_db::Json::value);
    let unbroken = verified.as_ref().map(|v| v["problems"].as_object().is_some_and(serde_json::Map::is_empty));
    Ok(ok(json!({
        "tenant_id": me.tenant(),
        "checked_at": aisha_kernel::clock::now().format(&Rfc3339).ok(),
        "holds": isolated.holds() && unbroken != Some(false) && sign_in.passwords_in_another_form == 0
            && sign_in.unsealed_secrets == 0,
        "isolation": isolated,
        "audit_chain": { "intact": unbroken, "state": chain },
        "sign_in": sign_in,
        "retention": {
            "trash_days": 30, "events_days": 30, "idempotency_keys_hours": 24, "audit_log": "kept",
            "activity_retention_days": kept.activity_retention_days,
            "opportunity_retention_days": kept.opportunity_retention_days
        }
    })))
}
