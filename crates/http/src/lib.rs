//! HTTP as all services speak it: envelope, errors, bodies, the request middleware, health, serving.
//!
//! Belongs here: what is the same on every route and in every service.
//! Does not belong here: a single service's routes, and rules of the business.

pub mod background;
pub mod body;
pub mod download;
pub mod envelope;
pub mod error;
pub mod form;
pub mod health;
pub mod middleware;
pub mod openapi;
pub mod principal;
pub mod record;
pub mod serve;

pub use background::Background;
pub use download::csv_download;
pub use envelope::{created, ok};
pub use error::{ApiError, ApiResult, configure};
pub use middleware::{Denials, RequestFacts, RequestLog, denied};
pub use principal::{Caller, Doorkeeper};
pub use serve::{Running, ServeOptions, serve, stopping};
