//! What a dashboard shows: how much there is, what is due, what came in; and everything of a start page in one flight.

use super::{Ask, Report, Span, counted, deal, lead, one, zone};
use crate::{Account, Activity, Contact, Lead, Opportunity};
use aisha_auth::{Action, Principal};
use aisha_db::{Db, Json, Sql, record::Record, tx::Rows};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The dashboard's figures; its answer is put together from three statements.
pub const STATS: &Report = &Report {
    names: &["dashboard-stats"],
    summary: "How many records there are, what is due, and revenue",
    span: Span::Whole,
    grouped: false,
    advanced: false,
    rows: None,
    columns: &[
        "total_contacts",
        "total_accounts",
        "total_leads",
        "total_opportunities",
        "total_activities",
        "open_opportunities",
        "won_opportunities",
        "lost_opportunities",
        "pipeline_value",
        "weighted_pipeline_value",
        "overdue_activities",
    ],
    sql: work,
};

/// Activities that a dashboard lists.
const LISTED: u32 = 10;

/// What the three statements of [`dashboard_stats`] say.
#[derive(Debug, Serialize)]
pub struct Stats {
    #[serde(flatten)]
    totals: BTreeMap<String, Box<RawValue>>,
}

/// Everything of a start page.
#[derive(Debug, Serialize)]
pub struct Bundle {
    stats: Stats,
    pipeline: Box<RawValue>,
    lead_status: Json,
    upcoming_activities: Json,
}

fn parts(json: &Json) -> Result<BTreeMap<String, Box<RawValue>>, Error> {
    serde_json::from_str(json.as_str()).map_err(Error::internal)
}

/// What the first three statements found, as one object.
fn figures(rows: &mut impl Iterator<Item = Rows>) -> Result<BTreeMap<String, Box<RawValue>>, Error> {
    let mut all = BTreeMap::new();
    for found in rows.by_ref().take(3) {
        all.append(&mut parts(&one(Some(found))?)?);
    }
    Ok(all)
}

/// The figures of [`STATS`].
///
/// # Errors
/// 403, or 503 when the database is away.
pub async fn dashboard_stats(db: &Db, me: &Principal, ask: &Ask) -> Result<Stats, Error> {
    me.require("reports", Action::Read)?;
    let [people, activities] = totals(me, ask);
    let mut rows = db.fetch(me, vec![people, activities, work(me, ask)]).await?.into_iter();
    let mut all = figures(&mut rows)?;
    all.remove("pipeline");
    Ok(Stats { totals: all })
}

/// The figures, the pipeline, leads by status and what is due next.
///
/// # Errors
/// 403, or 503 when the database is away.
pub async fn dashboard_bundle(db: &Db, me: &Principal, ask: &Ask) -> Result<Bundle, Error> {
    me.require("reports", Action::Read)?;
    let mut statuses = Sql::new("WITH ");
    statuses.append(lead::by_status(me, ask)).push(
        " SELECT coalesce(jsonb_agg(jsonb_build_object('status', status, 'count', n) ORDER BY place), '[]') FROM by_status",
    );
    let [people, activities] = totals(me, ask);
    let statements = vec![people, activities, work(me, ask), statuses, upcoming(me, ask)];
    let mut rows = db.fetch(me, statements).await?.into_iter();
    let mut all = figures(&mut rows)?;
    let pipeline = all.remove("pipeline").ok_or_else(|| Error::internal("no pipeline"))?;
    Ok(Bundle {
        stats: Stats { totals: all },
        pipeline,
        lead_status: one(rows.next())?,
        upcoming_activities: one(rows.next())?,
    })
}

fn count<R: Record>(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new(format!("(SELECT count(*) FROM {} WHERE ", R::DEF.table));
    sql.append(counted::<R>(me, ask)).push(")");
    sql
}

/// How many records there are, in both spellings of the names. Two statements: activities are as many as all others.
fn totals(me: &Principal, ask: &Ask) -> [Sql; 2] {
    let mut people = Sql::new("WITH n AS MATERIALIZED (SELECT ");
    people.append(count::<Contact>(me, ask)).push(" AS contacts, ").append(count::<Account>(me, ask));
    people.push(" AS accounts, ").append(count::<Lead>(me, ask)).push(
        " AS leads) SELECT jsonb_build_object('total_contacts', contacts, 'totalContacts', contacts, \
         'total_accounts', accounts, 'totalAccounts', accounts, 'total_leads', leads, 'totalLeads', leads) FROM n",
    );
    let mut activities = Sql::new("WITH n AS MATERIALIZED (SELECT ");
    activities.append(count::<Activity>(me, ask)).push(
        " AS activities) SELECT jsonb_build_object('total_activities', activities, 'totalActivities', activities) FROM n",
    );
    [people, activities]
}

