//! The system log, the performance log, the state of the platform and notifications in the API document.

use super::{integer, listed, paging, with};
use aisha_http::openapi::{Document, Operation, path_id, query, reference, tenant_id};
use aisha_operations::{notification::KINDS, performance::SORTS, system_log::LEVELS};
use serde_json::{Value, json};

/// Adds schemas and operations.
pub(super) fn describe(doc: &mut Document) {
    system_logs(doc);
    performance(doc);
    system(doc);
    notifications(doc);
}

fn text() -> Value {
    json!({ "type": ["string", "null"] })
}

fn id() -> Value {
    json!({ "type": ["string", "null"], "format": "uuid" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn cursor() -> Value {
    query("cursor", "next_cursor of the page before; not with offset.", json!({ "type": "string" }))
}

fn pages(key: &str, schema: &str) -> Value {
    with(listed(key, schema), json!({ "next_cursor": text() }))
}

fn filters() -> Vec<Value> {
    let string = || json!({ "type": "string" });
    vec![
        tenant_id_or_all(),
        query(
            "level",
            "One or several of debug, info, warn (or warning), error, comma-separated, in any case.",
            string(),
        ),
        query("source", "A module or component, with what is within it.", string()),
        query("service", "Such as gateway, crm-core, frontend.", string()),
        query("q", "Text in message, source or fields.", string()),
        query("user_email", "Text in the address of the user whose request it was.", string()),
        query("request_id", "The x-request-id of an answer.", string()),
        query("from", "From this time or day on.", time()),
        query("to", "Before this time or day.", time()),
        query("platform", "true: only what concerns no tenant; for superadmins.", json!({ "type": "boolean" })),
    ]
}

fn tenant_id_or_all() -> Value {
    let about = "The tenant; without one a superadmin reads all, everybody else may only repeat its own.";
    query("tenant_id", about, json!({ "type": "string", "format": "uuid" }))
}

fn system_logs(doc: &mut Document) {
    doc.schema(
        "SystemLog",
        json!({ "type": "object", "properties": {
            "id": { "type": "string", "format": "uuid" },
            "tenant_id": id(), "service": { "type": "string" }, "level": { "type": "string", "enum": LEVELS },
            "source": { "type": "string" }, "message": { "type": "string" }, "fields": { "type": "object" },
            "request_id": text(), "trace_id": text(), "user_id": id(), "user_email": text(), "created_at": time()
        } }),
    );
    doc.schema(
        "NewSystemLog",
        json!({ "type": "object", "required": ["message"], "properties": {
            "level": { "type": "string", "default": "error",
                       "description": "debug, info, warn (or warning) or error, in any case." },
            "message": { "type": "string", "maxLength": 2000 },
            "source": { "type": "string", "maxLength": 200, "description": "The component." },
            "stack_trace": { "type": "string", "maxLength": 10000 },
            "url": { "type": "string", "maxLength": 2000, "description": "Kept without its query." },
            "user_agent": { "type": "string", "maxLength": 2000 },
            "metadata": { "type": "object", "description": "At most 8192 bytes; values of secret names are removed." }
        } }),
    );
    let op = |verb: &str, summary: &str| Operation::new(format!("system_log_{verb}"), "system-logs", summary);
    let list = op("list", "List the system log, newest first").parameters(filters()).parameters(paging());
    let list = list.parameters([cursor()]).answers(200, "A page.", pages("system-logs", "SystemLog"));
    doc.operation("get", "/api/system-logs", list);
    let create = op("create", "Report an error of the web application, in the caller's name")
        .parameters([tenant_id()])
        .json_body(reference("NewSystemLog"))
        .answers(201, "Stored.", reference("SystemLog"));
    doc.operation("post", "/api/system-logs", create);
    let read = op("read", "Read one row of the system log").parameters([path_id(), tenant_id_or_all()]);
    doc.operation("get", "/api/system-logs/{id}", read.answers(200, "The row.", reference("SystemLog")));
    let export = op("export", "Export what the filters let through as CSV").parameters(filters());
    let export = export.answers_as(200, "The file.", "text/csv", json!({ "type": "string" }));
    doc.operation("get", "/api/system-logs/export", export);
}

fn performance(doc: &mut Document) {
    let ms = |what: &str| json!({ "type": "number", "description": what });
    doc.schema(
        "Performance",
        json!({ "type": "object", "properties": {
            "service": { "type": "string" }, "method": { "type": "string" },
            "route": { "type": "string", "description": "The pattern of the route." },
            "request_count": integer(), "client_error_count": integer(), "server_error_count": integer(),
            "error_rate": { "type": "number", "description": "Share answered with 5xx." },
            "mean_ms": ms("Mean."), "p50_ms": ms("Of all requests of the window, right to one percent."),
            "p95_ms": ms("Likewise."), "p99_ms": ms("Likewise."), "max_ms": ms("The longest."),
            "slow_count": { "type": "integer", "description": "Requests above slow_read_ms (GET, HEAD) or slow_request_ms." },
            "slow": { "type": "boolean", "description": "More than one in twenty was slow." }
        } }),
    );
    let sorts: Vec<&str> = SORTS.iter().map(|(name, _)| *name).collect();
    let string = || json!({ "type": "string" });
    let list = Operation::new("performance_list", "metrics", "How fast each route is, of all tenants together")
        .parameters([
            query("from", "Periods that begin from this time or day on.", time()),
            query("to", "And before this one.", time()),
            query("hours", "Instead of from: so many hours before to.", json!({ "type": "integer", "default": 24 })),
            query("service", "Such as gateway or crm-core.", string()),
            query("method", "Such as GET.", string()),
            query("sort", "Largest first.", json!({ "type": "string", "enum": sorts, "default": "p95" })),
        ])
        .parameters(paging());
    let more = json!({
        "summary": reference("Performance"), "from": time(), "to": time(),
        "slow_read_ms": integer(), "slow_request_ms": integer()
    });
    let page = with(listed("performance", "Performance"), more);
    doc.operation("get", "/api/metrics/performance", list.answers(200, "A page of routes, and all together.", page));
}

/// The connections of a database, or of one application of it.
fn connection_counts() -> Value {
    json!({ "total": integer(), "active": integer(), "idle": integer(), "idle_in_transaction": integer(),
            "waiting_for_locks": integer() })
}

fn connections() -> Value {
    let one = with(json!({ "properties": connection_counts() }), json!({ "application_name": { "type": "string" } }));
    let more = json!({
        "server_total": { "type": "integer", "description": "Of all databases of the server." },
        "max_connections": integer(),
        "by_application": { "type": "array", "items": one, "description": "The pools of each service." }
    });
    let about = "Connections to this database; what those of foreign roles do is not known, only that they are there.";
    let all = json!({ "type": ["object", "null"], "description": about, "properties": connection_counts() });
    with(all, more)
}

fn query_performance() -> Value {
    let ms = |about: &str| json!({ "type": "integer", "description": about });
    json!({ "type": ["object", "null"], "description": "How queries fare, without any of their texts.", "properties": {
        "running": integer(), "longest_running_ms": ms("Of the queries that run now."),
        "longest_transaction_ms": ms("Of the transactions that are open now."),
        "counted_since": { "type": ["string", "null"], "format": "date-time",
                           "description": "When the following were last reset, if ever." },
        "cache_hit_ratio": { "type": ["number", "null"], "description": "Share of blocks found in the server's memory." },
        "commits": integer(), "rollbacks": integer(), "deadlocks": integer(), "conflicts": integer(), "rows_read": integer(),
        "rows_written": integer(), "temporary_files": integer(), "temporary_bytes": integer(),
        "last_hour": reference("Performance"),
        "slowest_routes": { "type": "array", "items": reference("Performance"), "description": "Of crm-core's last hour." },
        "performance_logging": { "type": "boolean", "description": "Whether crm-core keeps how long requests take." }
    } })
}

fn system(doc: &mut Document) {
    let status = || json!({ "type": "string", "enum": ["ok", "warn", "fail"] });
    let check = json!({ "type": "object", "properties": {
        "name": { "type": "string" }, "status": status(), "message": { "type": "string" }, "duration_ms": { "type": "number" }
    } });
    let diagnostics = Operation::new("system_diagnostics", "system", "Check the database and what hangs on it")
        .answers(
            200,
            "What was found; status is the worst of it. Without a database the last two are null.",
            json!({ "type": "object", "properties": {
            "status": status(), "checks": { "type": "array", "items": check }, "timestamp": time(),
            "connections": connections(), "query_performance": query_performance()
        } }),
        );
    doc.operation("post", "/api/system/diagnostics", diagnostics);
    let instance = json!({ "type": "object", "properties": {
        "id": id(), "service": { "type": "string" }, "version": { "type": "string" }, "started_at": time(), "seen_at": time(),
        "seen_seconds_ago": integer(), "uptime_seconds": integer(),
        "silent": { "type": "boolean", "description": "It has not reported lately." },
        "cpu_ms": integer(), "cpu_percent": { "type": ["number", "null"], "description": "Of one core, lately." },
        "resident_bytes": integer(), "open_fds": integer(), "request_count": integer(),
        "client_error_count": integer(), "server_error_count": integer(), "log_records_dropped": integer(),
        "checks": { "type": "object", "description": "What it depends on: ok, or what is wrong." }
    } });
    let metrics =
        Operation::new("system_metrics", "system", "What each process uses, how requests fare, what the database does")
            .answers(
                200,
                "Numbers of all processes, of crm-core's last hour, and of the database.",
                json!({ "type": "object", "properties": {
                "timestamp": time(), "services": { "type": "array", "items": instance },
                "last_hour": reference("Performance"),
                "slowest_routes": { "type": "array", "items": reference("Performance") },
                "database": { "type": "object", "description": "Connections, transactions, size, cache." }
            } }),
            );
    doc.operation("get", "/api/system/metrics", metrics);
}

fn notifications(doc: &mut Document) {
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    doc.schema(
        "Notification",
        json!({ "type": "object", "properties": {
            "id": { "type": "string", "format": "uuid" }, "tenant_id": id(), "user_id": id(),
            "type": { "type": "string", "enum": kinds }, "title": { "type": "string" }, "message": { "type": "string" },
            "link": { "type": ["string", "null"], "description": "Where to look, below the web application's address." },
            "related_type": text(), "related_id": id(),
            "count": { "type": "integer", "description": "How many occasions it stands for." },
            "is_read": { "type": "boolean" }, "read_at": { "type": ["string", "null"], "format": "date-time" },
            "created_at": time(), "updated_at": time(), "event_id": id()
        } }),
    );
    let switches = KINDS
        .map(|(kind, about)| (kind.to_owned(), json!({ "type": "boolean", "default": true, "description": about })));
    let switches: serde_json::Map<String, Value> = switches.into_iter().collect();
    doc.schema("NotificationSettings", json!({ "type": "object", "properties": switches }));
    let op = |verb: &str, summary: &str| Operation::new(format!("notification_{verb}"), "notifications", summary);
    let list = op("list", "List one's own notifications, newest first")
        .parameters([
            tenant_id(),
            query("is_read", "Only those that were read, or were not.", json!({ "type": "boolean" })),
            query("type", "Only this kind.", json!({ "type": "string", "enum": kinds })),
        ])
        .parameters(paging())
        .parameters([cursor()]);
    let unread = json!({ "unread_count": { "type": "integer", "description": "Whatever the filter." } });
    let page = with(pages("notifications", "Notification"), unread);
    doc.operation("get", "/api/notifications", list.answers(200, "A page.", page));
    let read = op("read", "Mark one as read").parameters([path_id(), tenant_id()]);
    let read = read.answers(200, "The notification.", reference("Notification"));
    doc.operation("post", "/api/notifications/{id}/read", read);
    let read_all = op("read_all", "Mark all of one's own as read").parameters([tenant_id()]).answers(
        200,
        "How many were not.",
        json!({ "type": "object", "properties": { "updated": integer() } }),
    );
    doc.operation("post", "/api/notifications/read-all", read_all);
    let delete = op("delete", "Remove one of one's own").parameters([path_id(), tenant_id()]);
    let removed = json!({ "type": "object", "properties": { "id": { "type": "string", "format": "uuid" } } });
    doc.operation("delete", "/api/notifications/{id}", delete.answers(200, "Removed.", removed));
    let settings = op("settings_read", "Which kinds of notification one gets").parameters([tenant_id()]);
    let settings = settings.answers(200, "Each kind.", reference("NotificationSettings"));
    doc.operation("get", "/api/notifications/settings", settings);
    let set = op("settings_set", "Switch kinds of notification on or off; others stay")
        .parameters([tenant_id()])
        .json_body(reference("NotificationSettings"))
        .answers(200, "Each kind.", reference("NotificationSettings"));
    doc.operation("put", "/api/notifications/settings", set);
}
