//! A new secret, pausing, going on.

use crate::{
    audit,
    secret::{generate_secret, seal_secret},
    subscription::{COLUMNS, Webhook, from_row, lock},
};
use aisha_auth::sealing::Sealer;
use aisha_db::{Bind, Sql, TenantTx, record::write::Expected};
use aisha_kernel::Error;
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

/// Hours in which the secret before the last rotation signs as well.
pub const BOTH_SIGN_HOURS: i64 = 24;

/// Makes a new secret, and returns it: the only time that it is shown. The one before signs beside it for a day; one before
/// that no longer does.
///
/// # Errors
/// 404, 412.
pub async fn webhook_rotate_secret(
    tx: &mut TenantTx,
    sealer: &Sealer,
    id: Uuid,
    expected: Expected,
) -> Result<(Webhook, SecretString), Error> {
    lock(tx, id, expected).await?;
    let secret = generate_secret()?;
    // Nobody but the platform reads what is sealed; the two columns are sealed alike, so that it can move as it is.
    let mut sql = Sql::new(format!(
        "UPDATE webhook SET previous_secret_sealed = secret_sealed, \
         previous_secret_until = now() + interval '{BOTH_SIGN_HOURS} hours', secret_sealed = "
    ));
    sql.bind(Bind::Bytes(seal_secret(sealer, id, &secret)?));
    sql.push(" WHERE tenant_id = ").bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    sql.push(format!(" RETURNING {COLUMNS}"));
    let note = audit::entry("secret_rotate", id, &json!({ "both_sign_hours": BOTH_SIGN_HOURS }));
    let rows = tx.beyond_scope(vec![sql, note]).await?.into_iter().next().unwrap_or_default();
    Ok((from_row(rows.first().ok_or_else(Error::not_found)?)?, secret))
}

/// Longer than a subscription's pace reaches ahead, so that what is cut off is only what the receiver asked for.
const SOON: &str = "now() + interval '4 seconds'";

/// Forgets that the receiver wanted nothing before a time that is far off: somebody has said that it is to be asked now.
pub(crate) fn not_later(tenant: Uuid, webhook: Uuid) -> Sql {
    let mut sql = Sql::new(format!(
        "UPDATE webhook_ledger SET next_slot_at = {SOON} WHERE next_slot_at > {SOON} AND tenant_id = "
    ));
    sql.bind(tenant).push(" AND webhook_id = ").bind(webhook);
    sql
}

/// Pauses (deliveries are taken on and wait) or goes on. What is so already stays as it is. Nothing was tried meanwhile, so
/// that going on forgets since when the receiver has been failing, and when it wanted to be asked again.
///
/// # Errors
/// 404, 412.
pub async fn webhook_pause(tx: &mut TenantTx, id: Uuid, paused: bool, expected: Expected) -> Result<Webhook, Error> {
    let held = lock(tx, id, expected).await?;
    if held.paused_at.is_some() == paused {
        return Ok(held);
    }
    let tenant = tx.principal().tenant().0;
    let set = if paused { "paused_at = now()" } else { "paused_at = NULL, failing_since = NULL" };
    let mut sql = Sql::new(format!("UPDATE webhook SET {set} WHERE tenant_id = "));
    sql.bind(tenant).push(" AND id = ").bind(id).push(format!(" RETURNING {COLUMNS}"));
    let mut flight = vec![sql];
    if !paused {
        flight.push(not_later(tenant, id));
    }
    let rows = tx.flight(flight).await?.into_iter().next().unwrap_or_default();
    from_row(rows.first().ok_or_else(Error::not_found)?)
}
