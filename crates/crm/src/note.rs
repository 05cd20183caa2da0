//! Notes: what somebody wrote down, usually about a record, and seen with it. A private one is its author's and the admins'.

use aisha_db::record;
use uuid::Uuid;

record! {
    /// Something written down.
    Note { name: "note", plural: "notes", table: "notes", scope: Attached, key: "legacy_id" => "legacy_key" }
    /// Title.
    title: Option<String> = text(500);
    /// The text.
    content: String = text(50_000).required();
    /// What kind of note it is.
    r#type: String =
        choice(&["general", "call_log", "meeting", "email", "follow_up", "important"]).default("general");
    /// Whether only its author and admins see it.
    is_private: bool = flag();
    /// Type of the record it is about.
    related_type: Option<String> =
        choice(&["contact", "account", "lead", "opportunity", "bizdev_source", "activity"]).aliases(&["related_to"]);
    /// The record it is about.
    related_id: Option<Uuid> = id();
    /// Name of that record.
    related_name: Option<String> = text(500).read_only();
    /// E-mail address of that record.
    related_email: Option<String> = text(320).read_only();
    /// Tags.
    tags: Vec<String> = tags();
    /// Identifier in the system that the record came from; what makes two rows of an import the same.
    legacy_id: Option<String> = text(200).aliases(&["unique_id"]);
    /// The employee it is for, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
}
