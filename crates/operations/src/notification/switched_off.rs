//! A webhook that its receiver has had switched off: its tenant's admins are told.

use super::{
    create::{Draft, admins},
    events::Event,
};
use crate::sql::col;
use aisha_db::{Bind, Sql, SystemTx};
use aisha_kernel::Error;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

/// Why an event says that a webhook was switched off, if it does and not a person did it.
pub(super) fn switched_off(event: &Event) -> Option<&str> {
    let before = event.previous.as_ref()?.get("disabled_reason")?;
    let reason = event.data.get("disabled_reason").and_then(Value::as_str)?;
    (event.entity == "webhook" && before.is_null()).then_some(reason)
}

/// What the admins are told of these events. Events go to whoever listens and do not say where a webhook leads; its admins
/// may know.
pub(super) async fn switched_off_drafts(tx: &mut SystemTx, events: &[&Event]) -> Result<Vec<Draft>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql =
        Sql::new("SELECT id, url, description FROM webhook WHERE tenant_id = current_tenant_id() AND id = ANY (");
    sql.bind(Bind::Uuids(events.iter().filter_map(|e| e.record_id).collect())).push(")");
    let mut webhooks: HashMap<Uuid, (String, Option<String>)> = HashMap::new();
    for row in tx.rows(sql).await? {
        webhooks.insert(col(&row, 0)?, (col(&row, 1)?, col(&row, 2)?));
    }
    let admins = admins(tx, "webhook").await?;
    let mut drafts = Vec::new();
    for event in events {
        // One that was deleted since is nobody's concern.
        let Some((id, (url, description))) = event.record_id.and_then(|id| Some((id, webhooks.get(&id)?))) else {
            continue;
        };
        drafts.extend(admins.iter().map(|admin| draft(event, id, url, description.as_deref(), *admin)));
    }
    Ok(drafts)
}

fn draft(event: &Event, id: Uuid, url: &str, description: Option<&str>, user_id: Uuid) -> Draft {
    // What comes after the path is often a token.
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let why = match switched_off(event) {
        Some("gone") => format!("{url} answered that it is gone (410)."),
        _ => format!("Nothing has reached {url} for five days."),
    };
    let title = description.filter(|d| !d.trim().is_empty()).map_or_else(
        || "A webhook was switched off".to_owned(),
        |description| format!("The webhook {description} was switched off"),
    );
    Draft {
        user_id,
        kind: "webhook",
        title,
        message: format!("{why} What happens from now on is not delivered; switch it on again when it is back."),
        link: Some(format!("/settings/webhooks/{id}")),
        related_type: Some("webhook".into()),
        related_id: Some(id),
        count: 1,
        group_key: format!("webhook:{id}:{}", event.id),
        event_id: Some(event.id),
        many: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::OffsetDateTime;

    #[test]
    fn only_what_the_receiver_did_is_told_and_once() {
        let event = |entity: &str, data: Value, previous: Option<Value>| Event {
            id: Uuid::from_u128(1),
            event: format!("{entity}.updated"),
            entity: entity.into(),
            record_id: Some(Uuid::from_u128(2)),
            tenant_id: Some(Uuid::from_u128(3)),
            created_at: OffsetDateTime::UNIX_EPOCH,
            data,
            previous,
        };
        let (gone, was) = (json!({ "disabled_reason": "gone" }), Some(json!({ "disabled_reason": null })));
        assert_eq!(switched_off(&event("webhook", gone.clone(), was.clone())), Some("gone"));
        for (entity, data, previous) in [
            ("account", gone.clone(), was.clone()),
            ("webhook", gone.clone(), None),
            ("webhook", gone.clone(), Some(json!({ "description": null }))),
            ("webhook", gone.clone(), Some(json!({ "disabled_reason": "failing" }))),
            ("webhook", json!({ "is_active": false, "disabled_reason": null }), Some(json!({ "is_active": true }))),
            ("webhook", json!({ "disabled_reason": null }), Some(gone.clone())),
        ] {
            assert_eq!(switched_off(&event(entity, data.clone(), previous)), None, "{data}");
        }
    }
}
