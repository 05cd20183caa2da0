//! The audit log and the proof of isolation in the API document.

use super::{integer, paging};
use aisha_http::openapi::{Document, Operation, path_id, query, reference, tenant_id};
use serde_json::{Value, json};

fn text() -> Value {
    json!({ "type": ["string", "null"] })
}

fn id() -> Value {
    json!({ "type": ["string", "null"], "format": "uuid" })
}

fn time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn flag(about: &str) -> Value {
    json!({ "type": ["boolean", "null"], "description": about })
}

fn scope() -> Value {
    let about = "platform: what concerns no tenant, for superadmins; then without tenant_id.";
    query("scope", about, json!({ "type": "string", "enum": ["tenant", "platform"], "default": "tenant" }))
}

fn filters() -> [Value; 6] {
    let word = || json!({ "type": "string" });
    let at = || json!({ "type": "string", "description": "RFC 3339, or a day." });
    [
        query("user_email", "What this user did, and sign-ins that failed as this user or with this address.", word()),
        query("action", "This action, such as update, USER_LOGIN, PERMISSION_DENIED, export.", word()),
        query("entity_type", "Entries about this record type or table.", word()),
        query("entity_id", "Entries about this record.", json!({ "type": "string", "format": "uuid" })),
        query("from", "At this time or later.", at()),
        query("to", "At this time or earlier; a day counts to its end.", at()),
    ]
}

/// Adds the operations.
pub fn describe(doc: &mut Document) {
    let values = || json!({ "type": ["object", "null"] });
    let entry = json!({
        "id": id(), "tenant_id": id(), "changed_at": time(), "action": text(), "entity_type": text(), "entity_id": id(),
        "table_name": text(), "changed_by": id(), "user_email": text(), "role": text(),
        "impersonator": { "type": ["string", "null"], "format": "uuid", "description": "The superadmin who acted in the tenant." },
        "reason": text(), "ip": text(), "user_agent": text(), "request_id": text(), "old_values": values(),
        "new_values": values()
    });
    doc.schema("AuditLog", json!({ "type": "object", "properties": entry.clone() }));
    let mut sealed = entry;
    if let Some(map) = sealed.as_object_mut() {
        map.insert("redacted".into(), flag("Whether the values were erased."));
        map.insert(
            "seal".into(),
            json!({ "type": ["object", "null"], "description": "The link in the tenant's hash chain; null until it is sealed.",
                    "properties": { "link": integer(), "row_digest": text(), "values_digest": text(), "salt": text(),
                                    "previous_hash": text(), "hash": text() } }),
        );
    }
    let op = |verb: &str, summary: &str| {
        Operation::new(format!("audit_log_{verb}"), "audit-logs", summary).parameters([tenant_id(), scope()])
    };
    let cursor = query("cursor", "Where the page before ended: its next_cursor.", json!({ "type": "string" }));
    let count = query(
        "count",
        "Count up to 10,000, to the end, or not at all.",
        json!({ "type": "string", "enum": ["capped", "exact", "none"], "default": "capped" }),
    );
    let page = json!({
        "type": "object",
        "required": ["audit-logs", "limit", "offset"],
        "properties": {
            "audit-logs": { "type": "array", "items": reference("AuditLog") }, "total": integer(),
            "total_is_lower_bound": flag("There are more than total."), "limit": integer(), "offset": integer(),
            "next_cursor": text()
        }
    });
    let list = op("list", "What happened, newest first").parameters(filters()).parameters(paging());
    doc.operation("get", "/api/audit-logs", list.parameters([cursor, count]).answers(200, "A page.", page));
    let export = op("export", "The list as CSV; exporting is itself audited").parameters(filters());
    let export = export.answers_as(200, "The file.", "text/csv", json!({ "type": "string" }));
    doc.operation("get", "/api/audit-logs/export", export);
    let read = op("read", "One entry with its link in the hash chain").parameters([path_id()]);
    let read = read.answers(200, "The entry.", json!({ "type": "object", "properties": sealed }));
    doc.operation("get", "/api/audit-logs/{id}", read);
    trust(doc);
}

fn trust(doc: &mut Document) {
    let check = json!({ "type": "object", "properties": {
        "check": text(), "passed": flag("Whether it holds."), "detail": text(),
        "violations": { "type": "array", "items": text() }
    } });
    let isolation = json!({ "type": "object", "properties": {
        "checks": { "type": "array", "items": check }, "tables_probed": integer(),
        "other_tenant_probed": flag("Whether there is another tenant to look for."),
        "foreign_rows": { "type": "integer", "description": "Rows of another tenant that the caller's role sees." },
        "rows_without_tenant": { "type": "integer", "description": "Rows that it sees while no tenant is set." }
    } });
    let state = json!({ "type": "object", "properties": {
        "links": integer(), "head": text(), "sealed_at": time(), "unsealed": integer(), "unsealed_since": time(),
        "verified_at": time(), "verified": { "type": ["object", "null"] }
    } });
    doc.schema(
        "Trust",
        json!({ "type": "object", "properties": {
            "tenant_id": id(), "checked_at": time(), "holds": flag("Whether all of it holds."), "isolation": isolation,
            "audit_chain": { "type": "object", "properties": {
                "intact": flag("What the last verification said; null before the first."), "state": state } },
            "sign_in": { "type": "object", "properties": {
                "totp_required": flag("Whether everybody must have a second factor."), "active_users": integer(),
                "users_with_totp": integer(), "open_sessions": integer(), "active_api_keys": integer(),
                "passwords_in_another_form": integer(), "sealed_secrets": integer(), "unsealed_secrets": integer() } },
            "retention": { "type": "object" }
        } }),
    );
    let op = Operation::new("trust_read", "trust", "What keeps the tenant apart, checked at this moment");
    let op = op.parameters([tenant_id()]).answers(200, "What was found.", reference("Trust"));
    doc.operation("get", "/api/trust", op);
}
