//! The records of a sales team, one file each, and the workflows between them.
//!
//! Belongs here: what a record is (its fields) and what happens to records beyond creating, reading, changing and
//! deleting one (`ops`). Does not belong here: HTTP, and anything that the generic record path does for every record.

pub mod account;
pub mod bizdev_source;
pub mod contact;
pub mod employee;
pub mod ops;

pub use account::Account;
pub use bizdev_source::BizdevSource;
pub use contact::Contact;
pub use employee::Employee;

/// The list of record types. Routes, documentation, import, export and the isolation tests are made from it:
/// `records!(callback)` calls `callback! { Account, … }`.
#[macro_export]
macro_rules! records {
    ($callback:ident) => {
        $callback! { $crate::Account, $crate::BizdevSource, $crate::Contact, $crate::Employee }
    };
}
