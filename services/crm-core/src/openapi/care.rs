//! Diagnostics and data care in the API document.

use super::{integer, paging};
use aisha_crm::care::{RECORDS, consistency::CHECKS, test_data::CONFIRMATION};
use aisha_http::openapi::{Document, Operation, path_id, query, reference, tenant_id};
use serde_json::{Value, json};

fn text() -> Value {
    json!({ "type": "string" })
}

fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

fn time() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn flag(about: &str) -> Value {
    json!({ "type": "boolean", "description": about })
}

fn entity() -> Value {
    json!({ "type": "string", "enum": RECORDS.iter().map(|d| d.name).collect::<Vec<_>>() })
}

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn names() -> Value {
    json!({ "type": "array", "items": { "type": "string", "enum": CHECKS }, "description": "All when absent." })
}

/// Adds the operations.
pub fn describe(doc: &mut Document) {
    diagnostics(doc);
    consistency(doc);
    runs(doc);
    archive(doc);
    test_data(doc);
    quality(doc);
}

fn diagnostics(doc: &mut Document) {
    let rule = object(json!({ "rule": text(), "passed": { "type": ["boolean", "null"] }, "detail": text() }));
    let suggestion = object(json!({ "action": text(), "detail": text() }));
    let verdict = object(json!({
        "can_read": flag("Sees it."), "can_update": flag("May change it."), "can_delete": flag("May move it to the trash.")
    }));
    doc.schema(
        "AccessReport",
        object(json!({
            "user_id": id(), "email": text(), "entity": text(), "id": id(), "rules": list(rule.clone()),
            "verdict": verdict, "agrees": flag("Whether rules and database come to the same."),
            "suggestions": list(suggestion.clone())
        })),
    );
    doc.schema(
        "UserDiagnosis",
        object(json!({
            "user_id": id(), "email": text(), "full_name": text(), "role": text(), "access_level": text(), "scope": text(),
            "department": text(), "is_active": flag("Whether the account is active."), "employee_id": id(),
            "employee_name": text(), "employee_status": text(), "last_login_at": time(), "rules": list(rule),
            "suggestions": list(suggestion.clone()),
            "records": list(object(json!({ "entity": entity(), "visible": integer(), "total": integer() })))
        })),
    );
    doc.schema(
        "LeadVisibility",
        object(json!({
            "id": id(), "name": text(), "assigned_to": id(), "assigned_to_name": text(), "problems": list(text()),
            "suggestions": list(suggestion),
            "users": list(object(json!({
                "user_id": id(), "email": text(), "full_name": text(), "role": text(),
                "can_see": flag("Whether the user sees the lead."), "reason": text()
            })))
        })),
    );
    let op = |verb: &str, summary: &str| Operation::new(format!("diagnostics_{verb}"), "diagnostics", summary);
    let access = op("access", "Why somebody sees a record or not; others than oneself for admins").parameters([
        tenant_id(),
        query("user", "Id or e-mail address; the caller when absent.", text()),
        query("entity", "The record type; with id.", entity()),
        query("id", "The record; with entity.", id()),
    ]);
    let access = access.answers(200, "Rule by rule, with the database's verdict.", reference("AccessReport"));
    doc.operation("get", "/api/diagnostics/access", access);
    let whom = json!({ "name": "id", "in": "path", "required": true, "description": "Id or e-mail address.", "schema": text() });
    let user = op("user", "What somebody is and how much of each record type it sees").parameters([whom, tenant_id()]);
    let user = user.answers(200, "The user.", reference("UserDiagnosis"));
    doc.operation("get", "/api/diagnostics/users/{id}", user);
    let lead = op("lead_visibility", "Who of the tenant sees a lead, and why").parameters([path_id(), tenant_id()]);
    let lead = lead.answers(200, "User by user.", reference("LeadVisibility"));
    doc.operation("get", "/api/diagnostics/leads/{id}/visibility", lead);
    let body = json!({
        "type": "object",
        "required": ["assigned_to"],
        "properties": { "assigned_to": { "type": "string", "description": "An employee, by id or e-mail address." } }
    });
    let fix = op("fix_assignment", "Give a lead to an employee who works here and can sign in")
        .parameters([path_id(), tenant_id()])
        .json_body(body)
        .answers(200, "The lead.", reference("Lead"));
    doc.operation("post", "/api/diagnostics/leads/{id}/fix-assignment", fix);
}

