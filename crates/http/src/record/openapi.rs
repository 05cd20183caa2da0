//! The documentation of a record type's routes and fields, made from its definition.

use super::query::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::openapi::{Document, Operation, header, path_id, query, reference, tenant_id};
use aisha_db::record::{Field, Kind, RecordDef};
use serde_json::{Map, Value, json};

/// `contact` becomes `Contact`, `bizdev_source` `BizdevSource`.
#[must_use]
pub fn schema_name(def: &RecordDef) -> String {
    def.name
        .split('_')
        .map(|part| {
            let mut chars = part.chars();
            chars.next().map(|c| c.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
        })
        .collect()
}

/// The JSON schema of a field's value.
#[must_use]
pub fn field_schema(field: &Field, output: bool) -> Value {
    let mut schema = match field.kind {
        Kind::Text(max) => json!({ "type": "string", "maxLength": max }),
        Kind::Choice(values) => {
            let state = field.state.filter(|_| output).map(|s| s.value);
            json!({ "type": "string", "enum": values.iter().copied().chain(state).collect::<Vec<_>>() })
        }
        Kind::Email | Kind::UserEmail => json!({ "type": "string", "format": "email", "maxLength": 254 }),
        Kind::Phone(_) => json!({ "type": "string", "maxLength": 50 }),
        Kind::Url => json!({ "type": "string", "maxLength": 500 }),
        Kind::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Money => json!({ "type": "number", "minimum": 0, "multipleOf": 0.01 }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Time => json!({ "type": "string", "pattern": "^[0-2]?[0-9]:[0-5][0-9](:[0-5][0-9])?$" }),
        Kind::Date => json!({ "type": "string", "format": "date" }),
        Kind::Timestamp => json!({ "type": "string", "format": "date-time" }),
        Kind::Uuid | Kind::Reference(_) => json!({ "type": "string", "format": "uuid" }),
        Kind::Employee if output => json!({ "type": "string", "format": "uuid" }),
        Kind::Employee => json!({ "type": "string", "description": "an employee's id or e-mail address" }),
        Kind::Tags => json!({ "type": "array", "items": { "type": "string", "maxLength": 100 }, "maxItems": 100 }),
        Kind::Json => json!({ "type": "object", "additionalProperties": true }),
        Kind::JsonList => json!({ "type": "array", "items": {} }),
    };
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".into(), field.doc.trim().into());
        if field.nullable()
            && !field.read_only
            && let Some(kind) = map.get("type").cloned()
        {
            map.insert("type".into(), json!([kind, "null"]));
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.push(Value::Null);
            }
        }
        if let (Some(default), Kind::Choice(_)) = (field.default, field.kind) {
            map.insert("default".into(), default.into());
        }
    }
    schema
}

fn properties<'f>(fields: impl Iterator<Item = &'f Field>, output: bool) -> Map<String, Value> {
    fields.map(|f| (f.name.to_owned(), field_schema(f, output))).collect()
}

/// Adds schemas and operations of a record type.
pub fn describe(def: &'static RecordDef, doc: &mut Document) {
    let name = schema_name(def);
    let shown = properties(def.all_fields(), true);
    doc.schema(&name, json!({ "type": "object", "description": def.doc.trim(), "properties": shown }));
    let input = properties(def.all_fields().filter(|f| !f.read_only), false);
    let required: Vec<&str> = def.fields.iter().filter(|f| f.required && !f.read_only).map(|f| f.name).collect();
    let new = json!({ "type": "object", "required": required, "properties": input, "additionalProperties": false });
    doc.schema(&format!("New{name}"), new);
    let patch = json!({ "type": "object", "properties": input, "additionalProperties": false });
    doc.schema(&format!("{name}Patch"), patch);
    describe_collection(def, &name, doc);
    describe_single(def, &name, doc);
    describe_bulk(def, &name, doc);
    describe_csv(def, doc);
}

