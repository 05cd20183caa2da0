//! Webhooks in the API document.

use super::{integer, listed, object as fields_of, paging, with};
use aisha_http::openapi::{Document, Operation, path_id, query, reference, tenant_id};
use aisha_webhooks::{delivery_log::STATES, replay::REPLAYED, subscription_input::FIELDS};
use serde_json::{Value, json};

fn time(description: &str) -> Value {
    json!({ "type": ["string", "null"], "format": "date-time", "description": description })
}

fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "description": description })
}

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

fn patterns(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn second_id(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } })
}

/// Adds schemas and operations.
pub(super) fn describe(doc: &mut Document) {
    subscriptions(doc);
    log(doc);
    replays(doc);
    books(doc);
}

fn subscriptions(doc: &mut Document) {
    let own = |required: bool| {
        let mut schema = with(
            fields_of(&FIELDS, required),
            json!({
                "event_types": patterns("Names (contact.created), prefixes (contact.*) or *; GET /api/webhooks/events lists them. Empty: no event is delivered.")
            }),
        );
        if let Some(url) = schema.pointer_mut("/properties/url").and_then(Value::as_object_mut) {
            url.insert("format".into(), "uri".into());
        }
        schema
    };
    let secret = json!({
        "secret": {
            "type": "string",
            "writeOnly": true,
            "description": "Yours in place of one that is made: whsec_ and base64 of 24 to 64 bytes, or 16 to 200 characters. On a change it holds at once, alone; rotate-secret lets both sign for a day."
        }
    });
    let aliases = json!({
        "event_name": { "type": "string", "deprecated": true, "description": "event_types of one." },
        "event": { "type": "string", "deprecated": true, "description": "event_types of one." },
        "target_url": { "type": "string", "deprecated": true, "description": "url" },
        "active": { "type": "boolean", "deprecated": true, "description": "is_active" }
    });
    let shown = json!({
        "id": id(),
        "tenant_id": id(),
        "paused_at": time("Since when deliveries are taken on and wait."),
        "disabled_reason": { "type": ["string", "null"], "enum": ["gone", "failing", null], "description": "Why it is not active, where it was not a person." },
        "disabled_at": time("Since when."),
        "has_secret": { "type": "boolean", "description": "Always true; the secret itself is shown once." },
        "previous_secret_until": time("Until when the secret before the last rotation signs as well."),
        "failing_since": time("Since when no attempt has succeeded."),
        "last_success_at": time("The last success."),
        "last_failure_at": time("The last failure."),
        "version": count("The ETag."),
        "created_by": { "type": ["string", "null"], "format": "uuid" },
        "created_at": time("When it was made."),
        "updated_at": time("When it was last changed."),
        "warnings": { "type": "array", "items": { "type": "string" }, "description": "What somebody may not have meant." }
    });
    doc.schema("Webhook", with(own(false), shown.clone()));
    let once = json!({ "secret": { "type": "string", "description": "Shown here and never again; a repetition with the same Idempotency-Key does not have it." } });
    doc.schema("WebhookWithSecret", with(with(own(false), shown), once));
    doc.schema("NewWebhook", with(with(own(true), secret.clone()), aliases.clone()));
    doc.schema("WebhookPatch", with(with(own(false), secret), aliases));

    let op = |verb: &str, summary: &str| Operation::new(format!("webhook_{verb}"), "webhooks", summary);
    let on = |verb: &str, summary: &str| op(verb, summary).parameters([path_id(), tenant_id()]);
    let active = query("is_active", "Only those that are active, or only the others.", json!({ "type": "boolean" }));
    let list = op("list", "List webhooks").parameters([tenant_id(), active]).parameters(paging());
    doc.operation("get", "/api/webhooks", list.answers(200, "A page.", listed("webhooks", "Webhook")));
    let create = op("create", "Subscribe to events; the answer has the secret, once")
        .parameters([tenant_id()])
        .json_body(reference("NewWebhook"))
        .answers(201, "Made.", reference("WebhookWithSecret"));
    doc.operation("post", "/api/webhooks", create);
    let events = op("events", "The events that can be asked for").parameters([tenant_id()]).answers(
        200,
        "Their names.",
        object(json!({ "events": patterns("Names."), "total": integer() })),
    );
    doc.operation("get", "/api/webhooks/events", events);
    let at = "/api/webhooks/{id}";
    doc.operation("get", at, on("read", "Read a webhook").answers(200, "The webhook.", reference("Webhook")));
    for (method, verb) in [("put", "replace"), ("patch", "update")] {
        let update = on(verb, "Change what is given; is_active=true forgets why it was switched off")
            .json_body(reference("WebhookPatch"))
            .answers(200, "The changed webhook.", reference("Webhook"));
        doc.operation(method, at, update);
    }
    let delete = on("delete", "Remove a webhook with its log; what waits is not sent");
    doc.operation("delete", at, delete.answers(200, "Removed.", object(json!({ "id": id() }))));
    let rotate = on("rotate_secret", "Make a new secret; the one before signs beside it for 24 hours");
    let rotate = rotate.answers(200, "The webhook with its new secret.", reference("WebhookWithSecret"));
    doc.operation("post", "/api/webhooks/{id}/rotate-secret", rotate);
    for (verb, summary) in
        [("pause", "Pause: events are taken on and wait"), ("resume", "Go on after a pause; what waited is delivered")]
    {
        let change = on(verb, summary).answers(200, "The webhook.", reference("Webhook"));
        doc.operation("post", &format!("/api/webhooks/{{id}}/{verb}"), change);
    }
    let test = on("test", "Deliver a test_event to this webhook only");
    doc.operation("post", "/api/webhooks/{id}/test", test.answers(202, "Taken on.", reference("WebhookDelivery")));
}

