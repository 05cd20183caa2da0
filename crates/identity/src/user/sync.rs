//! Users by the list of an external directory.

use super::{
    batch::{Batch, MOST, Outcome, Status, Wish, counted, counts, end_savepoint},
    input::UserInput,
    reach,
    update::Change,
};
use crate::{
    Credentials,
    sql::{acting, col},
};
use aisha_auth::{Action, Identity};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx, record::write::Expected};
use aisha_kernel::{Error, ErrorCode, FieldError, TenantId};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::HashSet;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a client sends.
#[derive(Debug, Clone)]
pub struct DirectorySync {
    users: Vec<Value>,
    deactivate_missing: bool,
    dry_run: bool,
    tenant: Option<TenantId>,
}

impl DirectorySync {
    /// Reads a body: `{users: [{…}], deactivate_missing, dry_run, tenant_id}`, or one `{email, …}`.
    ///
    /// # Errors
    /// 400 for a body that is no object or a tenant id that is no UUID; 422 naming the field.
    pub fn parse(body: &Value, in_query: Option<TenantId>) -> Result<Self, Error> {
        let Some(map) = body.as_object() else {
            return Err(Error::new(ErrorCode::MalformedBody, "The body must be a JSON object."));
        };
        let mut map = map.clone();
        let in_body = match map.remove("tenant_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(TenantId::parse(&s)?),
            Some(_) => return Err(Error::invalid("tenant_id", "must be a UUID")),
        };
        if in_query.is_some() && in_body.is_some() && in_query != in_body {
            return Err(Error::invalid("tenant_id", "differs between query and body"));
        }
        let mut flag = |name: &str| match map.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(b),
            Some(_) => Err(Error::invalid(name, "must be true or false")),
        };
        let (deactivate_missing, dry_run) = (flag("deactivate_missing")?, flag("dry_run")?);
        let users = match map.remove("users") {
            Some(Value::Array(users)) if (1..=MOST).contains(&users.len()) => {
                if let Some(name) = map.keys().next() {
                    return Err(Error::invalid(name, "is not a field of this request"));
                }
                users
            }
            Some(_) => return Err(Error::invalid("users", format!("must be a list of 1 to {MOST} users"))),
            None if map.contains_key("email") && !deactivate_missing => vec![Value::Object(map)],
            None => return Err(Error::invalid("users", "is required: the list of the directory")),
        };
        Ok(Self { users, deactivate_missing, dry_run, tenant: in_body.or(in_query) })
    }
}

/// What became of one user.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SyncedUser {
    /// Position in the list, from 0; absent for somebody whom the list lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The address.
    pub email: Option<String>,
    /// `created`, `updated`, `deactivated`, `unchanged` or `refused`.
    pub status: &'static str,
    /// The user; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// What is wrong with the entry, field by field.
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<FieldError>,
}

/// What became of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Synced {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Users made.
    pub created: usize,
    /// Users changed.
    pub updated: usize,
    /// Users deactivated, by their entry or because the list lacks them.
    pub deactivated: usize,
    /// Users who were as the list says.
    pub unchanged: usize,
    /// Entries that were refused.
    pub refused: usize,
    /// Every entry, and after them whom the list lacks.
    pub users: Vec<SyncedUser>,
}

impl From<Outcome> for SyncedUser {
    fn from(o: Outcome) -> Self {
        let status = match o.status {
            Status::Created => "created",
            Status::Updated => "updated",
            Status::Deactivated => "deactivated",
            Status::Unchanged => "unchanged",
            Status::Refused => "refused",
        };
        Self { index: o.number.checked_sub(1), email: o.email, status, id: o.id, errors: o.errors }
    }
}