fn database(verb: &str, summary: &str) -> Operation {
    Operation::new(format!("database_{verb}"), "database", summary).parameters([tenant_id()])
}

fn consistency(doc: &mut Document) {
    let example = object(json!({ "entity": entity(), "id": id(), "name": text(), "problem": text(), "fix": text() }));
    doc.schema(
        "ConsistencyReport",
        object(json!({
            "run_id": id(), "issues": integer(), "fixable": integer(),
            "foreign_keys": object(json!({ "enforced": integer(), "unenforced": integer() })),
            "checks": list(object(json!({
                "check": { "type": "string", "enum": CHECKS }, "entity": entity(), "column": text(), "count": integer(),
                "fixable": flag("Whether a repair puts it right."),
                "needs_assign_to": flag("Whether the repair needs assign_to."),
                "examples": list(example)
            })))
        })),
    );
    let report = || reference("ConsistencyReport");
    let look = database("consistency", "What is wrong with the data, without leaving a run");
    doc.operation("get", "/api/database/consistency", look.answers(200, "Check by check.", report()));
    let check =
        database("consistency_check", "Check the data and leave a run").json_body(object(json!({ "checks": names() })));
    doc.operation("post", "/api/database/consistency/check", check.answers(200, "Check by check.", report()));
    let fix = database("consistency_fix", "Put right what can be; each changed value is logged")
        .json_body(object(json!({
            "checks": names(),
            "dry_run": flag("Only say what would be done."),
            "assign_to": { "type": "string", "description": "The employee who gets what nobody looks after." }
        })))
        .answers(200, "The run; of a dry run the report.", reference("SyncHealth"))
        .answers(202, "The run, which goes on.", reference("SyncHealth"));
    doc.operation("post", "/api/database/consistency/fix", fix);
    let sync = database("sync", "Copy again what differs from its source")
        .json_body(object(
            json!({ "mode": { "type": "string", "enum": ["incremental", "full"], "default": "incremental" } }),
        ))
        .answers(200, "The run.", reference("SyncHealth"))
        .answers(202, "The run, which goes on.", reference("SyncHealth"));
    doc.operation("post", "/api/database/sync", sync);
    let volume = database("check_volume", "How many rows the tenant has in each table")
        .parameters([query("count", "Up to 10,000 per table, or to the end.", json!({ "type": "string", "enum": ["capped", "exact"] }))])
        .answers(200, "Table by table.", object(json!({
            "tables": list(object(json!({ "table": text(), "rows": integer(), "is_lower_bound": flag("There are more.") }))),
            "total": integer(), "exact": flag("Whether counted to the end.")
        })));
    doc.operation("get", "/api/database/check-volume", volume);
}

