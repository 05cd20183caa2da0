//! Whether all is well: checks of the database and of what hangs on it. Each says what it found, and how long that took.

use crate::{
    instance::{SILENT_AFTER_SECONDS, instance_list},
    sql::{col, itself},
};
use aisha_db::{Db, Sql, SystemReason, SystemTx, migrate};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, time::Instant};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warn,
    /// Something does not work.
    Fail,
}

/// What one check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The check.
    pub name: &'static str,
    /// How bad it is.
    pub status: Status,
    /// What was found, as a sentence.
    pub message: String,
    /// How long the check took.
    pub duration_ms: f64,
}

/// Status and sentence.
pub type Verdict = (Status, String);

impl Finding {
    /// Runs a check; one that cannot be made has failed.
    pub async fn of(name: &'static str, check: impl Future<Output = Result<Verdict, Error>>) -> Self {
        let started = Instant::now();
        let (status, message) = check.await.unwrap_or_else(|e| {
            tracing::debug!(check = name, error = %e, cause = ?e.cause, "a check could not be made");
            (Status::Fail, e.message.into_owned())
        });
        let duration_ms = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        Self { name, status, message, duration_ms }
    }
}

/// The worst of some findings.
#[must_use]
pub fn worst(findings: &[Finding]) -> Status {
    findings.iter().map(|f| f.status).max().unwrap_or(Status::Ok)
}

/// Checks the database and everything that is known through it. Without a database that is one failed check.
pub async fn diagnose(db: &Db) -> Vec<Finding> {
    let database = Finding::of("database", async {
        let statistics = db.server_statistics().await?.value();
        let version = statistics.get("version").and_then(Value::as_str).unwrap_or("?");
        let bytes = number(&statistics, "size_bytes");
        Ok((Status::Ok, format!("Postgres {version} answers; the database has {} MB.", bytes / 1_000_000)))
    })
    .await;
    if database.status == Status::Fail {
        return vec![database];
    }
    let why = itself("diagnostics", None);
    vec![
        database,
        Finding::of("database_login", login(db)).await,
        Finding::of("connections", connections(db)).await,
        Finding::of("long_transactions", long_transactions(db)).await,
        Finding::of("migrations", asked(db, &why, migrations)).await,
        Finding::of("row_level_security", asked(db, &why, row_level_security)).await,
        Finding::of("partitions", asked(db, &why, partitions)).await,
        Finding::of("outbox", asked(db, &why, outbox)).await,
        Finding::of("email", asked(db, &why, email)).await,
        Finding::of("services", asked(db, &why, services)).await,
        Finding::of("redis", asked(db, &why, redis)).await,
        Finding::of("system_log", asked(db, &why, log)).await,
    ]
}

async fn asked(
    db: &Db,
    why: &SystemReason,
    check: impl AsyncFn(&mut SystemTx) -> Result<Verdict, Error>,
) -> Result<Verdict, Error> {
    db.system(why, check).await
}

fn number(object: &Value, name: &str) -> i64 {
    object.get(name).and_then(Value::as_i64).unwrap_or_default()
}

async fn login(db: &Db) -> Result<Verdict, Error> {
    match db.verify_login().await {
        Ok(()) => Ok((Status::Ok, "The services' login is bound by row-level security.".into())),
        Err(e) if e.code.status() == 503 => Err(e),
        Err(e) => Ok((Status::Fail, e.cause.map_or_else(|| e.message.to_string(), |c| c.to_string()))),
    }
}

async fn connections(db: &Db) -> Result<Verdict, Error> {
    let statistics = db.server_statistics().await?.value();
    let (used, most) = (number(&statistics, "connections"), number(&statistics, "max_connections").max(1));
    let status = match used * 100 / most {
        95.. => Status::Fail,
        80.. => Status::Warn,
        _ => Status::Ok,
    };
    Ok((status, format!("{used} of {most} connections are in use.")))
}

