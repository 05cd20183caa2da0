//! What keeps a tenant apart, asked of the database at this moment and in the caller's role.

mod chain;
mod isolation;

pub use chain::{ChainState, chain_state};
pub use isolation::{Check, Isolation, isolation};
