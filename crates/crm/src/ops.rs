//! Workflows: what happens to records beyond creating, reading, changing and deleting one.

pub mod csv_file;
pub mod duplicates;
pub mod export;
pub mod import;
pub mod import_undo;
pub mod merge;
pub mod merge_undo;
