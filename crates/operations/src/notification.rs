//! Notifications: what people are told, each for itself.
//!
//! Row-level security shows them to their owner only. They are written by the platform, from events ([`events`]).

mod create;
pub mod events;
mod inbox;
mod settings;
mod switched_off;

pub use events::{Event, notifications_from_batch, notifications_from_events};
pub use inbox::{
    Inbox, Notification, NotificationFilter, notification_delete, notification_list, notification_read,
    notifications_read_all,
};
pub use settings::{notification_settings, notification_settings_set};

/// The kinds there are, and what each tells of.
pub const KINDS: [(&str, &str); 4] = [
    ("assignment", "A record was assigned to you by somebody else."),
    ("import", "An import that you started has ended."),
    ("webhook", "Deliveries to a webhook of your organisation fail; for admins."),
    ("system", "Something that an admin should know."),
];
