//! Record types over HTTP: the same handlers, parameters and documentation for every one of them.
//!
//! Belongs here: what `aisha_db::record` can do, spoken as HTTP. Does not belong here: a route that only one record type
//! has (the service adds it beside these).

pub mod bulk;
pub mod handlers;
pub mod idempotency;
pub mod openapi;
pub mod query;

use actix_web::{
    Scope,
    web::{self, ServiceConfig},
};
use aisha_db::record::Record;

/// Mounts the routes of a record type under `/api/<plural>`. A scope of its own keeps its patterns out of the way of other
/// types' requests; within it, fixed names come before ids. `beside` adds what the service has on top.
pub fn routes<R: Record>(cfg: &mut ServiceConfig, beside: impl FnOnce(Scope) -> Scope) {
    let scope = web::scope(&format!("/api/{}", R::DEF.plural))
        .service(
            web::resource("").route(web::get().to(handlers::list::<R>)).route(web::post().to(handlers::create::<R>)),
        )
        .service(web::resource("/search").route(web::get().to(handlers::list::<R>)))
        .service(web::resource("/bulk").route(web::post().to(bulk::bulk::<R>)))
        .service(web::resource("/trash").route(web::get().to(handlers::trash::<R>)));
    cfg.service(
        beside(scope)
            .service(web::resource("/trash/{id}").route(web::delete().to(handlers::purge::<R>)))
            .service(
                web::resource("/{id}")
                    .route(web::get().to(handlers::read::<R>))
                    .route(web::put().to(handlers::update::<R>))
                    .route(web::patch().to(handlers::update::<R>))
                    .route(web::delete().to(handlers::delete::<R>)),
            )
            .service(web::resource("/{id}/restore").route(web::post().to(handlers::restore::<R>))),
    );
}
