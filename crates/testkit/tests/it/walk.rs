//! A walk over every operation of crm-core's API document: who may do what, from which tenant, and that nothing that is
//! documented is missing. Made from the document, so that a new route is covered by existing.

use aisha_auth::{AccessLevel, Action, Role, permission};
use aisha_kernel::new_id;
use aisha_testkit::{Client, Person, Reply, Stack, TestTenant, database};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One operation of the document.
pub(super) struct Op {
    pub method: String,
    pub path: String,
    spec: Value,
}

fn url(path: &str, id: &str) -> String {
    // What belongs to something is made with the id of that.
    ["{id}", "{name}", "{key}", "{delivery_id}", "{replay_id}"]
        .iter()
        .fold(path.to_owned(), |p, name| p.replace(name, id))
}

/// The document and its operations.
pub(super) struct Document {
    value: Value,
    pub ops: Vec<Op>,
}

impl Op {
    /// `contacts` of `/api/contacts/{id}`.
    pub fn plural(&self) -> &str {
        self.path.split('/').nth(2).unwrap()
    }

    fn resource(&self) -> &str {
        match self.plural() {
            "audit-logs" => "audit_logs",
            "customfields" => "custom_fields",
            "modulesettings" => "module_settings",
            "roles" => "permissions",
            "system-settings" => "system_settings",
            "system-logs" => "system_logs",
            "metrics" => "performance",
            "database" | "synchealths" | "testdata" => "data_care",
            "validation" if self.path.ends_with("/analyze-data-quality") => "data_quality",
            "validation" => "contacts",
            "reports" if self.path.ends_with("/data-quality") => "data_quality",
            "diagnostics" if self.path.contains("/leads/") => "lead_diagnostics",
            other => other,
        }
    }

    fn action(&self) -> Action {
        match (self.method.as_str(), self.path.rsplit('/').next().unwrap()) {
            ("delete", _) | (_, "trash" | "restore" | "rollback" | "merge") => Action::Delete,
            (_, "undo") if self.plural() == "merges" => Action::Delete,
            (_, "find-duplicates") => Action::Read,
            // Marking as read is reading.
            (_, "read" | "read-all" | "diagnostics") => Action::Read,
            (_, "performance") if self.plural() == "metrics" => Action::Read,
            (_, "export" | "performance") => Action::Export,
            (_, "import" | "undo") => Action::Import,
            (_, "analyze-data-quality") => Action::Read,
            ("post", "fix" | "sync") => Action::Update,
            ("post", "cleanup") => Action::Delete,
            ("get", _) => Action::Read,
            (_, "convert" | "promote" | "archive") => Action::Update,
            ("post", _) => Action::Create,
            _ => Action::Update,
        }
    }

    /// Whether it is about one thing: by id, or by name.
    pub fn single(&self) -> bool {
        self.path.contains('{')
    }

    /// The path for one thing.
    pub fn at(&self, id: &str) -> String {
        url(&self.path, id)
    }

    /// Whether it takes a tenant.
    fn scoped(&self) -> bool {
        let parameters = self.spec["parameters"].as_array();
        parameters.is_some_and(|list| list.iter().any(|p| p["name"] == "tenant_id"))
    }

    fn body_schema(&self) -> Option<&Value> {
        self.spec["requestBody"]["content"].as_object()?.values().next().map(|c| &c["schema"])
    }
}

impl Document {
    pub fn read() -> Self {
        let value: Value = serde_json::from_str(&aisha_crm_core::openapi_json()).unwrap();
        let mut ops = Vec::new();
        for (path, item) in value["paths"].as_object().unwrap() {
            for (method, spec) in item.as_object().unwrap() {
                ops.push(Op { method: method.clone(), path: path.clone(), spec: spec.clone() });
            }
        }
        assert!(ops.len() > 40, "the document lost its operations");
        Self { value, ops }
    }

    /// The record types: plural and the schema of a new one.
    pub fn records(&self) -> Vec<(String, Value)> {
        let bulk = self.ops.iter().filter(|op| op.path.ends_with("/bulk"));
        bulk.map(|op| (op.plural().to_owned(), self.new_schema(op.plural()).unwrap().clone())).collect()
    }

