//! Reports about leads: where they stand, how old they are, where they come from.

use super::{Ask, Report, Span, by_ranges, choices, counted, words, zone};
use crate::Lead;
use aisha_auth::Principal;
use aisha_db::Sql;

pub(super) const STATUS: Report = Report {
    names: &["lead-status"],
    summary: "Leads by status",
    span: Span::Whole,
    grouped: false,
    advanced: false,
    rows: Some("statuses"),
    columns: &["status", "count"],
    sql: status,
};

pub(super) const AGE: Report = Report {
    names: &["lead-age"],
    summary: "Leads that are not converted, by the days since they were created and by status",
    span: Span::Whole,
    grouped: false,
    advanced: false,
    rows: Some("buckets"),
    columns: &["bucket", "min_days", "max_days", "count", "new", "contacted", "qualified", "unqualified", "lost"],
    sql: age,
};

pub(super) const SOURCES: Report = Report {
    names: &["lead-sources"],
    summary: "Leads by source, how many were converted, and their estimated value",
    span: Span::Whole,
    grouped: false,
    advanced: false,
    rows: Some("sources"),
    columns: &["source", "count", "converted", "conversion_rate", "value"],
    sql: sources,
};

fn statuses() -> Sql {
    let mut sql = words(choices::<Lead>("status"));
    sql.push(" WITH ORDINALITY AS w(status, place)");
    sql
}

fn status(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("WITH ");
    sql.append(by_status(me, ask));
    sql.push(
        " SELECT jsonb_build_object('statuses', coalesce(jsonb_agg(jsonb_build_object('status', status, 'count', n) \
         ORDER BY place), '[]'), 'total', coalesce(sum(n), 0)) FROM by_status",
    );
    sql
}

/// `by_status AS (…)`: every status with `place` and `n`.
pub(super) fn by_status(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("by_status AS MATERIALIZED (SELECT w.status, w.place, ");
    if by_ranges(me) {
        sql.push("(SELECT count(*) FROM leads WHERE ").append(counted::<Lead>(me, ask));
        sql.push(" AND status = w.status) AS n FROM ").append(statuses()).push(")");
    } else {
        sql.push("count(l.status) AS n FROM ").append(statuses()).push(" LEFT JOIN (SELECT status FROM leads WHERE ");
        sql.append(counted::<Lead>(me, ask)).push(") AS l ON l.status = w.status GROUP BY w.status, w.place)");
    }
    sql
}

fn age(me: &Principal, ask: &Ask) -> Sql {
    // A lead made today is 0 days old until midnight in the tenant's time zone.
    let mut sql = Sql::new("WITH here AS MATERIALIZED (SELECT zone, (now() AT TIME ZONE zone)::date AS today FROM ");
    sql.append(zone(me));
    sql.push(
        " AS zone), buckets AS MATERIALIZED (SELECT place, bucket, min_days, max_days, \
         (today - min_days + 1)::timestamp AT TIME ZONE zone AS before, \
         CASE WHEN max_days IS NULL THEN '-infinity' ELSE (today - max_days)::timestamp AT TIME ZONE zone END AS since \
         FROM here, (VALUES (1, '0-7', 0, 7), (2, '8-30', 8, 30), (3, '31-60', 31, 60), (4, '61-90', 61, 90), \
         (5, '90+', 91, NULL)) AS b (place, bucket, min_days, max_days)), cells AS MATERIALIZED (",
    );
    if by_ranges(me) {
        sql.push("SELECT b.bucket, w.status, (SELECT count(*) FROM leads WHERE ").append(counted::<Lead>(me, ask));
        sql.push(" AND status = w.status AND created_at >= b.since");
        // Whatever a clock ahead of ours wrote is new as well.
        sql.push(" AND created_at < CASE b.place WHEN 1 THEN 'infinity' ELSE b.before END) AS n FROM buckets AS b, ");
        sql.append(statuses()).push(" WHERE w.status <> 'converted')");
    } else {
        sql.push("SELECT b.bucket, w.status, count(l.status) AS n FROM buckets AS b CROSS JOIN ").append(statuses());
        sql.push(" LEFT JOIN (SELECT status, created_at FROM leads WHERE ").append(counted::<Lead>(me, ask));
        sql.push(
            " AND status <> 'converted') AS l ON l.status = w.status AND l.created_at >= b.since \
             AND l.created_at < CASE b.place WHEN 1 THEN 'infinity' ELSE b.before END \
             WHERE w.status <> 'converted' GROUP BY b.bucket, w.status)",
        );
    }
    sql.push(
        " SELECT jsonb_build_object('buckets', jsonb_agg(jsonb_build_object('bucket', bucket, 'min_days', min_days, \
         'max_days', max_days, 'count', n) || by_status ORDER BY place), 'total', coalesce(sum(n), 0)) \
         FROM buckets JOIN (SELECT bucket, sum(n) AS n, jsonb_object_agg(status, n) AS by_status FROM cells GROUP BY bucket) \
         AS summed USING (bucket)",
    );
    sql
}

fn sources(me: &Principal, ask: &Ask) -> Sql {
    const SUMS: &str = "count(*) AS n, count(*) FILTER (WHERE status = 'converted') AS converted, \
        sum(estimated_value_minor) AS value FROM leads WHERE ";
    let mut sql = Sql::new("WITH sums AS MATERIALIZED (");
    if by_ranges(me) {
        sql.push("SELECT w.source, s.* FROM ").append(words(choices::<Lead>("source")));
        sql.push(" AS w(source) CROSS JOIN LATERAL (SELECT ").push(SUMS).append(counted::<Lead>(me, ask));
        sql.push(" AND source = w.source) AS s UNION ALL SELECT NULL, ").push(SUMS);
        sql.append(counted::<Lead>(me, ask)).push(" AND source IS NULL)");
    } else {
        sql.push("SELECT source, ").push(SUMS).append(counted::<Lead>(me, ask)).push(" GROUP BY source)");
    }
    sql.push(
        " SELECT jsonb_build_object('sources', coalesce(jsonb_agg(jsonb_build_object('source', source, 'count', n, \
         'converted', converted, 'conversion_rate', round(100.0 * converted / n, 1), \
         'value', round(coalesce(value, 0) / 100.0, 2)) ORDER BY n DESC, source) FILTER (WHERE n > 0), '[]'), \
         'totals', jsonb_build_object('count', coalesce(sum(n), 0), 'converted', coalesce(sum(converted), 0), \
         'conversion_rate', round(100.0 * sum(converted) / nullif(sum(n), 0), 1), \
         'value', round(coalesce(sum(value), 0) / 100.0, 2))) FROM sums",
    );
    sql
}
