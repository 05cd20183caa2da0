//! `Idempotency-Key`: a repeated write is answered from the first one's stored response.
//!
//! The key is claimed in the transaction of the write itself, so that neither can exist without the other; a second
//! request with the same key waits on the first one's row. Keys belong to one user of one tenant and live 24 hours. After
//! draft-ietf-httpapi-idempotency-key-header.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, RequestContext, Sql, TenantTx};
use aisha_kernel::{Error, ErrorCode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::envelope::{Envelope, json};

/// A response that can be stored and sent again.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    body: String,
    location: Option<String>,
    etag: Option<String>,
}

impl Reply {
    /// A success with an answer.
    ///
    /// # Errors
    /// 500 when the answer cannot be serialized.
    pub fn new<T: Serialize>(status: StatusCode, data: &T) -> Result<Self, Error> {
        let body = serde_json::to_string(&Envelope::new(data)).map_err(Error::internal)?;
        Ok(Self { status: status.as_u16(), body, location: None, etag: None })
    }

    /// Adds the path of the new record.
    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    /// Adds the version of the record.
    #[must_use]
    pub fn version(mut self, version: i32) -> Self {
        self.etag = Some(format!("\"{version}\""));
        self
    }

    /// The response.
    #[must_use]
    pub fn into_response(self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = json(status, self.body.into_bytes());
        for (name, value) in [(header::LOCATION, self.location), (header::ETAG, self.etag)] {
            if let Some(value) = value.and_then(|v| header::HeaderValue::from_str(&v).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The key of a request and a digest of what it asks for.
#[derive(Debug, Clone)]
pub struct Claim {
    key: String,
    digest: Vec<u8>,
}

/// The request's claim, if it carries a key.
///
/// # Errors
/// 400 for a key that is empty or longer than 255 characters.
pub fn claim(request: &HttpRequest, body: &[u8]) -> Result<Option<Claim>, Error> {
    let Some(key) = request.headers().get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().map(str::trim).filter(|k| !k.is_empty() && k.len() <= 255);
    let key = key.ok_or_else(|| Error::parameter("Idempotency-Key", "must have 1 to 255 printable characters"))?;
    let mut digest = Sha256::new();
    digest.update(request.method().as_str());
    digest.update([0]);
    digest.update(request.uri().to_string());
    digest.update([0]);
    digest.update(body);
    Ok(Some(Claim { key: key.to_owned(), digest: digest.finalize().to_vec() }))
}

/// Runs a write once per claim.
///
/// # Errors
/// What `f` returns; 422 when the key was used with another request.
pub async fn once(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    claim: Option<&Claim>,
    f: impl AsyncFn(&mut TenantTx) -> Result<Reply, Error>,
) -> Result<Reply, Error> {
    db.write(me, cx, async |tx| {
        let Some(claim) = claim else { return f(tx).await };
        if let Some(stored) = take(tx, claim).await? {
            return Ok(stored);
        }
        let reply = f(tx).await?;
        keep(tx, claim, &reply).await?;
        Ok(reply)
    })
    .await
}

/// Claims the key, or returns the response that is stored under it. Waits while another request holds it.
async fn take(tx: &mut TenantTx, claim: &Claim) -> Result<Option<Reply>, Error> {
    let (tenant, user) = (tx.principal().tenant().0, tx.principal().user().0);
    let mut insert = Sql::new(
        "INSERT INTO idempotency_key AS k (tenant_id, user_id, key, request_hash, status, expires_at) VALUES (",
    );
    insert.bind(tenant).push(", ").bind(user).push(", ").bind(Bind::text(&claim.key)).push(", ");
    insert
        .bind(Bind::Bytes(claim.digest.clone()))
        .push(", 0, now() + interval '24 hours') ON CONFLICT (tenant_id, user_id, key) ");
    insert.push("DO UPDATE SET request_hash = excluded.request_hash, status = 0, response = NULL, location = NULL, ");
    insert.push(
        "etag = NULL, created_at = now(), expires_at = excluded.expires_at WHERE k.expires_at < now() RETURNING key",
    );
    if !tx.rows(insert).await?.is_empty() {
        return Ok(None);
    }
    let mut select =
        Sql::new("SELECT request_hash, status, response, location, etag FROM idempotency_key WHERE tenant_id = ");
    select.bind(tenant).push(" AND user_id = ").bind(user).push(" AND key = ").bind(Bind::text(&claim.key));
    let rows = tx.rows(select).await?;
    let row =
        rows.first().ok_or_else(|| Error::conflict("The first request with this Idempotency-Key is not finished."))?;
    let digest: Vec<u8> = row.get(0).map_err(Error::internal)?;
    if digest != claim.digest {
        return Err(Error::new(ErrorCode::IdempotencyKeyReused, "This Idempotency-Key was used with another request."));
    }
    let status: i32 = row.get(1).map_err(Error::internal)?;
    Ok(Some(Reply {
        status: u16::try_from(status).unwrap_or(200),
        body: row.get::<Option<String>>(2).map_err(Error::internal)?.unwrap_or_default(),
        location: row.get(3).map_err(Error::internal)?,
        etag: row.get(4).map_err(Error::internal)?,
    }))
}

async fn keep(tx: &mut TenantTx, claim: &Claim, reply: &Reply) -> Result<(), Error> {
    let (tenant, user) = (tx.principal().tenant().0, tx.principal().user().0);
    let mut sql = Sql::new("UPDATE idempotency_key SET status = ");
    sql.bind(Bind::Text(Some(reply.status.to_string()), "integer")).push(", response = ");
    sql.bind(Bind::text(&reply.body)).push(", location = ").bind(Bind::Text(reply.location.clone(), "text"));
    sql.push(", etag = ").bind(Bind::Text(reply.etag.clone(), "text")).push(" WHERE tenant_id = ").bind(tenant);
    sql.push(" AND user_id = ").bind(user).push(" AND key = ").bind(Bind::text(&claim.key));
    tx.rows(sql).await.map(|_| ())
}