    fn resolve<'d>(&'d self, schema: &'d Value) -> &'d Value {
        match schema["$ref"].as_str() {
            Some(name) => self.value.pointer(name.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }

    fn new_schema(&self, plural: &str) -> Option<&Value> {
        let collection = format!("/api/{plural}");
        let op = self.ops.iter().find(|op| op.method == "post" && op.path == collection)?;
        Some(self.resolve(op.body_schema()?))
    }

    /// The smallest acceptable new record.
    pub fn sample(&self, plural: &str) -> Value {
        self.smallest(self.new_schema(plural).unwrap())
    }

    /// The smallest acceptable body of another kind.
    fn smallest(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema);
        let required = schema["required"].as_array().into_iter().flatten().map(|n| n.as_str().unwrap());
        let value = |name| sample_value(name, self.resolve(&schema["properties"][name]));
        required.map(|name| (name.to_owned(), value(name))).collect::<Map<_, _>>().into()
    }

    /// A change of one plain text.
    fn change(&self, plural: &str, patch: &Value) -> Value {
        let fixed = self.new_schema(plural).unwrap()["required"].clone();
        let properties = self.resolve(patch)["properties"].as_object().unwrap();
        let plain = |s: &Value| is_type(s, "string") && s["maxLength"].as_u64() >= Some(40) && s["format"].is_null();
        let (name, schema) = properties
            .iter()
            .find(|(n, s)| plain(s) && s["enum"].is_null() && !fixed.as_array().unwrap().contains(&json!(n)))
            .unwrap_or_else(|| panic!("{plural} has no plain text to change"));
        json!({ name: sample_value(name, schema) })
    }
}

pub(super) fn is_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::Array(names) => names.iter().any(|n| n == name),
        one => one == name,
    }
}

pub(super) fn sample_value(name: &str, schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|e| e.first()) {
        return first.clone();
    }
    let unique = format!("x{}", new_id().simple());
    match (name, schema["format"].as_str()) {
        ("entity", _) => json!("contact"),
        (_, Some("email")) => json!(format!("{unique}@example.test")),
        (_, Some("uri")) => json!(format!("https://hooks.example/{unique}")),
        (_, Some("date")) => json!("2026-11-21"),
        (_, Some("date-time")) => json!("2026-11-21T09:30:00Z"),
        _ if is_type(schema, "integer") || is_type(schema, "number") => json!(1),
        _ if is_type(schema, "boolean") => json!(true),
        _ if is_type(schema, "array") => json!([unique]),
        _ if is_type(schema, "object") => json!({}),
        _ => json!(unique),
    }
}

/// A tenant whose records the walk acts upon.
struct World<'s> {
    stack: &'s Stack,
    document: &'s Document,
    tenant: TestTenant,
}

