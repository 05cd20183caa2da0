//! What people are notified of: assignments, finished imports, and webhooks that were switched off, from the events of all
//! three.
//!
//! Belongs here: the way from the broker to the domain. Does not belong here: who is told what
//! (`aisha_operations::notification`).

use aisha_bus::{Bus, Message, consume, topology::NOTIFICATIONS};
use aisha_db::{Db, DbConfig, SystemReason};
use aisha_http::Background;
use aisha_kernel::{Error, TenantId};
use aisha_operations::notification::{Event, NewNotification, notification_create, notifications_from_batch};
use serde_json::Value;
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
                notifications_from_batch(&db, &events).await?;
                for event in &events {
                    switched_off(&db, event).await?;
                }
                Ok(())
            };
            consume(&bus, &NOTIFICATIONS, PREFETCH, stop, tell).await;
        })
    })
}

fn event(message: &Message) -> Result<Event, Error> {
    let envelope = &message.envelope;
    let value = |json: &serde_json::value::RawValue| serde_json::from_str(json.get()).map_err(Error::internal);
    Ok(Event {
        id: envelope.id,
        event: envelope.event.clone(),
        entity: message.entity.clone(),
        record_id: message.record_id,
        tenant_id: envelope.tenant_id,
        created_at: OffsetDateTime::parse(&envelope.timestamp, &Rfc3339).map_err(Error::internal)?,
        data: value(&envelope.data)?,
        previous: envelope.previous.as_deref().map(value).transpose()?,
    })
}

/// Tells the admins of a webhook that its receiver has had switched off. The group keeps a message that comes again from
/// being told again as something else.
async fn switched_off(db: &Db, event: &Event) -> Result<(), Error> {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str);
    let just_now = event.previous.as_ref().is_some_and(|p| p.get("disabled_reason") == Some(&Value::Null));
    let (Some(reason), Some(id), Some(tenant), true) =
        (text("disabled_reason"), event.record_id, event.tenant_id, event.entity == "webhook" && just_now)
    else {
        return Ok(());
    };
    let url = text("url").unwrap_or_default();
    let why = match reason {
        "gone" => format!("{url} answered that it is gone (410)."),
        _ => format!("Nothing has reached {url} for five days."),
    };
    let new = NewNotification {
        kind: "webhook",
        title: "A webhook was switched off".to_owned(),
        message: format!("{why} What happens from now on is not delivered; switch it on again when it is back."),
        link: Some(format!("/settings/webhooks/{id}")),
        related: Some(("webhook", id)),
        group_key: format!("webhook:{id}:{}", event.id),
    };
    let reason = SystemReason { reason: "notifications", tenant: Some(TenantId(tenant)), ..SystemReason::default() };
    db.system(&reason, async |tx| notification_create(tx, &new).await).await.map(|_| ())
}
