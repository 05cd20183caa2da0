//! Password hashing off the worker threads, a few at a time: each takes 19 MiB and tens of milliseconds of a core.

use aisha_auth::password;
use aisha_kernel::Error;
use tokio::{sync::Semaphore, task::spawn_blocking};

/// More at once than there are cores would only take memory.
static SLOTS: Semaphore = Semaphore::const_new(4);

/// Hashes a password that the rule has accepted.
pub(crate) async fn hash(password: String) -> Result<String, Error> {
    let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
    spawn_blocking(move || password::hash(&password))
        .await
        .map_err(Error::internal)?
        .map_err(|e| Error::internal(e.to_string()))
}

/// Whether the password is the one behind the hash; takes its time also when there is none.
pub(crate) async fn verify(password: String, hash: Option<String>) -> Result<bool, Error> {
    let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
    spawn_blocking(move || password::verify(&password, hash.as_deref())).await.map_err(Error::internal)
}
