//! Kills everything the platform consists of, again and again, while people work with it, and then asks whether anything got
//! lost. `chaos/run.sh` prepares the servers; `chaos/README.md` tells how to run and read it.

#![expect(clippy::indexing_slicing, reason = "what is not there in a JSON value is null")]

mod checks;
mod faults;
mod fleet;
mod follow;
mod load;
mod person;
mod receivers;
mod report;
mod scene;
mod schedule;
mod settings;
mod verdict;

use anyhow::bail;
use clap::Parser;
use faults::Servers;
use fleet::Fleet;
use scene::Scene;
use settings::Settings;
use std::{
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The load goes on for this long after the last fault is over.
const AFTERMATH: Duration = Duration::from_secs(3);

#[derive(Parser)]
struct Options {
    /// Data folder of the servers.
    #[arg(long)]
    stack_dir: PathBuf,
    /// Folder of the services' programs.
    #[arg(long)]
    bin_dir: PathBuf,
    /// What stops and starts the servers: scripts/stack.sh.
    #[arg(long)]
    stack_script: PathBuf,
    /// Port of the gateway; the others take the next ones.
    #[arg(long)]
    port: u16,
    /// What the faults are drawn from.
    #[arg(long)]
    seed: u64,
    /// How long faults happen, in seconds.
    #[arg(long)]
    seconds: u64,
    /// How long the platform, once left alone, may take until there is less of what waits, in seconds.
    #[arg(long, default_value_t = 90)]
    settle: u64,
    /// The superadmin, who makes the tenants.
    #[arg(long, env = "SUPERADMIN_EMAIL")]
    email: String,
    /// The superadmin's password, and everybody else's.
    #[arg(long, env = "SUPERADMIN_PASSWORD", hide_env_values = true)]
    password: String,
}

/// A connection past every policy.
async fn database(settings: &Settings) -> anyhow::Result<tokio_postgres::Client> {
    let url = settings.server("DATABASE_ADMIN_URL")?;
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    actix_web::rt::spawn(connection);
    Ok(client)
}

#[actix_web::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("\nFAILED: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let length = Duration::from_secs(options.seconds);
    let settle = Duration::from_secs(options.settle);
    let settings = Rc::new(Settings::new(&options.stack_dir, &options.bin_dir, options.port)?);
    let servers = Rc::new(Servers::new(&options.stack_script, &options.stack_dir, &settings.run_dir)?);
    let schedule = schedule::schedule(options.seed, length);
    println!("==> seed {}: {} faults in {} s", options.seed, schedule.len(), options.seconds);
    schedule.iter().for_each(|fault| println!("    {fault}"));

    let fleet = Rc::new(Fleet::start(&settings).await?);
    let mut scene = Scene::set(&settings, options.seed, &options.email, &options.password).await?;
    println!("==> {}", scene.describe());
    scene.warm_up(&settings, settle).await?;

    println!("==> faults for {} s", options.seconds);
    let outcome = faults::carry_out(schedule, length, &fleet, &servers).await;
    sleep(AFTERMATH).await;
    let quiet = Instant::now();
    println!("==> no more faults; waiting until everything has arrived");
    let mut problems = outcome.problems.clone();
    if let Err(e) = fleet.ready(settle).await {
        problems.push(format!("{e:#}"));
    }
    scene.end_load(quiet).await;
    problems.extend(verdict::reach(&mut scene, &settings, settle, &outcome).await?);
    problems.extend(fleet::audit_chains(&settings)?);
    problems.extend(fleet::panics(&settings)?);
    problems.extend(fleet.ended_alone.borrow().iter().map(|who| format!("ended although nobody had killed it: {who}")));
    scene.end_all().await;
    match Rc::try_unwrap(fleet) {
        Ok(fleet) => problems.extend(fleet.end().await),
        Err(_) => problems.push("a fault is still under way".to_owned()),
    }
    if problems.is_empty() {
        println!("==> nothing lost");
        return Ok(());
    }
    problems.iter().for_each(|problem| println!("    {problem}"));
    bail!("{} problems, seed {}; the logs are in {}", problems.len(), options.seed, settings.run_dir.display());
}
