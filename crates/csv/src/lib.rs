//! CSV as spreadsheets write and read it.
//!
//! Belongs here: encoding, delimiter, header, bounds of a file; cells that no spreadsheet runs as a formula.
//! Does not belong here: what a column means (the domains), how a file arrives (the services).

pub mod cell;
pub mod file;

pub use file::CsvFile;
