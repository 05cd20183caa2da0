//! The CRM core service; see the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> ExitCode {
    match aisha_crm_core::cli::main().await {
        Ok(code) => code,
        Err(e) => {
            eprintln!("crm-core: {e:#}");
            ExitCode::FAILURE
        }
    }
}
