//! Delivering a time window again: what somebody asks for, what that would be, and the row that says how far it is.
//!
//! Belongs here: the request, the dry run, the log of replays. Does not belong here: the work itself (`replay_run`).

use crate::{
    col,
    delivery_log::instant,
    number,
    pattern::{TEST_EVENT, matches_sql, read_patterns},
    subscription::{self, lock, require_active},
};
use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, PgRow, RequestContext, Sql, SystemReason, SystemTx, TenantTx,
    record::{value::timestamp, write::Expected},
};
use aisha_kernel::{Error, FieldError, clock, new_id};
use serde::Serialize;
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// The longest window.
const LONGEST: Duration = Duration::days(30);
/// States of deliveries that can be sent anew, and the events that have none.
pub const REPLAYED: [&str; 4] = ["delivered", "failed", "cancelled", MISSING];
/// Events that were never taken on for the subscription.
pub(crate) const MISSING: &str = "missing";

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct ReplayInput {
    /// Events that happened then or later.
    pub from: OffsetDateTime,
    /// And before then.
    pub to: OffsetDateTime,
    /// Patterns; empty is all.
    pub events: Vec<String>,
    /// Of [`REPLAYED`].
    pub states: Vec<String>,
    /// Only count.
    pub dry_run: bool,
}

impl ReplayInput {
    /// Reads a JSON object. `records` are the record types, singular.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, records: &[&str]) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let mut time = |name: &str, default: Option<OffsetDateTime>| {
            let read = match body.remove(name) {
                None | Some(Value::Null) => default.ok_or_else(|| "is required".to_owned()),
                Some(Value::String(s)) => timestamp(&s),
                Some(_) => Err("must be a time such as 2026-11-21T09:30:00Z".to_owned()),
            };
            read.unwrap_or_else(|what| {
                problems.push(FieldError::new(name, what));
                OffsetDateTime::UNIX_EPOCH
            })
        };
        let now = clock::now();
        let (from, to) = (time("from", None), time("to", Some(now)).min(now));
        if problems.is_empty() {
            if from >= to {
                problems.push(FieldError::new("from", "must be before to, and not in the future"));
            } else if to - from > LONGEST {
                problems.push(FieldError::new("from", "must be at most 30 days before to"));
            }
        }
        let events = body.remove("events").unwrap_or_default();
        let events = read_patterns("events", &events, records).unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        let states = match body.remove("states") {
            None | Some(Value::Null) => REPLAYED.map(str::to_owned).to_vec(),
            Some(Value::Array(items)) if !items.is_empty() => {
                let known = |v: &Value| v.as_str().and_then(|s| REPLAYED.into_iter().find(|known| *known == s));
                let mut states: Vec<String> = items.iter().filter_map(known).map(str::to_owned).collect();
                if states.len() < items.len() {
                    problems.push(FieldError::new("states", format!("must be of: {}", REPLAYED.join(", "))));
                }
                states.sort_unstable();
                states.dedup();
                states
            }
            Some(_) => {
                problems.push(FieldError::new("states", format!("must be a list of: {}", REPLAYED.join(", "))));
                Vec::new()
            }
        };
        let dry_run = match body.remove("dry_run") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(dry)) => dry,
            Some(_) => {
                problems.push(FieldError::new("dry_run", "must be true or false"));
                false
            }
        };
        problems.extend(body.keys().map(|other| FieldError::new(other, "is not a field of this request")));
        if problems.is_empty() {
            Ok(Self { from, to, events, states, dry_run })
        } else {
            Err(Error::validation(problems))
        }
    }
}

/// What a replay would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayCounts {
    /// Always true: nothing was done.
    pub dry_run: bool,
    /// Delivered once, to be sent again.
    pub delivered: i64,
    /// Given up, to be sent again.
    pub failed: i64,
    /// Cancelled, to be sent after all.
    pub cancelled: i64,
    /// Events that would get their first delivery.
    pub missing: i64,
    /// All of these.
    pub total: i64,
}

/// The platform working on a replay for somebody who may ask for it.
#[must_use]
pub fn acting(me: &Principal, cx: &RequestContext) -> SystemReason {
    aisha_db::acting(me.identity(), "webhook_replay", Some(me.tenant()), cx)
}

/// Appends the deliveries `d` of a window with their messages `m`, from the FROM clause on.
pub(crate) fn finished(sql: &mut Sql, webhook: Uuid, input: &ReplayInput) {
    sql.push(
        " FROM webhook_delivery d JOIN webhook_message m ON m.tenant_id = d.tenant_id AND m.event_id = d.event_id \
         WHERE d.tenant_id = current_tenant_id() AND d.webhook_id = ",
    );
    // A delivery is taken on after its event, so the log's index leads to the window.
    sql.bind(webhook).push(" AND d.created_at >= ").bind(instant(input.from));
    sql.push(" AND m.happened_at >= ").bind(instant(input.from)).push(" AND m.happened_at < ").bind(instant(input.to));
    sql.push(" AND d.state IN ('delivered', 'failed', 'cancelled') AND d.state = ANY (");
    sql.bind(Bind::Texts(Some(input.states.clone()))).push(format!(") AND d.event <> '{TEST_EVENT}'"));
    if !input.events.is_empty() {
        sql.push(" AND ").bind(Bind::Texts(Some(input.events.clone())));
        sql.push(matches_sql("", "d.event"));
    }
}

