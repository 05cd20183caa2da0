//! The system log: what services report from WARN on, and what the web application reports of itself.
//!
//! Nobody edits it. Admins read the rows of their tenant, superadmins all, those that concern no tenant included.

mod entry;
mod export;
mod report;
mod store;

pub use entry::{LogEntry, LogFilter, LogPage, Reader, system_log_list, system_log_read};
pub use export::LogExport;
pub use report::{ClientReport, system_log_create};
pub use store::system_log_store;

/// Levels, mildest first. Services write the last two.
pub const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

/// The level of that name in any case; `warning` is another name of `warn`.
#[must_use]
pub fn level(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    let name = if name == "warning" { "warn" } else { &name };
    LEVELS.into_iter().find(|level| *level == name)
}
