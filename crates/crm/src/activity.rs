//! Activities: calls, meetings, tasks and whatever else is done, usually for another record, and seen with it. When one is
//! due is worked out in `sql/057_pipeline.sql`.

use aisha_db::{Json, Timestamp, record};
use time::Date;
use uuid::Uuid;

record! {
    /// Something to do, or done.
    Activity { name: "activity", plural: "activities", table: "activities", scope: Attached,
               key: "legacy_id" => "legacy_key" }
    /// What it is.
    r#type: String = choice(&[
        "call", "email", "meeting", "task", "note", "demo", "proposal", "scheduled_ai_call", "scheduled_ai_email",
    ]).default("task");
    /// In a few words.
    subject: String = text(500).required();
    /// At length.
    description: Option<String> = text(20_000).aliases(&["body"]);
    /// Where it stands; shown as `overdue` while it is open after it was due.
    status: String = choice(&[
        "scheduled", "pending", "in-progress", "completed", "cancelled", "failed", "queued", "sent",
    ]).default("scheduled").state("overdue", "due_at < now() AND status IN ('scheduled', 'pending', 'in-progress')");
    /// How urgent it is.
    priority: String = choice(&["low", "normal", "high", "urgent"]).default("normal");
    /// Day on which it is due.
    due_date: Option<Date> = date();
    /// Time of day at which it is due; without one, the end of the day.
    due_time: Option<String> = time_of_day();
    /// Time zone of day and time, such as `Europe/Berlin`; the tenant's when absent.
    timezone: Option<String> = text(64);
    /// The instant at which it is due.
    due_at: Option<Timestamp> = timestamp().read_only();
    /// When it was completed.
    completed_at: Option<Timestamp> = timestamp().read_only();
    /// How long it takes, in minutes.
    duration: Option<i32> = integer(0, 1_000_000);
    /// Type of the record it belongs to.
    related_type: Option<String> =
        choice(&["contact", "account", "lead", "opportunity", "bizdev_source"]).aliases(&["related_to"]);
    /// The record it belongs to.
    related_id: Option<Uuid> = id();
    /// Name of that record.
    related_name: Option<String> = text(500).read_only();
    /// E-mail address of that record.
    related_email: Option<String> = text(320).read_only();
    /// What came of it.
    outcome: Option<String> = text(2_000);
    /// Where it takes place.
    location: Option<String> = text(500);
    /// The telephony provider's name of the call.
    call_sid: Option<String> = text(200);
    /// Settings of a scheduled call by an assistant.
    ai_call_config: Json = json();
    /// Settings of a scheduled e-mail by an assistant.
    ai_email_config: Json = json();
    /// What was tried, in order.
    execution_log: Json = json_list();
    /// Tags.
    tags: Vec<String> = tags();
    /// Identifier in the system that the record came from; what makes two rows of an import the same.
    legacy_id: Option<String> = text(200).aliases(&["unique_id"]);
    /// The employee who is to do it, by id or e-mail address.
    assigned_to: Option<Uuid> = employee().aliases(&["owner_id"]);
    /// Name of that employee.
    assigned_to_name: Option<String> = text(401).read_only();
}
