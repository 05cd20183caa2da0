//! The only way to SQL: transactions that are bound to a role and, for tenant data, to one tenant.
//!
//! [`Db::read`] and [`Db::write`] need a [`Principal`]; [`Db::system`] needs a reason. The role, the tenant and the
//! caller are set transaction-locally and travel in the same flight as `BEGIN` and the first statement; [`Db::fetch`]
//! sends a whole read transaction in one flight.
//!
//! A flight is joined to its end and judged by every inner result: `COMMIT` after a failed statement answers "ok" for a
//! rollback, and a flight that is dropped half-way leaves a transaction open (see [`crate::pool::Connection`]).

use crate::{
    error::{from_diesel, worth_a_retry},
    pool::{self, Connection, Connector, DbConfig, Pool},
    row::PgRow,
    settings::{RequestContext, Settings, SystemReason},
    sql::{Bind, Sql},
};
use aisha_auth::Principal;
use aisha_kernel::Error;
use bb8::PooledConnection;
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, pooled_connection::PoolableConnection as _};
use futures_util::{FutureExt as _, TryStreamExt as _, future::BoxFuture, future::join_all};
use std::ops::{Deref, DerefMut};
use tracing::Instrument as _;

/// Rows of one statement.
pub type Rows = Vec<PgRow>;

/// Rows that [`Tx::rows_within`] asks for at once.
const PORTION: usize = 64;

/// The database, as one worker thread sees it.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
}

type Flight<'c> = BoxFuture<'c, Result<Rows, diesel::result::Error>>;

/// One span per flight, exported with the request's trace; nothing while traces are off.
fn span(statements: usize) -> tracing::Span {
    tracing::debug_span!(target: "sql", "sql", otel.kind = "client", db.system.name = "postgresql", statements)
}

pub(crate) fn send<'c>(conn: &'c AsyncPgConnection, sql: Sql) -> Flight<'c> {
    let mut conn: &'c AsyncPgConnection = conn;
    let started = AsyncConnectionCore::load(&mut conn, sql);
    async move { started.await?.map_ok(PgRow::new).try_collect().await }.boxed()
}

/// An open transaction. Statements go through [`Tx::rows`] and [`Tx::flight`], or, for diesel's DSL, [`Tx::conn`].
pub struct Tx {
    conn: PooledConnection<'static, Connector>,
    settings: Settings,
    begun: bool,
    retry: bool,
}

impl Tx {
    fn new(conn: PooledConnection<'static, Connector>, settings: Settings) -> Self {
        Self { conn, settings, begun: false, retry: false }
    }

    /// Runs statements in one flight, in order; the first failure counts and the transaction can then only end.
    ///
    /// # Errors
    /// What the first failing statement means to a client.
    pub async fn flight(&mut self, statements: Vec<Sql>) -> Result<Vec<Rows>, Error> {
        let opening = if self.begun { vec![] } else { vec![self.settings.begin(), self.settings.set()] };
        let skip = opening.len();
        self.begun = true;
        let Connection { pg, in_transaction } = &mut *self.conn;
        *in_transaction = true;
        let pg: &AsyncPgConnection = pg;
        let span = span(skip + statements.len());
        let all = opening.into_iter().chain(statements);
        let results = join_all(all.map(|sql| send(pg, sql))).instrument(span).await;
        let mut rows = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(r) => rows.push(r),
                Err(e) => {
                    self.retry = worth_a_retry(&e);
                    return Err(from_diesel(e));
                }
            }
        }
        Ok(rows.split_off(skip))
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// What the failure means to a client.
    pub async fn rows(&mut self, sql: Sql) -> Result<Rows, Error> {
        Ok(self.flight(vec![sql]).await?.pop().unwrap_or_default())
    }

    /// Runs a query whose rows may be large, and reads no further once they are `bytes` long, so that neither side ever holds
    /// much more than that: portion by portion, over a cursor. Returns whether there may be more. At most once in a transaction,
    /// whose end closes the cursor.
    ///
    /// # Errors
    /// What the failure means to a client.
    pub async fn rows_within(&mut self, bytes: usize, sql: Sql) -> Result<(Rows, bool), Error> {
        let fetch = || Sql::new(format!("FETCH {PORTION} FROM portion"));
        let mut declare = Sql::new("DECLARE portion NO SCROLL CURSOR FOR ");
        declare.append(sql);
        let mut all = self.flight(vec![declare, fetch()]).await?.pop().unwrap_or_default();
        let mut size: usize = all.iter().map(PgRow::size).sum();
        let mut more = all.len() == PORTION;
        while more && size < bytes {
            let rows = self.rows(fetch()).await?;
            size += rows.iter().map(PgRow::size).sum::<usize>();
            more = rows.len() == PORTION;
            all.extend(rows);
        }
        Ok((all, more))
    }

    /// The connection for hand-written diesel queries, inside the transaction.
    ///
    /// # Errors
    /// When the transaction cannot be opened.
    pub async fn conn(&mut self) -> Result<&mut AsyncPgConnection, Error> {
        if !self.begun {
            self.flight(vec![]).await?;
        }
        Ok(&mut self.conn.pg)
    }

    async fn end(&mut self, how: &'static str) -> Result<(), Error> {
        if self.begun {
            send(&self.conn.pg, Sql::new(how)).await.map_err(from_diesel)?;
            self.conn.in_transaction = false;
        }
        Ok(())
    }
}

