//! The gateway's own routes, one family per file. Everything else under `/api` belongs to a service behind it.

pub mod api_keys;
pub mod auth;
pub mod docs;
pub mod events;
pub mod invitations;
pub mod query;
pub mod reset;
pub mod sessions;
pub mod status;
pub mod totp;
pub mod users;
pub mod users_files;
pub mod users_own;

use crate::{proxy, state::Worker};
use actix_web::web::{self, ServiceConfig};
use aisha_http::health;

/// All routes, for `App::configure`.
pub fn configure(worker: &Worker) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let checks = worker.checks();
    let metrics = health::MetricsAccess::new(worker.shared.config.http.metrics_token.clone());
    let status = status::route(checks.clone());
    move |cfg| {
        aisha_http::configure(cfg);
        health::routes(checks, metrics)(cfg);
        auth::configure(cfg);
        sessions::configure(cfg);
        reset::configure(cfg);
        totp::configure(cfg);
        invitations::configure(cfg);
        users::configure(cfg);
        api_keys::configure(cfg);
        events::configure(cfg);
        cfg.service(status);
        docs::configure(cfg);
        // Last: what is left of /api.
        cfg.route("/api/{tail:.*}", web::to(proxy::forward));
    }
}
