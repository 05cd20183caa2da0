//! What people are notified of: assignments, finished imports, and webhooks that were switched off, from the events of all
//! three.
//!
//! Belongs here: the way from the broker to the domain. Does not belong here: who is told what
//! (`aisha_operations::notification`).

use aisha_bus::{Bus, Message, consume, topology::NOTIFICATIONS};
use aisha_db::{Db, DbConfig};
use aisha_http::Background;
use aisha_kernel::{Error, ErrorCode};
use aisha_operations::notification::{Event, notifications_from_batch};
use std::error::Error as StdError;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Messages that are on their way here at most.
const PREFETCH: u16 = 200;

/// Starts telling people.
///
/// # Errors
/// When an address cannot be used.
pub fn start(db: &DbConfig, amqp_url: &str) -> anyhow::Result<Background> {
    let config = DbConfig { pool_size: 1, application_name: "crm-core notifier".into(), ..db.clone() };
    Background::start("notifier", |stop| {
        let db = Db::new(&config)?;
        let bus = Bus::connect_lazy(amqp_url)?;
        Ok(move || async move {
            let tell = async |batch: &[Message]| {
                let events = batch.iter().map(event).collect::<Result<Vec<_>, _>>()?;
                notifications_from_batch(&db, &events).await.map(|_| ())
            };
            consume(&bus, &NOTIFICATIONS, PREFETCH, stop, tell).await;
        })
    })
}

/// What is not an event will not become one: it must not be tried again for ever.
fn no_event(cause: impl StdError + Send + Sync + 'static) -> Error {
    Error::new(ErrorCode::ValidationFailed, "this is no event").because(cause)
}

fn event(message: &Message) -> Result<Event, Error> {
    let envelope = &message.envelope;
    let value = |json: &serde_json::value::RawValue| serde_json::from_str(json.get()).map_err(no_event);
    Ok(Event {
        id: envelope.id,
        event: envelope.event.clone(),
        entity: message.entity.clone(),
        record_id: message.record_id,
        tenant_id: envelope.tenant_id,
        created_at: OffsetDateTime::parse(&envelope.timestamp, &Rfc3339).map_err(no_event)?,
        data: value(&envelope.data)?,
        previous: envelope.previous.as_deref().map(value).transpose()?,
    })
}
