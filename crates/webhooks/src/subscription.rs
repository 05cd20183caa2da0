//! Subscriptions: where to, which events, how fast.
//!
//! Belongs here: the row. Does not belong here: what a client may say (`subscription_input`), pausing and rotating
//! (`lifecycle`).

use crate::{
    audit, col,
    lifecycle::not_later,
    number,
    secret::{generate_secret, seal_secret},
    subscription_input::WebhookInput,
};
use aisha_auth::{Principal, sealing::Sealer};
use aisha_db::{Bind, Db, Json, PgRow, Sql, TenantTx, record::write::Expected};
use aisha_kernel::{Error, ErrorCode, new_id};
use secrecy::SecretString;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// Most subscriptions of one tenant.
pub const MOST: i64 = 100;
/// A subscription as the API shows it: never with its secret.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    /// Identifier.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// Where deliveries go.
    pub url: String,
    /// What it is for.
    pub description: Option<String>,
    /// Names, prefixes (`contact.*`) or `*`.
    pub event_types: Vec<String>,
    /// Whether events are taken on and delivered.
    pub is_active: bool,
    /// Since when deliveries are taken on and wait.
    #[serde(with = "time::serde::rfc3339::option")]
    pub paused_at: Option<OffsetDateTime>,
    /// Why it is not active, where it was not a person: `gone` or `failing`.
    pub disabled_reason: Option<String>,
    /// Since when.
    #[serde(with = "time::serde::rfc3339::option")]
    pub disabled_at: Option<OffsetDateTime>,
    /// Always true: there is no subscription without one.
    pub has_secret: bool,
    /// Until when the secret before the last rotation signs as well.
    #[serde(with = "time::serde::rfc3339::option")]
    pub previous_secret_until: Option<OffsetDateTime>,
    /// Whether an attempt that failed is repeated.
    pub retries: bool,
    /// Requests at the same time.
    pub max_concurrency: i32,
    /// Requests per second; none is no limit.
    pub rate_limit: Option<i32>,
    /// The client's own.
    pub metadata: Json,
    /// Since when no attempt has succeeded.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failing_since: Option<OffsetDateTime>,
    /// The last success.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_success_at: Option<OffsetDateTime>,
    /// The last failure.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_failure_at: Option<OffsetDateTime>,
    /// The `ETag`.
    pub version: i32,
    /// The user who made it.
    pub created_by: Option<Uuid>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// What somebody may not have meant.
    pub warnings: Vec<&'static str>,
}

pub(crate) const COLUMNS: &str = "id, tenant_id, url, description, event_types, is_active, paused_at, disabled_reason, \
    disabled_at, CASE WHEN previous_secret_until > now() THEN previous_secret_until END, retries, max_concurrency, rate_limit, \
    metadata, failing_since, last_success_at, last_failure_at, version, created_by, created_at, updated_at";

const NO_EVENTS: &str = "event_types is empty: no event is delivered, only tests.";

pub(crate) fn from_row(row: &PgRow) -> Result<Webhook, Error> {
    let event_types: Vec<String> = col(row, 4)?;
    let warnings = if event_types.is_empty() { vec![NO_EVENTS] } else { Vec::new() };
    Ok(Webhook {
        id: col(row, 0)?,
        tenant_id: col(row, 1)?,
        url: col(row, 2)?,
        description: col(row, 3)?,
        event_types,
        is_active: col(row, 5)?,
        paused_at: col(row, 6)?,
        disabled_reason: col(row, 7)?,
        disabled_at: col(row, 8)?,
        has_secret: true,
        previous_secret_until: col(row, 9)?,
        retries: col(row, 10)?,
        max_concurrency: col(row, 11)?,
        rate_limit: col(row, 12)?,
        metadata: col(row, 13)?,
        failing_since: col(row, 14)?,
        last_success_at: col(row, 15)?,
        last_failure_at: col(row, 16)?,
        version: col(row, 17)?,
        created_by: col(row, 18)?,
        created_at: col(row, 19)?,
        updated_at: col(row, 20)?,
        warnings,
    })
}

/// Which subscriptions are wanted.
#[derive(Debug, Clone, Copy)]
pub struct WebhookFilter {
    /// Only those that are active, or only the others.
    pub is_active: Option<bool>,
    /// Rows per page.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
}

/// A page of subscriptions, newest first, and how many there are.
///
/// # Errors
/// 503 when the database is away.
pub async fn webhook_list(db: &Db, me: &Principal, filter: &WebhookFilter) -> Result<(Vec<Webhook>, i64), Error> {
    let mut wanted = Sql::new(" FROM webhook WHERE tenant_id = ");
    wanted.bind(me.tenant().0);
    match filter.is_active {
        Some(true) => wanted.push(" AND is_active"),
        Some(false) => wanted.push(" AND NOT is_active"),
        None => &mut wanted,
    };
    let mut page = Sql::new(format!("SELECT {COLUMNS}"));
    page.append(wanted.clone()).push(" ORDER BY created_at DESC, id DESC LIMIT ").bind(Bind::Int(filter.limit));
    page.push(" OFFSET ").bind(Bind::Int(filter.offset));
    let mut total = Sql::new("SELECT count(*)");
    total.append(wanted);
    let mut results = db.fetch(me, vec![page, total]).await?;
    let total = number(&results.pop().unwrap_or_default())?;
    let rows = results.pop().unwrap_or_default();
    Ok((rows.iter().map(from_row).collect::<Result<_, _>>()?, total))
}

