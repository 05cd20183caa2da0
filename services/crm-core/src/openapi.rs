//! The service's OpenAPI document, made without a database or a network.

mod access;
mod audit;
mod care;
mod conversion;
mod duplicates;
mod operations;
mod pipeline;
mod reports;
mod tenants;
mod webhooks;

use aisha_db::record::{Field, Record};
use aisha_http::{
    openapi::{Document, Operation, path_id, query, reference, tenant_id},
    record::openapi::{describe, field_schema},
};
use serde_json::{Map, Value, json};

macro_rules! describe_records {
    ($($record:path),+ $(,)?) => {
        fn records(doc: &mut Document) {
            $(describe(<$record as Record>::DEF, doc);)+
        }
    };
}
aisha_crm::records!(describe_records);

/// The document as JSON.
#[must_use]
pub fn openapi_json() -> String {
    let mut doc = Document::default();
    records(&mut doc);
    pipeline::describe(&mut doc);
    conversion::describe(&mut doc);
    imports(&mut doc);
    tenants::describe(&mut doc);
    custom_fields(&mut doc);
    duplicates::describe(&mut doc);
    reports::describe(&mut doc);
    care::describe(&mut doc);
    access::describe(&mut doc);
    operations::describe(&mut doc);
    webhooks::describe(&mut doc);
    audit::describe(&mut doc);
    doc.to_json(
        "Aisha CRM: core",
        "Tenants, records and what is done with them, imports, reports, care of the data, modules, permissions and settings, the system log, performance and notifications, as served behind the gateway.",
    )
}

fn integer() -> Value {
    json!({ "type": "integer" })
}

fn paging() -> [Value; 2] {
    [
        query("limit", "Entries per page.", json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 })),
        query("offset", "Entries to skip.", json!({ "type": "integer", "minimum": 0 })),
    ]
}

fn listed(key: &str, schema: &str) -> Value {
    json!({
        "type": "object",
        "required": [key, "total"],
        "properties": { key: { "type": "array", "items": reference(schema) }, "total": integer(), "limit": integer(), "offset": integer() }
    })
}

fn imports(doc: &mut Document) {
    let time = || json!({ "type": ["string", "null"], "format": "date-time" });
    doc.schema(
        "ImportLog",
        json!({
            "type": "object",
            "properties": {
                "id": { "type": "string", "format": "uuid" },
                "tenant_id": { "type": "string", "format": "uuid" },
                "entity_type": { "type": "string", "description": "The record type, plural." },
                "filename": { "type": ["string", "null"] },
                "status": { "type": "string", "enum": ["processing", "completed", "failed", "undone"] },
                "dry_run": { "type": "boolean" },
                "on_duplicate": { "type": "string", "enum": ["skip", "update", "create"] },
                "mapping": { "type": "object", "description": "CSV column to field." },
                "total_records": integer(),
                "success_count": { "type": "integer", "description": "Records created." },
                "updated_count": integer(),
                "skipped_count": { "type": "integer", "description": "Rows that were there already." },
                "error_count": integer(),
                "errors": { "type": "array", "description": "The first thousand rows with errors.", "items": { "type": "object" } },
                "metadata": { "type": "object", "description": "rows, unmapped_columns, failure." },
                "created_by": { "type": ["string", "null"], "format": "uuid" },
                "created_at": time(),
                "completed_at": time(),
                "undone_at": time(),
                "undo_result": { "type": ["object", "null"] }
            }
        }),
    );
    let op = |verb: &str, summary: &str| Operation::new(format!("import_{verb}"), "imports", summary);
    let list = op("list", "List imports").parameters([tenant_id()]).parameters(paging());
    doc.operation("get", "/api/imports", list.answers(200, "A page.", listed("imports", "ImportLog")));
    let read = op("read", "Progress and outcome of an import").parameters([path_id(), tenant_id()]);
    doc.operation("get", "/api/imports/{id}", read.answers(200, "The import.", reference("ImportLog")));
    let undo = op("undo", "Take an import back; records changed since are kept and listed")
        .parameters([path_id(), tenant_id()])
        .answers(
            200,
            "What was undone.",
            json!({ "type": "object", "properties": {
                "removed": integer(), "reverted": integer(), "kept": integer(),
                "kept_ids": { "type": "array", "items": { "type": "string", "format": "uuid" } }
            } }),
        );
    doc.operation("post", "/api/imports/{id}/undo", undo);
}

fn object(fields: &'static [Field], required: bool) -> Value {
    let properties: Map<String, Value> = fields.iter().map(|f| (f.name.to_owned(), field_schema(f, false))).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    let names: Vec<&str> = fields.iter().filter(|f| f.required && f.name != "field_label").map(|f| f.name).collect();
    if let (true, Some(map)) = (required, schema.as_object_mut()) {
        map.insert("required".into(), names.into());
    }
    schema
}

fn with(mut schema: Value, more: Value) -> Value {
    if let (Some(Value::Object(properties)), Value::Object(more)) = (schema.get_mut("properties"), more) {
        properties.extend(more);
    }
    schema
}

fn shown() -> Value {
    json!({
        "id": { "type": "string", "format": "uuid" },
        "created_at": { "type": "string", "format": "date-time" },
        "updated_at": { "type": "string", "format": "date-time" }
    })
}

fn custom_fields(doc: &mut Document) {
    let fields = &aisha_tenancy::custom_field::FIELDS;
    let options = json!({ "options": { "type": "array", "items": { "type": "string" } } });
    doc.schema("CustomField", with(with(object(fields, false), shown()), options.clone()));
    doc.schema("NewCustomField", with(object(fields, true), options.clone()));
    doc.schema("CustomFieldPatch", with(object(fields, false), options));
    let op = |verb: &str, summary: &str| Operation::new(format!("custom_field_{verb}"), "customfields", summary);
    let entity = query("entity", "Only fields of this record type, singular.", json!({ "type": "string" }));
    let list = op("list", "List the tenant's own fields").parameters([tenant_id(), entity]);
    doc.operation("get", "/api/customfields", list.answers(200, "All of them.", listed("customfields", "CustomField")));
    let create = op("create", "Define a field").parameters([tenant_id()]).json_body(reference("NewCustomField"));
    doc.operation("post", "/api/customfields", create.answers(201, "Defined.", reference("CustomField")));
    for (method, verb) in [("put", "replace"), ("patch", "update")] {
        let update = op(verb, "Change label, hint, choices, position or duty")
            .parameters([path_id(), tenant_id()])
            .json_body(reference("CustomFieldPatch"))
            .answers(200, "The changed definition.", reference("CustomField"));
        doc.operation(method, "/api/customfields/{id}", update);
    }
    let id = json!({ "type": "object", "properties": { "id": { "type": "string", "format": "uuid" } } });
    let delete = op("delete", "Remove a definition; values in records stay").parameters([path_id(), tenant_id()]);
    doc.operation("delete", "/api/customfields/{id}", delete.answers(200, "Removed.", id));
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::collections::HashSet;

    fn references<'v>(v: &'v Value, out: &mut Vec<&'v str>) {
        match v {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, out));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }

    #[test]
    fn references_resolve_and_operations_have_names_of_their_own() {
        let document: Value = serde_json::from_str(&super::openapi_json()).unwrap();
        let mut all = Vec::new();
        references(&document, &mut all);
        assert!(all.len() > 100);
        for reference in all {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let mut names = HashSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(names.insert(operation["operationId"].as_str().unwrap()), "{}", operation["operationId"]);
            }
        }
        assert!(names.contains("contact_create") && names.contains("import_undo"));
    }
}
