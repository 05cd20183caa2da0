//! The handlers of every record type: list, read, create, update, trash, restore, purge.

use super::{
    idempotency::{Claim, Reply, claim, once},
    query::{self, ListQuery},
};
use crate::{ApiResult, body, envelope::ok, principal::Caller};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{StatusCode, header},
    web,
};
use aisha_auth::{Action, Principal, Scope};
use aisha_db::{
    Db,
    record::{
        Changes, List, Page, Record,
        changes::Mode,
        list::record_list,
        read::record_read,
        write::{Expected, record_create, record_purge, record_restore, record_trash, record_update},
    },
};
use aisha_kernel::{Error, ErrorCode, TenantId};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};
use uuid::Uuid;

/// The `data` of a list.
struct Listed<'a, R> {
    page: &'a Page<R>,
    list: &'a List,
    fields: &'a [&'static str],
}

impl<R: Record> Serialize for Listed<'_, R> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        if self.fields.is_empty() {
            map.serialize_entry(R::DEF.plural, &self.page.rows)?;
        } else {
            let rows = self.page.rows.iter().map(|r| picked(r, self.fields)).collect::<Result<Vec<_>, _>>();
            map.serialize_entry(R::DEF.plural, &rows.map_err(serde::ser::Error::custom)?)?;
        }
        if let Some(total) = self.page.total {
            map.serialize_entry("total", &total)?;
            if self.page.total_is_lower_bound {
                map.serialize_entry("total_is_lower_bound", &true)?;
            }
        }
        map.serialize_entry("limit", &self.list.limit)?;
        map.serialize_entry("offset", &self.list.offset)?;
        map.serialize_entry("next_cursor", &self.page.next_cursor)?;
        map.end()
    }
}

fn picked<R: Record>(row: &R, fields: &[&'static str]) -> serde_json::Result<Value> {
    let Value::Object(mut all) = serde_json::to_value(row)? else { return Ok(Value::Null) };
    Ok(fields.iter().filter_map(|f| all.remove(*f).map(|v| ((*f).to_owned(), v))).collect::<Map<_, _>>().into())
}

async fn listed<R: Record>(caller: &Caller, db: &Db, request: &HttpRequest, trash: bool) -> ApiResult {
    let ListQuery { tenant_id, list, fields } = query::parse(R::DEF, request.query_string(), trash)?;
    let me = caller.in_tenant(tenant_id)?;
    me.require(R::DEF.plural, if trash { Action::Delete } else { Action::Read })?;
    let page = record_list::<R>(db, &me, &list).await?;
    Ok(ok(Listed { page: &page, list: &list, fields: &fields }))
}

/// `GET /api/<plural>`
pub async fn list<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    listed::<R>(&caller, &db, &request, false).await
}

/// `GET /api/<plural>/trash`
pub async fn trash<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    listed::<R>(&caller, &db, &request, true).await
}

/// The id in the path.
pub fn path_id(request: &HttpRequest) -> Result<Uuid, Error> {
    let text = request.match_info().get("id").unwrap_or_default();
    Uuid::parse_str(text).map_err(|_| Error::parameter("id", "must be a UUID"))
}

/// What `If-Match` expects (RFC 9110 §13.1.1).
pub fn expected(request: &HttpRequest) -> Result<Expected, Error> {
    let Some(value) = request.headers().get(header::IF_MATCH) else { return Ok(Expected::Any) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Expected::Any);
    }
    let version = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).and_then(|t| t.parse().ok());
    // An entity tag that is not one of ours matches nothing.
    version.map(Expected::Version).ok_or_else(|| {
        Error::new(ErrorCode::PreconditionFailed, "The If-Match header does not hold an ETag of this record.")
    })
}

/// `GET /api/<plural>/{id}`
pub async fn read<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require(R::DEF.plural, Action::Read)?;
    let row = record_read::<R>(&db, &me, path_id(&request)?).await?;
    Ok(Reply::new(StatusCode::OK, &row)?.version(row.version()).into_response())
}

/// A JSON object with the claim made of it and the tenant it names, by query or body.
pub struct ObjectBody {
    /// The object, without `tenant_id`.
    pub map: Map<String, Value>,
    /// The tenant it names.
    pub tenant_id: Option<TenantId>,
    /// Its claim to an idempotency key.
    pub claim: Option<Claim>,
}

impl ObjectBody {
    /// Reads the body of a write.
    ///
    /// # Errors
    /// 400, 413 or 415 for a body that cannot be read; 403 when query and body name different tenants.
    pub async fn read(request: &HttpRequest, payload: &mut Payload) -> Result<Self, Error> {
        Self::read_with(request, payload, query::tenant_only).await
    }

