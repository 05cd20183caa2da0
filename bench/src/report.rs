//! The figures as tables, and whether each budget is kept.

use crate::{import, load::Outcome, probe::Budget, process::Memory};
use std::time::Duration;

/// What a service needed.
pub struct ServiceFigures {
    /// Its name.
    pub name: &'static str,
    /// From start to ready, the median of several.
    pub ready_after: Duration,
    /// Ready, before the first request.
    pub idle: Memory,
    /// After all paths.
    pub loaded: Memory,
}

/// Lines that say which budgets are kept.
#[derive(Debug, Default)]
pub struct Verdicts(Vec<(bool, String)>);

impl Verdicts {
    /// Holds something against a budget.
    pub fn judge(&mut self, kept: bool, text: String) {
        self.0.push((kept, text));
    }

    /// Holds one side of a comparison against the other, in percent.
    pub fn share(&mut self, name: &str, is: f64, least: f64, of: &str) {
        self.judge(is >= least, format!("{name}: {is:.0} % of {of} (at least {least} %)"));
    }

    /// Prints all of them.
    pub fn print(&self) {
        println!("\nBudgets");
        for (kept, text) in &self.0 {
            println!("  {:<12}{text}", if *kept { "PASS" } else { "FALLS SHORT" });
        }
    }
}

fn milliseconds(microseconds: f64) -> String {
    format!("{:.1}", microseconds / 1_000.0)
}

/// The head of the table of paths.
pub fn path_head(services: &[&str]) {
    println!(
        "\nPaths: 32 connections (searches 8), alternating with 8 clients of pgbench on the same statements; p95 at 2.\nCPU in µs per request, the last column per transaction of pgbench."
    );
    print!("{:<24}{:>8}{:>9}{:>8}{:>8}{:>8}{:>9}", "", "http/s", "pgbench", "ratio", "p50 ms", "p99 ms", "p95 @2");
    for service in services {
        print!("{service:>10}");
    }
    println!("{:>10}{:>10}", "postgres", "pgb. pg");
}

/// A line of it.
pub fn path_line(name: &str, o: &Outcome) {
    print!(
        "{name:<24}{:>8.0}{:>9.0}{:>7.0}%{:>8}{:>8}{:>9}",
        o.http,
        o.pgbench,
        o.share(),
        milliseconds(o.p50),
        milliseconds(o.p99),
        o.p95_alone.map_or_else(|| "-".to_owned(), milliseconds)
    );
    for cpu in &o.services {
        print!("{cpu:>10.0}");
    }
    println!("{:>10.0}{:>10.0}", o.postgres, o.postgres_alone);
}

/// Holds a path against its budget.
pub fn path_verdict(verdicts: &mut Verdicts, name: &str, budget: Budget, o: &Outcome) {
    match budget {
        Budget::None => {}
        Budget::Share { percent, p99, services } => {
            verdicts
                .judge(o.share() >= percent, format!("{name}: {:.0} % of pgbench (at least {percent} %)", o.share()));
            if let Some(most) = p99 {
                let (is, most_ms) = (milliseconds(o.p99), milliseconds(most));
                verdicts.judge(o.p99 <= most, format!("{name}: p99 {is} ms at 32 connections (at most {most_ms} ms)"));
            }
            if let Some(most) = services {
                let sum: f64 = o.services.iter().sum();
                verdicts.judge(sum <= most, format!("{name}: {sum:.0} µs CPU of the services (at most {most:.0} µs)"));
            }
        }
        Budget::Alone { p95 } => {
            let is = o.p95_alone.unwrap_or(f64::INFINITY);
            let (is_ms, most) = (milliseconds(is), milliseconds(p95));
            verdicts.judge(is <= p95, format!("{name}: p95 {is_ms} ms (at most {most} ms)"));
        }
    }
}

/// What a report cost, in milliseconds per request.
pub struct ReportTimes {
    /// Its slowest statement, on average.
    pub slowest: f64,
    /// The same at best.
    pub best: f64,
    /// All of its statements, on average.
    pub sum: f64,
    /// How many they are.
    pub statements: f64,
    /// Processor time of Postgres for all of them.
    pub cpu: f64,
}

/// The head of the table of reports.
pub fn reports_head() {
    println!("\nReports, ms in Postgres   rows of       CPU of all  slowest: mean   at best   all: mean   statements");
}

/// A report, and whether the processor time of its slowest statement is within the budget.
pub fn report_line(verdicts: &mut Verdicts, name: &str, who: &str, t: &ReportTimes, most: f64) {
    println!(
        "{name:<26}{who:<12}{:>12.1}{:>15.1}{:>10.1}{:>12.1}{:>13.0}",
        t.cpu, t.slowest, t.best, t.sum, t.statements
    );
    let is = t.cpu * t.slowest / t.sum;
    verdicts.judge(
        is <= most,
        format!("report {name} ({who}): {is:.1} ms CPU of Postgres a statement (at most {most:.0})"),
    );
}

/// Imports: the first is small, the last is judged.
pub fn imports(verdicts: &mut Verdicts, all: &[import::Outcome]) {
    println!("\nCSV import               rows/s   crm-core µs/row   postgres µs/row   peak RSS of crm-core");
    for o in all {
        println!(
            "{:>9} rows{:>17.0}{:>18.0}{:>18.0}{:>19.1} MB",
            o.rows,
            o.rate(),
            o.service,
            o.postgres,
            megabytes(o.peak)
        );
    }
    if let [small, .., large] = all {
        verdicts.judge(large.rate() >= 10_000.0, format!("CSV import: {:.0} rows/s (at least 10000)", large.rate()));
        let (a, b) = (megabytes(small.peak), megabytes(large.peak));
        // Ten times the rows may not cost more than the allocator's noise.
        let text = format!(
            "CSV import: memory {a:.1} MB for {} rows, {b:.1} MB for {} (flat: within 8 MB)",
            small.rows, large.rows
        );
        verdicts.judge(b <= a + 8.0, text);
    }
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 / 1_024.0
}

/// Memory and start of the services.
pub fn services(verdicts: &mut Verdicts, all: &[ServiceFigures]) {
    println!("\nServices        start to ready   idle RSS (of it anonymous)   loaded RSS (of it anonymous)   peak RSS");
    for s in all {
        println!(
            "{:<16}{:>11} ms{:>11.1} MB{:>9.1} MB{:>17.1} MB{:>9.1} MB{:>12.1} MB",
            s.name,
            s.ready_after.as_millis(),
            megabytes(s.idle.rss),
            megabytes(s.idle.anonymous),
            megabytes(s.loaded.rss),
            megabytes(s.loaded.anonymous),
            megabytes(s.loaded.peak)
        );
        let text = format!("{}: ready after {} ms (at most 1000 ms)", s.name, s.ready_after.as_millis());
        verdicts.judge(s.ready_after <= Duration::from_secs(1), text);
    }
    let idle: f64 = all.iter().map(|s| megabytes(s.idle.rss)).sum();
    let loaded: f64 = all.iter().map(|s| megabytes(s.loaded.rss)).sum();
    let text = format!(
        "memory: {idle:.0} MB idle, {loaded:.0} MB loaded for {} services (150 and 300 MB for all six)",
        all.len()
    );
    verdicts.judge(idle <= 150.0 && loaded <= 300.0, text);
}