async fn long_transactions(db: &Db) -> Result<Verdict, Error> {
    let statistics = db.server_statistics().await?.value();
    let (seconds, waiting) =
        (number(&statistics, "longest_transaction_ms") / 1000, number(&statistics, "waiting_for_locks"));
    // A service's statements end after 30 s, its idle transactions after 60 s.
    let status = match seconds {
        300.. => Status::Fail,
        60.. => Status::Warn,
        _ if waiting > 5 => Status::Warn,
        _ => Status::Ok,
    };
    Ok((status, format!("The longest transaction has run for {seconds} s; {waiting} sessions wait for locks.")))
}

async fn migrations(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let rows = tx.rows(Sql::new("SELECT applied_migrations()")).await?;
    let applied: Vec<String> = rows.first().map_or(Ok(Vec::new()), |row| col(row, 0))?;
    let wanted = migrate::versions().map_err(Error::internal)?;
    let missing: Vec<&str> = wanted.iter().filter(|v| !applied.contains(v)).map(String::as_str).collect();
    let newer = applied.iter().filter(|v| !wanted.contains(v)).count();
    Ok(if !missing.is_empty() {
        (Status::Fail, format!("Not applied: {}. Run gateway migrate.", missing.join(", ")))
    } else if newer > 0 {
        (Status::Warn, format!("The database has {newer} migrations that this version does not know."))
    } else {
        (Status::Ok, format!("All {} migrations are applied.", wanted.len()))
    })
}

async fn row_level_security(tx: &mut SystemTx) -> Result<Verdict, Error> {
    // The runner's own table is closed to everybody else, and its owner must read it.
    let sql = "SELECT count(*), string_agg(relname, ', ' ORDER BY relname) FILTER (WHERE NOT relrowsecurity
            OR NOT relforcerowsecurity AND relname <> '__diesel_schema_migrations') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    let rows = tx.rows(Sql::new(sql)).await?;
    let row = rows.first().ok_or_else(|| Error::internal("an aggregate without a row"))?;
    let (tables, open): (i64, Option<String>) = (col(row, 0)?, col(row, 1)?);
    Ok(match open {
        None => (Status::Ok, format!("Row-level security is forced on all {tables} tables.")),
        Some(names) => (Status::Fail, format!("Row-level security is not forced on: {names}.")),
    })
}

async fn partitions(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let sql =
        "SELECT count(*) FILTER (WHERE relname = 'event_outbox_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM_DD')),
            count(*) FILTER (WHERE relname > 'event_outbox_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM_DD'))
        FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
        WHERE inhparent = 'public.event_outbox'::regclass AND relname ~ '^event_outbox_\\d{4}_\\d\\d_\\d\\d$'";
    let rows = tx.rows(Sql::new(sql)).await?;
    let row = rows.first().ok_or_else(|| Error::internal("an aggregate without a row"))?;
    let (today, ahead): (i64, i64) = (col(row, 0)?, col(row, 1)?);
    let status = if today == 0 || ahead == 0 {
        Status::Fail
    } else if ahead < 3 {
        Status::Warn
    } else {
        Status::Ok
    };
    Ok((status, format!("Partitions of events are made {ahead} days ahead.")))
}

/// What became of events: how many wait to be published, and whether somebody publishes them.
async fn outbox(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let backlog = aisha_db::outbox::backlog(tx).await?;
    let oldest: f64 = backlog.oldest.map_or(0.0, |at| (aisha_kernel::clock::now() - at.0).as_seconds_f64()).max(0.0);
    let status = match (backlog.leased, oldest) {
        (0, _) | (_, 300.0..) => Status::Fail,
        (_, 30.0..) => Status::Warn,
        _ => Status::Ok,
    };
    let (waiting, leased) = (backlog.waiting, backlog.leased);
    Ok((
        status,
        format!("{waiting} events wait, the oldest for {oldest:.0} s; relays look after {leased} of 64 shards."),
    ))
}

