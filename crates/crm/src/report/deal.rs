//! Reports about deals: the pipeline, what is expected to close, how long a stage takes.

use super::{Ask, Report, Span, by_ranges, counted};
use crate::Opportunity;
use aisha_auth::Principal;
use aisha_db::Sql;

pub(super) const PIPELINE: Report = Report {
    names: &["pipeline"],
    summary: "Deals by stage, in the order of the tenant's stages",
    span: Span::Whole,
    grouped: false,
    advanced: false,
    rows: Some("stages"),
    columns: &[
        "stage",
        "label",
        "position",
        "outcome",
        "count",
        "total_value",
        "avg_value",
        "avg_probability",
        "weighted_value",
    ],
    sql: pipeline,
};

pub(super) const FORECAST: Report = Report {
    names: &["forecast"],
    summary: "Open deals by the month in which they are expected to close",
    span: Span::Ahead(366),
    grouped: false,
    advanced: false,
    rows: Some("months"),
    columns: &["month", "count", "amount", "weighted_amount"],
    sql: forecast,
};

pub(super) const STAGE_DURATION: Report = Report {
    names: &["stage-duration"],
    summary: "How long deals stayed in a stage before they left it",
    span: Span::Back(90),
    grouped: false,
    advanced: false,
    rows: Some("stages"),
    columns: &["stage", "label", "position", "outcome", "count", "avg_seconds", "avg_days", "max_days"],
    sql: stage_duration,
};

/// `deals AS (…)`, after `WITH RECURSIVE`: a row per stage and outcome with `n`, `total` and `weighted` in minor units (the latter times a
/// hundred), `with_amount`, `likely` (sum of percents) and `with_probability`.
pub(super) fn deals(me: &Principal, ask: &Ask) -> Sql {
    const SUMS: &str = "count(*) AS n, sum(amount_minor) AS total, count(amount_minor) AS with_amount, \
        sum(amount_minor * probability) AS weighted, sum(probability) AS likely, count(probability) AS with_probability \
        FROM opportunities WHERE ";
    if !by_ranges(me) {
        let mut sql = Sql::new(format!("deals AS MATERIALIZED (SELECT stage, outcome, {SUMS}"));
        sql.append(counted::<Opportunity>(me, ask)).push(" GROUP BY stage, outcome)");
        return sql;
    }
    // Which stages there are is found by jumping from one to the next in the index: deals may be in stages that the
    // tenant's list no longer has.
    let next = |after: &str| {
        let mut sql = Sql::new("least(NULL");
        for test_data in if ask.include_test_data { &[false, true][..] } else { &[false] } {
            sql.push(", (SELECT min(stage) FROM opportunities WHERE tenant_id = ").bind(me.tenant().0);
            sql.push(format!(" AND deleted_at IS NULL AND is_test_data = {test_data}{after})"));
        }
        sql.push(")");
        sql
    };
    let mut sql = Sql::new("jump(stage) AS (SELECT ");
    sql.append(next("")).push(" UNION ALL SELECT ").append(next(" AND stage > jump.stage"));
    sql.push(" FROM jump WHERE jump.stage IS NOT NULL), deals AS MATERIALIZED (SELECT jump.stage, o.outcome, sums.* ");
    sql.push("FROM jump CROSS JOIN unnest('{open,won,lost}'::text[]) AS o(outcome) CROSS JOIN LATERAL (SELECT ");
    sql.push(SUMS).append(counted::<Opportunity>(me, ask));
    sql.push(" AND stage = jump.stage AND outcome = o.outcome) AS sums WHERE sums.n > 0)");
    sql
}

/// The stages of the pipeline as JSON, from [`deals`]: the tenant's, then those that its list no longer has.
pub(super) fn stages(me: &Principal) -> Sql {
    let mut sql = Sql::new(
        "(SELECT jsonb_build_object('stages', coalesce(jsonb_agg(jsonb_build_object('stage', stage, 'label', label, \
         'position', position, 'outcome', outcome, 'count', coalesce(n, 0), \
         'total_value', round(coalesce(total, 0) / 100.0, 2), 'avg_value', round(total / nullif(with_amount, 0) / 100.0, 2), \
         'avg_probability', round(likely / nullif(with_probability, 0)::numeric, 1), \
         'weighted_value', round(coalesce(weighted, 0) / 10000.0, 2)) ORDER BY position NULLS LAST, stage, outcome), '[]'), \
         'totals', jsonb_build_object('count', coalesce(sum(n), 0), 'total_value', round(coalesce(sum(total), 0) / 100.0, 2), \
         'weighted_value', round(coalesce(sum(weighted), 0) / 10000.0, 2), \
         'open', ",
    );
    let outcome = |name: &str| {
        format!(
            "jsonb_build_object('count', coalesce(sum(n) FILTER (WHERE outcome = '{name}'), 0), \
             'total_value', round(coalesce(sum(total) FILTER (WHERE outcome = '{name}'), 0) / 100.0, 2), \
             'weighted_value', round(coalesce(sum(weighted) FILTER (WHERE outcome = '{name}'), 0) / 10000.0, 2))"
        )
    };
    sql.push(outcome("open")).push(", 'won', ").push(outcome("won")).push(", 'lost', ").push(outcome("lost"));
    sql.push(
        ")) FROM (SELECT coalesce(s.name, d.stage) AS stage, \
         coalesce(s.label, initcap(replace(d.stage, '_', ' '))) AS label, s.position, \
         coalesce(d.outcome, s.outcome) AS outcome, n, total, with_amount, weighted, likely, with_probability \
         FROM pipeline_stages(",
    );
    // What a stage means may have changed since a deal entered it: such deals have a row of their own, without a position.
    sql.bind(me.tenant().0)
        .push(") AS s FULL JOIN deals AS d ON d.stage = s.name AND d.outcome = s.outcome) AS all_stages)");
    sql
}

