//! The command line.

use crate::{
    config::Config,
    rotate_keys, run,
    state::{Shared, Worker},
};
use aisha_config::{DatabaseSection, Env, ExposeSecret as _};
use aisha_db::{Db, DbConfig, migrate};
use aisha_http::{ServeOptions, health::Readiness};
use aisha_identity::user::{Superadmin, create_superadmin};
use aisha_kernel::{Error, ErrorCode};
use aisha_operations::recording::Recording;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::{net::TcpListener, path::PathBuf};
use tokio::runtime::Builder;

#[derive(Parser)]
#[command(name = "gateway", version, about = "The door of Aisha CRM. Settings come from the environment and .env.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default)
    Serve,
    /// Bring the database up to date, or look at its migrations (DATABASE_OWNER_URL)
    Migrate {
        #[command(subcommand)]
        direction: Option<Direction>,
    },
    /// Make a superadmin unless the e-mail address is taken
    CreateSuperadmin {
        /// E-mail address; SUPERADMIN_EMAIL by default
        #[arg(long)]
        email: Option<String>,
        /// Password; SUPERADMIN_PASSWORD by default, which other processes cannot read
        #[arg(long)]
        password: Option<String>,
    },
    /// Make new keys: JWT_SECRET and INTERNAL_SIGNING_KEY. The old ones stay valid until the next rotation. Makes
    /// CREDENTIALS_KEY too if it is empty, and never changes it
    RotateKeys {
        /// The file to rewrite; without one the lines are printed
        #[arg(long)]
        env_file: Option<PathBuf>,
        /// Make only those that are empty
        #[arg(long)]
        only_missing: bool,
    },
}

#[derive(Subcommand)]
enum Direction {
    /// Apply what is pending (the default)
    Up,
    /// Revert the last migrations
    Down {
        /// How many
        #[arg(long, default_value_t = 1)]
        steps: usize,
    },
    /// List all with whether they were applied
    Status,
}

/// Runs the command of this process.
///
/// # Errors
/// What went wrong, for the terminal.
pub fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command.unwrap_or(Command::Serve);
    let env = Env::load();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Serve => Box::pin(serve(&env)).await,
            Command::Migrate { direction } => Box::pin(migrate(&env, direction.unwrap_or(Direction::Up))).await,
            Command::CreateSuperadmin { email, password } => Box::pin(superadmin(&env, email, password)).await,
            Command::RotateKeys { env_file, only_missing } => rotate(&env, env_file, only_missing),
        }
    })
}

async fn serve(env: &Env) -> anyhow::Result<()> {
    let config = Config::read(env)?;
    let _telemetry = aisha_telemetry::init("gateway", &config.log);
    verify_login(&config).await?;
    let listen = config.http.listen;
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let options = ServeOptions { workers: config.http.workers, ..ServeOptions::default() };
    let recording = record(config.clone())?;
    let running = run(config, listener, &options)?;
    tracing::info!(address = %running.address(), "gateway is listening");
    let outcome = running.wait().await;
    recording.stop().await?;
    Ok(outcome?)
}

/// Writes the gateway's log, its durations, and what it reaches. Only the gateway knows Redis and the services behind it.
fn record(config: Config) -> anyhow::Result<Recording> {
    let shared = Shared::new(config)?;
    // Finds out here, where it can be said, what would fail on the thread.
    Worker::new(&shared)?;
    let database = shared.db_config();
    let make_checks = move || {
        let checks = Worker::new(&shared).map(|worker| worker.checks()).unwrap_or_default();
        async move || serde_json::json!(Readiness::of(&checks).await.checks)
    };
    Ok(Recording::start("gateway", env!("CARGO_PKG_VERSION"), database, make_checks)?)
}

/// A login that row-level security does not bind is refused; a database that is away is not a reason not to start.
async fn verify_login(config: &Config) -> anyhow::Result<()> {
    let checked = Db::new(&db_config(config.database.url.expose_secret()))?.verify_login().await;
    match checked {
        Err(e) if e.code == ErrorCode::Unavailable => {
            tracing::warn!(cause = cause(&e), "the database is not reachable yet");
            Ok(())
        }
        other => other.map_err(with_cause),
    }
}

fn db_config(url: &str) -> DbConfig {
    DbConfig { url: url.to_owned(), pool_size: 1, application_name: "gateway command".into() }
}

async fn migrate(env: &Env, direction: Direction) -> anyhow::Result<()> {
    let url = env.secret_url("DATABASE_OWNER_URL", &["postgres", "postgresql"]);
    env.finish()?;
    let url = url.expose_secret();
    match direction {
        Direction::Up => {
            let ran = migrate::up(url).await?;
            ran.iter().for_each(|name| println!("applied {name}"));
            println!("{} migrations applied", ran.len());
        }
        Direction::Down { steps } => {
            migrate::down(url, steps).await?.iter().for_each(|name| println!("reverted {name}"));
        }
        Direction::Status => {
            for (name, applied) in migrate::status(url).await? {
                println!("{} {name}", if applied { "applied" } else { "pending" });
            }
        }
    }
    Ok(())
}

async fn superadmin(env: &Env, email: Option<String>, password: Option<String>) -> anyhow::Result<()> {
    let email = email.unwrap_or_else(|| env.text("SUPERADMIN_EMAIL"));
    let password = password.unwrap_or_else(|| env.text("SUPERADMIN_PASSWORD"));
    let database = DatabaseSection::read(env);
    env.finish()?;
    let db = Db::new(&db_config(database.url.expose_secret()))?;
    match create_superadmin(&db, &email, &password).await.map_err(with_cause)? {
        Superadmin::Created => println!("superadmin {email} created"),
        Superadmin::Exists => println!("{email} exists already, nothing changed"),
    }
    Ok(())
}

fn rotate(env: &Env, file: Option<PathBuf>, only_missing: bool) -> anyhow::Result<()> {
    match file {
        Some(path) => {
            let written = rotate_keys::rewrite_file(&path, only_missing)?;
            if written.is_empty() {
                println!("no key is missing, nothing changed");
            } else {
                println!("written to {}: {}", path.display(), written.join(", "));
            }
        }
        None => {
            for (name, value) in rotate_keys::new_values(|name| env.optional(name), only_missing)? {
                println!("{name}={value}");
            }
        }
    }
    Ok(())
}

fn cause(e: &Error) -> String {
    e.cause.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// An error for the terminal, where fields and the cause may be shown.
fn with_cause(e: Error) -> anyhow::Error {
    let fields: Vec<String> = e.details.iter().map(|d| format!("{} {}", d.field, d.message)).collect();
    let text = if fields.is_empty() { e.message.to_string() } else { fields.join("; ") };
    let why = cause(&e);
    if why.is_empty() { anyhow::anyhow!(text) } else { anyhow::anyhow!(why).context(text) }
}
