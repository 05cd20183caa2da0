//! Identifiers. Records carry plain UUIDs; the two ids that decide what a caller may touch have types of their own,
//! so that one cannot be passed for the other.

use crate::Error;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A fresh time-ordered UUID (version 7, RFC 9562), so that new rows sit side by side in an index.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

typed_id! {
    /// A tenant: the organisation whose data nobody else may see.
    TenantId,
    /// A user account: somebody who can log in.
    UserId,
}

impl TenantId {
    /// Reads a `tenant_id` parameter: a UUID, never a slug.
    ///
    /// # Errors
    /// 400 that says where a slug becomes an id.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let odd =
            |_| Error::parameter("tenant_id", "must be a UUID; GET /api/tenantresolve/{slug} finds it for a slug");
        Uuid::parse_str(text.trim()).map(Self).map_err(odd)
    }
}