async fn email(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let sql = "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)::bigint FROM email_outbox
        WHERE sent_at IS NULL AND failed_at IS NULL";
    let rows = tx.rows(Sql::new(sql)).await?;
    let row = rows.first().ok_or_else(|| Error::internal("an aggregate without a row"))?;
    let (waiting, oldest): (i64, i64) = (col(row, 0)?, col(row, 1)?);
    let status = if oldest > 600 { Status::Warn } else { Status::Ok };
    Ok((status, format!("{waiting} e-mails wait, the oldest for {oldest} s.")))
}

/// What the processes that are there say of one thing that they depend on: `ok` or not, with the service's name.
fn reported<'v>(instances: &'v Value, check: &'v str) -> impl Iterator<Item = (&'v str, &'v str, i64)> {
    instances.as_array().into_iter().flatten().filter(|i| i.get("silent") == Some(&Value::Bool(false))).filter_map(
        move |i| {
            let said = i.get("checks")?.get(check)?.as_str()?;
            Some((i.get("service")?.as_str()?, said, number(i, "seen_seconds_ago")))
        },
    )
}

async fn services(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let instances = instance_list(tx).await?.value();
    let mut there: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for instance in instances.as_array().into_iter().flatten() {
        let name = instance.get("service").and_then(Value::as_str).unwrap_or_default();
        if instance.get("silent") == Some(&Value::Bool(true)) {
            wrong.push(format!("{name} has been silent for {} s", number(instance, "seen_seconds_ago")));
            continue;
        }
        *there.entry(name).or_default() += 1;
        for (check, said) in instance.get("checks").and_then(Value::as_object).into_iter().flatten() {
            if said != "ok" {
                wrong.push(format!("{name} says of {check}: {}", said.as_str().unwrap_or("not ok")));
            }
        }
    }
    if there.is_empty() && wrong.is_empty() {
        return Ok((Status::Warn, format!("No service has reported within the last {SILENT_AFTER_SECONDS} s.")));
    }
    let there: Vec<String> = there.iter().map(|(name, n)| format!("{n} {name}")).collect();
    if wrong.is_empty() {
        return Ok((Status::Ok, format!("Running: {}.", there.join(", "))));
    }
    Ok((Status::Warn, format!("Running: {}. But {}.", there.join(", "), wrong.join("; "))))
}

/// Only the gateway knows Redis; it says every ten seconds how it is.
async fn redis(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let instances = instance_list(tx).await?.value();
    let said: Vec<_> = reported(&instances, "redis").collect();
    Ok(match said.iter().find(|(_, said, _)| *said != "ok").or(said.first()) {
        None => (Status::Warn, "No service that uses it has reported lately.".into()),
        Some((service, "ok", ago)) => (Status::Ok, format!("Reached by {service} {ago} s ago.")),
        Some((service, said, ago)) => (Status::Fail, format!("{service} said {ago} s ago: {said}.")),
    })
}

async fn log(tx: &mut SystemTx) -> Result<Verdict, Error> {
    let sql = "SELECT count(*) FILTER (WHERE level = 'error'), count(*) FROM system_logs
        WHERE created_at > now() - interval '1 hour' AND service <> 'frontend'";
    let rows = tx.rows(Sql::new(sql)).await?;
    let row = rows.first().ok_or_else(|| Error::internal("an aggregate without a row"))?;
    let (errors, all): (i64, i64) = (col(row, 0)?, col(row, 1)?);
    let instances = instance_list(tx).await?.value();
    let dropped: i64 = instances.as_array().into_iter().flatten().map(|i| number(i, "log_records_dropped")).sum();
    let status = if errors > 0 || dropped > 0 { Status::Warn } else { Status::Ok };
    let lost = if dropped > 0 { format!(" {dropped} more were dropped.") } else { String::new() };
    Ok((status, format!("{errors} errors and {} warnings within the last hour.{lost}", all - errors)))
}
