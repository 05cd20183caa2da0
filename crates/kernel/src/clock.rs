//! The one place that reads the wall clock.

use time::OffsetDateTime;

/// The current instant in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that may read the clock")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
