//! The records of a sales team, one file each, and the workflows between them.
//!
//! Belongs here: what a record is (its fields) and what happens to records beyond creating, reading, changing and
//! deleting one (`ops`). Does not belong here: HTTP, and anything that the generic record path does for every record.

pub mod account;
pub mod activity;
pub mod bizdev_source;
pub mod care;
pub mod cash_flow;
pub mod contact;
pub mod employee;
pub mod event;
pub mod lead;
pub mod note;
pub mod opportunity;
pub mod ops;
pub mod report;

pub use account::Account;
pub use activity::Activity;
pub use bizdev_source::BizdevSource;
pub use cash_flow::CashFlow;
pub use contact::Contact;
pub use employee::Employee;
pub use lead::Lead;
pub use note::Note;
pub use opportunity::Opportunity;

/// The list of record types. Routes, documentation, import, export and the isolation tests are made from it:
/// `records!(callback)` calls `callback! { Account, … }`.
#[macro_export]
macro_rules! records {
    ($callback:ident) => {
        $callback! {
            $crate::Account, $crate::Activity, $crate::BizdevSource, $crate::CashFlow, $crate::Contact, $crate::Employee,
            $crate::Lead, $crate::Note, $crate::Opportunity
        }
    };
}