impl World<'_> {
    /// The id that an operation needs, of something that `person` may see.
    async fn target(&self, op: &Op, person: &Person) -> String {
        let (plural, admin) = (op.plural(), &self.tenant.admin.client);
        match plural {
            "tenants" => return self.tenant.id.to_string(),
            "modulesettings" => {
                let reply = admin.post("/api/modulesettings", self.document.sample(plural)).await;
                assert!(reply.status.is_success(), "{}", reply.text);
                return reply.id().to_string();
            }
            "roles" => {
                let sql = "INSERT INTO permissions (tenant_id, name, resource, action) VALUES ('{t}', 'walk', '*', 'read') \
                           ON CONFLICT DO NOTHING; \
                           INSERT INTO role_permissions (tenant_id, role, permission_id) \
                           SELECT '{t}', 'walkers', id FROM permissions WHERE tenant_id = '{t}' AND name = 'walk' \
                           ON CONFLICT DO NOTHING";
                self.stack.sql(&sql.replace("{t}", &self.tenant.id.to_string())).await;
                return "walkers".into();
            }
            "system-settings" => {
                let key = format!("walk.{}", self.tenant.id.simple());
                let sql = format!(
                    "INSERT INTO system_settings (setting_key, value, is_secret) VALUES ('{key}', '1', false) \
                     ON CONFLICT DO NOTHING"
                );
                self.stack.sql(&sql).await;
                return key;
            }
            "imports" => {
                let id = new_id();
                let sql = format!(
                    "INSERT INTO import_log (tenant_id, id, entity_type, status, created_by) \
                     VALUES ('{}', '{id}', 'accounts', 'completed', '{}')",
                    self.tenant.id, person.user_id
                );
                self.stack.sql(&sql).await;
                return id.to_string();
            }
            "system-logs" => {
                let id = new_id();
                let sql = format!(
                    "INSERT INTO system_logs (id, tenant_id, service, level, message) \
                     VALUES ('{id}', '{}', 'walk', 'warn', 'walked')",
                    self.tenant.id
                );
                self.stack.sql(&sql).await;
                return id.to_string();
            }
            "notifications" => {
                let id = new_id();
                let sql = format!(
                    "INSERT INTO notifications (tenant_id, id, user_id, type, title, group_key) \
                     VALUES ('{}', '{id}', '{}', 'system', 'Walk', '{id}')",
                    self.tenant.id, person.user_id
                );
                self.stack.sql(&sql).await;
                return id.to_string();
            }
            "merges" => {
                let contact = || admin.post("/api/contacts", self.document.sample("contacts"));
                let (kept, gone) = (contact().await.expect(201).id(), contact().await.expect(201).id());
                let at = format!("/api/contacts/{kept}/merge");
                let merged = admin.post(&at, json!({ "merge_ids": [gone] })).await.expect(200).data();
                let id = merged["merge_id"].as_str().unwrap().to_owned();
                let sql = format!("UPDATE record_merge SET created_by = '{}' WHERE id = '{id}'", person.user_id);
                self.stack.sql(&sql).await;
                return id;
            }
            "diagnostics" if op.path.contains("/users/") => {
                let known = if person.employee_id.is_nil() { &self.tenant.admin } else { person };
                return known.user_id.to_string();
            }
            "audit-logs" => {
                let sql = "SELECT id::text FROM audit_log WHERE tenant_id = '{t}' ORDER BY changed_at LIMIT 1";
                return self.stack.text(&sql.replace("{t}", &self.tenant.id.to_string())).await;
            }
            "database" | "synchealths" => {
                let id = new_id();
                let sql = format!(
                    "INSERT INTO sync_health (tenant_id, id, sync_type, action, status, triggered_by) \
                     VALUES ('{}', '{id}', 'data_integrity', 'check', 'completed', 'manual')",
                    self.tenant.id
                );
                self.stack.sql(&sql).await;
                return id.to_string();
            }
            "webhooks" => {
                let id = admin.post("/api/webhooks", self.document.sample(plural)).await.expect(201).id();
                let sql = "INSERT INTO webhook_message (tenant_id, event_id, event, seq, body, happened_at) \
                           VALUES ('{t}', '{id}', 'contact.created', 1, '{}', now()); \
                           INSERT INTO webhook_delivery (tenant_id, id, webhook_id, event_id, event, seq, state, finished_at) \
                           VALUES ('{t}', '{id}', '{id}', '{id}', 'contact.created', 1, 'failed', now()); \
                           UPDATE webhook_ledger SET taken_on = 1 WHERE webhook_id = '{id}'; \
                           INSERT INTO webhook_replay (tenant_id, id, webhook_id, window_from, window_to, states, status) \
                           VALUES ('{t}', '{id}', '{id}', now() - interval '1 day', now(), '{failed}', 'completed')";
                let sql = sql.replace("{t}", &self.tenant.id.to_string()).replace("{id}", &id.to_string());
                self.stack.sql(&sql).await;
                return id.to_string();
            }
            _ => {}
        }
        let plural = if plural == "diagnostics" { "leads" } else { plural };
        let mut body = self.document.sample(plural);
        if !self.document.new_schema(plural).unwrap()["properties"]["assigned_to"].is_null()
            && !person.employee_id.is_nil()
        {
            body["assigned_to"] = json!(person.employee_id);
        }
        if op.path.ends_with("/merge") {
            admin.post(&format!("/api/{plural}"), self.document.sample(plural)).await.expect(201);
        }
        let id = admin.post(&format!("/api/{plural}"), body).await.expect(201).id();
        if op.path.contains("/trash/") || op.path.ends_with("/restore") {
            admin.delete(&format!("/api/{plural}/{id}")).await.expect(200);
        }
        if let Some(done) = op.path.strip_suffix("/rollback") {
            admin.post(&done.replace("{id}", &id.to_string()), json!({})).await.expect(200);
        }
        id.to_string()
    }

    fn body(&self, op: &Op) -> Option<Value> {
        let schema = op.body_schema()?;
        Some(match (op.method.as_str(), op.path.rsplit('/').next().unwrap()) {
            ("put", "{name}") => json!({ "permissions": ["walk"] }),
            ("put", "{key}") => json!({ "value": 1 }),
            ("put", "settings") => json!({ "system": false }),
            ("put" | "patch", _) if op.plural() == "modulesettings" => json!({ "is_enabled": true }),
            (_, "convert" | "promote") => json!({}),
            ("post", "bulk") => json!({ "create": [self.document.sample(op.plural())] }),
            ("post", "merge") => json!({ "merge_ids": [new_id()] }),
            ("post", "check-duplicate-before-create") => {
                json!({ "entity_type": "contact", "data": { "email": "somebody@example.test" } })
            }
            ("post", "find-duplicates") => json!({ "entity_type": "contact" }),
            ("post", "fix-assignment") => json!({ "assigned_to": self.tenant.manager.employee_id }),
            // A window that is never too long ago, and has little in it.
            ("post", "replay") => json!({ "from": aisha_kernel::clock::now().date().to_string() }),
            ("post", "mark") => json!({ "entity": "contact", "is_test_data": false, "filter": {} }),
            ("post", "restore") if op.plural() == "database" => json!({ "batch_id": new_id() }),
            ("post", _) if op.path.contains("{id}") || self.document.new_schema(op.plural()).is_none() => {
                self.document.smallest(schema)
            }
            ("post", _) => self.document.sample(op.plural()),
            _ => self.document.change(op.plural(), schema),
        })
    }

    /// Sends an operation with a body that fits it.
    async fn call(&self, client: &Client, op: &Op, id: &str, tenant: Option<uuid::Uuid>) -> Reply {
        let mut path = op.at(id);
        if let Some(tenant) = tenant {
            path.push_str(&format!("?tenant_id={tenant}"));
        }
        let reply = if op.path.ends_with("/import") {
            let sample = self.document.sample(op.plural());
            let sample = sample.as_object().unwrap();
            let head: Vec<&str> = sample.keys().map(String::as_str).collect();
            let cell = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            let row: Vec<String> = sample.values().map(cell).collect();
            let csv = format!("{}\n{}\n", head.join(","), row.join(","));
            client.import(&path, csv.as_bytes(), &[]).await
        } else if op.path.ends_with("/merge") {
            let all = self.tenant.admin.client.get(&format!("/api/{}", op.plural())).await.expect(200).data();
            let other = all[op.plural()].as_array().unwrap().iter().map(|r| r["id"].clone()).find(|o| o != id);
            self.send(client, op, &path, Some(json!({ "merge_ids": [other.unwrap_or_else(|| json!(new_id()))] }))).await
        } else {
            self.send(client, op, &path, self.body(op)).await
        };
        assert!(reply.status.as_u16() < 500, "{} {path}: {} {}", op.method, reply.status, reply.text);
        reply
    }

    async fn send(&self, client: &Client, op: &Op, path: &str, body: Option<Value>) -> Reply {
        let method = op.method.to_uppercase();
        let body = body.map(|b| b.to_string().into_bytes());
        client.send(&method, path, &[("content-type", "application/json")], body).await
    }

    /// Rows that only grow, and grow with every change.
    async fn changes(&self) -> i64 {
        changes(self.stack, self.tenant.id).await
    }
}

