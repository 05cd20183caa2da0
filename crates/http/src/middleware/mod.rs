//! Middleware that every service's app wears.

mod denial;
mod facts;
mod line;
mod request;

pub use denial::{Denials, denied};
pub use facts::RequestFacts;
pub use request::RequestLog;
