//! Workflows: what happens to records beyond creating, reading, changing and deleting one.

pub mod export;
pub mod import;
pub mod import_undo;
