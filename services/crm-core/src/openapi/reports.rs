//! Reports and the calendar in the API document.

use aisha_crm::report::{CASH_FLOW, Group, REPORTS, Report, STATS, Span, calendar};
use aisha_http::openapi::{Document, Operation, query, tenant_id};
use serde_json::{Map, Value, json};

/// Adds the operations.
pub fn describe(doc: &mut Document) {
    for report in REPORTS {
        for (i, name) in report.names.iter().enumerate() {
            let id = format!("report_{}", name.replace('-', "_"));
            let mut summary = report.summary.to_owned();
            if i > 0 {
                summary.push_str(" (older name)");
            }
            doc.operation("get", &format!("/api/reports/{name}"), operation(report, id, &summary));
        }
    }
    doc.operation(
        "get",
        "/api/reports/dashboard-stats",
        operation(STATS, "report_dashboard_stats".into(), STATS.summary),
    );
    let bundle = Operation::new("report_dashboard_bundle", "reports", "Everything of a start page at once")
        .parameters([tenant_id(), test_data()])
        .answers(
            200,
            "stats as of dashboard-stats, pipeline as of pipeline, leads by status, the next ten activities.",
            json!({ "type": "object", "properties": {
                "stats": { "type": "object" }, "pipeline": { "type": "object" },
                "lead_status": { "type": "array", "items": { "type": "object" } },
                "upcoming_activities": { "type": "array", "items": { "type": "object" } }
            } }),
        );
    doc.operation("get", "/api/reports/dashboard-bundle", bundle);
    doc.operation("get", "/api/cashflow/summary", operation(CASH_FLOW, "cash_flow_summary".into(), CASH_FLOW.summary));
    for (path, id) in [("/api/reports/calendar", "report_calendar"), ("/api/activities/calendar", "activity_calendar")]
    {
        doc.operation("get", path, calendar_operation(id));
    }
    let feed = Operation::new("calendar_feed", "reports", "What is assigned to the caller, as an iCalendar file")
        .parameters([tenant_id()])
        .answers_as(200, "RFC 5545, from two months ago on.", "text/calendar", json!({ "type": "string" }));
    doc.operation("get", "/api/calendar.ics", feed);
}

fn test_data() -> Value {
    query("include_test_data", "Count test data as well.", json!({ "type": "boolean", "default": false }))
}

fn days(from: &str, to: &str) -> [Value; 2] {
    let date = || json!({ "type": "string", "format": "date" });
    [
        query(from, "First day, in the tenant's time zone.", date()),
        query(to, "Last day, included; at most 366 days in all.", date()),
    ]
}

fn operation(report: &Report, id: String, summary: &str) -> Operation {
    let format = json!({ "type": "string", "enum": ["json", "csv"], "default": "json" });
    let mut op = Operation::new(id, "reports", summary).parameters([
        tenant_id(),
        test_data(),
        query("format", "csv takes the right to export.", format),
    ]);
    if report.span != Span::Whole {
        op = op.parameters(days("from", "to"));
    }
    if report.grouped {
        let names: Vec<&str> = Group::ALL.iter().map(|g| g.as_str()).collect();
        op = op.parameters([query("group", "Length of a row's time.", json!({ "type": "string", "enum": names }))]);
    }
    let columns: Map<String, Value> = report.columns.iter().map(|c| ((*c).to_owned(), column(c))).collect();
    let row = json!({ "type": "object", "properties": columns });
    let answer = match report.rows {
        Some(list) => {
            json!({ "type": "object", "required": [list], "properties": { list: { "type": "array", "items": row } } })
        }
        None => row,
    };
    op.answers(200, "The report; sums beside the list.", answer)
}

/// What a column holds, told by its name.
fn column(name: &str) -> Value {
    match name {
        "employee_id" => json!({ "type": ["string", "null"], "format": "uuid" }),
        "stage" | "label" | "outcome" | "status" | "bucket" | "source" | "type" | "employee_name" | "department" => {
            json!({ "type": ["string", "null"] })
        }
        "month" => json!({ "type": "string", "description": "YYYY-MM" }),
        "date" => {
            json!({ "type": "string", "format": "date", "description": "The day, or the first of week or month." })
        }
        _ if name.ends_with("_rate") => json!({ "type": ["number", "null"], "description": "Percent." }),
        _ => json!({ "type": ["number", "null"] }),
    }
}

fn calendar_operation(id: &str) -> Operation {
    let limit =
        json!({ "type": "integer", "minimum": 1, "maximum": calendar::MAX_LIMIT, "default": calendar::DEFAULT_LIMIT });
    Operation::new(id, "reports", "Activities with a day, in order; this month and the next days unless told otherwise")
        .parameters([tenant_id(), test_data(), query("limit", "Most activities.", limit)])
        .parameters(days("from_date", "to_date"))
        .parameters([query(
            "assigned_to",
            "Only those of this employee.",
            json!({ "type": "string", "format": "uuid" }),
        )])
        .answers(
            200,
            "The activities; truncated says whether there are more.",
            json!({ "type": "object", "required": ["activities"], "properties": {
                "from_date": { "type": "string", "format": "date" }, "to_date": { "type": "string", "format": "date" },
                "activities": { "type": "array", "items": { "type": "object" } }, "truncated": { "type": "boolean" }
            } }),
        )
}