fn list_parameters(def: &RecordDef) -> Vec<Value> {
    let text = || json!({ "type": "string" });
    let mut out = vec![
        tenant_id(),
        query("q", "Words that must all occur in the record's text.", text()),
        query(
            "filter",
            "Conditions as JSON, e.g. {\"$or\":[{\"status\":\"active\"},{\"score\":{\"$gte\":50}}]}.",
            text(),
        ),
        query("sort", "Up to three fields, descending with a minus; default -created_at.", text()),
        query(
            "limit",
            "Records per page.",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT }),
        ),
        query(
            "offset",
            "Records to skip; for deep pages use cursor.",
            json!({ "type": "integer", "minimum": 0, "maximum": 100_000 }),
        ),
        query("cursor", "next_cursor of the page before.", text()),
        query(
            "count",
            "How total is counted: exact up to 10,000 by default.",
            json!({ "type": "string", "enum": ["capped", "exact", "none"] }),
        ),
        query("fields", "Fields to show, separated by commas.", text()),
        query("show_test_data", "Whether test data is in the list.", json!({ "type": "boolean", "default": true })),
    ];
    let filters = def
        .all_fields()
        .filter(|f| !matches!(f.kind, Kind::Json | Kind::JsonList) && f.name != "tenant_id" && f.name != "deleted_at");
    out.extend(
        filters.map(|f| query(f.name, "Only records with this value; operators as JSON, e.g. {\"$gte\":5}.", text())),
    );
    out
}

fn list_schema(def: &RecordDef, name: &str) -> Value {
    json!({
        "type": "object",
        "required": [def.plural, "limit", "offset", "next_cursor"],
        "properties": {
            def.plural: { "type": "array", "items": reference(name) },
            "total": { "type": "integer", "description": "Absent with count=none." },
            "total_is_lower_bound": { "type": "boolean", "description": "True when there are more than total." },
            "limit": { "type": "integer" },
            "offset": { "type": "integer" },
            "next_cursor": { "type": ["string", "null"] }
        }
    })
}

fn idempotency() -> Value {
    header("Idempotency-Key", "A repeated request with this key gets the first one's answer, for 24 hours.")
}

fn if_match() -> Value {
    header("If-Match", "The ETag that the change is based on; 412 when it is no longer current.")
}

fn describe_collection(def: &RecordDef, name: &str, doc: &mut Document) {
    let (base, tag) = (format!("/api/{}", def.plural), def.plural);
    let list = |id: &str, summary: String| {
        Operation::new(format!("{}_{id}", def.name), tag, summary).parameters(list_parameters(def)).answers(
            200,
            "A page.",
            list_schema(def, name),
        )
    };
    doc.operation("get", &base, list("list", format!("List {tag}")));
    doc.operation(
        "get",
        &format!("{base}/search"),
        list("search", format!("Search {tag} (the same as the list with q)")),
    );
    doc.operation(
        "get",
        &format!("{base}/trash"),
        list("trash_list", format!("List {tag} in the trash, kept for 30 days")),
    );
    let create = Operation::new(format!("{}_create", def.name), tag, format!("Create one of {tag}"))
        .parameters([tenant_id(), idempotency()])
        .json_body(reference(&format!("New{name}")))
        .answers(201, "Created; Location and ETag are set.", reference(name));
    doc.operation("post", &base, create);
}

