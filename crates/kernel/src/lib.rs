//! The vocabulary that every crate shares: errors a client may see, three-state patches, ids, the clock.
//!
//! Belongs here: plain types without I/O that at least two crates need.
//! Does not belong here: anything that knows HTTP, SQL, Redis or a single domain.

pub mod clock;
pub mod cursor;
pub mod error;
pub mod id;
pub mod money;
pub mod patch;

pub use error::{Error, ErrorCode, FieldError, Result};
pub use id::{TenantId, UserId, new_id};
pub use patch::Patch;