/// How many changes of a tenant's data there have been: the database keeps a row of each.
pub(super) async fn changes(stack: &Stack, tenant: uuid::Uuid) -> i64 {
    stack.count(&format!("SELECT count(*) FROM audit_log WHERE tenant_id = '{tenant}' AND action NOT IN ('export', 'PERMISSION_DENIED')")).await
}

#[actix_web::test]
async fn every_operation_is_described_and_routed() {
    let (stack, document) = (Stack::start().await, Document::read());
    let client = stack.tenant().await.admin.client;
    let mut ids = BTreeSet::new();
    for op in &document.ops {
        let name = format!("{} {}", op.method, op.path);
        let id = op.spec["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(ids.insert(id.to_owned()), "{id} is given twice");
        assert!(op.spec["summary"].as_str().is_some_and(|s| s.len() > 5), "{name} has no summary");
        let responses = op.spec["responses"].as_object().unwrap();
        let schema = responses
            .iter()
            .filter(|(status, _)| status.starts_with('2'))
            .filter_map(|(_, r)| r["content"].as_object()?.values().next())
            .any(|content| content["schema"].is_object());
        assert!(schema, "{name} has no answer with a schema");
        assert!(
            op.scoped() || matches!(op.plural(), "tenants" | "system-settings" | "system" | "metrics"),
            "{name} takes no tenant_id"
        );
        let path = op.at(&new_id().to_string());
        let reply = client.send(&op.method.to_uppercase(), &path, &[], None).await;
        assert!(reply.status != 405 && !reply.text.contains("There is no "), "{name}: {}", reply.text);
    }
    let paths: BTreeSet<&str> = document.ops.iter().map(|op| op.path.as_str()).collect();
    for path in paths {
        for method in ["get", "post", "put", "patch", "delete"] {
            if !document.ops.iter().any(|op| op.path == path && op.method == method) {
                let url = url(path, &new_id().to_string());
                let reply = client.send(&method.to_uppercase(), &url, &[], None).await;
                // A fixed name where an id may stand is an id that is none.
                let other = matches!(reply.code().as_str(), "method_not_allowed" | "invalid_parameter");
                assert!(
                    other || reply.code() == "unsupported_media_type",
                    "{method} {path}: {} {}",
                    reply.status,
                    reply.text
                );
            }
        }
    }
}

#[actix_web::test]
async fn nobody_gets_in_without_a_token() {
    let (stack, document) = (Stack::start().await, Document::read());
    for op in &document.ops {
        let path = op.at(&new_id().to_string());
        for client in [stack.anonymous(), stack.anonymous().with("x-internal-token", "garbage")] {
            let reply = client.send(&op.method.to_uppercase(), &path, &[], None).await;
            assert_eq!(
                (reply.status.as_u16(), reply.code().as_str()),
                (401, "unauthenticated"),
                "{} {path}",
                op.method
            );
        }
    }
}

#[actix_web::test]
async fn another_tenant_is_not_there() {
    let (stack, document) = (Stack::start().await, Document::read());
    let a = World { stack: &stack, document: &document, tenant: stack.tenant().await };
    let b = World { stack: &stack, document: &document, tenant: stack.tenant().await };
    let stranger = &b.tenant.admin;
    for op in &document.ops {
        let name = format!("{} {}", op.method, op.path);
        if op.path.contains("{id}") {
            let id = a.target(op, &a.tenant.admin).await;
            let before = a.changes().await;
            let reply = a.call(&stranger.client, op, &id, None).await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (404, "not_found"), "{name}: {}", reply.text);
            assert_eq!(a.changes().await, before, "{name} changed something");
        }
        if op.scoped() {
            let own = if op.single() { b.target(op, stranger).await } else { String::new() };
            let before = (a.changes().await, b.changes().await);
            let reply = b.call(&stranger.client, op, &own, Some(a.tenant.id)).await;
            assert_eq!(
                (reply.status.as_u16(), reply.code().as_str()),
                (403, "invalid_tenant"),
                "{name}: {}",
                reply.text
            );
            if let Some(Value::Object(mut body)) = b.body(op).filter(|_| !op.path.ends_with("/import")) {
                body.insert("tenant_id".into(), json!(a.tenant.id));
                let reply = b.send(&stranger.client, op, &op.at(&own), Some(body.into())).await;
                assert_eq!(reply.code(), "invalid_tenant", "{name}: {}", reply.text);
            }
            assert_eq!((a.changes().await, b.changes().await), before, "{name} changed something");
        }
    }
}

