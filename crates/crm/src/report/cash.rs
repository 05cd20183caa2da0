//! The summary of cash flow. What was cancelled never counts.

use super::{Ask, Report, Span, counted};
use crate::CashFlow;
use aisha_auth::Principal;
use aisha_db::Sql;

pub(super) const SUMMARY: Report = Report {
    names: &["summary"],
    summary: "Money that came in and went out, by month and by category",
    span: Span::Back(365),
    grouped: false,
    advanced: false,
    rows: Some("months"),
    columns: &["month", "income", "expense", "net", "count"],
    sql: summary,
};

fn summary(me: &Principal, ask: &Ask) -> Sql {
    // Few transactions compared to other records: read once, by month and category.
    let mut sql = Sql::new("WITH ");
    sql.append(ask.period.cte(me, SUMMARY.span));
    sql.push(
        ", sums AS MATERIALIZED (SELECT m.month, c.* FROM span CROSS JOIN LATERAL (SELECT m::date AS month, \
         greatest(m::date, first) AS since, least((m + interval '1 month')::date - 1, last) AS until \
         FROM generate_series(date_trunc('month', first), last, interval '1 month') AS m) AS m \
         LEFT JOIN LATERAL (SELECT transaction_type, category, count(*) AS n, sum(amount_minor) AS total FROM cash_flow WHERE ",
    );
    sql.append(counted::<CashFlow>(me, ask));
    sql.push(
        " AND status <> 'cancelled' AND transaction_date BETWEEN m.since AND m.until GROUP BY 1, 2) AS c ON true), \
         both_ways AS (SELECT month, category, coalesce(sum(n), 0) AS n, \
         coalesce(sum(total) FILTER (WHERE transaction_type = 'income'), 0) AS income, \
         coalesce(sum(total) FILTER (WHERE transaction_type = 'expense'), 0) AS expense FROM sums \
         GROUP BY GROUPING SETS ((month), (category), ()) HAVING GROUPING(category) = 1 OR category IS NOT NULL) \
         SELECT jsonb_build_object('from', (SELECT first FROM span), 'to', (SELECT last FROM span), ",
    );
    const MONEY: &str = "'income', round(income / 100.0, 2), 'expense', round(expense / 100.0, 2), \
        'net', round((income - expense) / 100.0, 2), 'count', n";
    sql.push(format!(
        "'months', coalesce(jsonb_agg(jsonb_build_object('month', to_char(month, 'YYYY-MM'), {MONEY}) ORDER BY month) \
         FILTER (WHERE month IS NOT NULL), '[]'), \
         'categories', coalesce(jsonb_agg(jsonb_build_object('category', category, {MONEY}) \
         ORDER BY income + expense DESC, category) FILTER (WHERE category IS NOT NULL), '[]'), \
         'totals', jsonb_agg(jsonb_build_object({MONEY})) FILTER (WHERE month IS NULL AND category IS NULL) -> 0) \
         FROM both_ways"
    ));
    sql
}
