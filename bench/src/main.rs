//! Measures the services against pgbench doing the same work, on data of a million contacts, and holds the figures
//! against the budgets. `bench/run.sh` prepares the servers and the data; `bench/README.md` tells how to read the result.

mod capture;
mod events;
mod http;
mod import;
mod load;
mod people;
mod probe;
mod process;
mod report;
mod reports;
mod resolve;
mod stack;

use clap::Parser;
use http::Api;
use load::{Load, Plan};
use people::{Keys, Target};
use process::{Memory, Service};
use report::{ServiceFigures, Verdicts};
use stack::Stack;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Starts of a service, to find out how long one takes.
const STARTS: usize = 3;

#[derive(Parser)]
struct Options {
    /// Data folder of the bench's servers.
    #[arg(long)]
    stack_dir: PathBuf,
    /// Folder of the services' programs.
    #[arg(long)]
    bin_dir: PathBuf,
    /// pgbench.
    #[arg(long)]
    pgbench: PathBuf,
    /// The script for wrk.
    #[arg(long)]
    lua: PathBuf,
    /// What requests are sent to.
    #[arg(long, value_enum, default_value = "gateway")]
    target: Target,
    /// Port of the gateway; crm-core takes the next one.
    #[arg(long, default_value_t = 27_401)]
    port: u16,
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Only the paths whose name contains this; `reports`, `import`, `resolve` and `events` are names too.
    #[arg(long, default_value = "")]
    only: String,
}

/// How a service is started.
struct Launch<'a> {
    name: &'static str,
    address: SocketAddr,
    settings: Vec<(&'a str, String)>,
}

impl Options {
    fn launches(&self, stack: &Stack, keys: &Keys) -> anyhow::Result<Vec<Launch<'static>>> {
        let address = |offset: u16| SocketAddr::from(([127, 0, 0, 1], self.port + offset));
        let (gateway, core) = (address(0), address(1));
        // As in production: a JSON line per request. The limit is off, or it would be what is measured.
        let mut settings = vec![
            ("GATEWAY_LISTEN", gateway.to_string()),
            ("CRM_CORE_LISTEN", core.to_string()),
            ("CRM_CORE_URL", format!("http://{core}")),
            ("PUBLIC_URL", format!("http://{gateway}")),
            ("JWT_SECRET", keys.jwt_secret.clone()),
            ("INTERNAL_SIGNING_KEY", keys.signing_key.clone()),
            ("CREDENTIALS_KEY", keys.jwt_secret.clone()),
            ("INTERNAL_PUBLIC_KEYS", keys.public_key().to_owned()),
            ("RATE_LIMIT_MAX", "0".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ];
        for name in ["DATABASE_URL", "REDIS_URL", "AMQP_URL"] {
            settings.push((name, stack.address(name)?.to_owned()));
        }
        let core = Launch { name: "crm-core", address: core, settings: settings.clone() };
        let gateway = Launch { name: "gateway", address: gateway, settings };
        Ok(match self.target {
            Target::Gateway => vec![gateway, core],
            Target::CrmCore | Target::TenantResolver => vec![core],
        })
    }

    fn plan(&self) -> Plan {
        if self.quick { Plan { rounds: 2, seconds: 1 } } else { Plan { rounds: 5, seconds: 3 } }
    }

    /// The gateway and crm-core have the first two ports.
    fn resolve(&self, stack: &Stack, keys: &Keys, verdicts: &mut Verdicts) -> anyhow::Result<()> {
        let bench = resolve::Bench { stack, keys, bin_dir: &self.bin_dir, lua: &self.lua, port: self.port + 2 };
        bench.measure(self.plan(), verdicts)
    }

