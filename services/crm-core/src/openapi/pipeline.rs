//! What the record types of the pipeline have beside the generic operations.

use super::{integer, paging, with};
use aisha_http::openapi::{Document, Operation, header, path_id, reference, tenant_id};
use serde_json::{Value, json};

fn list(key: &str, properties: Value) -> Value {
    let item = json!({ "type": "object", "properties": properties });
    json!({ "type": "object", "required": [key], "properties": { key: { "type": "array", "items": item } } })
}

fn id() -> Value {
    json!({ "type": ["string", "null"], "format": "uuid" })
}

fn text() -> Value {
    json!({ "type": ["string", "null"] })
}

fn outcome() -> Value {
    json!({ "type": "string", "enum": ["open", "won", "lost"] })
}

/// A body made of some of the fields of a record's patch.
fn body(patch: &str, fields: &[&str], required: &[&str]) -> Value {
    let field = |f: &&str| ((*f).to_owned(), reference(&format!("{patch}/properties/{f}")));
    let properties: serde_json::Map<String, Value> = fields.iter().map(field).collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

/// Adds the operations.
pub fn describe(doc: &mut Document) {
    let percent = || json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 100 });
    let stages = Operation::new("opportunity_stages", "opportunities", "The tenant's stages, in order")
        .parameters([tenant_id()])
        .answers(
            200,
            "The stages.",
            list(
                "stages",
                json!({
                    "position": integer(), "name": { "type": "string" }, "label": { "type": "string" },
                    "probability": percent(), "outcome": outcome()
                }),
            ),
        );
    doc.operation("get", "/api/opportunities/stages", stages);
    let history =
        Operation::new("opportunity_history", "opportunities", "The stages a deal went through, oldest first")
            .parameters([path_id(), tenant_id()])
            .answers(
                200,
                "The steps.",
                list(
                    "history",
                    json!({
                        "from_stage": text(), "to_stage": { "type": "string" }, "outcome": outcome(),
                        "probability": percent(), "changed_by": id(), "changed_by_name": text(),
                        "changed_at": { "type": "string", "format": "date-time" },
                        "seconds_in_stage": { "type": "integer", "description": "Up to now for the stage it is in." }
                    }),
                ),
            );
    doc.operation("get", "/api/opportunities/{id}/history", history);
    let verbs = [
        ("opportunity", "opportunities", "Opportunity", "win", "Move a deal to the pipeline's won stage"),
        ("opportunity", "opportunities", "Opportunity", "lose", "Move a deal to the pipeline's lost stage"),
        ("activity", "activities", "Activity", "complete", "Mark an activity as done"),
        ("activity", "activities", "Activity", "reschedule", "Put an activity off"),
    ];
    for (name, plural, schema, verb, summary) in verbs {
        let (fields, required): (&[&str], &[&str]) = match verb {
            "complete" => (&crate::routes::pipeline::COMPLETING, &[]),
            "reschedule" => (&crate::routes::pipeline::RESCHEDULING, &["due_date"]),
            _ => (&crate::routes::pipeline::CLOSING, &[]),
        };
        let op = Operation::new(format!("{name}_{verb}"), plural, summary)
            .parameters([
                path_id(),
                tenant_id(),
                header("If-Match", "The ETag that the change is based on; 412 when it is no longer current."),
                header(
                    "Idempotency-Key",
                    "A repeated request with this key gets the first one's answer, for 24 hours.",
                ),
            ])
            .json_body(body(&format!("{schema}Patch"), fields, required))
            .answers(200, "The changed record.", reference(schema));
        doc.operation("post", &format!("/api/{plural}/{{id}}/{verb}"), op);
    }
    let people =
        Operation::new("account_related_people", "accounts", "The contacts and leads of an account, newest first")
            .parameters([path_id(), tenant_id()])
            .parameters(paging())
            .answers(
                200,
                "A page.",
                with(
                    list(
                        "people",
                        json!({
                            "person_id": id(), "person_type": { "type": "string", "enum": ["contact", "lead"] },
                            "first_name": { "type": "string" }, "last_name": { "type": "string" }, "email": text(),
                            "phone": text(), "job_title": text(), "status": { "type": "string" }, "assigned_to": id(),
                            "assigned_to_name": text(), "created_at": { "type": "string", "format": "date-time" }
                        }),
                    ),
                    json!({ "total": integer(), "limit": integer(), "offset": integer() }),
                ),
            );
    doc.operation("get", "/api/accounts/{id}/related-people", people);
}
