//! Duplicates and merges in the document.

use super::{integer, listed, paging};
use crate::routes::MERGEABLE;
use aisha_db::record::{Record as _, RecordDef};
use aisha_http::openapi::{Document, Operation, header, path_id, query, reference, tenant_id};
use serde_json::{Value, json};

const DEFS: [&RecordDef; 3] = [aisha_crm::Account::DEF, aisha_crm::Contact::DEF, aisha_crm::Lead::DEF];

fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

fn uuids(description: &str) -> Value {
    json!({ "type": "array", "items": uuid(), "description": description })
}

fn entity_type() -> Value {
    json!({ "type": "string", "enum": MERGEABLE, "description": "Singular; the plural and upper case are accepted." })
}

fn time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

/// Adds all of them.
pub fn describe(doc: &mut Document) {
    schemas(doc);
    checks(doc);
    for def in DEFS {
        of_record(doc, def);
    }
    log(doc);
}

fn schemas(doc: &mut Document) {
    let moved = json!({ "type": "array", "description": "How many links moved.", "items": { "type": "object", "properties": {
        "entity_type": { "type": "string" }, "field": { "type": "string" }, "count": integer() } } });
    let fields = json!({ "type": "object", "description": "The survivor's fields that changed: {before, after}." });
    doc.schema(
        "DuplicateGroup",
        json!({ "type": "object", "properties": {
            "by": { "type": "string", "enum": ["email", "phone", "website", "name"] },
            "key": { "type": "string", "description": "What they have in common, in its compared form." },
            "reason": { "type": "string" },
            "count": integer(),
            "records": { "type": "array", "description": "The oldest of them, in short.", "items": { "type": "object" } }
        } }),
    );
    doc.schema(
        "NewMerge",
        json!({ "type": "object", "required": ["merge_ids"], "properties": {
            "merge_ids": { "type": "array", "items": uuid(), "minItems": 1, "maxItems": 20,
                "description": "What is merged into the record and goes to the trash; earlier ones fill gaps first." },
            "fields": { "type": "object", "description":
                "Field to the id of the record that it is taken from, or to {\"value\": …}. Other fields keep the survivor's value; empty ones are filled." },
            "dry_run": { "type": "boolean", "description": "Show what would happen, and do nothing." }
        } }),
    );
    doc.schema(
        "Merge",
        json!({ "type": "object", "properties": {
            "id": uuid(), "tenant_id": uuid(), "entity_type": entity_type(), "survivor_id": uuid(),
            "merged_ids": uuids("What went to the trash."), "fields": fields.clone(), "links": moved.clone(),
            "created_by": { "type": ["string", "null"], "format": "uuid" }, "created_at": time(), "undo_until": time(),
            "undone_at": time(), "undone_by": { "type": ["string", "null"], "format": "uuid" },
            "undo_result": { "type": ["object", "null"] },
            "moved": { "type": "array", "description": "With a single merge: the records whose links moved, at most a thousand.",
                "items": { "type": "object", "properties": {
                    "entity_type": { "type": "string" }, "id": uuid(), "field": { "type": "string" },
                    "from_id": { "type": ["string", "null"], "format": "uuid" } } } }
        } }),
    );
    for def in DEFS {
        let name = schema_name(def);
        doc.schema(
            &format!("Merged{name}"),
            json!({ "type": "object", "properties": {
                "merge_id": { "type": ["string", "null"], "format": "uuid" }, "dry_run": { "type": "boolean" },
                "record": reference(&name), "merged_ids": uuids("What went to the trash."), "fields": fields.clone(),
                "links": moved.clone(), "total_links": integer(), "undo_until": time()
            } }),
        );
    }
}