fn log(doc: &mut Document) {
    let state = json!({ "type": "string", "enum": STATES });
    let delivery = object(json!({
        "id": id(),
        "webhook_id": id(),
        "event_id": { "type": "string", "format": "uuid", "description": "The webhook-id of each attempt." },
        "event": { "type": "string" },
        "seq": count("Its place among events; 0 for a test."),
        "state": state,
        "held_by": { "type": ["string", "null"], "enum": ["inactive", "paused", null], "description": "What a pending one waits for beside its schedule." },
        "attempts": count("Attempts of the present schedule."),
        "next_attempt_at": time("When a pending one is due."),
        "scheduled_at": time("When the schedule began."),
        "first_attempt_at": time("The first attempt ever."),
        "last_attempt_at": time("The last attempt."),
        "finished_at": time("When it came to its end."),
        "response_status": { "type": ["integer", "null"] },
        "error": { "type": ["string", "null"], "description": "Why there was no answer." },
        "created_at": time("When it was taken on.")
    }));
    let attempt = object(json!({
        "number": count("The first of the delivery is 1."),
        "started_at": time("When it began."),
        "duration_ms": integer(),
        "response_status": { "type": ["integer", "null"] },
        "response_excerpt": { "type": ["string", "null"], "description": "The beginning of the answer." },
        "error": { "type": ["string", "null"] }
    }));
    let detail = json!({
        "happened_at": time("When the event happened."),
        "body": { "type": "string", "description": "The body as it is sent, byte for byte." },
        "attempt_log": { "type": "array", "items": attempt, "description": "Every request, oldest first." }
    });
    doc.schema("WebhookDeliveryDetail", with(delivery.clone(), detail));
    doc.schema("WebhookDelivery", delivery);
    let on = |verb: &str, summary: &str| {
        Operation::new(format!("webhook_delivery_{verb}"), "webhooks", summary).parameters([path_id(), tenant_id()])
    };
    let text = |name: &str, what: &str| query(name, what, json!({ "type": "string" }));
    let list = on("list", "The log of a webhook, newest first")
        .parameters([
            query("state", "Only in this state.", json!({ "type": "string", "enum": STATES })),
            text("event", "Only events with this name."),
            query("event_id", "Only this event.", id()),
            query("from", "Taken on then or later; a day or a time.", json!({ "type": "string" })),
            query("to", "Taken on before.", json!({ "type": "string" })),
            text("cursor", "Where the page before ended."),
            query("count", "How far to count.", json!({ "type": "string", "enum": ["capped", "exact", "none"] })),
        ])
        .parameters(paging());
    let page = with(
        listed("deliveries", "WebhookDelivery"),
        json!({ "next_cursor": { "type": ["string", "null"] }, "total_is_lower_bound": { "type": "boolean" } }),
    );
    doc.operation("get", "/api/webhooks/{id}/deliveries", list.answers(200, "A page.", page));
    let at = "/api/webhooks/{id}/deliveries/{delivery_id}";
    let read = on("read", "A delivery with its body and every attempt").parameters([second_id("delivery_id")]);
    doc.operation("get", at, read.answers(200, "The delivery.", reference("WebhookDeliveryDetail")));
    let resend = on("resend", "Send a delivery anew, with the same webhook-id").parameters([second_id("delivery_id")]);
    let resend = resend.answers(202, "It waits again.", reference("WebhookDelivery"));
    doc.operation("post", "/api/webhooks/{id}/deliveries/{delivery_id}/resend", resend);
}

