//! The command line: without a subcommand the service runs.

use crate::{Config, NAME, run};
use aisha_audit::verify::{Anchor, PLATFORM, chains, verify};
use aisha_bus::{Bus, Queue, dead_letters, topology};
use aisha_config::{AmqpSection, DatabaseSection, Env, ExposeSecret as _};
use aisha_db::{Db, DbConfig};
use aisha_kernel::Error;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{process::ExitCode, time::Duration};
use tokio::time::timeout;
use uuid::Uuid;

/// How long a command waits for RabbitMQ.
const BROKER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(name = "crm-core", version, about = "The core of Aisha CRM. Settings come from the environment and .env.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default)
    Serve,
    /// Walk the hash chains of the audit log; exits with 1 when something is not as it was sealed
    AuditVerify(AuditVerify),
    /// What could not be handled: events that a consumer has rejected, or that kept killing it
    DeadLetters(DeadLetters),
}

#[derive(Args)]
struct DeadLetters {
    /// What to do with them
    #[arg(value_enum)]
    action: DeadLetterAction,
    /// The queue they come from: webhooks or notifications. All by default
    #[arg(long, value_parser = queue)]
    queue: Option<Queue>,
    /// How many to list of each queue
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeadLetterAction {
    /// Show them, one JSON object a line; they stay
    List,
    /// Put them back into their queue, after what was wrong has been mended
    Requeue,
    /// Throw them away
    Purge,
}

fn queue(name: &str) -> Result<Queue, String> {
    Queue::find(name).ok_or_else(|| "must be webhooks or notifications".to_owned())
}

#[derive(Args)]
struct AuditVerify {
    /// Only this tenant; 00000000-0000-0000-0000-000000000000 stands for what concerns none. All by default
    #[arg(long)]
    tenant: Option<Uuid>,
    /// A link and its hash that were written down earlier, such as 120:9f86d0…; the chain must still have it
    #[arg(long, requires = "tenant", value_parser = anchor)]
    anchor: Option<Anchor>,
}

fn anchor(text: &str) -> Result<Anchor, String> {
    let parsed = text.split_once(':').and_then(|(link, hash)| Some((link.parse::<i64>().ok()?, hash)));
    match parsed {
        Some((link, hash)) if link > 0 && hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(Anchor { link, hash: hash.to_owned() })
        }
        _ => Err("must be LINK:HASH, with 64 hexadecimal digits".into()),
    }
}

/// Runs the command of this process.
///
/// # Errors
/// What went wrong, for the terminal.
pub async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => serve().await,
        Command::AuditVerify(asked) => audit_verify(&asked).await,
        Command::DeadLetters(asked) => dead_letters(&asked).await,
    }
}

async fn serve() -> anyhow::Result<ExitCode> {
    // Before logging is set up there is nowhere to say it but the terminal.
    let config = Config::load().map_err(|problems| anyhow::anyhow!("cannot start:\n{problems}"))?;
    let _guard = aisha_telemetry::init(NAME, &config.log);
    match run(config).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) => {
            tracing::error!(error = format!("{e:#}"), "crm-core stopped");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn audit_verify(asked: &AuditVerify) -> anyhow::Result<ExitCode> {
    let env = Env::load();
    let database = DatabaseSection::read(&env);
    env.finish()?;
    let url = database.url.expose_secret().to_owned();
    let db = Db::new(&DbConfig { url, pool_size: 1, application_name: "crm-core command".into() })?;
    let chains = match asked.tenant {
        Some(tenant) => vec![tenant],
        None => chains(&db).await.map_err(shown)?,
    };
    let mut intact = true;
    for chain in chains {
        let found = verify(&db, chain, asked.anchor.as_ref()).await.map_err(shown)?;
        let name = if chain == PLATFORM { "platform".to_owned() } else { chain.to_string() };
        let verdict = if found.intact() { "intact" } else { "TAMPERED" };
        println!(
            "{name} {verdict}: {} links, {} redacted, {} pending, head {}",
            found.links,
            found.redacted,
            found.pending,
            found.head.as_deref().unwrap_or("-")
        );
        for problem in &found.named {
            let link = problem.link.map(|link| format!(" link {link}")).unwrap_or_default();
            let row = problem.audit_id.map(|id| format!(" row {id}")).unwrap_or_default();
            let at = problem.changed_at.as_ref().map(|at| format!(" of {at}")).unwrap_or_default();
            println!("  {}:{link}{row}{at}", problem.kind);
        }
        let all: i64 = found.problems.values().sum();
        let named = i64::try_from(found.named.len()).unwrap_or(i64::MAX);
        if all > named {
            println!("  and {} more: {:?}", all - named, found.problems);
        }
        intact &= found.intact();
    }
    Ok(if intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn dead_letters(asked: &DeadLetters) -> anyhow::Result<ExitCode> {
    let env = Env::load();
    let amqp = AmqpSection::read(&env);
    env.finish()?;
    let bus = Bus::connect_lazy(amqp.url.expose_secret())?;
    timeout(BROKER_PATIENCE, dead_letters::connected(&bus)).await.context("RabbitMQ does not answer")?;
    let mut done = true;
    for queue in asked.queue.map_or_else(|| topology::QUEUES.to_vec(), |queue| vec![queue]) {
        // One queue that cannot be served says so and leaves the others to be.
        match act(&bus, &queue, asked).await {
            Ok(said) => eprintln!("{}: {said}", queue.name),
            Err(e) => {
                done = false;
                eprintln!("{}: {e:#}", queue.name);
            }
        }
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn act(bus: &Bus, queue: &Queue, asked: &DeadLetters) -> anyhow::Result<String> {
    Ok(match asked.action {
        DeadLetterAction::List => {
            for letter in dead_letters::list(bus, queue, asked.limit).await.map_err(shown)? {
                println!("{}", serde_json::to_string(&letter)?);
            }
            format!("{} there", dead_letters::count(bus, queue).await.map_err(shown)?)
        }
        DeadLetterAction::Requeue => {
            format!("{} put back", dead_letters::requeue(bus, queue).await.map_err(shown)?)
        }
        DeadLetterAction::Purge => format!("{} thrown away", dead_letters::purge(bus, queue).await.map_err(shown)?),
    })
}

/// An error for the terminal, where the cause may be shown.
fn shown(e: Error) -> anyhow::Error {
    match e.cause {
        Some(cause) => anyhow::anyhow!("{cause}").context(e.message.to_string()),
        None => anyhow::anyhow!(e.message.to_string()),
    }
}
