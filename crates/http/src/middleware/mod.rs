//! Middleware that every service's app wears.

mod facts;
mod line;
mod request;

pub use facts::RequestFacts;
pub use request::RequestLog;
