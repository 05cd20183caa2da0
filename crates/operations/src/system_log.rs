//! The system log: what services report from WARN on, and what the web application reports of itself.
//!
//! Nobody edits it. Admins read the rows of their tenant, superadmins all, those that concern no tenant included.

mod entry;
mod export;
mod report;
mod store;

pub use entry::{LogEntry, LogFilter, LogPage, Reader, system_log_list, system_log_read};
pub use export::{LogExport, export_record};
pub use report::{ClientReport, system_log_create};
pub use store::system_log_store;

/// Levels, mildest first. Services write the last two.
pub const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];
