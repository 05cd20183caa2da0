//! The activity report: what was done when, by type.

use super::{Ask, Report, Span, by_ranges, counted};
use crate::Activity;
use aisha_auth::Principal;
use aisha_db::Sql;

pub(super) const REPORT: Report = Report {
    names: &["activity-report", "activity-summary"],
    summary: "Activities by the day, week or month in which they were created, and by type",
    span: Span::Back(30),
    grouped: true,
    advanced: false,
    rows: Some("activities"),
    columns: &["date", "type", "count"],
    sql: report,
};

fn report(me: &Principal, ask: &Ask) -> Sql {
    let unit = ask.group.as_str();
    let mut sql = Sql::new("WITH ");
    sql.append(ask.period.cte(me, REPORT.span));
    if by_ranges(me) {
        sql.push(format!(
            ", parts AS MATERIALIZED (SELECT p::date AS date, greatest(starts, p AT TIME ZONE zone) AS since, \
             least(ends, (p + interval '1 {unit}') AT TIME ZONE zone) AS before \
             FROM span, generate_series(date_trunc('{unit}', first::timestamp), last, interval '1 {unit}') AS p), \
             cells AS MATERIALIZED (SELECT p.date, a.type, a.n FROM parts AS p \
             CROSS JOIN LATERAL (SELECT type, count(*) AS n FROM activities WHERE "
        ));
        sql.append(counted::<Activity>(me, ask));
        sql.push(" AND created_at >= p.since AND created_at < p.before GROUP BY type) AS a)");
    } else {
        sql.push(format!(
            ", cells AS MATERIALIZED (SELECT date_trunc('{unit}', created_at AT TIME ZONE zone)::date AS date, type, \
             count(*) AS n FROM activities, span WHERE "
        ));
        sql.append(counted::<Activity>(me, ask));
        sql.push(" AND created_at >= starts AND created_at < ends GROUP BY 1, 2)");
    }
    sql.push(
        " SELECT jsonb_build_object('from', (SELECT first FROM span), 'to', (SELECT last FROM span), \
         'timezone', (SELECT zone FROM span), 'activities', (SELECT coalesce(jsonb_agg(jsonb_build_object('date', date, \
         'type', type, 'count', n) ORDER BY date DESC, type), '[]') FROM cells), \
         'by_type', (SELECT coalesce(jsonb_object_agg(type, n), '{}') FROM (SELECT type, sum(n) AS n FROM cells \
         GROUP BY type) AS t), 'total', (SELECT coalesce(sum(n), 0) FROM cells))",
    );
    sql
}
