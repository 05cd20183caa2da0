//! Workflows: what happens to records beyond creating, reading, changing and deleting one.

pub mod activity_plan;
pub mod bizdev_promote;
pub mod bizdev_rollback;
pub mod duplicates;
pub mod export;
pub mod import;
pub mod import_undo;
pub mod lead_convert;
pub mod lead_rollback;
pub mod merge;
pub mod merge_undo;
pub mod pipeline;
pub mod related_people;
pub mod transition;
