//! Record types over HTTP: the same handlers, parameters and documentation for every one of them.
//!
//! Belongs here: what `aisha_db::record` can do, spoken as HTTP. Does not belong here: a route that only one record type
//! has (the service adds it beside these).

pub mod bulk;
pub mod handlers;
pub mod idempotency;
pub mod openapi;
pub mod query;

use actix_web::web::{self, ServiceConfig};
use aisha_db::record::Record;

/// Mounts the routes of a record type under `/api/<plural>`. Fixed names come before ids.
pub fn routes<R: Record>(cfg: &mut ServiceConfig) {
    let base = format!("/api/{}", R::DEF.plural);
    cfg.service(
        web::resource(base.as_str())
            .route(web::get().to(handlers::list::<R>))
            .route(web::post().to(handlers::create::<R>)),
    )
    .service(web::resource(format!("{base}/search")).route(web::get().to(handlers::list::<R>)))
    .service(web::resource(format!("{base}/bulk")).route(web::post().to(bulk::bulk::<R>)))
    .service(web::resource(format!("{base}/trash")).route(web::get().to(handlers::trash::<R>)))
    .service(web::resource(format!("{base}/trash/{{id}}")).route(web::delete().to(handlers::purge::<R>)))
    .service(web::resource(format!("{base}/{{id}}/restore")).route(web::post().to(handlers::restore::<R>)))
    .service(
        web::resource(format!("{base}/{{id}}"))
            .route(web::get().to(handlers::read::<R>))
            .route(web::put().to(handlers::update::<R>))
            .route(web::patch().to(handlers::update::<R>))
            .route(web::delete().to(handlers::delete::<R>)),
    );
}
