//! `POST /api/<plural>/import`, `GET /api/imports`, `GET /api/imports/{id}`, `POST /api/imports/{id}/undo`.

mod form;
mod log;

use actix_web::{HttpRequest, Resource, http::StatusCode, rt, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_crm::ops::{
    import::Import,
    import_undo::{UndoResult, import_undo},
};
use aisha_csv::CsvFile;
use aisha_db::{Db, record::Record};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{handlers::path_id, idempotency::Reply, query},
};
use aisha_kernel::Error;
use std::time::Duration;

/// How long a request waits for its import: most files are done by then, and the answer is the result.
const PATIENCE: Duration = Duration::from_secs(5);

/// The import of a record type, within its scope.
pub fn resource<R: Record>() -> Resource {
    web::resource("/import").route(web::post().to(import::<R>))
}

/// Mounts the log of all imports.
pub fn log_routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/imports").route(web::get().to(log::list)))
        .service(web::resource("/api/imports/{id}").route(web::get().to(log::read)))
        .service(web::resource("/api/imports/{id}/undo").route(web::post().to(undo)));
}

async fn import<R: Record>(
    caller: Caller,
    db: web::Data<Db>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let in_query = query::tenant_only(request.query_string())?;
    // Refused before two hundred megabytes are read.
    caller.identity().require(R::DEF.plural, Action::Import)?;
    let form = form::read(&request, payload).await?;
    let me = caller.in_tenant(form.tenant_id.or(in_query))?;
    if let (Some(a), Some(b)) = (in_query, form.tenant_id)
        && a != b
    {
        return Err(Error::new(aisha_kernel::ErrorCode::InvalidTenant, "Access denied: Invalid tenant").into());
    }
    let path = form.file.path().to_owned();
    let file = web::block(move || CsvFile::open(&path)).await.map_err(Error::internal)??;
    let import = Import::new::<R>(file, form.request)?;
    let cx = caller.context().clone();
    import.register::<R>(&db, &me, &cx).await?;
    let id = import.id;

    let (worker_db, worker_me) = (db.get_ref().clone(), me.clone());
    let task = rt::spawn(async move {
        // Keeps the uploaded file until the import is through.
        let _file = form.file;
        if let Err(e) = import.run::<R>(&worker_db, &worker_me, &cx).await {
            tracing::warn!(import_id = %id, error = %e, cause = ?e.cause, "an import stopped");
        }
    });
    let done = tokio::time::timeout(PATIENCE, task).await.is_ok();
    let log = log::find(&db, &me, id).await?;
    let status = if done { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    Ok(Reply::new(status, &log)?.at(format!("/api/imports/{id}")).into_response())
}

macro_rules! undo_by_name {
    ($($record:path),+ $(,)?) => {
        async fn undo_named(
            entity: &str, db: &Db, me: &aisha_auth::Principal, caller: &Caller, id: uuid::Uuid,
        ) -> Result<UndoResult, Error> {
            $(if entity == <$record as Record>::DEF.plural {
                me.require(entity, Action::Import)?;
                return import_undo::<$record>(db, me, caller.context(), id).await;
            })+
            Err(Error::not_found())
        }
    };
}
aisha_crm::records!(undo_by_name);

async fn undo(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    let log = log::find(&db, &me, id).await?;
    Ok(ok(undo_named(&log.entity_type, &db, &me, &caller, id).await?))
}
