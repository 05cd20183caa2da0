//! What is measured: the requests of each path and the budget it has to keep.

use crate::{http::Api, people::Person, stack::Stack};
use anyhow::Context as _;
use serde_json::{Value, json};

/// Variants of a path, so that not one row alone is asked for. Few, as each backend of pgbench plans each one anew.
const VARIANTS: usize = 4;

/// Connections of wrk; all are kept alive. A search is heavy enough that more would only measure the queue.
const CONNECTIONS: u32 = 32;
const SEARCH_CONNECTIONS: u32 = 8;

/// The large tenant, one of the others, and the ones that are written to.
const LARGE: u16 = 1;
const EVEN: u16 = 2;
const WRITTEN: u16 = 49;

/// What a path must keep.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// Percent of pgbench, the 99th percentile and the processor time of the services in microseconds.
    Share { percent: f64, p99: Option<f64>, services: Option<f64> },
    /// The 95th percentile in microseconds while nobody waits in a queue.
    Alone { p95: f64 },
    /// Shown only.
    None,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// JSON.
    pub body: Option<Value>,
}

/// One path.
pub struct Probe {
    /// As the table shows it.
    pub name: &'static str,
    /// Who asks.
    pub person: Person,
    /// GET or POST.
    pub method: &'static str,
    /// Sent in turn.
    pub requests: Vec<Request>,
    /// Connections that send them.
    pub connections: u32,
    /// What it must keep.
    pub budget: Budget,
}

fn get(name: &'static str, person: Person, paths: impl IntoIterator<Item = String>, budget: Budget) -> Probe {
    let requests = paths.into_iter().map(|path| Request { path, body: None }).collect();
    Probe { name, person, method: "GET", requests, connections: CONNECTIONS, budget }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn search(name: &'static str, word: &str) -> Probe {
    let path = format!("/api/contacts?limit=50&q={}", encoded(word));
    let probe = get(name, Person::admin(LARGE), [path], Budget::Alone { p95: 20_000.0 });
    Probe { connections: SEARCH_CONNECTIONS, ..probe }
}

fn contact(n: usize) -> Value {
    json!({
        "first_name": "Emilia", "last_name": format!("Bachmann-{n}"),
        "email": format!("emilia.bachmann{n}@mail.example"), "phone": format!("+49 30 55{n:05}"),
        "job_title": "Head of Purchasing", "city": "Leipzig", "country": "Germany", "lead_source": "referral",
        "status": "prospect", "notes": "Asked for the revised offer; decides with the board.", "score": 40 + n,
        "tags": ["segment-1", "wave-2"],
    })
}

/// The words in the data that are rare (one row), of medium frequency (some 200) and common (every eleventh).
fn searches(stack: &Stack) -> anyhow::Result<[Probe; 4]> {
    let rare = format!(
        "SELECT email FROM contacts WHERE tenant_id = '{}' AND deleted_at IS NULL ORDER BY created_at LIMIT 1",
        Person::admin(LARGE).tenant_id()
    );
    let email = stack.sql(&[&rare])?;
    let (_, name) = email.split_once('.').context("an address of the data has no point")?;
    let (name, _) = name.split_once('@').context("an address of the data has no @")?;
    Ok([
        search("search, 1 hit", name),
        search("search, an address", &email),
        search("search, 200 hits", "quarrington"),
        search("search, 18,000 hits", "manager"),
    ])
}

/// Follows the cursor of a list from page to page.
fn page(api: &Api, person: Person, path: &str, number: usize) -> anyhow::Result<String> {
    let mut at = path.to_owned();
    for _ in 1..number {
        let answer = api.get(person, &at)?;
        let cursor = answer.pointer("/data/next_cursor").and_then(Value::as_str).context("the list is too short")?;
        at = format!("{path}&cursor={}", encoded(cursor));
    }
    Ok(at)
}

/// Every path, in the order of the table.
pub fn all(stack: &Stack, api: &Api) -> anyhow::Result<Vec<Probe>> {
    let (admin, employee) = (Person::admin(EVEN), Person::employee(EVEN));
    let list = "/api/contacts?limit=50&count=none".to_owned();
    let ids = stack.sql(&[&format!(
        "SELECT id FROM contacts WHERE tenant_id = '{}' AND deleted_at IS NULL ORDER BY hashtext(id::text) LIMIT {VARIANTS}",
        admin.tenant_id()
    )])?;
    let deep = json!({ "$and": [
        { "status": { "$in": ["active", "customer"] } },
        { "$or": [{ "city": { "$in": ["Berlin", "Hamburg"] } }, { "score": { "$gte": 60 } }] },
        { "job_title": { "$contains": "eng" } },
        { "$or": [{ "last_contacted": { "$exists": true } }, { "tags": { "$all": ["wave-3"] } }] },
    ] });
    let share = |percent| Budget::Share { percent, p99: None, services: None };
    let mut probes = vec![
        get(
            "list of 50, count=none",
            admin,
            [list.clone()],
            Budget::Share { percent: 40.0, p99: Some(25_000.0), services: None },
        ),
        get("list of 50, counted", admin, ["/api/contacts?limit=50".to_owned()], Budget::None),
        get("list of an employee", employee, [list.clone()], Budget::None),
        get("tenth page by cursor", admin, [page(api, admin, &list, 10)?], Budget::None),
        get("deep filter", admin, [format!("{list}&filter={}", encoded(&deep.to_string()))], Budget::None),
        get(
            "read one",
            admin,
            ids.lines().map(|id| format!("/api/contacts/{id}")),
            Budget::Share { percent: 50.0, p99: None, services: Some(100.0) },
        ),
        Probe {
            name: "create, audit and event",
            person: Person::admin(WRITTEN),
            method: "POST",
            requests: (0..VARIANTS)
                .map(|n| Request { path: "/api/contacts".to_owned(), body: Some(contact(n)) })
                .collect(),
            connections: CONNECTIONS,
            budget: share(45.0),
        },
    ];
    probes.extend(searches(stack)?);
    Ok(probes)
}
