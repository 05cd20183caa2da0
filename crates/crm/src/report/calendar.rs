//! The calendar: activities with a day, as JSON and as iCalendar (RFC 5545).

use super::{MAX_DAYS, Span, counted, one, period::Period};
use crate::Activity;
use aisha_auth::{Action, Principal, Scope};
use aisha_db::{Bind, Day, Db, Json, PgRow, Sql, tx::Rows};
use aisha_kernel::Error;
use icalendar::{Calendar, Component as _, Event, EventLike as _, EventStatus};
use time::{Date, Duration, OffsetDateTime, macros::format_description};
use uuid::Uuid;

/// The days that a calendar shows when none are named.
pub const SPAN: Span = Span::Ahead(31);
/// Activities that one answer holds at most.
pub const MAX_LIMIT: i64 = 5_000;
/// Activities that one answer holds unless told otherwise.
pub const DEFAULT_LIMIT: i64 = 1_000;
/// Days before today that a feed holds.
const FEED_BACK: i64 = 60;

/// Which activities.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The days.
    pub period: Period,
    /// Only those of this employee.
    pub assigned_to: Option<Uuid>,
    /// With test data.
    pub include_test_data: bool,
    /// At most so many, the earliest first.
    pub limit: i64,
}

const COLUMNS: &str = "id, type, subject, description, status, is_overdue, priority, due_date, due_time, timezone, due_at, \
    duration, location, assigned_to, assigned_to_name, related_type, related_id, related_name, completed_at, created_by, \
    created_at, updated_at";

/// `span` and `shown`: the activities, in order, one more than asked for.
fn shown(me: &Principal, wanted: &Wanted, span: Span) -> Sql {
    let mut sql = Sql::new("WITH ");
    sql.append(wanted.period.cte(me, span));
    sql.push(format!(", shown AS MATERIALIZED (SELECT {COLUMNS} FROM v_activity_calendar WHERE tenant_id = "));
    sql.bind(me.tenant().0);
    sql.push(" AND due_date >= (SELECT first FROM span) AND due_date <= (SELECT last FROM span)");
    if !wanted.include_test_data {
        sql.push(" AND NOT is_test_data");
    }
    if let Some(employee) = wanted.assigned_to {
        sql.push(" AND assigned_to = ").bind(employee);
    }
    if me.scope() == Scope::Own {
        // The view does not have the columns by which an activity is seen with its record.
        let ask = super::Ask { include_test_data: wanted.include_test_data, ..super::Ask::default() };
        sql.push(" AND id = ANY (ARRAY(SELECT id FROM activities WHERE due_date >= (SELECT first FROM span) AND ");
        sql.append(counted::<Activity>(me, &ask)).push(" AND due_date <= (SELECT last FROM span)))");
    }
    sql.push(" ORDER BY due_date, due_at, id LIMIT ").bind(Bind::Int(wanted.limit + 1)).push(") ");
    sql
}

/// The calendar as JSON: `activities`, and whether there are more.
///
/// # Errors
/// 403, or 503 when the database is away.
pub async fn calendar_list(db: &Db, me: &Principal, wanted: &Wanted) -> Result<Json, Error> {
    me.require("activities", Action::Read)?;
    let mut sql = shown(me, wanted, SPAN);
    // The status as lists show it.
    sql.push(
        "SELECT jsonb_build_object('from_date', (SELECT first FROM span), 'to_date', (SELECT last FROM span), \
         'activities', (SELECT coalesce(jsonb_agg(to_jsonb(s) || CASE WHEN is_overdue THEN '{\"status\": \"overdue\"}' \
         ELSE '{}'::jsonb END ORDER BY due_date, due_at, id), '[]') FROM (SELECT * FROM shown ORDER BY due_date, due_at, id LIMIT ",
    );
    sql.bind(Bind::Int(wanted.limit)).push(") AS s), 'truncated', (SELECT count(*) FROM shown) > ");
    sql.bind(Bind::Int(wanted.limit)).push(")");
    one(db.fetch(me, vec![sql]).await?.pop())
}

/// What is assigned to the caller as an iCalendar object, from two months ago on, a year in all.
///
/// # Errors
/// 403, or 503 when the database is away.
pub async fn calendar_feed(db: &Db, me: &Principal) -> Result<String, Error> {
    me.require("activities", Action::Read)?;
    let rows = match me.employee() {
        None => Rows::new(),
        Some(employee) => {
            let first = aisha_kernel::clock::now().date() - Duration::days(FEED_BACK);
            let period = Period { from: Some(first), to: Some(first + Duration::days(MAX_DAYS - 1)) };
            let wanted = Wanted { period, assigned_to: Some(employee), include_test_data: false, limit: MAX_LIMIT };
            let mut sql = shown(me, &wanted, SPAN);
            sql.push(
                "SELECT id, subject, description, location, status, priority, due_date, due_time, due_at, duration, updated_at, \
                 related_name FROM shown ORDER BY due_date, due_at, id",
            );
            db.fetch(me, vec![sql]).await?.pop().unwrap_or_default()
        }
    };
    let mut calendar = Calendar::empty();
    calendar.append_property(("VERSION", "2.0")).append_property(("PRODID", "-//Aisha CRM//Aisha CRM//EN"));
    calendar.append_property(("CALSCALE", "GREGORIAN")).name("Aisha CRM");
    for row in &rows {
        calendar.push(event(row).map_err(Error::internal)?);
    }
    Ok(calendar.done().to_string())
}

/// One activity. Its id makes the UID, so that a calendar program replaces what it had.
fn event(row: &PgRow) -> aisha_db::Decoded<Event> {
    let (id, subject): (Uuid, String) = (row.get(0)?, row.get(1)?);
    let mut event = Event::new();
    event.uid(&format!("{id}@activities.aisha-crm")).summary(&subject);
    let related: Option<String> = row.get(11)?;
    let about = [row.get::<Option<String>>(2)?, related].into_iter().flatten().collect::<Vec<_>>().join("\n");
    if !about.is_empty() {
        event.description(&about);
    }
    if let Some(place) = row.get::<Option<String>>(3)? {
        event.location(&place);
    }
    let status: String = row.get(4)?;
    event.status(match status.as_str() {
        "cancelled" | "failed" => EventStatus::Cancelled,
        _ => EventStatus::Confirmed,
    });
    // RFC 5545 §3.8.1.9: 1 is the highest, 9 the lowest.
    event.priority(match row.get::<String>(5)?.as_str() {
        "urgent" => 1,
        "high" => 3,
        "low" => 9,
        _ => 5,
    });
    let (day, time, due): (Date, Option<String>, Option<OffsetDateTime>) =
        (row.get::<Day>(6)?.0, row.get(7)?, row.get(8)?);
    match due.filter(|_| time.is_some()) {
        Some(start) => {
            event.starts(start);
            if let Some(minutes) = row.get::<Option<i32>>(9)?.filter(|m| *m > 0) {
                event.ends(start.saturating_add(Duration::minutes(minutes.into())));
            }
        }
        // The end of an all-day event is the day after it (§3.6.1).
        None => {
            event.starts(day);
            event.ends(day.next_day().unwrap_or(day));
        }
    }
    let changed: OffsetDateTime = row.get(10)?;
    let changed = changed.to_offset(time::UtcOffset::UTC);
    let stamp = changed.format(format_description!("[year][month][day]T[hour][minute][second]Z"))?;
    event.add_property("DTSTAMP", &stamp).add_property("LAST-MODIFIED", &stamp);
    Ok(event.done())
}
