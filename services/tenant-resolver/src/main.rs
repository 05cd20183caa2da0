//! The tenant resolver; see the library.

use aisha_tenant_resolver::{Config, run};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> ExitCode {
    let config = match Config::load() {
        Ok(config) => config,
        Err(problems) => {
            // Before logging is set up there is nowhere else to say it.
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "tenant-resolver cannot start:\n{problems}");
            return ExitCode::FAILURE;
        }
    };
    let _guard = aisha_telemetry::init("tenant-resolver", &config.log);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = format!("{e:#}"), "tenant-resolver stopped");
            ExitCode::FAILURE
        }
    }
}
