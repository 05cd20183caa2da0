//! Workflows: what happens to records beyond creating, reading, changing and deleting one.

pub mod activity_plan;
pub mod export;
pub mod import;
pub mod import_undo;
pub mod pipeline;
pub mod related_people;
