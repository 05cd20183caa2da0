//! Reports: what the records add up to, within what the caller sees.
//!
//! Belongs here: the statements and what a report takes and shows, one file per family; the [`Report`]s are the list that
//! routes and documentation are made from. Does not belong here: HTTP, and records themselves.
//!
//! A report is one statement (the dashboard two, in one flight) that reads indexes only, see the migration
//! `2026-11-22-000013_reports`: one `jsonb` value that is passed through. Whoever sees all rows gets them added up by
//! counting index ranges, group by group: counting is three times as fast as sorting rows into groups. Whoever sees its
//! own has so few that they are read once and grouped. Rows of the trash never count, test data only on request. Days and
//! months are those of the tenant's time zone.

mod activity;
pub mod calendar;
mod cash;
mod dashboard;
mod deal;
mod lead;
pub mod period;
pub mod table;
mod team;

use aisha_auth::{Action, Principal, Scope};
use aisha_db::{
    Bind, Db, Json, Sql,
    record::{Record, list::scope},
};
use aisha_kernel::Error;
use period::Period;

/// Days that a report covers at most.
pub const MAX_DAYS: i64 = 366;

/// What a client asks of a report.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Count test data as well.
    pub include_test_data: bool,
    /// The days, for reports about a time.
    pub period: Period,
    /// The length of a row's time, for reports that have rows by time.
    pub group: Group,
}

/// The length of a row's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Group {
    /// A day.
    #[default]
    Day,
    /// A week from Monday.
    Week,
    /// A month.
    Month,
}

impl Group {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// The name in the API, which is also the one in SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// Which days a report covers when none are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// It is not about a time.
    Whole,
    /// So many days, ending today.
    Back(i64),
    /// So many days, beginning with this month.
    Ahead(i64),
}

/// A report.
#[derive(Debug)]
pub struct Report {
    /// The names, the last segment of the path; the first is the canonical one.
    pub names: &'static [&'static str],
    /// What it is, for the documentation.
    pub summary: &'static str,
    /// The days it covers.
    pub span: Span,
    /// Whether `group` is taken.
    pub grouped: bool,
    /// Whether it is for managers and above.
    pub advanced: bool,
    /// The list within the answer that a CSV file shows, and its columns; `None` for one line with all values.
    pub rows: Option<&'static str>,
    /// The columns of that list, or the values.
    pub columns: &'static [&'static str],
    sql: fn(&Principal, &Ask) -> Sql,
}

/// Every report that is one statement.
pub const REPORTS: &[Report] = &[
    deal::PIPELINE,
    deal::FORECAST,
    deal::STAGE_DURATION,
    lead::STATUS,
    lead::AGE,
    lead::SOURCES,
    activity::REPORT,
    team::PERFORMANCE,
];

/// The summary of money that came in and went out.
pub const CASH_FLOW: &Report = &cash::SUMMARY;
/// What a dashboard shows at the top.
pub use dashboard::{Bundle, STATS, dashboard_bundle, dashboard_stats};

/// Runs a report.
///
/// # Errors
/// 403 for an advanced report and a role that may not see it, 503 when the database is away.
pub async fn report_run(db: &Db, me: &Principal, report: &Report, ask: &Ask) -> Result<Json, Error> {
    me.require("reports", if report.advanced { Action::Export } else { Action::Read })?;
    one(db.fetch(me, vec![(report.sql)(me, ask)]).await?.pop())
}

/// The only value of a statement.
fn one(rows: Option<aisha_db::tx::Rows>) -> Result<Json, Error> {
    let row = rows.as_ref().and_then(|rows| rows.first()).ok_or_else(|| Error::internal("a report without a row"))?;
    row.get(0).map_err(Error::internal)
}

/// The conditions of the rows of `R` that count, without `WHERE`. What the policies say is said again where an index can
/// serve it.
fn counted<R: Record>(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("tenant_id = ");
    sql.bind(me.tenant().0).push(" AND deleted_at IS NULL");
    if !ask.include_test_data {
        sql.push(" AND NOT is_test_data");
    }
    scope::<R>(me, &mut sql);
    sql
}

/// Whether rows are added up by counting ranges of an index.
fn by_ranges(me: &Principal) -> bool {
    me.scope() == Scope::All
}

/// `tenant_timezone(…)`.
fn zone(me: &Principal) -> Sql {
    let mut sql = Sql::new("tenant_timezone(");
    sql.bind(me.tenant().0).push(")");
    sql
}

/// A list of words as `unnest('{…}'::text[])`.
fn words(list: &[&str]) -> Sql {
    let mut sql = Sql::new("unnest(");
    sql.bind(Bind::Texts(Some(list.iter().map(|w| (*w).to_owned()).collect()))).push("::text[])");
    sql
}

/// The choices of a record's field, in the order in which they are declared.
fn choices<R: Record>(field: &str) -> &'static [&'static str] {
    match R::DEF.field(field).map(|f| f.kind) {
        Some(aisha_db::record::Kind::Choice(choices)) => choices,
        _ => &[],
    }
}
