//! Tenants in the API document.

use super::{listed, object, paging, shown, with};
use aisha_auth::module::MODULES;
use aisha_http::openapi::{Document, Operation, path_id, query, reference};
use aisha_tenancy::tenant::{FIELDS, INDUSTRIES};
use serde_json::{Map, Value, json};

fn modules() -> Value {
    let each: Map<String, Value> =
        MODULES.iter().map(|m| (m.name.to_owned(), json!({ "type": "boolean", "description": m.label }))).collect();
    json!({ "type": "object", "description": "Modules and whether they are on.", "properties": each, "additionalProperties": false })
}

fn text(description: &str) -> Value {
    json!({ "type": ["string", "null"], "description": description })
}

/// The providers of AI calls, with their keys on the way in and without on the way out.
fn providers(input: bool) -> Value {
    let provider = |own: &str, description: &str| {
        let mut properties = json!({ own: text(description), "is_active": { "type": "boolean" } });
        if let Some(map) = properties.as_object_mut() {
            if input {
                let key = "Write-only: never shown again. Null removes it; absent or empty it stays.";
                map.insert(
                    "api_key".into(),
                    json!({ "type": ["string", "null"], "writeOnly": true, "description": key }),
                );
            } else {
                map.insert("has_api_key".into(), json!({ "type": "boolean", "readOnly": true }));
            }
        }
        json!({ "type": "object", "properties": properties })
    };
    json!({
        "type": "object",
        "description": "The providers of AI calls; shown to those who may change the tenant.",
        "properties": {
            "callfluent": provider("webhook_url", "Where CallFluent takes calls."),
            "thoughtly": provider("agent_id", "The agent that calls.")
        }
    })
}

/// Adds schemas and operations.
pub(super) fn describe(doc: &mut Document) {
    let flat = json!({
        "timezone": { "type": "string", "description": "Name of a time zone (IANA), such as America/New_York." },
        "currency": { "type": "string", "description": "Code of a currency (ISO 4217), such as USD." },
        "date_format": { "type": "string", "description": "Made of day, month and year, such as MM/DD/YYYY." }
    });
    let common = |mut schema: Value, input: bool| {
        if let Some(industry) = schema.pointer_mut("/properties/industry").and_then(Value::as_object_mut) {
            industry.insert("examples".into(), INDUSTRIES.to_vec().into());
        }
        if let Some(agent) = schema.pointer_mut("/properties/call_agent_url").and_then(Value::as_object_mut) {
            agent.insert("format".into(), "uri".into());
        }
        with(schema, json!({ "modules": modules(), "ai_calling_providers": providers(input) }))
    };
    doc.schema("Tenant", with(common(object(&FIELDS, false), false), shown()));
    doc.schema("NewTenant", with(common(object(&FIELDS, true), true), flat.clone()));
    doc.schema("TenantPatch", with(common(object(&FIELDS, false), true), flat));
    let op = |verb: &str, summary: &str| Operation::new(format!("tenant_{verb}"), "tenants", summary);
    let status = query("status", "Only tenants with this status.", json!({ "type": "string" }));
    let list = op("list", "List tenants: all for a superadmin, the own one for others")
        .parameters([status])
        .parameters(paging());
    doc.operation("get", "/api/tenants", list.answers(200, "A page.", listed("tenants", "Tenant")));
    let create = op("create", "Create a tenant (superadmins)").json_body(reference("NewTenant"));
    doc.operation("post", "/api/tenants", create.answers(201, "Created.", reference("Tenant")));
    let read = op("read", "Read a tenant").parameters([path_id()]).answers(200, "The tenant.", reference("Tenant"));
    doc.operation("get", "/api/tenants/{id}", read);
    for (method, verb) in [("put", "replace"), ("patch", "update")] {
        let update = op(verb, "Change a tenant's configuration; status and plan are the superadmin's")
            .parameters([path_id()])
            .json_body(reference("TenantPatch"))
            .answers(200, "The changed tenant.", reference("Tenant"));
        doc.operation(method, "/api/tenants/{id}", update);
    }
}
