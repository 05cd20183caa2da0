//! The form of an event, on the exchange and in the body of a webhook alike.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// One event. Its JSON is the message on the exchange and, byte for byte, the body of a webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// The event's id: the same however often it arrives.
    pub id: Uuid,
    /// Grows with time; of two events of a record, the one with the higher number happened later.
    pub seq: i64,
    /// What happened: `contact.created`. Also the routing key.
    pub event: String,
    /// When it happened (RFC 3339, UTC).
    pub timestamp: String,
    /// The tenant that it happened in; none for what concerns the platform.
    pub tenant_id: Option<Uuid>,
    /// The record as the API shows it.
    pub data: Box<RawValue>,
    /// On updates, the former values of the fields that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<RawValue>>,
}