/// Brings the users of one tenant in line with a directory's list. Each entry is written by the rules of any change, a
/// hundred in a transaction; one that is refused does not stop the others, and the same list again changes nothing.
/// `deactivate_missing` deactivates the users whom an earlier list named and this one does not; who was never in a list
/// stays.
///
/// # Errors
/// 403 without the right or for another tenant; 400 naming `tenant_id` for a superadmin who names none; 503 when the
/// database is away: what was written stays, and the list may be sent again.
pub async fn sync_from_auth(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    request: DirectorySync,
    cx: &RequestContext,
) -> Result<Synced, Error> {
    me.require("users", Action::Import)?;
    me.require("users", Action::Update)?;
    let tenant = reach(me, request.tenant)?
        .ok_or_else(|| Error::parameter("tenant_id", "is required: a directory is that of one tenant"))?;
    let batch = Batch {
        db,
        credentials,
        me,
        cx,
        reason: "directory sync",
        tenant: Some(tenant),
        change: true,
        directory: true,
        dry_run: request.dry_run,
    };
    let text = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).map(|s| s.trim().to_owned());
    let emails: Vec<String> = request.users.iter().filter_map(|u| text(u, "email")).map(|e| e.to_lowercase()).collect();
    let externals: Vec<String> = request.users.iter().filter_map(|u| text(u, "external_id")).collect();
    let wishes = request.users.into_iter().zip(1..).map(|(entry, number)| wish(number, entry)).collect();
    let mut outcomes = batch.run(wishes, &mut HashSet::new()).await?;
    if request.deactivate_missing {
        outcomes.extend(missing(&batch, tenant, emails, externals).await?);
    }
    let mut values = counted(&outcomes, request.dry_run);
    if let Some(map) = values.as_object_mut() {
        map.insert("source".into(), "directory".into());
    }
    batch.report(values).await?;
    let [(_, created), (_, updated), (_, deactivated), (_, unchanged), (_, refused)] = counts(&outcomes);
    let users = outcomes.into_iter().map(SyncedUser::from).collect();
    Ok(Synced { dry_run: request.dry_run, created, updated, deactivated, unchanged, refused, users })
}

fn wish(number: u64, entry: Value) -> Wish {
    let fields = match entry {
        Value::Object(map) => Ok(map),
        _ => Err(vec![FieldError::new("users", "must be a list of objects")]),
    };
    let email = fields.as_ref().ok().and_then(|m: &Map<String, Value>| m.get("email")).and_then(Value::as_str);
    Wish { number, email: email.map(str::to_lowercase), fields }
}

/// Deactivates whom an earlier list named and this one does not, each behind a savepoint.
async fn missing(
    batch: &Batch<'_>,
    tenant: TenantId,
    emails: Vec<String>,
    externals: Vec<String>,
) -> Result<Vec<Outcome>, Error> {
    let mut sql = Sql::new("SELECT id, email FROM users WHERE is_active AND synced_at IS NOT NULL AND tenant_id = ");
    sql.bind(tenant.0).push(" AND NOT email = ANY(").bind(Bind::Texts(Some(emails)));
    sql.push(") AND NOT coalesce(external_id = ANY(").bind(Bind::Texts(Some(externals))).push("), false) ORDER BY id");
    let why = acting(batch.me, batch.reason, Some(tenant), batch.cx);
    batch
        .db
        .system(&why, async |tx: &mut SystemTx| {
            let rows = tx.rows(sql.clone()).await?;
            let mut outcomes = Vec::with_capacity(rows.len());
            for row in &rows {
                let (id, email): (Uuid, String) = (col(row, 0)?, col(row, 1)?);
                let change = Change {
                    me: batch.me,
                    id,
                    tenant: Some(tenant),
                    input: UserInput { is_active: Some(false), ..UserInput::default() },
                    expected: Expected::Any,
                    password_hash: None,
                    cx: batch.cx,
                };
                tx.rows(Sql::new("SAVEPOINT one")).await?;
                let (status, errors) = match Box::pin(change.apply(tx)).await {
                    Ok(_) => (Status::Deactivated, Vec::new()),
                    Err(e) if e.code.status() < 500 => {
                        (Status::Refused, vec![FieldError::new("is_active", e.message.into_owned())])
                    }
                    Err(e) => return Err(e),
                };
                tx.flight(end_savepoint(status == Status::Deactivated && !batch.dry_run)).await?;
                outcomes.push(Outcome { number: 0, email: Some(email), status, id: Some(id), errors, invited: false });
            }
            Ok(outcomes)
        })
        .await
}