fn describe_single(def: &RecordDef, name: &str, doc: &mut Document) {
    let (base, tag) = (format!("/api/{}", def.plural), def.plural);
    let one = format!("{base}/{{id}}");
    let op = |verb: &str, summary: &str| Operation::new(format!("{}_{verb}", def.name), tag, summary);
    let id = json!({ "type": "object", "properties": { "id": { "type": "string", "format": "uuid" } } });
    doc.operation(
        "get",
        &one,
        op("read", "Read one").parameters([path_id(), tenant_id()]).answers(200, "The record.", reference(name)),
    );
    for (method, verb) in [("put", "replace"), ("patch", "update")] {
        let update = op(verb, "Change the given fields; absent ones stay, null clears")
            .parameters([path_id(), tenant_id(), if_match(), idempotency()])
            .json_body(reference(&format!("{name}Patch")))
            .answers(200, "The changed record.", reference(name));
        doc.operation(method, &one, update);
    }
    let delete = op("delete", "Move to the trash")
        .parameters([path_id(), tenant_id(), if_match(), idempotency()])
        .answers(200, "Moved.", id.clone());
    doc.operation("delete", &one, delete);
    let restore = op("restore", "Bring back from the trash")
        .parameters([path_id(), tenant_id(), idempotency()])
        .answers(200, "The restored record.", reference(name));
    doc.operation("post", &format!("{one}/restore"), restore);
    let purge = op("purge", "Remove from the trash for good; what refers to it is unlinked")
        .parameters([path_id(), tenant_id(), idempotency()])
        .answers(200, "Removed.", id);
    doc.operation("delete", &format!("{base}/trash/{{id}}"), purge);
}

fn describe_bulk(def: &RecordDef, name: &str, doc: &mut Document) {
    let patch = reference(&format!("{name}Patch"));
    let body = json!({
        "type": "object",
        "description": "Exactly one of the three lists, of at most 1,000 items.",
        "properties": {
            "create": { "type": "array", "maxItems": 1000, "items": reference(&format!("New{name}")) },
            "update": { "type": "array", "maxItems": 1000, "items": {
                "allOf": [{ "type": "object", "required": ["id"], "properties": { "id": { "type": "string", "format": "uuid" } } }, patch]
            } },
            "delete": { "type": "array", "maxItems": 1000, "items": { "type": "string", "format": "uuid" } }
        }
    });
    let data = json!({
        "type": "object",
        "properties": {
            "succeeded": { "type": "integer" },
            "failed": { "type": "integer" },
            "results": { "type": "array", "items": {
                "type": "object",
                "required": ["index", "status"],
                "properties": {
                    "index": { "type": "integer" },
                    "status": { "type": "string", "enum": ["created", "updated", "deleted", "error"] },
                    "id": { "type": "string", "format": "uuid" },
                    "code": { "type": "string" },
                    "details": { "type": "array", "items": { "type": "object" } }
                }
            } }
        }
    });
    let bulk = Operation::new(
        format!("{}_bulk", def.name),
        def.plural,
        "Create, update or delete many, each with its own result",
    )
    .parameters([tenant_id(), idempotency()])
    .json_body(body)
    .answers(200, "What became of each item.", data);
    doc.operation("post", &format!("/api/{}/bulk", def.plural), bulk);
}

fn describe_csv(def: &RecordDef, doc: &mut Document) {
    let form = json!({
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": { "type": "string", "format": "binary", "description": "CSV in UTF-8, at most 200 MB." },
            "mapping": { "type": "string", "description": "JSON object of CSV column to field; by name when absent." },
            "dry_run": { "type": "boolean", "default": false },
            "on_duplicate": { "type": "string", "enum": ["skip", "update", "create"], "default": "skip" },
            "tenant_id": { "type": "string", "format": "uuid" }
        }
    });
    let import = Operation::new(format!("{}_import", def.name), def.plural, "Import a CSV file")
        .parameters([tenant_id()])
        .body("multipart/form-data", form)
        .answers(201, "The finished import.", reference("ImportLog"))
        .answers(202, "Still running; follow it at the Location.", reference("ImportLog"));
    doc.operation("post", &format!("/api/{}/import", def.plural), import);
    let export = Operation::new(format!("{}_export", def.name), def.plural, "Export the list as CSV")
        .parameters(list_parameters(def))
        .answers_as(200, "The file, streamed.", "text/csv", json!({ "type": "string" }));
    doc.operation("get", &format!("/api/{}/export", def.plural), export);
}
