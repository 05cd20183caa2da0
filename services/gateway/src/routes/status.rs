//! The state of the platform, for people and for the application's front page.

use super::docs::{ErrorBody, Success};
use actix_web::{HttpResponse, Resource, web};
use aisha_http::{
    health::{Check, Readiness},
    ok,
};
use serde::Serialize;
use utoipa::ToSchema;

/// `ok` or `unavailable`, by part.
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// This service.
    backend: &'static str,
    /// The database.
    database: &'static str,
    /// Redis.
    redis: &'static str,
    /// The service with the records.
    crm_core: &'static str,
    /// The service that finds tenants.
    tenant_resolver: &'static str,
}

/// The route, with the checks it runs.
pub fn route(checks: Vec<Check>) -> Resource {
    web::resource("/api/status").route(web::get().to(move || {
        let checks = checks.clone();
        async move { read(&checks).await }
    }))
}

/// The state of the platform's parts.
#[utoipa::path(get, path = "/api/status", operation_id = "status_read", tag = "system", security(()),
    responses((status = 200, description = "The parts; always 200 while the gateway answers", body = Success<Status>),
        (status = 429, description = "Too many requests", body = ErrorBody)))]
async fn read(checks: &[Check]) -> HttpResponse {
    let readiness = Readiness::of(checks).await;
    let part = |name: &str| if readiness.checks.get(name).is_some_and(|s| s == "ok") { "ok" } else { "unavailable" };
    ok(Status {
        backend: "ok",
        database: part("database"),
        redis: part("redis"),
        crm_core: part("crm-core"),
        tenant_resolver: part("tenant-resolver"),
    })
}