#[actix_web::test]
async fn roles_may_what_the_matrix_says() {
    let (stack, document) = (Stack::start().await, Document::read());
    let world = World { stack: &stack, document: &document, tenant: stack.tenant().await };
    let superadmin = stack.superadmin().await;
    let mut table = String::from("| operation | employee | manager | admin | superadmin |\n|---|---|---|---|---|\n");
    let mut wrong = Vec::new();
    for op in &document.ops {
        table.push_str(&format!("| {} {} |", op.method.to_uppercase(), op.path));
        for role in Role::ALL {
            let person = match role {
                Role::Superadmin => &superadmin,
                _ => world.tenant.people().into_iter().find(|p| p.role == role).unwrap(),
            };
            let id = if op.single() { world.target(op, person).await } else { String::new() };
            let before = world.changes().await;
            let tenant = (role == Role::Superadmin && op.scoped()).then_some(world.tenant.id);
            let reply = world.call(&person.client, op, &id, tenant).await;
            let expected = permission::allows(role, op.resource(), op.action());
            let refused = reply.status == 403 && reply.code() == "forbidden";
            if !(if expected { reply.status.is_success() } else { refused && world.changes().await == before }) {
                wrong.push(format!("{role} {} {}: {} {}", op.method, op.path, reply.status, reply.text));
            }
            table.push_str(if refused { " - |" } else { " yes |" });
        }
        table.push('\n');
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let reviewed = std::fs::read_to_string(database::root().join("docs/operation-matrix.md")).unwrap_or_default();
    assert!(reviewed.ends_with(&table), "docs/operation-matrix.md must end with:\n{table}");
}

#[actix_web::test]
async fn read_access_only_reads() {
    let (stack, document) = (Stack::start().await, Document::read());
    let world = World { stack: &stack, document: &document, tenant: stack.tenant().await };
    let reader = stack.person_with(Some(world.tenant.id), Role::Admin, AccessLevel::Read).await;
    for op in &document.ops {
        let id = if op.single() { world.target(op, &reader).await } else { String::new() };
        let before = world.changes().await;
        let reply = world.call(&reader.client, op, &id, None).await;
        let name = format!("{} {}: {}", op.method, op.path, reply.text);
        if op.action().is_read() && permission::allows(Role::Admin, op.resource(), op.action()) {
            assert_eq!(reply.status, 200, "{name}");
        } else {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (403, "forbidden"), "{name}");
        }
        assert_eq!(world.changes().await, before, "{name} changed something");
    }
}

