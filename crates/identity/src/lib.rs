//! Accounts: users, their sessions, API keys, invitations, second factors, and the e-mails about them.
//!
//! Belongs here: everything that reads or writes `users`, `sessions`, `api_key` and the tables of credentials, and what a
//! credential of theirs proves at this moment (an [`aisha_auth::Identity`]).
//! Does not belong here: HTTP, access tokens, limits (the gateway's), tenants and employees (the CRM's; the one employee
//! row that comes with an account is written here, because the two must not come apart).
//!
//! These tables reach beyond one tenant, so the functions run as the platform itself and name the tenant in their
//! statements; each checks its caller first.

mod audit;
mod credentials;
mod hashing;
mod letter;
mod link;
mod proof;
mod refresh;
pub mod sign_in_facts;
mod sql;
mod token;

pub mod api_key;
pub mod invitation;
pub mod mail_queue;
pub mod reset;
pub mod session;
pub mod standing;
pub mod totp;
pub mod user;

pub use credentials::Credentials;
pub use letter::Letter;
