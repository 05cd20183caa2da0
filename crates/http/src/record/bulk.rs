//! `POST /api/<plural>/bulk`: up to a thousand items of one kind of write, each with its own result.

use super::{
    handlers::ObjectBody,
    idempotency::{Reply, once},
};
use crate::{ApiResult, principal::Caller};
use actix_web::{HttpRequest, http::StatusCode, web};
use aisha_auth::Action;
use aisha_db::{
    Db, Sql, TenantTx,
    record::{
        Changes, Record,
        bulk::{custom_required, insert_each, references_resolve, rows_checked, trash_many},
        changes::Mode,
        custom,
        write::{Expected, record_update},
    },
};
use aisha_kernel::{Error, ErrorCode, FieldError};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Most items of one request.
const MAX_ITEMS: usize = 1_000;

/// What became of one item.
#[derive(Debug, Clone, Serialize)]
struct Outcome {
    /// Position in the request, from 0.
    index: usize,
    /// `created`, `updated`, `deleted` or `error`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<FieldError>,
}

impl Outcome {
    fn done(index: usize, status: &'static str, id: Uuid) -> Self {
        Self { index, status, id: Some(id), code: None, details: Vec::new() }
    }

    fn failed(index: usize, id: Option<Uuid>, code: ErrorCode, details: Vec<FieldError>) -> Self {
        Self { index, status: "error", id, code: Some(code.as_str()), details }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    succeeded: usize,
    failed: usize,
    results: &'a [Outcome],
}

/// Exactly one of `create: [{…}]`, `update: [{id, …}]` and `delete: [id]`.
enum Work {
    Create(Vec<Map<String, Value>>),
    Update(Vec<Map<String, Value>>),
    Delete(Vec<Value>),
}

fn work(mut body: Map<String, Value>) -> Result<(Work, Action), Error> {
    let one_of = || Error::invalid("create", "give exactly one of create, update and delete");
    let (key, value) = match (body.len(), ["create", "update", "delete"].into_iter().find(|k| body.contains_key(*k))) {
        (1, Some(key)) => (key, body.remove(key).unwrap_or_default()),
        _ => return Err(one_of()),
    };
    let Value::Array(items) = value else { return Err(Error::invalid(key, "must be a list")) };
    if items.is_empty() || items.len() > MAX_ITEMS {
        return Err(Error::invalid(key, format!("must have 1 to {MAX_ITEMS} items")));
    }
    if key == "delete" {
        return Ok((Work::Delete(items), Action::Delete));
    }
    let maps = items
        .into_iter()
        .map(|v| match v {
            Value::Object(map) => Ok(map),
            _ => Err(Error::invalid(key, "must be a list of objects")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(if key == "create" { (Work::Create(maps), Action::Create) } else { (Work::Update(maps), Action::Update) })
}

/// `POST /api/<plural>/bulk`
pub async fn bulk<R: Record>(
    caller: Caller,
    db: web::Data<Db>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let input = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(input.tenant_id)?;
    let (work, action) = work(input.map)?;
    me.require(R::DEF.plural, action)?;
    let reply = once(&db, &me, caller.context(), input.claim.as_ref(), async |tx| {
        let results = match &work {
            Work::Create(items) => create::<R>(tx, items).await?,
            Work::Update(items) => update::<R>(tx, items).await?,
            Work::Delete(ids) => delete::<R>(tx, ids).await?,
        };
        let failed = results.iter().filter(|r| r.status == "error").count();
        Reply::new(StatusCode::OK, &Summary { succeeded: results.len() - failed, failed, results: &results })
    })
    .await?;
    Ok(reply.into_response())
}

async fn create<R: Record>(tx: &mut TenantTx, items: &[Map<String, Value>]) -> Result<Vec<Outcome>, Error> {
    let tenant = tx.principal().tenant().to_string();
    let mut changes: Vec<Result<Changes, Vec<FieldError>>> =
        items.iter().map(|item| same_tenant(item, &tenant, Mode::Create, R::DEF)).collect();
    references_resolve(tx, &mut changes).await?;
    let definitions = custom::definitions(tx, R::DEF.name).await?;
    let required = custom_required::<R>(tx).await?;
    let mut results = Vec::with_capacity(items.len());
    let (mut indexes, mut rows) = (Vec::new(), Vec::new());
    for (index, item) in rows_checked(changes, &definitions, &required).into_iter().enumerate() {
        match item {
            Ok(row) => {
                indexes.push(index);
                rows.push(row);
            }
            Err(details) => results.push(Outcome::failed(index, None, ErrorCode::ValidationFailed, details)),
        }
    }
    for (index, id) in indexes.into_iter().zip(insert_each::<R>(tx, rows, None).await?) {
        results.push(match id {
            Ok(Some(id)) => Outcome::done(index, "created", id),
            Err(details) => Outcome::failed(index, None, ErrorCode::ValidationFailed, details),
            Ok(None) => {
                let taken = FieldError::new(R::DEF.key.0, "is already taken by another record");
                Outcome::failed(index, None, ErrorCode::Conflict, vec![taken])
            }
        });
    }
    results.sort_by_key(|r| r.index);
    Ok(results)
}

fn same_tenant(
    item: &Map<String, Value>,
    tenant: &str,
    mode: Mode,
    def: &'static aisha_db::record::RecordDef,
) -> Result<Changes, Vec<FieldError>> {
    match item.get("tenant_id").and_then(Value::as_str) {
        Some(t) if !t.eq_ignore_ascii_case(tenant) => {
            Err(vec![FieldError::new("tenant_id", "Access denied: Invalid tenant")])
        }
        _ => Changes::read(def, item, mode).map_err(|e| e.details),
    }
}

/// One after the other, each behind a savepoint, so that one that fails leaves the others alone.
async fn update<R: Record>(tx: &mut TenantTx, items: &[Map<String, Value>]) -> Result<Vec<Outcome>, Error> {
    let tenant = tx.principal().tenant().to_string();
    let mut results = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let id = item.get("id").and_then(Value::as_str).and_then(|s| Uuid::parse_str(s).ok());
        let Some(id) = id else {
            let details = vec![FieldError::new("id", "must be a UUID")];
            results.push(Outcome::failed(index, None, ErrorCode::ValidationFailed, details));
            continue;
        };
        let changes = match same_tenant(item, &tenant, Mode::Update, R::DEF) {
            Ok(changes) => changes,
            Err(details) => {
                results.push(Outcome::failed(index, Some(id), ErrorCode::ValidationFailed, details));
                continue;
            }
        };
        tx.rows(Sql::new("SAVEPOINT item")).await?;
        match record_update::<R>(tx, id, &changes, Expected::Any).await {
            Ok(_) => {
                tx.rows(Sql::new("RELEASE SAVEPOINT item")).await?;
                results.push(Outcome::done(index, "updated", id));
            }
            Err(e) if e.code.status() < 500 => {
                tx.rows(Sql::new("ROLLBACK TO SAVEPOINT item")).await?;
                results.push(Outcome::failed(index, Some(id), e.code, e.details));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(results)
}

async fn delete<R: Record>(tx: &mut TenantTx, ids: &[Value]) -> Result<Vec<Outcome>, Error> {
    let parsed: Vec<Option<Uuid>> = ids.iter().map(|v| v.as_str().and_then(|s| Uuid::parse_str(s).ok())).collect();
    let gone = trash_many::<R>(tx, parsed.iter().flatten().copied().collect()).await?;
    let outcome = |(index, id): (usize, Option<Uuid>)| match id {
        None => {
            Outcome::failed(index, None, ErrorCode::ValidationFailed, vec![FieldError::new("id", "must be a UUID")])
        }
        Some(id) if gone.contains(&id) => Outcome::done(index, "deleted", id),
        Some(id) => Outcome::failed(index, Some(id), ErrorCode::NotFound, Vec::new()),
    };
    Ok(parsed.into_iter().enumerate().map(outcome).collect())
}