#[actix_web::test]
async fn an_employee_sees_its_own() {
    let (stack, document) = (Stack::start().await, Document::read());
    let world = World { stack: &stack, document: &document, tenant: stack.tenant().await };
    let (me, colleague) = (&world.tenant.employee, &world.tenant.colleague);
    let owned = document.records().into_iter().filter(|(_, s)| !s["properties"]["assigned_to"].is_null());
    for (plural, schema) in owned {
        // Only what every sample has can be searched for.
        let worded = schema["required"].as_array().unwrap().iter().any(|name| {
            let schema = &schema["properties"][name.as_str().unwrap()];
            is_type(schema, "string") && schema["enum"].is_null() && schema["format"].is_null()
        });
        let list = |op: &&Op| op.plural() == plural && op.method == "get";
        let read = document.ops.iter().find(|op| list(op) && op.path.ends_with("{id}")).unwrap();
        let theirs = world.target(read, colleague).await;
        let mut mine = BTreeSet::from([world.target(read, me).await]);
        let made = me.client.post(&format!("/api/{plural}"), document.sample(&plural)).await.expect(201);
        mine.insert(made.id().to_string());
        for suffix in ["", "/search", "/search?q=x", "?sort=updated_at", "?count=exact"] {
            if suffix.ends_with("q=x") && !worded {
                continue;
            }
            let data = me.client.get(&format!("/api/{plural}{suffix}")).await.expect(200).data();
            let seen = data[&plural].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned());
            assert_eq!(seen.collect::<BTreeSet<_>>(), mine, "{plural}{suffix}");
            assert_eq!(data["total"], 2, "{plural}{suffix}");
        }
        let before = world.changes().await;
        for op in document.ops.iter().filter(|op| op.plural() == plural && op.path.ends_with("s/{id}")) {
            let reply = world.call(&me.client, op, &theirs, None).await;
            assert_eq!(reply.status, 404, "{} {}: {}", op.method, op.path, reply.text);
        }
        assert_eq!(world.changes().await, before);
    }
}
