//! Direct access to the test database, past everything that is being tested.

use std::{collections::HashMap, path::PathBuf, sync::LazyLock};
use tokio_postgres::{Client, NoTls};

/// Addresses of the test stack, from `.local/test/env`.
static ENV: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let path = root().join(".local/test/env");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; `make test` starts the test stack", path.display()));
    text.lines()
        .filter_map(|l| l.strip_prefix("export ").unwrap_or(l).split_once('='))
        .map(|(k, v)| (k.to_owned(), v.trim_matches(['"', '\'']).to_owned()))
        .collect()
});

/// The workspace.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// An address of the test stack, such as `DATABASE_URL`.
#[must_use]
pub fn address(name: &str) -> String {
    ENV.get(name).cloned().unwrap_or_else(|| panic!("{name} is not in .local/test/env"))
}

/// Connects to any database.
pub async fn connect(url: &str) -> Client {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(driver);
    client
}

/// Connects as the superuser.
pub async fn admin() -> Client {
    connect(&address("DATABASE_ADMIN_URL")).await
}

/// Connects as services do.
pub async fn login() -> Client {
    connect(&address("DATABASE_URL")).await
}

/// `url` with another database.
#[must_use]
pub fn with_database(url: &str, name: &str) -> String {
    let (base, _) = url.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

/// A turn at migrating a database of one's own, until dropped. Roles and who is a member of them belong to the whole
/// cluster: two migrations at once fail with "tuple concurrently updated", and no lock inside one database keeps two
/// databases apart.
pub async fn migration_turn() -> Client {
    let client = admin().await;
    client.batch_execute("SELECT pg_advisory_lock(7303)").await.unwrap();
    client
}
