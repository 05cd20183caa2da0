//! `/api/webhooks/{id}/replay` and `…/replays`: a time window once more.

use super::{Enabled, RESOURCE, log::second_id, reader};
use crate::{relay, routes::ENTITIES};
use actix_web::{HttpRequest, http::StatusCode, rt, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_db::{Db, outbox::OutboxRow};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, path_id},
        idempotency::{Reply, once},
        query,
    },
};
use aisha_kernel::{Error, TenantId};
use aisha_webhooks::{
    replay::{Replay, ReplayInput, acting, replay_begin, replay_count, replay_list, replay_read},
    replay_run::{ALIVE_EVERY, replay_alive, replay_run},
};
use serde::Serialize;
use std::{cell::RefCell, time::Duration};

/// How long a request waits for its work: most is done by then, and the answer is the result.
const PATIENCE: Duration = Duration::from_secs(5);

/// Mounts the routes.
pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/webhooks/{id}/replay").route(web::post().to(replay)))
        .service(web::resource("/api/webhooks/{id}/replays").route(web::get().to(list)))
        .service(web::resource("/api/webhooks/{id}/replays/{replay_id}").route(web::get().to(read)));
}

async fn replay(
    caller: Caller,
    db: web::Data<Db>,
    enabled: web::Data<Enabled>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let webhook = path_id(&request)?;
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require(RESOURCE, Action::Update)?;
    let input = ReplayInput::read(body.map, ENTITIES)?;
    let why = acting(&me, caller.context());
    if input.dry_run {
        return Ok(ok(db.system(&why, async |tx| replay_count(tx, webhook, &input).await).await?));
    }
    let fresh = RefCell::new(None);
    let stored = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        let begun = replay_begin(tx, webhook, &input).await?;
        enabled.require()?;
        let reply = Reply::new(StatusCode::ACCEPTED, &begun)?.at(at(&begun));
        fresh.replace(Some(begun));
        Ok(reply)
    })
    .await?;
    let Some(begun) = fresh.into_inner() else { return Ok(stored.into_response()) };
    let (id, tenant, worker) = (begun.id, me.tenant().0, db.get_ref().clone());
    let task = rt::spawn(async move {
        let alive = async {
            loop {
                tokio::time::sleep(ALIVE_EVERY).await;
                replay_alive(&worker, &why, id).await;
            }
        };
        let done = tokio::select! {
            done = replay_run(&worker, &why, &begun, async |events| bodies(&worker, events).await) => done,
            () = alive => Ok(()),
        };
        if let Err(e) = done {
            tracing::warn!(tenant_id = %tenant, replay_id = %begun.id, error = %e, cause = ?e.cause, "a replay stopped");
        }
    });
    let done = tokio::time::timeout(PATIENCE, task).await.is_ok();
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    let now = replay_read(&db, &me, webhook, id).await?;
    Ok(Reply::new(status, &now)?.at(at(&now)).into_response())
}

fn at(replay: &Replay) -> String {
    format!("/api/webhooks/{}/replays/{}", replay.webhook_id, replay.id)
}

/// The bodies of events, as the relay makes them for live deliveries.
async fn bodies(db: &Db, events: &[OutboxRow]) -> Result<Vec<String>, Error> {
    let rendered = relay::render(db, events).await?;
    let each = events
        .iter()
        .zip(rendered)
        .map(|(event, rendered)| serde_json::to_string(&relay::envelope(event, rendered)?).map_err(Error::internal));
    each.collect()
}

#[derive(Serialize)]
struct Listed {
    replays: Vec<Replay>,
    total: i64,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let webhook = path_id(&request)?;
    let (mut tenant, mut limit, mut offset) = (None, query::DEFAULT_LIMIT, 0);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let me = caller.in_tenant(tenant)?;
    me.require(RESOURCE, Action::Read)?;
    let (replays, total) = replay_list(&db, &me, webhook, limit, offset).await?;
    Ok(ok(Listed { replays, total, limit, offset }))
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (webhook, id) = (path_id(&request)?, second_id(&request, "replay_id")?);
    let me = reader(&caller, &request)?;
    Ok(ok(replay_read(&db, &me, webhook, id).await?))
}