fn schema_name(def: &RecordDef) -> String {
    let mut letters = def.name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn checks(doc: &mut Document) {
    let op = |verb: &str, summary: &str| Operation::new(format!("duplicates_{verb}"), "duplicates", summary);
    let hit = json!({ "type": "object", "properties": {
        "id": uuid(), "entity_type": entity_type(), "name": { "type": "string" },
        "email": { "type": ["string", "null"] }, "phone": { "type": ["string", "null"] },
        "reasons": { "type": "array", "items": { "type": "string" } },
        "score": { "type": "integer", "minimum": 0, "maximum": 100, "description": "How likely it is the same one." }
    } });
    let check = op("check", "Records like the one about to be created; contacts and leads are compared with each other")
        .parameters([tenant_id()])
        .json_body(json!({ "type": "object", "required": ["entity_type", "data"], "properties": {
            "entity_type": entity_type(),
            "data": { "type": "object", "description": "The record that would be created." },
            "exclude_id": { "type": ["string", "null"], "format": "uuid", "description": "The record itself, if it exists." }
        } }))
        .answers(
            200,
            "What is alike, likeliest first.",
            json!({ "type": "object", "properties": {
                "has_duplicates": { "type": "boolean" }, "duplicates": { "type": "array", "items": hit } } }),
        );
    doc.operation("post", "/api/validation/check-duplicate-before-create", check);
    let find = op("find", "The largest groups of records that are alike, by id")
        .parameters([tenant_id()])
        .json_body(json!({ "type": "object", "required": ["entity_type"], "properties": {
            "entity_type": entity_type(),
            "fields": { "type": "array", "items": { "type": "string" }, "default": ["email"],
                "description": "Some of email, phone, website, name." }
        } }))
        .answers(
            200,
            "At most 200 groups.",
            json!({ "type": "object", "properties": {
                "total": integer(),
                "groups": { "type": "array", "items": { "type": "object", "properties": {
                    "key": { "type": "string" }, "count": integer(), "reason": { "type": "string" }, "ids": uuids("At most 200.") } } },
                "fields": { "type": "array", "items": { "type": "string" } }, "tenant_id": uuid(), "entity_type": entity_type()
            } }),
        );
    doc.operation("post", "/api/validation/find-duplicates", find);
}

fn of_record(doc: &mut Document, def: &'static RecordDef) {
    let (name, plural) = (def.name, def.plural);
    let [limit, _] = paging();
    let groups = Operation::new(format!("{name}_duplicates"), plural, "Groups of records that are alike, largest first")
        .parameters([
            tenant_id(),
            query("by", "Comma list of email, phone, website (accounts), name; all when absent.", json!({ "type": "string" })),
            limit,
            query("cursor", "next_cursor of the page before.", json!({ "type": "string" })),
        ])
        .answers(
            200,
            "A page.",
            json!({ "type": "object", "properties": {
                "groups": { "type": "array", "items": reference("DuplicateGroup") }, "total": integer(), "limit": integer(),
                "next_cursor": { "type": ["string", "null"] }
            } }),
        );
    doc.operation("get", &format!("/api/{plural}/duplicates"), groups);
    let summary = "Merge others into this record: they go to the trash, their links move; see /api/merges to undo it";
    let merge = Operation::new(format!("{name}_merge"), plural, summary)
        .parameters([
            path_id(),
            tenant_id(),
            query("dry_run", "The same as in the body.", json!({ "type": "boolean" })),
            header("Idempotency-Key", "A repetition gets the first answer."),
            header("If-Match", "The version of the survivor that the merge is meant for."),
        ])
        .json_body(reference("NewMerge"))
        .answers(200, "The survivor.", reference(&format!("Merged{}", schema_name(def))));
    doc.operation("post", &format!("/api/{plural}/{{id}}/merge"), merge);
}

fn log(doc: &mut Document) {
    let op = |verb: &str, summary: &str| Operation::new(format!("merge_{verb}"), "merges", summary);
    let entity = query("entity_type", "Only merges of this record type.", entity_type());
    let list = op("list", "List merges, newest first").parameters([tenant_id(), entity]).parameters(paging());
    doc.operation("get", "/api/merges", list.answers(200, "A page.", listed("merges", "Merge")));
    let read = op("read", "What a merge did").parameters([path_id(), tenant_id()]);
    doc.operation("get", "/api/merges/{id}", read.answers(200, "The merge.", reference("Merge")));
    let kept = json!({ "type": "object", "properties": {
        "type": { "type": "string" }, "id": uuid(), "field": { "type": "string" }, "reason": { "type": "string" } } });
    let undo = op("undo", "Take a merge back within 30 days; what was changed since is kept and listed")
        .parameters([path_id(), tenant_id(), header("Idempotency-Key", "A repetition gets the first answer.")])
        .answers(
            200,
            "What was undone.",
            json!({ "type": "object", "properties": {
                "id": uuid(), "survivor_id": uuid(), "restored_ids": uuids("What came back from the trash."),
                "restored_fields": { "type": "array", "items": { "type": "string" } }, "restored_links": integer(),
                "kept": { "type": "array", "items": kept }, "kept_count": integer()
            } }),
        );
    doc.operation("post", "/api/merges/{id}/undo", undo);
}
