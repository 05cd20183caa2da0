//! What Postgres spends on each report, for an administrator, the manager of a department and an employee of the tenant that
//! `reports.sql` makes.

use crate::{http::Api, people::Person, process::cpu_of_tree, report, report::Verdicts, stack::Stack};
use anyhow::Context as _;

/// The tenant of `reports.sql`.
const TENANT: u16 = 51;
/// Milliseconds that a statement may take.
const BUDGET: f64 = 50.0;
/// Requests before anything counts: a prepared statement is planned for good at its sixth execution.
const WARM: usize = 7;
const COUNTED: usize = 15;

/// The statements of a report, and nothing of the transaction around them.
const TIMES: &str = "SELECT coalesce(max(mean_exec_time), 0), coalesce(max(min_exec_time), 0), coalesce(sum(mean_exec_time), 0), count(*) \
     FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND query LIKE '%jsonb%'";

/// Asks for every report and judges what Postgres spent on it: processor time, because everything is in memory and the
/// clock also shows what else the machine does.
pub fn measure(stack: &Stack, api: &Api, verdicts: &mut Verdicts) -> anyhow::Result<()> {
    if stack.sql(&["SELECT count(*) FROM tenant WHERE slug = 'bench-reports'"])? != "1" {
        println!("\nReports: their tenant is not loaded (bench/run.sh loads it)");
        return Ok(());
    }
    let days = stack.sql(&["SELECT format('from=%s&to=%s', current_date - 365, current_date)"])?;
    let paths = [
        ("dashboard-stats", "reports/dashboard-stats".to_owned()),
        ("dashboard-bundle", "reports/dashboard-bundle".to_owned()),
        ("pipeline", "reports/pipeline".to_owned()),
        ("lead-status", "reports/lead-status".to_owned()),
        ("lead-age", "reports/lead-age".to_owned()),
        ("lead-sources", "reports/lead-sources".to_owned()),
        ("activity-report, a year", format!("reports/activity-report?{days}")),
        ("forecast", "reports/forecast".to_owned()),
        ("performance, a year", format!("reports/performance?{days}")),
        ("stage-duration, a year", format!("reports/stage-duration?{days}")),
        ("cashflow summary, a year", format!("cashflow/summary?{days}")),
        ("calendar, a month", "reports/calendar".to_owned()),
    ];
    report::reports_head();
    for (name, path) in paths {
        for (who, person) in
            [("all", Person::admin(TENANT)), ("department", Person::manager(TENANT)), ("own", Person::employee(TENANT))]
        {
            if who == "own" && name.starts_with("performance") {
                continue;
            }
            let path = format!("/api/{path}");
            for _ in 0..WARM {
                api.get(person, &path)?;
            }
            stack.sql(&["SELECT pg_stat_statements_reset()"])?;
            let postmaster = stack.postmaster()?;
            let before = cpu_of_tree(postmaster)?;
            for _ in 0..COUNTED {
                api.get(person, &path)?;
            }
            let cpu = (cpu_of_tree(postmaster)? - before) as f64 / 1_000.0 / COUNTED as f64;
            let line = stack.sql(&[TIMES])?;
            let figures: Vec<f64> = line.split('|').map(str::parse).collect::<Result<_, _>>().context(line.clone())?;
            let [slowest, best, sum, statements] = figures[..] else { anyhow::bail!("{name}: {line}") };
            anyhow::ensure!(statements > 0.0, "{name}: no statement was seen");
            let times = report::ReportTimes { slowest, best, sum, statements, cpu };
            report::report_line(verdicts, name, who, &times, BUDGET);
        }
    }
    Ok(())
}
