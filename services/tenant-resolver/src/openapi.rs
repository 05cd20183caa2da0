//! The service's OpenAPI document, made without a database or a network.

use crate::{answer::Source, routes::MOST_IDENTIFIERS};
use aisha_http::openapi::{Document, Operation, query, reference, tenant_id};
use serde_json::{Value, json};

/// The document as JSON.
#[must_use]
pub fn openapi_json() -> String {
    let mut doc = Document::default();
    schemas(&mut doc);
    let op = |verb: &str, summary: &str| Operation::new(format!("tenantresolve_{verb}"), "tenantresolve", summary);
    let stats = || query("stats", "`true` adds the cache's counts.", json!({ "type": "boolean" }));
    let identifier = json!({
        "name": "identifier", "in": "path", "required": true,
        "description": "A slug, a UUID or `system`; blanks around it do not count. `reset` and `metrics` are none here, but may be asked for in the list.",
        "schema": { "type": "string", "maxLength": crate::answer::MAX_IDENTIFIER }
    });
    let read =
        op("read", "Find the tenant behind a slug or UUID. Everybody finds the own tenant, superadmins find all")
            .parameters([identifier, stats(), tenant_id()])
            .answers_as(
                200,
                "What was found, or that nothing was.",
                "application/json",
                answer(reference("TenantResolution")),
            );
    doc.operation("get", "/api/tenantresolve/{identifier}", read);
    let ids = json!({
        "name": "ids", "in": "query", "required": true,
        "description": format!("Up to {MOST_IDENTIFIERS} identifiers, comma-separated; blank ones are left out."),
        "schema": { "type": "string" }
    });
    let list = op("list", "Find several tenants at once, in the order of the question")
        .parameters([ids, stats(), tenant_id()])
        .answers_as(
            200,
            "One answer per identifier.",
            "application/json",
            answer(json!({ "type": "array", "items": reference("TenantResolution") })),
        );
    doc.operation("get", "/api/tenantresolve", list);
    let reset =
        op("reset", "Forget every answer and count from zero, on all replicas").parameters([tenant_id()]).answers_as(
            200,
            "Done everywhere; 503 when only this replica could be cleared.",
            "application/json",
            json!({
                "type": "object", "required": ["status", "message"],
                "properties": { "status": { "type": "string", "enum": ["success"] }, "message": { "type": "string" } }
            }),
        );
    doc.operation("post", "/api/tenantresolve/reset", reset);
    let metrics = op("metrics", "The cache's counts on the replica that answers, for Prometheus").answers_as(
        200,
        "The text format, version 0.0.4.",
        "text/plain",
        json!({ "type": "string" }),
    );
    doc.operation("get", "/api/tenantresolve/metrics", metrics);
    doc.to_json("Aisha CRM: tenant resolver", "From a slug or UUID to the tenant, as served behind the gateway.")
}

fn answer(data: Value) -> Value {
    json!({
        "type": "object", "required": ["status", "data"],
        "properties": {
            "status": { "type": "string", "enum": ["success"] },
            "data": data,
            "cache": reference("TenantResolveCache")
        }
    })
}

fn schemas(doc: &mut Document) {
    let sources: Vec<String> = Source::NAMES
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("{name}-cache")])
        // Neither is remembered.
        .filter(|name| !matches!(name.as_str(), "empty-cache" | "uuid-error-cache" | "slug-error-cache"))
        .collect();
    doc.schema(
        "TenantResolution",
        json!({
            "type": "object", "required": ["uuid", "slug", "source", "found"],
            "properties": {
                "input": { "type": "string", "description": "The identifier, in lists." },
                "uuid": { "type": ["string", "null"], "description": "The tenant's id; without one the identifier itself where it is a UUID, else null." },
                "slug": { "type": ["string", "null"], "description": "The tenant's slug; without one the identifier itself." },
                "source": { "type": "string", "enum": sources, "description": "Where the answer comes from. With `-error` the database could not be asked: ask again." },
                "found": { "type": "boolean", "description": "Whether there is such a tenant that the caller may know." }
            }
        }),
    );
    let count = |description: &str| json!({ "type": "integer", "description": description });
    doc.schema(
        "TenantResolveCache",
        json!({
            "type": "object", "description": "Counts of the replica that answers, for all callers together.",
            "required": ["ttlMs", "size", "hits", "misses", "hitRatio"],
            "properties": {
                "ttlMs": count("How long a tenant that was found is remembered."),
                "size": count("Answers that are remembered."),
                "hits": count("Identifiers answered from the cache since the start or the last reset."),
                "misses": count("Identifiers that were not in the cache since then."),
                "hitRatio": { "type": "number", "minimum": 0, "maximum": 1, "description": "Hits among all lookups." }
            }
        }),
    );
}
