//! The two loads that are compared: wrk on a path, pgbench on its statements, in turns, with the processor time of
//! everybody who works for them.

use crate::{
    capture::Scripts,
    http::Api,
    probe::Probe,
    process::{Service, cpu_of_tree},
    stack::Stack,
};
use anyhow::{Context as _, bail};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Connections when a request is to wait for nobody.
const ALONE: u32 = 2;
/// Clients of pgbench: as many as keep the processors busy, and no more.
const CLIENTS: &str = "8";

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds of each side.
    pub rounds: usize,
    /// Seconds of a round.
    pub seconds: u64,
}

/// What is loaded and what with.
pub struct Load<'a> {
    /// The servers.
    pub stack: &'a Stack,
    /// Where requests go.
    pub api: &'a Api,
    /// What runs on the way, outermost first.
    pub services: &'a [Service],
    /// pgbench.
    pub pgbench: &'a Path,
    /// `wrk.lua`.
    pub lua: &'a Path,
}

/// One round of wrk.
#[derive(Debug, Clone, Default)]
pub struct HttpRound {
    /// Requests that were answered.
    pub requests: f64,
    /// The same per second.
    pub per_second: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    /// Microseconds of each service, then of Postgres.
    cpu: Vec<f64>,
}

/// What came out, as medians; times in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Requests per second.
    pub http: f64,
    /// Transactions per second of pgbench.
    pub pgbench: f64,
    /// Half of the requests took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 95 of 100 took no longer while nobody waited.
    pub p95_alone: Option<f64>,
    /// Processor time per request of each service.
    pub services: Vec<f64>,
    /// Processor time of Postgres per request.
    pub postgres: f64,
    /// Processor time of Postgres per transaction of pgbench.
    pub postgres_alone: f64,
}

impl Outcome {
    /// Requests for each transaction of pgbench, in percent.
    pub fn share(&self) -> f64 {
        100.0 * self.http / self.pgbench
    }
}