fn replays(doc: &mut Document) {
    let states = json!({ "type": "array", "items": { "type": "string", "enum": REPLAYED } });
    doc.schema(
        "WebhookReplay",
        object(json!({
            "id": id(),
            "webhook_id": id(),
            "window_from": time("Events that happened then or later."),
            "window_to": time("And before then."),
            "events": patterns("Names, prefixes or *; empty is all that the webhook asks for."),
            "states": states,
            "status": { "type": "string", "enum": ["running", "completed", "failed"] },
            "requeued": count("Finished deliveries that wait again."),
            "added": count("Events that got their first delivery."),
            "error": { "type": ["string", "null"] },
            "created_by": { "type": ["string", "null"], "format": "uuid" },
            "created_at": time("When it began."),
            "updated_at": time("When it last made progress."),
            "completed_at": time("When it ended.")
        })),
    );
    let counts = object(json!({
        "dry_run": { "type": "boolean" },
        "delivered": integer(), "failed": integer(), "cancelled": integer(),
        "missing": count("Events that would get their first delivery."), "total": integer()
    }));
    let body = json!({
        "type": "object",
        "required": ["from"],
        "properties": {
            "from": { "type": "string", "format": "date-time", "description": "Events that happened then or later; at most 30 days before to." },
            "to": { "type": "string", "format": "date-time", "description": "And before then; now when absent." },
            "events": patterns("Only these: names, prefixes or *."),
            "states": {
                "type": "array", "items": { "type": "string", "enum": REPLAYED },
                "description": "Deliveries in these states, and missing: events that the webhook asks for and never got. All when absent."
            },
            "dry_run": { "type": "boolean", "description": "Only count." }
        }
    });
    let on = |verb: &str, summary: &str| {
        Operation::new(format!("webhook_replay_{verb}"), "webhooks", summary).parameters([path_id(), tenant_id()])
    };
    let replay = on("create", "Deliver the events of a time window again")
        .json_body(body)
        .answers(
            200,
            "What was done, or with dry_run what would be.",
            json!({ "anyOf": [reference("WebhookReplay"), counts] }),
        )
        .answers(202, "It goes on; follow it at Location.", reference("WebhookReplay"));
    doc.operation("post", "/api/webhooks/{id}/replay", replay);
    let list = on("list", "The replays of a webhook").parameters(paging());
    let list = list.answers(200, "A page.", listed("replays", "WebhookReplay"));
    doc.operation("get", "/api/webhooks/{id}/replays", list);
    let read = on("read", "A replay and how far it is").parameters([second_id("replay_id")]);
    let read = read.answers(200, "The replay.", reference("WebhookReplay"));
    doc.operation("get", "/api/webhooks/{id}/replays/{replay_id}", read);
}

fn books(doc: &mut Document) {
    let ledger = object(json!({
        "taken_on": count("Since the webhook was made."),
        "pending": integer(), "sending": integer(), "delivered": integer(), "failed": integer(), "cancelled": integer(),
        "removed": object(json!({ "delivered": integer(), "failed": integer(), "cancelled": integer() })),
        "balanced": { "type": "boolean", "description": "Whether taken_on is the sum of all others." },
        "oldest_pending_at": time("Since when the oldest one waits."),
        "oldest_undelivered_seconds": { "type": ["integer", "null"] },
        "attempts": count("Requests that the log knows.")
    }));
    let percentiles = object(json!({ "p50": { "type": ["integer", "null"] }, "p95": { "type": ["integer", "null"] } }));
    let hour = object(json!({
        "hour": time("Its beginning."), "deliveries": integer(), "delivered": integer(), "failed": integer(),
        "attempts": integer(), "accepted": integer()
    }));
    let metrics = object(json!({
        "from": time("The beginning."), "to": time("Now."),
        "deliveries": count("Taken on."), "delivered": integer(), "failed": integer(),
        "success_rate": { "type": ["number", "null"] },
        "attempts": integer(),
        "responses": object(json!({
            "2xx": integer(), "3xx": integer(), "4xx": integer(), "5xx": integer(), "other": integer(), "none": integer()
        })),
        "latency_ms": percentiles, "duration_ms": percentiles,
        "by_hour": { "type": "array", "items": hour }
    }));
    let on = |verb: &str, summary: &str| {
        Operation::new(format!("webhook_{verb}"), "webhooks", summary).parameters([path_id(), tenant_id()])
    };
    let read = on("ledger", "The books of a webhook: what was taken on and what became of it");
    doc.operation("get", "/api/webhooks/{id}/ledger", read.answers(200, "One snapshot.", ledger));
    let read = on("metrics", "The last 24 hours of a webhook, also by hour");
    doc.operation("get", "/api/webhooks/{id}/metrics", read.answers(200, "The numbers.", metrics));
}