fn runs(doc: &mut Document) {
    let run = json!({
        "id": id(), "tenant_id": id(),
        "sync_type": { "type": "string", "enum": ["denormalization", "orphan_cleanup", "data_integrity"] },
        "action": { "type": "string", "enum": ["check", "fix", "sync"] },
        "mode": { "type": "string", "enum": ["incremental", "full"] },
        "status": { "type": "string", "enum": ["running", "completed", "failed", "partial"] },
        "start_time": time(), "end_time": time(), "duration_ms": { "type": ["integer", "null"] },
        "records_processed": { "type": "integer", "description": "Rows found wrong." },
        "records_updated": { "type": "integer", "description": "Rows put right." },
        "error_count": integer(), "errors": list(json!({ "type": "object" })), "entity_stats": { "type": "object" },
        "triggered_by": { "type": "string", "enum": ["cron", "manual", "api"] },
        "created_by": { "type": ["string", "null"], "format": "uuid" }
    });
    doc.schema("SyncHealth", object(run.clone()));
    let fix = object(json!({
        "check": text(), "entity": entity(), "record_id": id(), "column": text(),
        "old_value": { "type": ["string", "null"] }, "new_value": { "type": ["string", "null"] }, "fixed_at": time()
    }));
    let mut with_fixes = run;
    if let Some(map) = with_fixes.as_object_mut() {
        map.insert("fixes".into(), list(fix));
        map.insert("total".into(), json!({ "type": "integer", "description": "Values changed." }));
        map.insert("limit".into(), integer());
        map.insert("offset".into(), integer());
    }
    let filters = || {
        [
            query(
                "sync_type",
                "Only runs of this kind.",
                json!({ "type": "string", "enum": ["denormalization", "orphan_cleanup", "data_integrity"] }),
            ),
            query(
                "status",
                "Only runs with this status.",
                json!({ "type": "string", "enum": ["running", "completed", "failed", "partial"] }),
            ),
        ]
    };
    let page = |key: &str| super::listed(key, "SyncHealth");
    let all =
        database("consistency_runs", "Checks and repairs, newest first").parameters(filters()).parameters(paging());
    doc.operation("get", "/api/database/consistency/runs", all.answers(200, "A page.", page("runs")));
    let one = database("consistency_run", "A run and what it changed, value by value")
        .parameters([path_id()])
        .parameters(paging());
    doc.operation("get", "/api/database/consistency/runs/{id}", one.answers(200, "The run.", object(with_fixes)));
    let op = |verb: &str, summary: &str| {
        Operation::new(format!("synchealth_{verb}"), "synchealths", summary).parameters([tenant_id()])
    };
    let all = op("list", "Runs of every kind, newest first").parameters(filters()).parameters(paging());
    doc.operation("get", "/api/synchealths", all.answers(200, "A page.", page("synchealths")));
    let one = op("read", "Progress and outcome of a run").parameters([path_id()]);
    doc.operation("get", "/api/synchealths/{id}", one.answers(200, "The run.", reference("SyncHealth")));
}

fn archive(doc: &mut Document) {
    doc.schema(
        "ArchivedRecord",
        object(json!({
            "id": id(), "entity_type": entity(), "name": text(), "batch_id": id(), "reason": text(), "archived_by": id(),
            "archived_at": time(), "record": { "type": "object", "description": "The record as it looked." }
        })),
    );
    let days = |what: &str, setting: &str| {
        json!({ "type": "integer", "minimum": 1, "maximum": 36_500,
                "description": format!("Age in days of {what}; the tenant's settings.{setting} when absent, else 365.") })
    };
    let create = database("archive", "Move old records that are done into the archive")
        .json_body(object(json!({
            "activities_older_than_days": days("completed and cancelled activities", "activity_retention_days"),
            "opportunities_older_than_days": days("won and lost deals", "opportunity_retention_days"),
            "include_bizdev": { "type": "boolean", "default": true, "description": "Promoted, inactive and archived sources too." },
            "dry_run": flag("Only count.")
        })))
        .answers(200, "What went.", object(json!({
            "batch_id": id(), "dry_run": flag("Whether nothing was moved."), "total": integer(),
            "records": list(object(json!({ "entity_type": entity(), "count": integer() })))
        })))
        .answers(202, "It goes on; the records appear in the archive under the batch.", object(json!({ "batch_id": id() })));
    doc.operation("post", "/api/database/archive", create);
    let day = || json!({ "type": "string", "format": "date" });
    let all = database("archive_list", "Archived records, newest first")
        .parameters([
            query("entity_type", "Only this record type.", entity()),
            query("batch_id", "Only what went together.", id()),
            query("q", "Only records whose name contains this.", text()),
            query("from", "Archived on this day or later.", day()),
            query("to", "Archived on this day or earlier.", day()),
        ])
        .parameters(paging());
    let page = super::listed("archived_records", "ArchivedRecord");
    doc.operation("get", "/api/database/archive", all.answers(200, "A page.", page));
    let back = database("archive_restore", "Bring archived records back under the same ids")
        .json_body(object(json!({ "ids": list(id()), "batch_id": id() })))
        .answers(
            200,
            "What came back.",
            object(json!({
                "restored": integer(), "unlinked": integer(), "relinked": integer(), "not_found": list(id())
            })),
        );
    doc.operation("post", "/api/database/archive/restore", back);
}

