//! Conversion of leads and promotion of sources.

use super::{object, with};
use aisha_crm::ops::{bizdev_promote, lead_convert};
use aisha_http::openapi::{Document, Operation, header, path_id, reference, tenant_id};
use serde_json::{Value, json};

fn or_null(schema: &str) -> Value {
    json!({ "anyOf": [reference(schema), { "type": "null" }] })
}

fn conditions() -> [Value; 4] {
    [
        path_id(),
        tenant_id(),
        header("If-Match", "The ETag that the change is based on; 412 when it is no longer current."),
        header("Idempotency-Key", "A repeated request with this key gets the first one's answer, for 24 hours."),
    ]
}

fn answer(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|p| p.keys().collect()).unwrap_or_default();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// Adds the operations.
pub fn describe(doc: &mut Document) {
    let id = || json!({ "type": ["string", "null"], "format": "uuid" });
    let given = json!({ "tenant_id": { "type": "string", "format": "uuid" } });
    doc.schema("LeadConversion", with(object(&lead_convert::FIELDS, false), given.clone()));
    doc.schema("BizdevPromotion", with(object(&bizdev_promote::FIELDS, false), given));
    doc.schema(
        "Transition",
        json!({
            "type": "object",
            "description": "One step in the history of a lead or source.",
            "properties": {
                "id": { "type": "string", "format": "uuid" },
                "tenant_id": { "type": "string", "format": "uuid" },
                "entity_id": { "type": "string", "format": "uuid", "description": "The lead or source." },
                "from_type": { "type": "string", "enum": ["lead", "contact", "bizdev_source", "account"] },
                "to_type": { "type": "string", "enum": ["lead", "contact", "bizdev_source", "account"] },
                "action": { "type": "string", "enum": ["convert", "promote", "rollback"] },
                "transition_data": {
                    "type": "object",
                    "description": "status and snapshot of the record before; contact, account, opportunity with id, version and whether they were created; moved: how many records went along."
                },
                "performed_by": id(),
                "created_at": { "type": "string", "format": "date-time" }
            }
        }),
    );
    let removed = json!({
        "type": "object",
        "description": "Ids of what is gone.",
        "properties": { "contact_id": id(), "account_id": id(), "opportunity_id": id() }
    });
    let history = json!({
        "type": "object",
        "required": ["transitions", "total"],
        "properties": { "transitions": { "type": "array", "items": reference("Transition") }, "total": { "type": "integer" } }
    });

    let lead = |verb: &str, summary: &str| Operation::new(format!("lead_{verb}"), "leads", summary);
    let convert = lead(
        "convert",
        "Convert a lead into a contact of the same id, with an account and an opportunity if wanted",
    )
    .parameters(conditions())
    .json_body(reference("LeadConversion"))
    .answers(
        200,
        "Converted; the ETag is the lead's.",
        answer(json!({
            "contact": reference("Contact"), "account": or_null("Account"), "opportunity": or_null("Opportunity"),
            "lead": reference("Lead"), "transition": reference("Transition")
        })),
    );
    doc.operation("post", "/api/leads/{id}/convert", convert);
    let rollback = lead("convert_rollback", "Take a conversion back; 409 conversion_changed lists what was done since")
        .parameters(conditions())
        .answers(
            200,
            "The lead as it was.",
            answer(json!({ "lead": reference("Lead"), "removed": removed, "transition": reference("Transition") })),
        );
    doc.operation("post", "/api/leads/{id}/convert/rollback", rollback);
    let list = lead("transitions", "Conversions of a lead and what was taken back, newest first")
        .parameters([path_id(), tenant_id()])
        .answers(200, "The history.", history.clone());
    doc.operation("get", "/api/leads/{id}/transitions", list);

    let source = |verb: &str, summary: &str| Operation::new(format!("bizdev_source_{verb}"), "bizdevsources", summary);
    let promote = source("promote", "Promote a source to an account, with a contact where it names somebody")
        .parameters(conditions())
        .json_body(reference("BizdevPromotion"))
        .answers(
            200,
            "Promoted; the ETag is the source's.",
            answer(json!({
                "account": reference("Account"), "contact": or_null("Contact"),
                "bizdev_source": reference("BizdevSource"),
                "bizdev_source_id": { "type": "string", "format": "uuid" }, "transition": reference("Transition")
            })),
        );
    doc.operation("post", "/api/bizdevsources/{id}/promote", promote);
    let rollback = source(
        "promote_rollback",
        "Take a promotion back; 409 conversion_changed lists what was done since",
    )
    .parameters(conditions())
    .answers(
        200,
        "The source as it was.",
        answer(json!({
            "bizdev_source": reference("BizdevSource"), "removed": removed, "transition": reference("Transition")
        })),
    );
    doc.operation("post", "/api/bizdevsources/{id}/promote/rollback", rollback);
    let archive = source("archive", "Archive a source; one that is archived stays as it is")
        .parameters(conditions())
        .answers(200, "The archived source.", reference("BizdevSource"));
    doc.operation("post", "/api/bizdevsources/{id}/archive", archive);
    let list = source("transitions", "Promotions of a source and what was taken back, newest first")
        .parameters([path_id(), tenant_id()])
        .answers(200, "The history.", history);
    doc.operation("get", "/api/bizdevsources/{id}/transitions", list);
}
