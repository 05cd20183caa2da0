//! The queue of e-mails about accounts.
//!
//! A letter is written in the transaction of its cause, so that neither is without the other, and sealed, since it may
//! contain a link that opens an account. A sender claims it for the length of a lease, sends it, and says what became of
//! it; then the letter itself is forgotten. Two senders never hold the same letter: it is sent twice only if a process
//! ends between the server's answer and the note of it.

use crate::{
    audit::Entry,
    credentials::Credentials,
    letter::{Kind, Letter},
    sql::{col, cut},
};
use aisha_db::{Bind, Db, PgRow, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, new_id};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// How long a claim holds. Longer than any attempt may take.
pub const LEASE: Duration = Duration::from_secs(120);
/// After this a letter is given up: most of what it could say is no longer true.
const PATIENCE_SECONDS: i64 = 3 * 24 * 3600;
/// Seconds between attempts; the last one repeats.
const PAUSES: [i64; 8] = [2, 10, 30, 120, 600, 1_800, 3_600, 3 * 3_600];
/// Days for which it is remembered what became of a letter.
const REMEMBERED_DAYS: i64 = 90;

/// A letter to be sent now, by whoever holds the claim.
#[derive(Debug)]
pub struct Claimed {
    /// Identifies the letter, on every attempt.
    pub id: Uuid,
    /// What to send.
    pub letter: Letter,
    user: Uuid,
    kind: String,
    lease: Uuid,
    attempts: i32,
    age: i64,
}

fn why(reason: &'static str) -> SystemReason {
    SystemReason { reason, ..SystemReason::default() }
}

fn context(id: Uuid) -> String {
    format!("email_outbox {id}")
}

/// A letter that waits for its transaction: its id, and the statement that queues it.
pub(crate) struct Queued {
    pub id: Uuid,
    pub insert: Sql,
}

impl Credentials {
    /// Queues a letter to a user. Nothing is queued where there is no such user.
    pub(crate) fn queue(&self, user: Uuid, kind: Kind, letter: &Letter) -> Result<Queued, Error> {
        let id = new_id();
        let text = serde_json::to_vec(letter).map_err(Error::internal)?;
        let key = self.key_ids().into_iter().next().unwrap_or_default();
        let mut insert = Sql::new("INSERT INTO email_outbox (id, user_id, kind, sealed, key_id) SELECT ");
        insert.bind(id).push(", id, ").bind(Bind::text(kind.as_str())).push(", ");
        insert.bind(Bind::Bytes(self.seal(&context(id), &text)?)).push(", ").bind(Bind::text(key));
        insert.push(" FROM users WHERE id = ").bind(user);
        Ok(Queued { id, insert })
    }
}

/// Takes back letters that nobody is sending yet: what they say is no longer true. `condition` begins a `WHERE`.
pub(crate) fn cancel(condition: Sql) -> Sql {
    let mut sql = Sql::new(
        "DELETE FROM email_outbox WHERE sealed IS NOT NULL AND (leased_until IS NULL OR leased_until <= now()) AND ",
    );
    sql.append(condition);
    sql
}

/// Claims letters that are due, at most `most`, of those that can be opened here.
///
/// # Errors
/// 503 when the database is away.
pub async fn claim(db: &Db, credentials: &Credentials, most: i64) -> Result<Vec<Claimed>, Error> {
    let lease = new_id();
    let mut sql = Sql::new(
        "WITH due AS (SELECT id FROM email_outbox WHERE sealed IS NOT NULL AND due_at <= now() \
             AND (leased_until IS NULL OR leased_until <= now()) AND key_id = ANY (",
    );
    sql.bind(Bind::Texts(Some(credentials.key_ids()))).push(") ORDER BY due_at LIMIT ").bind(Bind::Int(most));
    sql.push(" FOR UPDATE SKIP LOCKED) UPDATE email_outbox o SET attempts = attempts + 1, lease = ").bind(lease);
    sql.push(", leased_until = now() + make_interval(secs => CAST(").bind(seconds(LEASE)).push(" AS integer)) ");
    sql.push("FROM due WHERE o.id = due.id RETURNING o.id, o.user_id, o.kind, o.sealed, o.attempts, ");
    sql.push("CAST(extract(epoch FROM now() - o.created_at) AS bigint)");
    let rows = db.system(&why("mail"), async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: Uuid = col(row, 0)?;
        match open(credentials, id, row) {
            Ok(letter) => claimed.push(Claimed {
                id,
                letter,
                user: col(row, 1)?,
                kind: col(row, 2)?,
                lease,
                attempts: col(row, 4)?,
                age: col(row, 5)?,
            }),
            // Its key has the right name and yet does not open it: the others must not wait for that.
            Err(e) => tracing::error!(email = %id, error = %e, "a queued e-mail cannot be opened"),
        }
    }
    Ok(claimed)
}

fn open(credentials: &Credentials, id: Uuid, row: &PgRow) -> Result<Letter, Error> {
    let text = credentials.open(&context(id), &col::<Vec<u8>>(row, 3)?)?;
    serde_json::from_slice(&text).map_err(Error::internal)
}