/// A transaction that can see exactly one tenant, as its principal does.
pub struct TenantTx {
    tx: Tx,
    principal: Principal,
}

impl TenantTx {
    /// Whose transaction it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Runs statements with the platform's rights within the principal's tenant, and then takes the principal's own again:
    /// for what follows from a change that the principal may make, but reaches rows that it does not see (whatever belongs
    /// to a converted lead goes with it, somebody else's private note included). The policies of `aisha_system` still hold
    /// every row to the tenant, and audit rows and events name the principal.
    ///
    /// Whoever calls this has checked the principal's right to the change itself, and tells it nothing about those rows.
    ///
    /// # Errors
    /// What the first failing statement means to a client.
    pub async fn beyond_scope(&mut self, statements: Vec<Sql>) -> Result<Vec<Rows>, Error> {
        let own = self.tx.settings.role;
        let switch = |role: &str| Sql::new(format!("SELECT set_config('role', '{role}', true)"));
        let all = std::iter::once(switch("aisha_system")).chain(statements).chain([switch(own)]).collect();
        let mut rows = self.flight(all).await?;
        rows.pop();
        Ok(rows.split_off(1))
    }

    /// Runs statements in the principal's role while no tenant is set, and then sets the tenant again: for a proof that there
    /// is nothing to be seen then. Whatever the policies let through would be seen by whoever forgot the tenant.
    ///
    /// # Errors
    /// What the first failing statement means to a client.
    pub async fn without_tenant(&mut self, statements: Vec<Sql>) -> Result<Vec<Rows>, Error> {
        let set = |tenant: String| {
            let mut sql = Sql::new("SELECT set_config('app.current_tenant_id', ");
            sql.bind(Bind::text(tenant)).push(", true)");
            sql
        };
        let own = set(self.principal.tenant().to_string());
        let all = std::iter::once(set(String::new())).chain(statements).chain([own]).collect();
        let mut rows = self.flight(all).await?;
        rows.pop();
        Ok(rows.split_off(1))
    }
}

impl Deref for TenantTx {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for TenantTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

/// A transaction of the platform itself, for what happens before anybody is signed in or beyond one tenant.
/// On tenant tables it still sees only the tenant it names.
pub struct SystemTx {
    tx: Tx,
}

impl Deref for SystemTx {
    type Target = Tx;
    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for SystemTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

const ATTEMPTS: u32 = 3;

macro_rules! run {
    ($db:expr, $settings:expr, $wrap:expr, $f:expr) => {{
        let mut attempt = 1;
        loop {
            let mut tx = $wrap(Tx::new($db.checkout().await?, $settings));
            match $f(&mut tx).await {
                Ok(value) => {
                    tx.tx.end("COMMIT").await?;
                    break Ok(value);
                }
                Err(e) => {
                    let again = tx.tx.retry && attempt < ATTEMPTS;
                    // When even this fails the connection keeps its mark and the pool drops it.
                    if let Err(e) = tx.tx.end("ROLLBACK").await {
                        tracing::debug!(error = %e, "rollback failed");
                    }
                    if !again {
                        break Err(e);
                    }
                    attempt += 1;
                }
            }
        }
    }};
}

impl Db {
    /// A pool for the calling thread; connects when first used.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(config: &DbConfig) -> Result<Self, pool::ConnectError> {
        Ok(Self { pool: pool::build(config)? })
    }

