//! What each employee achieved: for managers and above.

use super::{Ask, Report, Span, choices, counted, words};
use crate::{Activity, Lead, Opportunity};
use aisha_auth::{Principal, Scope};
use aisha_db::{Bind, Sql};

pub(super) const PERFORMANCE: Report = Report {
    names: &["performance"],
    summary: "What each employee achieved (managers and above)",
    span: Span::Back(30),
    grouped: false,
    advanced: true,
    rows: Some("employees"),
    columns: &[
        "employee_id",
        "employee_name",
        "department",
        "leads",
        "leads_converted",
        "conversion_rate",
        "opportunities_won",
        "opportunities_lost",
        "win_rate",
        "revenue_won",
        "revenue_lost",
        "average_deal_size",
        "average_sales_cycle_days",
        "activities_completed",
        "calls_made",
        "meetings_held",
        "emails_sent",
        "tasks_completed",
    ],
    sql: performance,
};

/// The figures as JSON, from rows or sums of `figures`: `agg` is `sum` or nothing.
fn figures(sum: bool) -> String {
    let of = |column: &str| if sum { format!("coalesce(sum({column}), 0)") } else { column.to_owned() };
    let (leads, converted, won, lost) = (of("leads"), of("converted"), of("won"), of("lost"));
    let (revenue, revenue_lost, cycle) = (of("revenue"), of("revenue_lost"), of("cycle"));
    let counts = ["activities_completed", "calls_made", "meetings_held", "emails_sent", "tasks_completed"]
        .map(|name| format!("'{name}', {}", of(name)))
        .join(", ");
    format!(
        "'leads', {leads}, 'leads_converted', {converted}, \
         'conversion_rate', round(100.0 * {converted} / nullif({leads}, 0), 1), \
         'opportunities_won', {won}, 'opportunities_lost', {lost}, \
         'win_rate', round(100.0 * {won} / nullif({won} + {lost}, 0), 1), \
         'revenue_won', round({revenue} / 100.0, 2), 'revenue_lost', round({revenue_lost} / 100.0, 2), \
         'average_deal_size', round({revenue} / nullif({won}, 0) / 100.0, 2), \
         'average_sales_cycle_days', round(({cycle} / nullif({won}, 0) / 86400.0)::numeric, 1), {counts}"
    )
}

fn performance(me: &Principal, ask: &Ask) -> Sql {
    let mut sql = Sql::new("WITH ");
    sql.append(ask.period.cte(me, PERFORMANCE.span));
    sql.push(
        ", figures AS MATERIALIZED (SELECT e.id, concat_ws(' ', e.first_name, e.last_name) AS name, e.department, l.*, o.*, a.* \
         FROM span CROSS JOIN employees AS e CROSS JOIN LATERAL (SELECT count(*) AS leads, \
         count(*) FILTER (WHERE status = 'converted') AS converted FROM leads WHERE ",
    );
    sql.append(counted::<Lead>(me, ask));
    sql.push(
        " AND assigned_to = e.id AND created_at >= starts AND created_at < ends) AS l CROSS JOIN LATERAL (SELECT \
         count(*) FILTER (WHERE outcome = 'won') AS won, count(*) FILTER (WHERE outcome = 'lost') AS lost, \
         coalesce(sum(amount_minor) FILTER (WHERE outcome = 'won'), 0) AS revenue, \
         coalesce(sum(amount_minor) FILTER (WHERE outcome = 'lost'), 0) AS revenue_lost, \
         coalesce(sum(extract(epoch FROM closed_at - created_at)) FILTER (WHERE outcome = 'won'), 0) AS cycle \
         FROM opportunities WHERE ",
    );
    sql.append(counted::<Opportunity>(me, ask));
    sql.push(
        " AND assigned_to = e.id AND closed_at >= starts AND closed_at < ends) AS o CROSS JOIN LATERAL (SELECT \
         coalesce(sum(n), 0) AS activities_completed, \
         coalesce(sum(n) FILTER (WHERE w.type IN ('call', 'scheduled_ai_call')), 0) AS calls_made, \
         coalesce(sum(n) FILTER (WHERE w.type IN ('meeting', 'demo')), 0) AS meetings_held, \
         coalesce(sum(n) FILTER (WHERE w.type IN ('email', 'scheduled_ai_email')), 0) AS emails_sent, \
         coalesce(sum(n) FILTER (WHERE w.type = 'task'), 0) AS tasks_completed FROM ",
    );
    sql.append(words(choices::<Activity>("type")));
    sql.push(" AS w(type) CROSS JOIN LATERAL (SELECT count(*) AS n FROM activities WHERE ");
    sql.append(counted::<Activity>(me, ask));
    sql.push(
        " AND type = w.type AND assigned_to = e.id AND completed_at >= starts AND completed_at < ends) AS c) AS a \
         WHERE e.deleted_at IS NULL AND e.tenant_id = ",
    );
    sql.bind(me.tenant().0);
    match me.scope() {
        Scope::All => {}
        Scope::Department => {
            sql.push(" AND e.department = ").bind(Bind::Text(me.identity().department.clone(), "text"));
        }
        Scope::Own => {
            sql.push(" AND e.id = ").bind(Bind::Uuid(me.employee()));
        }
    }
    if !ask.include_test_data {
        sql.push(" AND NOT e.is_test_data");
    }
    sql.push(
        ") SELECT jsonb_build_object('from', (SELECT first FROM span), 'to', (SELECT last FROM span), \
         'employees', coalesce(jsonb_agg(jsonb_build_object('employee_id', id, 'employee_name', name, \
         'department', department, ",
    );
    sql.push(figures(false)).push(") ORDER BY revenue DESC, name, id), '[]'), 'totals', jsonb_build_object(");
    sql.push(figures(true)).push(")) FROM figures");
    sql
}