/// Appends the events `o` of a window that the subscription `w` asks for and never got, from the FROM clause on.
pub(crate) fn missing(sql: &mut Sql, webhook: Uuid, input: &ReplayInput) {
    sql.push(
        " FROM event_outbox o JOIN webhook w ON w.tenant_id = o.tenant_id WHERE o.tenant_id = current_tenant_id() AND w.id = ",
    );
    sql.bind(webhook).push(" AND o.created_at >= ").bind(instant(input.from));
    sql.push(" AND o.created_at < ").bind(instant(input.to)).push(" AND ");
    sql.push(matches_sql("w.event_types", "o.event"));
    if !input.events.is_empty() {
        sql.push(" AND ").bind(Bind::Texts(Some(input.events.clone())));
        sql.push(matches_sql("", "o.event"));
    }
    sql.push(
        " AND NOT EXISTS (SELECT FROM webhook_delivery d WHERE d.tenant_id = o.tenant_id AND d.webhook_id = w.id \
         AND d.event_id = o.id)",
    );
}

impl ReplayInput {
    pub(crate) fn asks_for_missing(&self) -> bool {
        self.states.iter().any(|s| s == MISSING)
    }
}

/// Counts what a replay would do, in one snapshot.
///
/// # Errors
/// 404 when there is no such subscription.
pub async fn replay_count(tx: &mut SystemTx, webhook: Uuid, input: &ReplayInput) -> Result<ReplayCounts, Error> {
    let mut there = Sql::new("SELECT 1 FROM webhook WHERE tenant_id = current_tenant_id() AND id = ");
    there.bind(webhook);
    let mut sql = Sql::new(
        "SELECT coalesce(sum(n) FILTER (WHERE state = 'delivered'), 0)::bigint, \
         coalesce(sum(n) FILTER (WHERE state = 'failed'), 0)::bigint, \
         coalesce(sum(n) FILTER (WHERE state = 'cancelled'), 0)::bigint, \
         coalesce(sum(n) FILTER (WHERE state = 'missing'), 0)::bigint FROM (SELECT d.state, count(*) AS n",
    );
    finished(&mut sql, webhook, input);
    sql.push(" GROUP BY d.state");
    if input.asks_for_missing() {
        sql.push(" UNION ALL SELECT 'missing', count(*)");
        missing(&mut sql, webhook, input);
    }
    sql.push(") AS counted");
    let mut results = tx.flight(vec![there, sql.prepared_once()]).await?.into_iter();
    if results.next().unwrap_or_default().is_empty() {
        return Err(Error::not_found());
    }
    let rows = results.next().unwrap_or_default();
    let row = rows.first().ok_or_else(Error::not_found)?;
    let [delivered, failed, cancelled, missing] = [col(row, 0)?, col(row, 1)?, col(row, 2)?, col::<i64>(row, 3)?];
    let total = delivered + failed + cancelled + missing;
    Ok(ReplayCounts { dry_run: true, delivered, failed, cancelled, missing, total })
}

/// A replay as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Replay {
    /// Identifier.
    pub id: Uuid,
    /// The subscription.
    pub webhook_id: Uuid,
    /// Events that happened then or later.
    #[serde(with = "time::serde::rfc3339")]
    pub window_from: OffsetDateTime,
    /// And before then.
    #[serde(with = "time::serde::rfc3339")]
    pub window_to: OffsetDateTime,
    /// Patterns; empty is all that the subscription asks for.
    pub events: Vec<String>,
    /// Of [`REPLAYED`].
    pub states: Vec<String>,
    /// `running`, `completed` or `failed`.
    pub status: String,
    /// Finished deliveries that wait again.
    pub requeued: i64,
    /// Events that got their first delivery.
    pub added: i64,
    /// Why it failed.
    pub error: Option<String>,
    /// The user who asked for it.
    pub created_by: Option<Uuid>,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it last made progress.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub completed_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "id, webhook_id, window_from, window_to, events, states, status, requeued, added, error, created_by, \
    created_at, updated_at, completed_at";

fn from_row(row: &PgRow) -> Result<Replay, Error> {
    Ok(Replay {
        id: col(row, 0)?,
        webhook_id: col(row, 1)?,
        window_from: col(row, 2)?,
        window_to: col(row, 3)?,
        events: col(row, 4)?,
        states: col(row, 5)?,
        status: col(row, 6)?,
        requeued: col(row, 7)?,
        added: col(row, 8)?,
        error: col(row, 9)?,
        created_by: col(row, 10)?,
        created_at: col(row, 11)?,
        updated_at: col(row, 12)?,
        completed_at: col(row, 13)?,
    })
}