/// Sends the requests of a file for some seconds.
pub fn wrk(lua: &Path, base: &str, requests: &Path, connections: u32, seconds: u64) -> anyhow::Result<HttpRound> {
    let output = Command::new("wrk")
        .args([format!("-c{connections}"), format!("-d{seconds}s"), format!("-t{}", connections.min(2))])
        .args(["--timeout", "10s", "-s"])
        .arg(lua)
        .arg(base)
        .arg("--")
        .arg(requests)
        .output()
        .context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find_map(|l| l.strip_prefix("RESULT "));
    let numbers: Vec<f64> = line.unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
    let [requests, duration, failures, p50, p95, p99] = *numbers else {
        bail!("wrk: {text} {}", String::from_utf8_lossy(&output.stderr));
    };
    if failures > 0.0 || requests < 1.0 {
        bail!("{failures} of {requests} requests failed");
    }
    Ok(HttpRound { requests, per_second: requests / duration * 1e6, p50, p95, p99, cpu: Vec::new() })
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A text as Lua reads it.
fn lua_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Writes what [`wrk`] sends: paths and bodies, sent in turn with this method and credential, each after a pause in
/// milliseconds where there is one.
pub fn write_requests<'r>(
    file: &Path,
    method: &str,
    credential: Option<(&str, String)>,
    pause: Option<u32>,
    requests: impl IntoIterator<Item = (&'r str, Option<String>)>,
) -> anyhow::Result<()> {
    let mut plan =
        format!("return {{ method = {}, headers = {{ [\"content-type\"] = \"application/json\"", lua_text(method));
    if let Some((name, value)) = credential {
        write!(plan, ", [{}] = {}", lua_text(name), lua_text(&value))?;
    }
    plan.push_str(" },\n");
    if let Some(pause) = pause {
        writeln!(plan, "pause = {pause},")?;
    }
    for (path, body) in requests {
        let body = body.map_or("nil".to_owned(), |b| lua_text(&b));
        writeln!(plan, "{{ path = {}, body = {body} }},", lua_text(path))?;
    }
    plan.push('}');
    Ok(fs::write(file, plan)?)
}

impl Load<'_> {
    /// Measures one path.
    pub fn measure(&self, probe: &Probe, scripts: &Scripts, plan: Plan, alone: bool) -> anyhow::Result<Outcome> {
        let Plan { rounds, seconds } = plan;
        self.http(probe, probe.connections, 1)?;
        let (mut requests, mut transactions) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // Whoever comes second may find warmer caches.
            if round % 2 == 0 {
                requests.push(self.http(probe, probe.connections, seconds)?);
                transactions.push(self.pgbench(scripts, seconds)?);
            } else {
                transactions.push(self.pgbench(scripts, seconds)?);
                requests.push(self.http(probe, probe.connections, seconds)?);
            }
        }
        let p95_alone = if alone { Some(self.http(probe, ALONE, seconds)?.p95) } else { None };
        let of = |value: fn(&HttpRound) -> f64| median(requests.iter().map(value).collect());
        let total: f64 = requests.iter().map(|r| r.requests).sum();
        let cpu = |i: usize| requests.iter().filter_map(|r| r.cpu.get(i)).sum::<f64>() / total;
        Ok(Outcome {
            http: of(|r| r.per_second),
            pgbench: median(transactions.iter().map(|t| t.0).collect()),
            p50: of(|r| r.p50),
            p99: of(|r| r.p99),
            p95_alone,
            services: (0..self.services.len()).map(cpu).collect(),
            postgres: cpu(self.services.len()),
            postgres_alone: median(transactions.iter().map(|t| t.1).collect()),
        })
    }

    /// Processor time of the services and of Postgres so far.
    fn cpu(&self) -> anyhow::Result<Vec<u64>> {
        let mut all = self.services.iter().map(Service::cpu).collect::<Result<Vec<_>, _>>()?;
        all.push(cpu_of_tree(self.stack.postmaster()?)?);
        Ok(all)
    }

    fn requests_file(&self, probe: &Probe) -> anyhow::Result<PathBuf> {
        let credential = self.api.keys.credential(probe.person, self.api.target)?;
        let requests = probe.requests.iter().map(|r| (r.path.as_str(), r.body.as_ref().map(ToString::to_string)));
        let file = self.stack.file("run/requests.lua");
        write_requests(&file, probe.method, Some(credential), None, requests)?;
        Ok(file)
    }

    fn http(&self, probe: &Probe, connections: u32, seconds: u64) -> anyhow::Result<HttpRound> {
        let requests = self.requests_file(probe)?;
        for service in self.services {
            service.forget_log()?;
        }
        let before = self.cpu()?;
        let round = wrk(self.lua, &self.api.base, &requests, connections, seconds).context(probe.name)?;
        let after = self.cpu()?;
        let cpu = after.iter().zip(&before).map(|(a, b)| a.saturating_sub(*b) as f64).collect();
        Ok(HttpRound { cpu, ..round })
    }

    /// Transactions per second, and the processor time of Postgres for each.
    fn pgbench(&self, scripts: &Scripts, seconds: u64) -> anyhow::Result<(f64, f64)> {
        let mut command = self.stack.client(self.pgbench, "DATABASE_URL")?;
        command.args(["-n", "-M", "prepared", "-c", CLIENTS, "-j", "2", "-T", &seconds.to_string()]);
        for file in &scripts.files {
            command.arg("-f").arg(file);
        }
        for variable in &scripts.variables {
            command.args(["-D", variable]);
        }
        let postmaster = self.stack.postmaster()?;
        let before = cpu_of_tree(postmaster)?;
        let output = command.output().context("pgbench")?;
        let spent = cpu_of_tree(postmaster)?.saturating_sub(before) as f64;
        let text = String::from_utf8_lossy(&output.stdout);
        // pgbench ends with 0 even when a statement failed.
        if !output.stderr.is_empty() {
            bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr));
        }
        let number = |start: &str| {
            let rest = text.lines().find_map(|l| l.strip_prefix(start))?;
            rest.trim().split([' ', '/']).next()?.parse::<f64>().ok()
        };
        let done = number("number of transactions actually processed:").filter(|_| output.status.success());
        let (Some(done), Some(per_second)) = (done, number("tps =")) else {
            bail!("pgbench: {text} {}", String::from_utf8_lossy(&output.stderr));
        };
        Ok((per_second, spent / done))
    }
}
