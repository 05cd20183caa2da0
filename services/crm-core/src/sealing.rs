//! Seals the audit log every few seconds, and verifies each chain once a day.

use aisha_audit::{
    seal::seal_round,
    verify::{PLATFORM, verify_due},
};
use aisha_db::Db;
use std::time::Duration;

/// Between two rounds. Any number of replicas may run this; one at a time does the work.
const EVERY: Duration = Duration::from_secs(3);

/// Runs for as long as the service does.
pub async fn run(db: Db) {
    loop {
        if let Err(e) = seal_round(&db).await {
            tracing::warn!(error = %e, cause = ?e.cause, "the audit log was not sealed; it is tried again");
        }
        match verify_due(&db).await {
            Ok(Some((chain, found))) if !found.intact() => {
                let tenant = (chain != PLATFORM).then(|| chain.to_string());
                tracing::error!(tenant_id = tenant, problems = ?found.problems, "the audit log is not as it was sealed");
            }
            Ok(_) => {}
            Err(e) => tracing::warn!(error = %e, cause = ?e.cause, "a chain of the audit log was not verified"),
        }
        tokio::time::sleep(EVERY).await;
    }
}