    /// The same for a request whose query string has more than the tenant.
    ///
    /// # Errors
    /// Those of [`ObjectBody::read`] and of `tenant`.
    pub async fn read_with(
        request: &HttpRequest,
        payload: &mut Payload,
        tenant: impl FnOnce(&str) -> Result<Option<TenantId>, Error>,
    ) -> Result<Self, Error> {
        body::require_json(request.headers())?;
        let bytes = body::read(request.headers(), payload, body::MAX_BODY).await?;
        let body::Object(mut map) = body::parse(&bytes)?;
        let in_query = tenant(request.query_string())?;
        let in_body = match map.remove("tenant_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(TenantId::parse(&s)?),
            Some(_) => return Err(Error::parameter("tenant_id", "must be a UUID")),
        };
        if let (Some(a), Some(b)) = (in_query, in_body)
            && a != b
        {
            return Err(Error::new(ErrorCode::InvalidTenant, "Access denied: Invalid tenant"));
        }
        Ok(Self { map, tenant_id: in_body.or(in_query), claim: claim(request, &bytes)? })
    }
}

/// `POST /api/<plural>`
pub async fn create<R: Record>(
    caller: Caller,
    db: web::Data<Db>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let input = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(input.tenant_id)?;
    me.require(R::DEF.plural, Action::Create)?;
    let changes = Changes::read(R::DEF, &input.map, Mode::Create)?;
    let reply = once(&db, &me, caller.context(), input.claim.as_ref(), async |tx| {
        let row: R = record_create(tx, &changes).await?;
        let at = format!("/api/{}/{}", R::DEF.plural, row.id());
        Ok(Reply::new(StatusCode::CREATED, &row)?.at(at).version(row.version()))
    })
    .await?;
    Ok(reply.into_response())
}

/// `PUT` and `PATCH /api/<plural>/{id}`: both partial.
pub async fn update<R: Record>(
    caller: Caller,
    db: web::Data<Db>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let id = path_id(&request)?;
    let expected = expected(&request)?;
    let input = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(input.tenant_id)?;
    me.require(R::DEF.plural, Action::Update)?;
    let changes = Changes::read(R::DEF, &input.map, Mode::Update)?;
    let reply = once(&db, &me, caller.context(), input.claim.as_ref(), async |tx| {
        let row: R = record_update(tx, id, &changes, expected).await?;
        Ok(Reply::new(StatusCode::OK, &row)?.version(row.version()))
    })
    .await?;
    Ok(reply.into_response())
}

#[derive(Serialize)]
struct Id {
    id: Uuid,
}

/// The caller in the tenant of a request without a body, with the request's claim.
fn bodiless(caller: &Caller, request: &HttpRequest) -> Result<(Principal, Option<Claim>), Error> {
    Ok((caller.in_tenant(query::tenant_only(request.query_string())?)?, claim(request, &[])?))
}

/// A record that the caller may not delete but sees answers 403, one that it does not see 404.
///
/// # Errors
/// Those two.
pub async fn require_delete<R: Record>(db: &Db, me: &Principal, id: Uuid) -> Result<(), Error> {
    let Err(refused) = me.require(R::DEF.plural, Action::Delete) else { return Ok(()) };
    if refused.code == ErrorCode::ModuleDisabled {
        return Err(refused);
    }
    record_read::<R>(db, me, id).await?;
    Err(refused)
}

/// `DELETE /api/<plural>/{id}`: into the trash.
pub async fn delete<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let (me, claim) = bodiless(&caller, &request)?;
    require_delete::<R>(&db, &me, id).await?;
    let reply = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        record_trash::<R>(tx, id, expected).await?;
        Reply::new(StatusCode::OK, &Id { id })
    })
    .await?;
    Ok(reply.into_response())
}

/// `POST /api/<plural>/{id}/restore`
pub async fn restore<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let (me, claim) = bodiless(&caller, &request)?;
    me.require(R::DEF.plural, Action::Delete)?;
    let reply = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        let row: R = record_restore(tx, id).await?;
        Ok(Reply::new(StatusCode::OK, &row)?.version(row.version()))
    })
    .await?;
    Ok(reply.into_response())
}

/// `DELETE /api/<plural>/trash/{id}`: for good. A custom role may give the right to delete to somebody who sees a part of
/// the records; such a part is not theirs to remove for good.
pub async fn purge<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult<HttpResponse> {
    let id = path_id(&request)?;
    let (me, claim) = bodiless(&caller, &request)?;
    me.require(R::DEF.plural, Action::Delete)?;
    if me.scope() != Scope::All {
        return Err(
            Error::forbidden("Only who sees all records may remove one for good; it stays in the trash.").into()
        );
    }
    let reply = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        record_purge::<R>(tx, id).await?;
        Reply::new(StatusCode::OK, &Id { id })
    })
    .await?;
    Ok(reply.into_response())
}
