//! An actix handler that does nothing, served as our services are served: what the resolver's hit is held against.
//! `LISTEN` is its address; `BARE=1` leaves out the request log and all else that we put around a handler.

use actix_web::{App, HttpResponse, web};
use aisha_config::{Env, HttpSection, LogSection};
use aisha_http::{RequestLog, ServeOptions, serve};
use std::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

async fn nothing() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let env = Env::load();
    let http = HttpSection::read(&env, "LISTEN", "127.0.0.1:0");
    let log = LogSection::read(&env);
    let bare = env.flag("BARE", false);
    env.finish()?;
    let _guard = aisha_telemetry::init("empty", &log);
    let options = ServeOptions { workers: http.workers, ..ServeOptions::default() };
    let listener = TcpListener::bind(http.listen)?;
    let running = if bare {
        serve(listener, &options, || App::new().default_service(web::to(nothing)))?
    } else {
        let app = || {
            App::new()
                .route("/api/tenantresolve/{identifier}", web::get().to(nothing))
                .route("/ready", web::get().to(nothing))
        };
        serve(listener, &options, move || app().wrap(RequestLog::new("empty")))?
    };
    Ok(running.wait().await?)
}