/// Ends replays whose process died, of a webhook or of all: they say that they are alive four times as often (`replay_run`).
/// To be followed by what else names them.
pub(crate) fn end_abandoned() -> Sql {
    Sql::new(
        "UPDATE webhook_replay SET status = 'failed', completed_at = clock_timestamp(), \
         error = 'The service stopped during this replay. What it had done stays; ask for the rest again.' \
         WHERE status = 'running' AND updated_at < clock_timestamp() - interval '2 minutes'",
    )
}

/// Begins a replay; the row is its audit trail as well. One whose process died is in nobody's way.
///
/// # Errors
/// 404; 409 when the subscription is not active or another replay of it is running.
pub async fn replay_begin(tx: &mut TenantTx, webhook: Uuid, input: &ReplayInput) -> Result<Replay, Error> {
    let held = lock(tx, webhook, Expected::Any).await?;
    require_active(&held)?;
    let tenant = tx.principal().tenant().0;
    let mut running = Sql::new("SELECT id FROM webhook_replay WHERE status = 'running' AND tenant_id = ");
    running.bind(tenant).push(" AND webhook_id = ").bind(webhook);
    let mut end = end_abandoned();
    end.push(" AND tenant_id = ").bind(tenant).push(" AND webhook_id = ").bind(webhook);
    if let Some(row) = tx.flight(vec![end, running]).await?.pop().unwrap_or_default().first() {
        let id: Uuid = col(row, 0)?;
        return Err(Error::conflict(format!("A replay of this webhook is running: wait for {id}.")));
    }
    let mut sql = Sql::new(
        "INSERT INTO webhook_replay (tenant_id, id, webhook_id, window_from, window_to, events, states) VALUES (",
    );
    sql.bind(tenant).push(", ").bind(new_id()).push(", ").bind(webhook).push(", ").bind(instant(input.from));
    sql.push(", ").bind(instant(input.to)).push(", ").bind(Bind::Texts(Some(input.events.clone())));
    sql.push(", ").bind(Bind::Texts(Some(input.states.clone()))).push(format!(") RETURNING {COLUMNS}"));
    let rows = tx.rows(sql).await?;
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// A page of a subscription's replays, newest first, and how many there are.
///
/// # Errors
/// 404 when there is no such subscription.
pub async fn replay_list(
    db: &Db,
    me: &Principal,
    webhook: Uuid,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Replay>, i64), Error> {
    let tenant = me.tenant().0;
    let mut wanted = Sql::new(" FROM webhook_replay WHERE tenant_id = ");
    wanted.bind(tenant).push(" AND webhook_id = ").bind(webhook);
    let mut page = Sql::new(format!("SELECT {COLUMNS}"));
    page.append(wanted.clone()).push(" ORDER BY created_at DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut total = Sql::new("SELECT count(*)");
    total.append(wanted);
    let mut results = db.fetch(me, vec![subscription::there(tenant, webhook), page, total]).await?;
    let total = number(&results.pop().unwrap_or_default())?;
    let rows = results.pop().unwrap_or_default();
    if results.pop().unwrap_or_default().is_empty() {
        return Err(Error::not_found());
    }
    Ok((rows.iter().map(from_row).collect::<Result<_, _>>()?, total))
}

/// One replay of a subscription.
///
/// # Errors
/// 404 when there is none.
pub async fn replay_read(db: &Db, me: &Principal, webhook: Uuid, id: Uuid) -> Result<Replay, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM webhook_replay WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" AND webhook_id = ").bind(webhook).push(" AND id = ").bind(id);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(v: Value) -> Result<ReplayInput, Error> {
        ReplayInput::read(v.as_object().cloned().unwrap_or_default(), &["contact"])
    }

    #[test]
    fn a_window_is_bounded_and_never_in_the_future() {
        let now = clock::now();
        let days = |n: i64| now.saturating_sub(Duration::days(n)).date().to_string();
        let all = read(json!({ "from": days(3) })).unwrap();
        assert!(all.to <= clock::now() && all.states.len() == 4 && !all.dry_run);
        let some =
            json!({ "from": days(3), "to": "2999-01-01", "events": ["contact.*"], "states": ["failed", "failed"] });
        let some = read(some).unwrap();
        assert!(some.to <= clock::now() && some.states == ["failed"] && some.events == ["contact.*"]);
        for (bad, field) in [
            (json!({}), "from"),
            (json!({ "from": 5 }), "from"),
            (json!({ "from": "soon" }), "from"),
            (json!({ "from": "2999-01-01" }), "from"),
            (json!({ "from": days(3), "to": days(4) }), "from"),
            (json!({ "from": days(40) }), "from"),
            (json!({ "from": days(3), "events": ["x"] }), "events.0"),
            (json!({ "from": days(3), "states": ["pending"] }), "states"),
            (json!({ "from": days(3), "states": [] }), "states"),
            (json!({ "from": days(3), "dry_run": "yes" }), "dry_run"),
            (json!({ "from": days(3), "webhook": 1 }), "webhook"),
        ] {
            let e = read(bad.clone()).unwrap_err();
            assert_eq!(e.details.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), [field], "{bad}");
        }
    }
}