fn pipeline(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("WITH RECURSIVE ");
    sql.append(deals(me, ask)).push(" SELECT ").append(stages(me));
    sql
}

fn forecast(me: &Principal, ask: &Ask) -> Sql {
    const SUMS: &str = "SELECT count(*) AS n, sum(amount_minor) AS total, sum(amount_minor * probability) AS weighted \
        FROM opportunities WHERE outcome = 'open' AND ";
    let shown = |of: &str| {
        format!(
            "'count', {of}.n, 'amount', round(coalesce({of}.total, 0) / 100.0, 2), \
             'weighted_amount', round(coalesce({of}.weighted, 0) / 10000.0, 2)"
        )
    };
    let mut sql = Sql::new("WITH ");
    sql.append(ask.period.cte(me, FORECAST.span));
    sql.push(
        ", months AS MATERIALIZED (SELECT m::date AS month, greatest(m::date, first) AS starts, \
         least((m + interval '1 month')::date - 1, last) AS ends \
         FROM span, generate_series(date_trunc('month', first), last, interval '1 month') AS m), ",
    );
    if by_ranges(me) {
        sql.push("sums AS (SELECT m.month, s.* FROM months AS m CROSS JOIN LATERAL (").push(SUMS);
        sql.append(counted::<Opportunity>(me, ask)).push(" AND close_date BETWEEN m.starts AND m.ends) AS s)");
    } else {
        sql.push("mine AS MATERIALIZED (SELECT close_date, amount_minor, probability FROM opportunities, span WHERE outcome = 'open' AND ");
        sql.append(counted::<Opportunity>(me, ask)).push(" AND close_date BETWEEN first AND last), ");
        sql.push(
            "sums AS (SELECT m.month, count(o.close_date) AS n, sum(amount_minor) AS total, \
             sum(amount_minor * probability) AS weighted FROM months AS m \
             LEFT JOIN mine AS o ON o.close_date BETWEEN m.starts AND m.ends GROUP BY m.month)",
        );
    }
    for (name, condition) in [("overdue", "close_date < (SELECT today FROM span)"), ("undated", "close_date IS NULL")] {
        sql.push(format!(", {name} AS (")).push(SUMS).append(counted::<Opportunity>(me, ask));
        sql.push(format!(" AND {condition})"));
    }
    sql.push(
        " SELECT jsonb_build_object('from', (SELECT first FROM span), 'to', (SELECT last FROM span), \
         'months', (SELECT coalesce(jsonb_agg(jsonb_build_object('month', to_char(month, 'YYYY-MM'), ",
    );
    sql.push(shown("sums")).push(") ORDER BY month), '[]') FROM sums), ");
    sql.push(
        "'totals', (SELECT jsonb_build_object('count', coalesce(sum(n), 0), \
         'amount', round(coalesce(sum(total), 0) / 100.0, 2), \
         'weighted_amount', round(coalesce(sum(weighted), 0) / 10000.0, 2)) FROM sums), ",
    );
    sql.push("'overdue', (SELECT jsonb_build_object(").push(shown("overdue")).push(") FROM overdue), ");
    sql.push("'without_close_date', (SELECT jsonb_build_object(").push(shown("undated")).push(") FROM undated))");
    sql
}

fn stage_duration(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("WITH ");
    sql.append(ask.period.cte(me, STAGE_DURATION.span));
    sql.push(
        ", sums AS MATERIALIZED (SELECT from_stage, count(*) AS n, sum(seconds_in_previous) AS total, \
         max(seconds_in_previous) AS longest FROM opportunity_stage_history AS h, span WHERE h.tenant_id = ",
    );
    sql.bind(me.tenant().0)
        .push(" AND from_stage IS NOT NULL AND changed_at >= span.starts AND changed_at < span.ends");
    if by_ranges(me) {
        // Few deals are in the trash or for testing: leaving those out is less work than looking up all others.
        let left_out =
            if ask.include_test_data { "deleted_at IS NOT NULL" } else { "(deleted_at IS NOT NULL OR is_test_data)" };
        sql.push(" AND NOT EXISTS (SELECT FROM opportunities AS o WHERE o.tenant_id = ").bind(me.tenant().0);
        sql.push(format!(" AND o.id = h.opportunity_id AND {left_out})"));
    } else {
        sql.push(" AND opportunity_id = ANY (ARRAY(SELECT id FROM opportunities WHERE ");
        sql.append(counted::<Opportunity>(me, ask)).push("))");
    }
    sql.push(" GROUP BY from_stage) ");
    sql.push(
        "SELECT jsonb_build_object('from', (SELECT first FROM span), 'to', (SELECT last FROM span), \
         'stages', coalesce(jsonb_agg(jsonb_build_object('stage', coalesce(s.name, m.from_stage), \
         'label', coalesce(s.label, initcap(replace(m.from_stage, '_', ' '))), 'position', s.position, \
         'outcome', s.outcome, 'count', coalesce(n, 0), 'avg_seconds', round(total / nullif(n, 0)), \
         'avg_days', round(total / nullif(n, 0) / 86400.0, 2), 'max_days', round(longest / 86400.0, 2)) \
         ORDER BY s.position NULLS LAST, m.from_stage), '[]')) FROM pipeline_stages(",
    );
    sql.bind(me.tenant().0).push(") AS s FULL JOIN sums AS m ON m.from_stage = s.name");
    sql
}
