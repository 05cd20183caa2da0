//! Accounts: users, their sessions and API keys.
//!
//! Belongs here: everything that reads or writes `users`, `sessions` and `api_key`, and what a credential of theirs
//! proves at this moment (an [`aisha_auth::Identity`]).
//! Does not belong here: HTTP, access tokens, limits (the gateway's), tenants and employees (the CRM's; the one employee
//! row that comes with an account is written here, because the two must not come apart).
//!
//! These tables reach beyond one tenant, so the functions run as the platform itself and name the tenant in their
//! statements; each checks its caller first.

mod audit;
mod hashing;
mod proof;
mod refresh;
mod sql;

pub mod api_key;
pub mod session;
pub mod standing;
pub mod user;
