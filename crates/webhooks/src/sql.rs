//! What the statements of the sender have in common.

use aisha_db::SystemReason;
pub(crate) use aisha_db::{by_index, by_key};

/// Whether a tenant `t` has webhooks.
pub(crate) const LIVE: &str = "t.status = 'active' AND NOT EXISTS (SELECT FROM module_settings m \
     WHERE m.tenant_id = t.id AND m.module_name = 'integrations' AND NOT m.is_enabled)";

/// Whether requests may go to a subscription `w` of tenant `t`.
pub(crate) fn sends() -> String {
    format!("w.paused_at IS NULL AND w.is_active AND {LIVE}")
}

pub(crate) fn why(reason: &'static str) -> SystemReason {
    SystemReason { reason, ..SystemReason::default() }
}
