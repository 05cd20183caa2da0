//! `POST /api/{contacts|accounts|leads}/{id}/merge`, `GET /api/merges`, `GET /api/merges/{id}`,
//! `POST /api/merges/{id}/undo`.

use super::duplicates::MERGEABLE;
use actix_web::{HttpRequest, Scope, http::StatusCode, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_crm::{
    Account, Contact, Lead,
    ops::{
        merge::{
            Merge,
            log::{MergeLog, MovedRecord, merge_find, merge_list, merge_moved},
            record_merge,
        },
        merge_undo::merge_undo,
    },
};
use aisha_db::{Db, record::Record};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, expected, path_id, require_delete},
        idempotency::{Reply, claim, once},
        query,
    },
};
use aisha_kernel::{Error, TenantId};
use serde::Serialize;

/// Adds merging to the scope of a record type that has duplicates.
pub fn beside<R: Record>(scope: Scope) -> Scope {
    if MERGEABLE.contains(&R::DEF.name) {
        scope.service(web::resource("/{id}/merge").route(web::post().to(merge::<R>)))
    } else {
        scope
    }
}

/// Mounts the log of merges.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/merges").route(web::get().to(list)))
        .service(web::resource("/api/merges/{id}").route(web::get().to(read)))
        .service(web::resource("/api/merges/{id}/undo").route(web::post().to(undo)));
}

async fn merge<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let id = path_id(&request)?;
    let expected = expected(&request)?;
    let mut dry_run = false;
    let body = ObjectBody::read_with(&request, &mut payload.into_inner(), |text| {
        let mut tenant = None;
        for (name, text) in query::pairs(text)? {
            match (name.as_str(), text.as_str()) {
                ("tenant_id", _) => tenant = Some(TenantId::parse(&text)?),
                ("dry_run", "true") => dry_run = true,
                ("dry_run", "false") => {}
                ("dry_run", _) => return Err(Error::parameter(name, "must be true or false")),
                _ => return Err(Error::parameter(name, "is not a parameter of this request")),
            }
        }
        Ok(tenant)
    })
    .await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require(R::DEF.plural, Action::Update)?;
    // What is merged vanishes from the lists: that takes the right to delete.
    require_delete::<R>(&db, &me, id).await?;
    let mut merge = Merge::read(R::DEF, id, body.map)?;
    merge.dry_run |= dry_run;
    let reply = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        let merged = record_merge::<R>(tx, id, &merge, expected).await?;
        let version = merged.record.version();
        let reply = Reply::new(StatusCode::OK, &merged)?;
        Ok(match merged.merge_id {
            Some(merge) => reply.version(version).at(format!("/api/merges/{merge}")),
            None => reply,
        })
    })
    .await?;
    Ok(reply.into_response())
}

#[derive(Serialize)]
struct Listed {
    merges: Vec<MergeLog>,
    total: i64,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut entity, mut limit, mut offset) = (None, None, query::DEFAULT_LIMIT, 0);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            "entity_type" => {
                let known = MERGEABLE.into_iter().find(|known| *known == text);
                let wrong = || Error::parameter(name, format!("must be one of: {}", MERGEABLE.join(", ")));
                entity = Some(known.ok_or_else(wrong)?);
            }
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let me = caller.in_tenant(tenant)?;
    me.require("merges", Action::Read)?;
    let (merges, total) = merge_list(&db, &me, entity, limit, offset).await?;
    Ok(ok(Listed { merges, total, limit, offset }))
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    merge: MergeLog,
    moved: Vec<MovedRecord>,
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require("merges", Action::Read)?;
    let merge = merge_find(&db, &me, id).await?;
    let moved = merge_moved(&db, &me, &merge).await?;
    Ok(ok(Whole { merge, moved }))
}

async fn undo(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    let claim = claim(&request, &[])?;
    let entity = merge_find(&db, &me, id).await?.entity_type;
    let resource = match entity.as_str() {
        "account" => Account::DEF.plural,
        "contact" => Contact::DEF.plural,
        _ => Lead::DEF.plural,
    };
    me.require(resource, Action::Update)?;
    me.require(resource, Action::Delete)?;
    let reply = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        let undone = match entity.as_str() {
            "account" => merge_undo::<Account>(tx, id).await?,
            "contact" => merge_undo::<Contact>(tx, id).await?,
            _ => merge_undo::<Lead>(tx, id).await?,
        };
        Reply::new(StatusCode::OK, &undone)
    })
    .await?;
    Ok(reply.into_response())
}