fn test_data(doc: &mut Document) {
    let op = |verb: &str, summary: &str| {
        Operation::new(format!("test_data_{verb}"), "testdata", summary).parameters([tenant_id()])
    };
    let row = object(
        json!({ "entity": entity(), "live": integer(), "in_trash": integer(), "archived": integer(), "total": integer() }),
    );
    let counts = op("counts", "How much test data there is").answers(
        200,
        "Type by type.",
        object(json!({ "testdata": list(row), "total": integer() })),
    );
    doc.operation("get", "/api/testdata", counts);
    let mark = op("mark", "Mark records as test data, or as real")
        .json_body(json!({
            "type": "object",
            "required": ["entity", "is_test_data"],
            "properties": {
                "entity": entity(), "ids": list(id()),
                "filter": { "type": "object", "description": "As in lists; instead of ids." },
                "is_test_data": flag("What they are.")
            }
        }))
        .answers(
            200,
            "How many changed.",
            object(json!({ "entity": entity(), "is_test_data": flag("What they are."), "marked": integer() })),
        );
    doc.operation("post", "/api/testdata/mark", mark);
    let cleanup = op("cleanup", "Remove all test data for good; this cannot be undone")
        .json_body(json!({
            "type": "object",
            "required": ["confirm"],
            "properties": {
                "confirm": { "type": "string", "enum": [CONFIRMATION], "description": "Typed exactly; not needed for a dry run." },
                "dry_run": flag("Only count.")
            }
        }))
        .answers(200, "What went.", object(json!({
            "dry_run": flag("Whether nothing was removed."), "total": integer(), "unlinked": integer(), "kept_employees": integer(),
            "removed": list(object(json!({ "entity": entity(), "count": integer() })))
        })));
    doc.operation("post", "/api/testdata/cleanup", cleanup);
}

fn quality(doc: &mut Document) {
    let of_type = object(json!({
        "total": integer(), "issues": { "type": "object", "description": "Issue to number of records." },
        "issues_count": { "type": "integer", "description": "Records with at least one." },
        "issues_percentage": { "type": "number" }
    }));
    let flawed = object(json!({ "entity": entity(), "id": id(), "name": text() }));
    let report = object(json!({
        "report": { "type": "object", "additionalProperties": of_type, "description": "By plural name of the record type." },
        "records": { "type": "array", "items": flawed, "description": "With issue: records that have it." }
    }));
    let op = |verb: &str, summary: &str, tag: &str| {
        Operation::new(format!("data_quality_{verb}"), tag, summary).parameters([tenant_id()])
    };
    let read = op("report", "What is missing, wrong, stale or there twice; test data does not count", "reports")
        .parameters([
            query("entity", "Only this record type.", entity()),
            query("issue", "Records with this issue instead of counts; with entity.", text()),
        ])
        .parameters(paging());
    doc.operation("get", "/api/reports/data-quality", read.answers(200, "The report.", report.clone()));
    let analyze = op("analyze", "The data quality report under its older name", "validation")
        .json_body(json!({ "type": "object" }));
    doc.operation("post", "/api/validation/analyze-data-quality", analyze.answers(200, "The report.", report));
}
