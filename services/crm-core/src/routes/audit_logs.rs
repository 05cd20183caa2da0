//! `/api/audit-logs`: what happened in a tenant, to be read and taken out. Nothing here writes or deletes.

use super::system_logs::instant;
use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_audit::{
    export::{LogExport, export_log},
    log::{LogQuery, Reach, log_list, log_read},
};
use aisha_auth::Action;
use aisha_crm::care::definition;
use aisha_db::{
    Db,
    record::{Count, value},
};
use aisha_http::{
    ApiResult, Caller, csv_download, ok,
    record::{
        handlers::path_id,
        query::{self, DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET},
    },
};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use serde_json::json;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Longest text of a filter.
const MAX_TEXT: usize = 320;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/audit-logs").route(web::get().to(list)))
        .service(web::resource("/api/audit-logs/export").route(web::get().to(export)))
        .service(web::resource("/api/audit-logs/{id}").route(web::get().to(read)));
}

/// What a query string asks for.
struct Asked {
    tenant: Option<TenantId>,
    platform: bool,
    query: LogQuery,
}

/// The end of a range, which belongs to it: a time, or a day with all of it.
fn after(name: &str, text: &str) -> Result<OffsetDateTime, Error> {
    let at = instant(name, text)?;
    let length = if value::date(text).is_ok() { Duration::DAY } else { Duration::MICROSECOND };
    Ok(at.checked_add(length).unwrap_or(at))
}

fn word(name: &str, text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_TEXT || text.contains('\0') {
        return Err(Error::parameter(name, format!("must have 1 to {MAX_TEXT} characters")));
    }
    Ok(text.to_owned())
}

/// The table of a record type, which may be given as it appears in entries, in the plural of paths, or as a table.
fn table(name: &str) -> String {
    match definition(name) {
        Some(def) => def.table.into(),
        None if name == "user" => "users".into(),
        None => name.into(),
    }
}

fn parse(text: &str) -> Result<Asked, Error> {
    let mut asked =
        Asked { tenant: None, platform: false, query: LogQuery { limit: DEFAULT_LIMIT, ..LogQuery::default() } };
    let query = &mut asked.query;
    for (name, text) in query::pairs(text)? {
        match name.as_str() {
            "tenant_id" => asked.tenant = Some(TenantId::parse(&text)?),
            "scope" => {
                asked.platform = match text.as_str() {
                    "platform" => true,
                    "tenant" => false,
                    _ => return Err(Error::parameter("scope", "must be tenant or platform")),
                };
            }
            "user_email" => query.user_email = Some(word(&name, &text)?),
            "action" => query.action = Some(word(&name, &text)?),
            "entity_type" => query.table = Some(table(&word(&name, &text)?)),
            "entity_id" => {
                let id = Uuid::parse_str(text.trim());
                query.entity_id = Some(id.map_err(|_| Error::parameter("entity_id", "must be a UUID"))?);
            }
            "from" => query.from = Some(instant("from", &text)?),
            "to" => query.before = Some(after("to", &text)?),
            "limit" => query.limit = query::number("limit", &text, 1, MAX_LIMIT)?,
            "offset" => query.offset = query::number("offset", &text, 0, MAX_OFFSET)?,
            "cursor" => query.cursor = Some(Cursor::decode(&text)?),
            "count" => {
                query.count = match text.as_str() {
                    "exact" => Count::Exact,
                    "none" => Count::None,
                    "capped" => Count::Capped,
                    _ => return Err(Error::parameter("count", "must be exact, capped or none")),
                };
            }
            _ => return Err(Error::parameter(name, "is not a parameter of this request")),
        }
    }
    if query.cursor.is_some() && query.offset > 0 {
        return Err(Error::parameter("offset", "cannot be combined with cursor"));
    }
    if query.from.zip(query.before).is_some_and(|(from, before)| from >= before) {
        return Err(Error::parameter("to", "must not be before from"));
    }
    if asked.platform && asked.tenant.is_some() {
        return Err(Error::parameter("scope", "cannot be platform with a tenant_id"));
    }
    Ok(asked)
}

fn reach(caller: &Caller, tenant: Option<TenantId>, platform: bool, action: Action) -> Result<Reach, Error> {
    if platform {
        return Reach::platform(Arc::new(caller.identity().clone()), action);
    }
    Reach::tenant(caller.in_tenant(tenant)?, action)
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let asked = parse(request.query_string())?;
    let reach = reach(&caller, asked.tenant, asked.platform, Action::Read)?;
    let page = log_list(&db, &reach, &asked.query).await?;
    let mut data = json!({
        "audit-logs": page.entries, "limit": asked.query.limit, "offset": asked.query.offset,
        "next_cursor": page.next_cursor,
    });
    if let (Some(map), Some(total)) = (data.as_object_mut(), page.total) {
        map.insert("total".into(), total.into());
        if page.total_is_lower_bound {
            map.insert("total_is_lower_bound".into(), true.into());
        }
    }
    Ok(ok(data))
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut platform) = (None, false);
    for (name, text) in query::pairs(request.query_string())? {
        match (name.as_str(), text.as_str()) {
            ("tenant_id", _) => tenant = Some(TenantId::parse(&text)?),
            ("scope", "platform") => platform = true,
            ("scope", "tenant") => platform = false,
            ("scope", _) => return Err(Error::parameter("scope", "must be tenant or platform").into()),
            _ => return Err(Error::parameter(name, "is not a parameter of this request").into()),
        }
    }
    if platform && tenant.is_some() {
        return Err(Error::parameter("scope", "cannot be platform with a tenant_id").into());
    }
    let reach = reach(&caller, tenant, platform, Action::Read)?;
    Ok(ok(log_read(&db, &reach, path_id(&request)?).await?))
}

async fn export(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let asked = parse(request.query_string())?;
    let reach = reach(&caller, asked.tenant, asked.platform, Action::Export)?;
    let export = export_log(&db, reach, asked.query, request.query_string(), caller.context()).await?;
    Ok(csv_download("audit-logs", export, LogExport::next_page).await?)
}
