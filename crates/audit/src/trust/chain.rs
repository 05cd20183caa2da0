//! The state of a tenant's chain: its head, what waits for a seal, the last verification.

use crate::{acting, col};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, Json, RequestContext, Sql, Timestamp};
use aisha_kernel::Error;
use serde::Serialize;

/// Waiting rows are counted up to here.
const COUNTED: i64 = 10_000;

/// As the API shows it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChainState {
    /// Links there are.
    pub links: i64,
    /// The last hash, hexadecimal. Whoever keeps it can prove later that nothing before it was changed.
    pub head: Option<String>,
    /// When it was made.
    pub sealed_at: Option<Timestamp>,
    /// Rows that wait for their seal, counted up to 10,000.
    pub unsealed: i64,
    /// The time of the oldest of them.
    pub unsealed_since: Option<Timestamp>,
    /// When the whole chain was last verified.
    pub verified_at: Option<Timestamp>,
    /// What that found.
    pub verified: Option<Json>,
}

/// The chain of the caller's tenant.
///
/// # Errors
/// 503 when the database is away.
pub async fn chain_state(db: &Db, me: &Principal, cx: &RequestContext) -> Result<ChainState, Error> {
    let mut state = Sql::new(
        "SELECT link, encode(hash, 'hex'), sealed_at, verified_at, verified FROM audit_chain_state WHERE tenant_id = ",
    );
    state.bind(me.tenant().0);
    let mut waiting = Sql::new(
        "SELECT count(*), min(l.changed_at) FROM (SELECT a.changed_at FROM audit_sealing s JOIN audit_log a \
         ON a.transaction_id >= s.transaction_id \
         AND (a.transaction_id, a.changed_at, a.id) > (s.transaction_id, s.changed_at, s.audit_id) WHERE a.tenant_id = ",
    );
    waiting.bind(me.tenant().0).push(" LIMIT ").bind(Bind::Int(COUNTED)).push(") AS l");
    let why = acting(me.identity(), "trust", Some(me.tenant()), cx);
    let mut results =
        db.system(&why, async |tx| tx.flight(vec![state.clone(), waiting.clone()]).await).await?.into_iter();
    let mut out = ChainState::default();
    if let Some(row) = results.next().unwrap_or_default().first() {
        out.links = col(row, 0)?;
        out.head = col(row, 1)?;
        out.sealed_at = col(row, 2)?;
        out.verified_at = col(row, 3)?;
        out.verified = col(row, 4)?;
    }
    if let Some(row) = results.next().unwrap_or_default().first() {
        out.unsealed = col(row, 0)?;
        out.unsealed_since = col(row, 1)?;
    }
    Ok(out)
}
