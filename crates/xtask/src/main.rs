//! `cargo xtask`: the checks and generators that need logic.
//!
//! Belongs here: what CI and people run against the source tree.
//! Does not belong here: anything a running service needs, and what a Makefile line can do.

mod arch;
mod env_file;
mod generated;
mod lengths;
mod openapi;
mod schema;

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

/// Checks and generators for the source tree.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fails when a crate depends on one that the layout does not allow.
    CheckArch,
    /// Fails on files that are too long and on words that have no place in the source.
    CheckLengths,
    /// Writes crates/db/src/schema.rs from the database's catalogue.
    Schema {
        /// Compare instead of writing.
        #[arg(long)]
        check: bool,
        /// Connection of the owner; else the one in .local/test/env, .local/env or .env.
        #[arg(long, env = "DATABASE_OWNER_URL", hide_env_values = true)]
        database_url: Option<String>,
    },
    /// Writes the files in openapi/. Run as `cargo openapi`, which compiles the services in.
    Openapi {
        /// Compare instead of writing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Not the debug form of a returned error: its backtrace would bury the findings.
            let _ = writeln!(io::stderr(), "error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("xtask stands outside a workspace")?;
    match task {
        Task::CheckArch => arch::run(root),
        Task::CheckLengths => lengths::run(root),
        Task::Schema { check, database_url } => schema::run(root, database_url.as_deref(), *check),
        Task::Openapi { check } => openapi::run(root, *check),
    }
}