/// One subscription.
///
/// # Errors
/// 404 when there is none.
pub async fn webhook_read(db: &Db, me: &Principal, id: Uuid) -> Result<Webhook, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM webhook WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// Makes a subscription, and returns its secret with it: the only time that it is shown.
///
/// # Errors
/// 409 when the tenant has as many as it may have.
pub async fn webhook_create(
    tx: &mut TenantTx,
    sealer: &Sealer,
    input: &WebhookInput,
) -> Result<(Webhook, SecretString), Error> {
    let (tenant, id) = (tx.principal().tenant().0, new_id());
    let mut count = Sql::new("SELECT count(*) FROM webhook WHERE tenant_id = ");
    count.bind(tenant);
    // Two at once must not both be the hundredth.
    let lock = Sql::new("SELECT pg_advisory_xact_lock(7305, hashtext(current_tenant_id()::text))");
    let there = number(&tx.flight(vec![lock, count]).await?.pop().unwrap_or_default())?;
    if there >= MOST {
        return Err(Error::conflict(format!("There may be at most {MOST} webhooks: delete one first.")));
    }
    let secret = match &input.secret {
        Some(secret) => secret.clone(),
        None => generate_secret()?,
    };
    let types = Bind::Texts(Some(input.event_types.clone().unwrap_or_default()));
    let fixed = vec![
        ("tenant_id", Bind::from(tenant)),
        ("id", Bind::from(id)),
        ("event_types", types),
        ("secret_sealed", Bind::Bytes(seal_secret(sealer, id, &secret)?)),
    ];
    let mut insert = Sql::new("INSERT INTO webhook ");
    insert.append(input.changes.values(fixed)).push(format!(" RETURNING {COLUMNS}"));
    let mut ledger = Sql::new("INSERT INTO webhook_ledger (tenant_id, webhook_id) VALUES (");
    ledger.bind(tenant).push(", ").bind(id).push(")");
    let rows = tx.flight(vec![insert, ledger]).await?.into_iter().next().unwrap_or_default();
    Ok((from_row(rows.first().ok_or_else(Error::not_found)?)?, secret))
}

/// What a change starts from: the row, held until the transaction ends.
pub(crate) async fn lock(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<Webhook, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM webhook WHERE tenant_id = "));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" FOR UPDATE");
    let rows = tx.rows(sql).await?;
    let held = from_row(rows.first().ok_or_else(Error::not_found)?)?;
    match expected {
        Expected::Version(version) if version != held.version => Err(Error::new(
            ErrorCode::PreconditionFailed,
            "Somebody changed this webhook first: read it again and repeat your change.",
        )),
        _ => Ok(held),
    }
}

/// The same for work that leaves the row as it is, but must not outlive it.
pub(crate) async fn lock_shared(tx: &mut TenantTx, id: Uuid) -> Result<Webhook, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM webhook WHERE tenant_id = "));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" FOR KEY SHARE");
    let rows = tx.rows(sql).await?;
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// A row if there is such a subscription, for statements about what belongs to it.
pub(crate) fn there(tenant: Uuid, id: Uuid) -> Sql {
    let mut sql = Sql::new("SELECT 1 FROM webhook WHERE tenant_id = ");
    sql.bind(tenant).push(" AND id = ").bind(id);
    sql
}

/// Changes what is given. A secret that is given holds at once, alone; switching on again forgets why it was off, and another
/// receiver has asked for no time.
///
/// # Errors
/// 404, 412.
pub async fn webhook_update(
    tx: &mut TenantTx,
    sealer: &Sealer,
    id: Uuid,
    input: &WebhookInput,
    expected: Expected,
) -> Result<Webhook, Error> {
    let held = lock(tx, id, expected).await?;
    let mut sql = Sql::new("UPDATE webhook SET id = id").prepared_once();
    if !input.changes.is_empty() {
        sql.push(", ").append(input.changes.assignments());
    }
    if let Some(types) = &input.event_types {
        sql.push(", event_types = ").bind(Bind::Texts(Some(types.clone())));
    }
    if !held.is_active && input.has("is_active", "true") {
        sql.push(", disabled_reason = NULL, disabled_at = NULL, failing_since = NULL");
    }
    let mut flight = Vec::new();
    if let Some(secret) = &input.secret {
        sql.push(", previous_secret_sealed = NULL, previous_secret_until = NULL, secret_sealed = ");
        sql.bind(Bind::Bytes(seal_secret(sealer, id, secret)?));
        flight.push(audit::entry("secret_set", id, &serde_json::json!({ "previous_secret_until": null })));
    }
    sql.push(" WHERE tenant_id = ").bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    sql.push(format!(" RETURNING {COLUMNS}"));
    flight.insert(0, sql);
    let rows = tx.flight(flight).await?.into_iter().next().unwrap_or_default();
    let changed = from_row(rows.first().ok_or_else(Error::not_found)?)?;
    if changed.url != held.url || (changed.is_active && !held.is_active) {
        let soon = not_later(tx.principal().tenant().0, id);
        tx.rows(soon).await?;
    }
    Ok(changed)
}

/// Removes a subscription with its log and ledger.
///
/// # Errors
/// 404, 412.
pub async fn webhook_delete(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<(), Error> {
    lock(tx, id, expected).await?;
    let mut sql = Sql::new("DELETE FROM webhook WHERE tenant_id = ");
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    tx.rows(sql).await.map(|_| ())
}

/// 409 unless the subscription takes on deliveries.
pub(crate) fn require_active(webhook: &Webhook) -> Result<(), Error> {
    if webhook.is_active {
        return Ok(());
    }
    Err(Error::conflict("This webhook is not active: it takes nothing on. Switch it on first.")
        .field("is_active", "is false"))
}