    /// Starts each service several times; the last ones stay. Returns them, outermost first, and the medians.
    fn start(&self, stack: &Stack, launches: &[Launch]) -> anyhow::Result<(Vec<Service>, Vec<Duration>)> {
        // Services run in the root folder, away from any .env.
        let bin_dir = self.bin_dir.canonicalize()?;
        let mut running = Vec::new();
        let mut medians = Vec::new();
        // The gateway needs what is behind it.
        for launch in launches.iter().rev() {
            let log = stack.file(&format!("run/{}.log", launch.name));
            let start =
                || Service::start(launch.name, &bin_dir.join(launch.name), &launch.settings, launch.address, &log);
            let mut times = Vec::new();
            for _ in 1..STARTS {
                times.push(start()?.ready_after);
            }
            let service = start()?;
            times.push(service.ready_after);
            times.sort();
            medians.insert(0, times.get(times.len() / 2).copied().unwrap_or_default());
            running.insert(0, service);
        }
        Ok((running, medians))
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let stack = Stack::open(&options.stack_dir)?;
    let keys = Keys::generate()?;
    if options.only == "resolve" {
        // Alone it needs no other data than a tenant.
        let mut verdicts = Verdicts::default();
        options.resolve(&stack, &keys, &mut verdicts)?;
        verdicts.print();
        return Ok(());
    }
    println!("==> removing what earlier runs wrote");
    stack.clean()?;
    let base = match options.target {
        Target::Gateway => options.port,
        Target::CrmCore | Target::TenantResolver => options.port + 1,
    };
    let api = Api { base: format!("http://127.0.0.1:{base}"), target: options.target, keys };
    let mut verdicts = if options.only == "events" { Verdicts::default() } else { requests(&options, &stack, &api)? };
    if "events".contains(&options.only) {
        // With services of its own, set up to deliver.
        let measured = events::Bench { options: &options, stack: &stack, api: &api }.measure(&mut verdicts);
        stack.clean()?;
        measured?;
    }
    verdicts.print();
    Ok(())
}

/// What clients ask for.
fn requests(options: &Options, stack: &Stack, api: &Api) -> anyhow::Result<Verdicts> {
    let launches = options.launches(stack, &api.keys)?;
    println!("==> starting the services, {STARTS} times each");
    let (services, ready_after) = options.start(stack, &launches)?;
    stack.settle()?;
    let idle = services.iter().map(Service::memory).collect::<Result<Vec<Memory>, _>>()?;
    let outcome = measure(options, stack, api, &services, (ready_after, idle));
    drop(services);
    println!("\n==> removing what this run wrote");
    stack.clean()?;
    outcome
}

fn measure(
    options: &Options,
    stack: &Stack,
    api: &Api,
    services: &[Service],
    (ready_after, idle): (Vec<Duration>, Vec<Memory>),
) -> anyhow::Result<Verdicts> {
    let plan = options.plan();
    let load = Load { stack, api, services, pgbench: &options.pgbench, lua: &options.lua };
    let mut verdicts = Verdicts::default();

    println!("==> measuring: {} rounds of {} s of each side", plan.rounds, plan.seconds);
    let names: Vec<&str> = services.iter().map(|s| s.name).collect();
    report::path_head(&names);
    // Alone, the reports need no other data than theirs.
    let probes = if options.only == "reports" { Vec::new() } else { probe::all(stack, api)? };
    for (number, probe) in probes.iter().enumerate() {
        if !probe.name.contains(&options.only) {
            continue;
        }
        let scripts = capture::capture(stack, api, probe, number)?;
        let alone = matches!(probe.budget, probe::Budget::Alone { .. });
        let outcome = load.measure(probe, &scripts, plan, alone)?;
        report::path_line(probe.name, &outcome);
        report::path_verdict(&mut verdicts, probe.name, probe.budget, &outcome);
        stack.settle()?;
    }
    let loaded = services.iter().map(Service::memory).collect::<Result<Vec<Memory>, _>>()?;

    if let Some(core) = services.iter().find(|s| s.name == "crm-core")
        && "import".contains(&options.only)
    {
        let sizes = [10_000, 100_000];
        let imports = sizes.iter().map(|n| import::measure(stack, api, core, *n)).collect::<Result<Vec<_>, _>>()?;
        report::imports(&mut verdicts, &imports);
        stack.settle()?;
    }

    if "reports".contains(&options.only) {
        reports::measure(stack, api, &mut verdicts)?;
    }

    if "resolve".contains(&options.only) {
        options.resolve(stack, &api.keys, &mut verdicts)?;
    }

    let figures: Vec<ServiceFigures> = services
        .iter()
        .zip(ready_after)
        .zip(idle.into_iter().zip(loaded))
        .map(|((s, ready_after), (idle, loaded))| ServiceFigures { name: s.name, ready_after, idle, loaded })
        .collect();
    report::services(&mut verdicts, &figures);
    Ok(verdicts)
}