fn seconds(d: Duration) -> Bind {
    Bind::Int(i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// How long until the next letter is due; `None` when none waits.
///
/// # Errors
/// 503 when the database is away.
pub async fn next_due(db: &Db, credentials: &Credentials) -> Result<Option<Duration>, Error> {
    let mut sql = Sql::new(
        "SELECT CAST(ceil(extract(epoch FROM min(greatest(due_at, leased_until)) - now()) * 1000) AS bigint) \
         FROM email_outbox WHERE sealed IS NOT NULL AND key_id = ANY (",
    );
    sql.bind(Bind::Texts(Some(credentials.key_ids()))).push(")");
    let rows = db.system(&why("mail"), async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let millis = rows.first().map(|row| col::<Option<i64>>(row, 0)).transpose()?.flatten();
    Ok(millis.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}

/// Notes that a letter has left, and forgets it.
///
/// # Errors
/// 503 when the database is away: say it again, or the letter goes out a second time.
pub async fn sent(db: &Db, claim: &Claimed) -> Result<(), Error> {
    let mut sql = Sql::new("UPDATE email_outbox SET sent_at = now(), error = NULL, ");
    sql.push(FORGET).push(" WHERE id = ").bind(claim.id).push(" AND lease = ").bind(claim.lease);
    db.system(&why("mail"), async |tx: &mut SystemTx| tx.rows(sql.clone()).await.map(drop)).await
}

const FORGET: &str = "sealed = NULL, lease = NULL, leased_until = NULL";

/// What becomes of a letter after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is tried again later.
    Again,
    /// It is given up; the audit log says so.
    GivenUp,
}

/// Notes an attempt that failed. `permanent`: the server said that another one would fail too.
///
/// # Errors
/// 503 when the database is away; the letter is tried again when its lease has ended.
pub async fn failed(db: &Db, claim: &Claimed, error: &str, permanent: bool) -> Result<Outcome, Error> {
    let outcome = if permanent || claim.age >= PATIENCE_SECONDS { Outcome::GivenUp } else { Outcome::Again };
    let mut sql = Sql::new("UPDATE email_outbox SET error = ");
    sql.bind(cut(Some(&error.replace('\0', "")), 500)).push(", ");
    match outcome {
        Outcome::Again => {
            let index = usize::try_from(claim.attempts - 1).unwrap_or(0).min(PAUSES.len() - 1);
            let pause = PAUSES.get(index).copied().unwrap_or(3_600);
            sql.push("lease = NULL, leased_until = NULL, due_at = now() + make_interval(secs => ");
            sql.bind(Bind::Int(pause)).push(" * (0.9 + 0.2 * random()))");
        }
        Outcome::GivenUp => {
            sql.push("failed_at = now(), ").push(FORGET);
        }
    }
    sql.push(" WHERE id = ").bind(claim.id).push(" AND lease = ").bind(claim.lease).push(" RETURNING id");
    db.system(&why("mail"), async |tx: &mut SystemTx| {
        if !tx.rows(sql.clone()).await?.is_empty() && outcome == Outcome::GivenUp {
            given_up(tx, claim.id, claim.user, &claim.kind).await?;
        }
        Ok(())
    })
    .await?;
    Ok(outcome)
}

/// The audit row of a letter that never left, where the tenant's admins see it.
async fn given_up(tx: &mut SystemTx, id: Uuid, user: Uuid, kind: &str) -> Result<(), Error> {
    let mut sql = Sql::new("SELECT tenant_id FROM users WHERE id = ");
    sql.bind(user);
    let rows = tx.rows(sql).await?;
    let entry = Entry {
        action: "EMAIL_NOT_DELIVERED",
        tenant: rows.first().map(|row| col(row, 0)).transpose()?.flatten(),
        table: "email_outbox",
        record: Some(id),
        user: None,
        role: None,
        values: json!({ "user_id": user, "kind": kind }),
    };
    tx.rows(entry.insert(&RequestContext::default())).await.map(drop)
}

/// What must happen now and then, also to letters whose key is gone and which nobody claims: gives up what is too old,
/// forgets what was sent or given up long ago, and links and unfinished enrolments that are of no use any more. Several
/// replicas may do the same work. Returns how many letters were given up.
///
/// # Errors
/// 503 when the database is away.
pub async fn tidy(db: &Db) -> Result<usize, Error> {
    db.system(&why("housekeeping"), async |tx: &mut SystemTx| {
        let mut old =
            Sql::new("UPDATE email_outbox SET failed_at = now(), error = coalesce(error, 'not sent in time'), ");
        old.push(FORGET).push(" WHERE sealed IS NOT NULL AND (leased_until IS NULL OR leased_until <= now()) AND ");
        old.push("created_at < now() - make_interval(secs => CAST(").bind(Bind::Int(PATIENCE_SECONDS));
        old.push(" AS integer)) RETURNING id, user_id, kind");
        let rows = tx.rows(old).await?;
        for row in &rows {
            given_up(tx, col(row, 0)?, col(row, 1)?, &col::<String>(row, 2)?).await?;
        }
        let aged = |text: &'static str| {
            let mut sql = Sql::new(text);
            sql.push(" < now() - make_interval(days => CAST(").bind(Bind::Int(REMEMBERED_DAYS)).push(" AS integer))");
            sql
        };
        tx.flight(vec![
            aged("DELETE FROM email_outbox WHERE sealed IS NULL AND created_at"),
            aged("DELETE FROM password_resets WHERE expires_at"),
            aged("DELETE FROM invitations WHERE expires_at"),
            Sql::new("DELETE FROM user_totp WHERE confirmed_at IS NULL AND created_at < now() - interval '1 day'"),
        ])
        .await?;
        Ok(rows.len())
    })
    .await
}
