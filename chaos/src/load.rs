//! People at work in several tenants, who repeat what they got no answer to.
//!
//! Belongs here: what was asked for, and what was said to it. Does not belong here: whether that is true (`checks`).

use crate::person::{PAUSE, Person, Said};
use fastrand::Rng;
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

/// Between two writes of one writer, in milliseconds.
const PAUSES: std::ops::Range<u64> = 100..300;
/// What is still unanswered this long after the end stays so.
const LAST_ANSWERS: Duration = Duration::from_secs(40);
/// How many in a hundred writers do not ask again when there was no answer: what became of it, they never learn.
const IMPATIENT: u32 = 20;
/// Records that a writer keeps at work.
const RECORDS: usize = 60;

/// The field that says which write a record, and an event, comes from. Every record type here has it.
pub const MARK: &str = "city";

const ENTITIES: [&str; 3] = ["contact", "account", "lead"];

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Create,
    Update,
    Delete,
}

impl Kind {
    /// The end of the event's name.
    pub fn event(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Delete => "deleted",
        }
    }
}

/// A write.
#[derive(Debug, Clone)]
pub struct Write {
    pub tenant: Uuid,
    pub entity: &'static str,
    pub kind: Kind,
    /// In the field [`MARK`], where the write sets it; that of the record before otherwise.
    pub mark: String,
    /// The record, as far as the writer knows it.
    pub record: Option<Uuid>,
    /// Whether it was said to be done.
    pub acknowledged: bool,
    /// Attempts.
    pub attempts: u32,
}

/// What all writers did.
#[derive(Default)]
pub struct Log {
    pub writes: Vec<Write>,
    /// When a write was acknowledged.
    pub acknowledged: Vec<Instant>,
    /// Writes that were refused although nothing is wrong with them.
    pub refused: Vec<String>,
}

/// A record as its writer knows it.
struct Known {
    entity: &'static str,
    id: Uuid,
    mark: String,
}

/// One writer. It alone changes its records, so it knows what they must be.
pub struct Writer {
    pub number: usize,
    pub tenant: Uuid,
    pub person: Rc<Person>,
    pub log: Rc<RefCell<Log>>,
    pub rng: Rng,
}

impl Writer {
    /// Writes until told to stop.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        let mut known: BTreeMap<usize, Known> = BTreeMap::new();
        for number in 0.. {
            if *stop.borrow() {
                return;
            }
            let draw = self.rng.u32(0..100);
            let of = self.rng.usize(0..known.len().max(1));
            let mark = format!("w{}-{number}", self.number);
            let place = known.keys().nth(of).copied().filter(|_| draw >= 40);
            match place.and_then(|place| known.remove(&place)) {
                None => {
                    let entity = ENTITIES.get(self.rng.usize(0..ENTITIES.len())).copied().unwrap_or("contact");
                    let body = new_record(entity, &mark);
                    let asked = self.ask(Kind::Create, entity, None, mark, Some(body), &stop).await;
                    if known.len() < RECORDS
                        && let Some(record) = asked
                    {
                        known.insert(number, record);
                    }
                }
                Some(before) if draw < 85 => {
                    let body = json!({ (MARK): mark });
                    let after = self.ask(Kind::Update, before.entity, Some(before.id), mark, Some(body), &stop).await;
                    known.extend(after.map(|record| (number, record)));
                }
                Some(before) => {
                    self.ask(Kind::Delete, before.entity, Some(before.id), before.mark, None, &stop).await;
                }
            }
            sleep(Duration::from_millis(self.rng.u64(PAUSES))).await;
        }
    }

    /// Has a write done, and returns the record where that is certain.
    async fn ask(
        &mut self,
        kind: Kind,
        entity: &'static str,
        record: Option<Uuid>,
        mark: String,
        body: Option<Value>,
        stop: &watch::Receiver<bool>,
    ) -> Option<Known> {
        let patient = self.rng.u32(0..100) >= IMPATIENT;
        let key = aisha_kernel::new_id().to_string();
        let (method, path) = match (kind, record) {
            (Kind::Create, _) | (_, None) => ("POST", format!("/api/{entity}s")),
            (Kind::Update, Some(id)) => ("PATCH", format!("/api/{entity}s/{id}")),
            (Kind::Delete, Some(id)) => ("DELETE", format!("/api/{entity}s/{id}")),
        };
        let mut write = Write { tenant: self.tenant, entity, kind, mark, record, acknowledged: false, attempts: 0 };
        let mut last = None;
        loop {
            write.attempts += 1;
            match self.person.once(method, &path, Some(&key), body.as_ref()).await {
                Said::Done(reply) => {
                    write.acknowledged = true;
                    self.log.borrow_mut().acknowledged.push(Instant::now());
                    let data = reply.data();
                    let said = data["id"].as_str().and_then(|id| id.parse().ok());
                    if said.is_none() || record.is_some_and(|id| said != Some(id)) {
                        self.log.borrow_mut().refused.push(format!("{method} {path} was answered with {data}"));
                    }
                    write.record = record.or(said);
                    break;
                }
                Said::Refused(why) => {
                    self.log.borrow_mut().refused.push(format!("{method} {path} ({}): {why}", write.mark));
                    break;
                }
                Said::Nothing(_) if !patient => break,
                Said::Nothing(_) => {
                    if *stop.borrow() && last.get_or_insert_with(Instant::now).elapsed() > LAST_ANSWERS {
                        break;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        let known =
            write.record.filter(|_| write.acknowledged).map(|id| Known { entity, id, mark: write.mark.clone() });
        self.log.borrow_mut().writes.push(write);
        known
    }
}

fn new_record(entity: &str, mark: &str) -> Value {
    match entity {
        "account" => json!({ "name": format!("Account {mark}"), "city": mark }),
        "lead" => json!({ "first_name": "Lee", "last_name": mark, "company": "Chaos", "city": mark }),
        _ => json!({ "first_name": "Cara", "last_name": mark, "city": mark }),
    }
}

/// What somebody asks of the resolver meanwhile, and how often its answer was wrong. It may not know; it may not be wrong.
#[derive(Default)]
pub struct Resolved {
    pub found: u64,
    pub unknown: u64,
    pub wrong: Vec<String>,
}

/// Asks for a tenant again and again.
pub async fn resolve(
    person: Rc<Person>,
    slug: String,
    tenant: Uuid,
    log: Rc<RefCell<Resolved>>,
    stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        match person.once("GET", &format!("/api/tenantresolve/{slug}"), None, None).await {
            Said::Done(reply) => {
                let data = reply.data();
                let mut log = log.borrow_mut();
                if data["found"] == false && data["source"].as_str().is_some_and(|s| s.contains("error")) {
                    log.unknown += 1;
                } else if data["found"] == true && data["uuid"] == json!(tenant) {
                    log.found += 1;
                } else {
                    log.wrong.push(format!("{slug}: {data}"));
                }
            }
            Said::Nothing(_) => log.borrow_mut().unknown += 1,
            Said::Refused(why) => log.borrow_mut().wrong.push(format!("{slug}: {why}")),
        }
        sleep(PAUSE).await;
    }
}
