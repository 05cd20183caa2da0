//! The CRM core service; see the library.

use aisha_crm_core::{Config, run};
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
            let _ = writeln!(std::io::stderr(), "crm-core cannot start:\n{problems}");
            return ExitCode::FAILURE;
        }
    };
    let _guard = aisha_telemetry::init("crm-core", &config.log);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = format!("{e:#}"), "crm-core stopped");
            ExitCode::FAILURE
        }
    }
}
