//! Bringing a database up to date: the replaceable functions of `sql/` first, then the series of `migrations/`.
//!
//! Both are compiled in, so that a binary always carries the schema it was built for. Needs a multi-threaded runtime.

use diesel::{
    migration::{Migration, MigrationSource as _},
    pg::Pg,
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use std::collections::HashSet;

const SERIES: EmbeddedMigrations = embed_migrations!("../../migrations");

/// Replaceable functions in the order of their file names; they may name tables that a later migration makes.
const FUNCTIONS: &[(&str, &str)] = &[
    ("010_roles.sql", include_str!("../../../sql/010_roles.sql")),
    ("020_context.sql", include_str!("../../../sql/020_context.sql")),
    ("030_touch.sql", include_str!("../../../sql/030_touch.sql")),
    ("040_changes.sql", include_str!("../../../sql/040_changes.sql")),
    ("045_audit_chain.sql", include_str!("../../../sql/045_audit_chain.sql")),
    ("047_events_restored.sql", include_str!("../../../sql/047_events_restored.sql")),
    ("050_copies.sql", include_str!("../../../sql/050_copies.sql")),
    ("055_people.sql", include_str!("../../../sql/055_people.sql")),
    ("055_related.sql", include_str!("../../../sql/055_related.sql")),
    ("057_pipeline.sql", include_str!("../../../sql/057_pipeline.sql")),
    ("058_duplicates.sql", include_str!("../../../sql/058_duplicates.sql")),
    ("058_reports.sql", include_str!("../../../sql/058_reports.sql")),
    ("060_search.sql", include_str!("../../../sql/060_search.sql")),
    ("065_merges.sql", include_str!("../../../sql/065_merges.sql")),
    ("070_partitions.sql", include_str!("../../../sql/070_partitions.sql")),
    ("075_migrations.sql", include_str!("../../../sql/075_migrations.sql")),
    ("080_tables.sql", include_str!("../../../sql/080_tables.sql")),
    ("990_ownership.sql", include_str!("../../../sql/990_ownership.sql")),
];

/// What goes wrong while migrating.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The server cannot be reached.
    #[error("cannot connect to the database as its owner")]
    Connect(#[from] crate::pool::ConnectError),
    /// A file of `sql/` failed.
    #[error("sql/{0} failed")]
    Functions(&'static str, #[source] diesel::result::Error),
    /// A migration failed; what ran before it stays.
    #[error("a migration failed: {0}")]
    Series(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A statement of the runner failed.
    #[error("the migration runner failed")]
    Query(#[from] diesel::result::Error),
}

/// Any number that nobody else uses: two services starting at once take turns.
const LOCK: &str = "SELECT pg_advisory_lock(7301)";

async fn connect(owner_url: &str) -> Result<AsyncPgConnection, MigrateError> {
    let mut conn = crate::pool::connect_plain(owner_url).await?;
    conn.batch_execute(LOCK).await?;
    Ok(conn)
}

async fn functions(conn: &mut AsyncPgConnection) -> Result<(), MigrateError> {
    conn.batch_execute("BEGIN; SET LOCAL check_function_bodies = off; SET LOCAL client_min_messages = warning").await?;
    for (name, text) in FUNCTIONS {
        conn.batch_execute(text).await.map_err(|e| MigrateError::Functions(name, e))?;
    }
    conn.batch_execute("COMMIT").await?;
    Ok(())
}

/// Applies the functions and every pending migration; returns the names of the migrations that ran.
///
/// # Errors
/// When the database cannot be reached or a statement fails; a failed migration leaves no trace of itself.
pub async fn up(owner_url: &str) -> Result<Vec<String>, MigrateError> {
    let mut conn = connect(owner_url).await?;
    functions(&mut conn).await?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let ran = harness.run_pending_migrations(SERIES).map_err(MigrateError::Series)?;
    let ran = ran.iter().map(ToString::to_string).collect();
    drop(harness);
    let mut conn = connect(owner_url).await?;
    // The runner's own table is the only one that no migration makes; FORCE would hide it from the runner.
    conn.batch_execute("ALTER TABLE __diesel_schema_migrations ENABLE ROW LEVEL SECURITY").await?;
    conn.batch_execute("SELECT ensure_partitions()").await?;
    Ok(ran)
}

/// Reverts the last `steps` migrations; returns their versions.
///
/// # Errors
/// When the database cannot be reached or a statement fails.
pub async fn down(owner_url: &str, steps: usize) -> Result<Vec<String>, MigrateError> {
    let mut conn = connect(owner_url).await?;
    functions(&mut conn).await?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let mut reverted = Vec::new();
    for _ in 0..steps {
        let version = harness.revert_last_migration(SERIES).map_err(MigrateError::Series)?;
        reverted.push(version.to_string());
    }
    Ok(reverted)
}

/// The versions of the series, oldest first.
///
/// # Errors
/// Never: the series is compiled in.
pub fn versions() -> Result<Vec<String>, MigrateError> {
    let series: Vec<Box<dyn Migration<Pg>>> = SERIES.migrations().map_err(MigrateError::Series)?;
    let mut versions: Vec<String> = series.iter().map(|m| m.name().version().to_string()).collect();
    versions.sort();
    Ok(versions)
}

/// Every migration of the series with whether it has been applied.
///
/// # Errors
/// When the database cannot be reached.
pub async fn status(owner_url: &str) -> Result<Vec<(String, bool)>, MigrateError> {
    let conn = connect(owner_url).await?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let applied: HashSet<String> =
        harness.applied_migrations().map_err(MigrateError::Series)?.iter().map(ToString::to_string).collect();
    let series: Vec<Box<dyn Migration<Pg>>> = SERIES.migrations().map_err(MigrateError::Series)?;
    Ok(series.iter().map(|m| (m.name().to_string(), applied.contains(&m.name().version().to_string()))).collect())
}
