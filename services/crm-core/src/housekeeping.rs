//! What must happen now and then: partitions ahead of time, the trash emptied after thirty days, keys that have expired,
//! imports and replays whose process died, old deliveries, copies that differ from their source, a look for orphans, logs
//! and notifications that are old.

use aisha_crm::care::{repair::care_round, run::Acting};
use aisha_db::{Db, Sql, SystemReason, record::Record};
use aisha_kernel::{Error, TenantId};
use aisha_operations::retention::{Retention, operations_tidy};
use aisha_tenancy::tenant::tenant_ids;
use aisha_webhooks::{replay_run::replay_end_abandoned, retention::retention_step};
use std::time::Duration;

/// Between two rounds. Several replicas may do the same work; it is idempotent and small.
const EVERY: Duration = Duration::from_secs(3600);
/// Rows per statement, so that no transaction gets long.
const BATCH: i64 = 1_000;

/// Runs for as long as the service does.
pub async fn run(db: Db, retention: Retention) {
    loop {
        if let Err(e) = operations_tidy(&db, retention).await {
            tracing::warn!(error = %e, cause = ?e.cause, "old log rows were not removed; it goes on in an hour");
        }
        if let Err(e) = round(&db).await {
            tracing::warn!(error = %e, cause = ?e.cause, "housekeeping did not finish; it goes on in an hour");
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn why(tenant: Option<TenantId>) -> SystemReason {
    SystemReason { reason: "housekeeping", tenant, ..SystemReason::default() }
}

/// One round. What goes wrong in one tenant is logged for it, and the others have their turn.
///
/// # Errors
/// 503 when the database is away.
pub async fn round(db: &Db) -> Result<(), Error> {
    db.system(&why(None), async |tx| tx.rows(Sql::new("SELECT ensure_partitions()")).await.map(|_| ())).await?;
    let tenants = db.system(&why(None), async |tx| tenant_ids(tx).await).await?;
    for tenant in tenants {
        if let Err(e) = round_of(db, tenant).await {
            // Without a database there is no next tenant either.
            db.ping().await?;
            tracing::warn!(tenant_id = %tenant, error = %e, cause = ?e.cause, "housekeeping of a tenant did not finish; it goes on in an hour");
        }
    }
    Ok(())
}

async fn round_of(db: &Db, tenant: TenantId) -> Result<(), Error> {
    for sql in CHORES {
        loop {
            let n = db.system(&why(Some(tenant)), async |tx| tx.rows(Sql::new(*sql)).await.map(|r| r.len())).await?;
            if i64::try_from(n).unwrap_or(0) < BATCH {
                break;
            }
        }
    }
    purge(db, tenant).await?;
    webhooks(db, tenant).await?;
    care_round(db, &Acting::cron(tenant)).await
}

async fn webhooks(db: &Db, tenant: TenantId) -> Result<(), Error> {
    let why = why(Some(tenant));
    db.system(&why, async |tx| replay_end_abandoned(tx).await).await?;
    while db.system(&why, async |tx| retention_step(tx).await).await? {}
    Ok(())
}

const CHORES: &[&str] = &[
    "DELETE FROM idempotency_key WHERE tenant_id = current_tenant_id() AND ctid IN \
     (SELECT ctid FROM idempotency_key WHERE tenant_id = current_tenant_id() AND expires_at < now() LIMIT 1000) RETURNING 1",
    // A running import writes its progress every thousand rows.
    "UPDATE import_log SET status = 'failed', completed_at = now(), \
     metadata = metadata || '{\"failure\": \"The service stopped during this import. Undo it, or import the file again.\"}' \
     WHERE tenant_id = current_tenant_id() AND status = 'processing' AND greatest(created_at, updated_at) < now() - interval '15 minutes' \
     RETURNING 1",
    "DELETE FROM notifications WHERE tenant_id = current_tenant_id() AND id IN (SELECT id FROM notifications \
     WHERE tenant_id = current_tenant_id() AND created_at < now() - interval '90 days' LIMIT 1000) RETURNING 1",
    // Events go after thirty days, so none comes again after that.
    "DELETE FROM notification_event WHERE tenant_id = current_tenant_id() AND event_id IN (SELECT event_id \
     FROM notification_event WHERE tenant_id = current_tenant_id() AND handled_at < now() - interval '32 days' LIMIT 1000) \
     RETURNING 1",
];

macro_rules! purge_records {
    ($($record:path),+ $(,)?) => {
        async fn purge(db: &Db, tenant: TenantId) -> Result<(), Error> {
            for table in [$(<$record as Record>::DEF.table),+] {
                loop {
                    let text = format!(
                        "DELETE FROM {table} WHERE tenant_id = current_tenant_id() AND id IN (SELECT id FROM {table} \
                         WHERE tenant_id = current_tenant_id() AND deleted_at < now() - interval '30 days' LIMIT {BATCH}) \
                         RETURNING 1"
                    );
                    let n = db
                        .system(&why(Some(tenant)), async |tx| tx.rows(Sql::new(text.clone())).await.map(|r| r.len()))
                        .await?;
                    if i64::try_from(n).unwrap_or(0) < BATCH {
                        break;
                    }
                }
            }
            Ok(())
        }
    };
}
aisha_crm::records!(purge_records);