    pub(crate) async fn checkout(&self) -> Result<PooledConnection<'static, Connector>, Error> {
        loop {
            let mut conn = self.pool.get().await?;
            if !conn.pg.is_broken() {
                return Ok(conn);
            }
            // Closed while idle (a restarted server): dropped here, so that the next one is tried.
            conn.in_transaction = true;
        }
    }

    /// Runs `f` in a read-only transaction of `me`.
    ///
    /// # Errors
    /// What `f` returns, or 503 when the database is away.
    pub async fn read<R>(
        &self,
        me: &Principal,
        f: impl AsyncFn(&mut TenantTx) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let cx = RequestContext::default();
        run!(self, Settings::of(me, &cx, true), |tx| TenantTx { tx, principal: me.clone() }, f)
    }

    /// Runs `f` in a transaction of `me`: commits on `Ok`, rolls back on `Err`. `f` runs again after a serialization
    /// failure, a deadlock or a connection lost before the commit, so it must not act outside the transaction.
    ///
    /// # Errors
    /// What `f` returns, or 503 when the database is away.
    pub async fn write<R>(
        &self,
        me: &Principal,
        cx: &RequestContext,
        f: impl AsyncFn(&mut TenantTx) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let done = run!(self, Settings::of(me, cx, false), |tx| TenantTx { tx, principal: me.clone() }, f);
        if done.is_ok() {
            crate::notify::written();
        }
        done
    }

    /// Runs `f` as the platform itself.
    ///
    /// # Errors
    /// What `f` returns, or 503 when the database is away.
    pub async fn system<R>(
        &self,
        why: &SystemReason,
        f: impl AsyncFn(&mut SystemTx) -> Result<R, Error>,
    ) -> Result<R, Error> {
        run!(self, Settings::system(why), |tx| SystemTx { tx }, f)
    }

    /// Runs read-only statements of `me` as one transaction in one flight.
    ///
    /// # Errors
    /// What the first failing statement means to a client, or 503 when the database is away.
    pub async fn fetch(&self, me: &Principal, statements: Vec<Sql>) -> Result<Vec<Rows>, Error> {
        let settings = Settings::of(me, &RequestContext::default(), true);
        let mut attempt = 1;
        loop {
            let mut conn = self.checkout().await?;
            conn.in_transaction = true;
            let all = [settings.begin(), settings.set()].into_iter();
            let all = all.chain(statements.iter().cloned()).chain([Sql::new("COMMIT")]);
            let results = join_all(all.map(|sql| send(&conn.pg, sql))).instrument(span(statements.len() + 3)).await;
            let mut rows = Vec::with_capacity(results.len());
            let mut failure = None;
            for result in results {
                match result {
                    Ok(r) => rows.push(r),
                    Err(e) => {
                        failure.get_or_insert(e);
                    }
                }
            }
            match failure {
                None => {
                    conn.in_transaction = false;
                    rows.pop();
                    return Ok(rows.split_off(2));
                }
                Some(e) if worth_a_retry(&e) && attempt < ATTEMPTS => attempt += 1,
                Some(e) => return Err(from_diesel(e)),
            }
        }
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// 503 when it is not.
    pub async fn ping(&self) -> Result<(), Error> {
        let conn = self.checkout().await?;
        send(&conn.pg, Sql::new("SELECT 1")).await.map(|_| ()).map_err(from_diesel)
    }

    /// Refuses a login that row-level security does not bind: a superuser, an owner of tables, `BYPASSRLS`, or one that
    /// inherits the policy roles (it would see every tenant without ever choosing a role).
    ///
    /// # Errors
    /// 500 naming every problem, or 503 when the database is away.
    pub async fn verify_login(&self) -> Result<(), Error> {
        let sql = Sql::new(
            "SELECT CASE WHEN r.rolsuper THEN 'is a superuser' END, \
                    CASE WHEN r.rolbypassrls THEN 'has BYPASSRLS' END, \
                    CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) THEN 'owns tables' END, \
                    CASE WHEN r.rolinherit THEN 'inherits the rights of its roles (use NOINHERIT)' END \
             FROM pg_roles r WHERE r.rolname = session_user",
        );
        let conn = self.checkout().await?;
        let rows = send(&conn.pg, sql).await.map_err(from_diesel)?;
        let problems: Vec<String> =
            rows.iter().flat_map(|r| (0..4).filter_map(|i| r.get::<Option<String>>(i).ok().flatten())).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::internal(format!("the database login is not safe: it {}", problems.join(", it "))))
    }
}