fn listed(order: &str) -> String {
    format!(
        "coalesce(jsonb_agg(jsonb_build_object('id', id, 'type', type, 'subject', subject, 'status', \
         CASE WHEN due_at < now() AND status IN ('scheduled', 'pending', 'in-progress') THEN 'overdue' ELSE status END, \
         'priority', priority, 'due_date', due_date, 'due_time', due_time, 'due_at', due_at, 'related_type', related_type, \
         'related_id', related_id, 'related_name', related_name, 'assigned_to', assigned_to, \
         'assigned_to_name', assigned_to_name, 'created_at', created_at, 'created_date', created_at) ORDER BY {order}), '[]')"
    )
}

/// Deals, revenue and activities.
fn work(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("WITH RECURSIVE ");
    sql.append(deal::deals(me, ask));
    sql.push(
        ", here AS MATERIALIZED (SELECT month AT TIME ZONE zone AS this_month, \
         (month - interval '1 month') AT TIME ZONE zone AS last_month FROM (SELECT zone, \
         date_trunc('month', now() AT TIME ZONE zone) AS month FROM ",
    );
    sql.append(zone(me)).push(" AS zone) AS m), won AS MATERIALIZED (SELECT ");
    sql.push(
        "coalesce(sum(amount_minor) FILTER (WHERE closed_at >= this_month), 0) AS this_month, \
         coalesce(sum(amount_minor) FILTER (WHERE closed_at < this_month), 0) AS last_month \
         FROM opportunities, here WHERE outcome = 'won' AND ",
    );
    sql.append(counted::<Opportunity>(me, ask)).push(" AND closed_at >= last_month), overdue AS MATERIALIZED (SELECT ");
    sql.push(
        "count(*) AS n FROM activities WHERE status IN ('scheduled', 'pending', 'in-progress') AND due_at < now() AND ",
    );
    sql.append(counted::<Activity>(me, ask)).push("), recent AS MATERIALIZED (SELECT * FROM activities WHERE ");
    sql.append(counted::<Activity>(me, ask));
    sql.push(format!(
        " ORDER BY created_at DESC, id DESC LIMIT {LISTED}), recent_list AS MATERIALIZED (SELECT {} AS list FROM recent), ",
        listed("created_at DESC, id DESC")
    ));
    sql.push(
        "sums AS MATERIALIZED (SELECT coalesce(sum(n), 0) AS n, coalesce(sum(n) FILTER (WHERE outcome = 'open'), 0) AS open, \
         coalesce(sum(n) FILTER (WHERE outcome = 'won'), 0) AS won, coalesce(sum(n) FILTER (WHERE outcome = 'lost'), 0) AS lost, \
         round(coalesce(sum(total) FILTER (WHERE outcome = 'open'), 0) / 100.0, 2) AS value, \
         round(coalesce(sum(weighted) FILTER (WHERE outcome = 'open'), 0) / 10000.0, 2) AS weighted, \
         round(coalesce(sum(total) FILTER (WHERE outcome = 'won'), 0) / 100.0, 2) AS revenue FROM deals) \
         SELECT jsonb_build_object('total_opportunities', sums.n, 'totalOpportunities', sums.n, \
         'open_opportunities', open, 'openOpportunities', open, 'won_opportunities', sums.won, \
         'wonOpportunities', sums.won, 'lost_opportunities', lost, 'lostOpportunities', lost, 'pipeline_value', value, \
         'pipelineValue', value, 'weighted_pipeline_value', weighted, 'overdue_activities', overdue.n, \
         'overdueActivities', overdue.n, 'recent_activities', list, 'recentActivities', list, \
         'revenue', jsonb_build_object('total', revenue, 'this_month', round(won.this_month / 100.0, 2), \
         'thisMonth', round(won.this_month / 100.0, 2), 'last_month', round(won.last_month / 100.0, 2), \
         'lastMonth', round(won.last_month / 100.0, 2)), 'pipeline', ",
    );
    sql.append(deal::stages(me)).push(") FROM sums, won, overdue, recent_list");
    sql
}

/// What is due next.
fn upcoming(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new(format!("SELECT {} FROM (", listed("due_at, id")));
    sql.push(
        "SELECT * FROM activities WHERE status IN ('scheduled', 'pending', 'in-progress') AND due_at >= now() AND ",
    );
    sql.append(counted::<Activity>(me, ask)).push(format!(" ORDER BY due_at, id LIMIT {LISTED}) AS next"));
    sql
}
