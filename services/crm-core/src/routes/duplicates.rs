//! `GET /api/{contacts|accounts|leads}/duplicates`, `POST /api/validation/check-duplicate-before-create`,
//! `POST /api/validation/find-duplicates`.

use actix_web::{HttpRequest, Resource, Scope, web, web::ServiceConfig};
use aisha_auth::{Action, Principal};
use aisha_crm::{
    Account, Contact, Lead,
    ops::duplicates::{By, Candidate, Groups, GroupsQuery, duplicate_groups, duplicates_of},
};
use aisha_db::{Db, record::Record};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{handlers::ObjectBody, query},
};
use aisha_kernel::{Error, FieldError, TenantId, cursor::Cursor};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Records of a group that are listed.
const SHOWN: i64 = 20;
/// Groups and ids per group of the legacy request, which has no pages.
const LEGACY_GROUPS: i64 = 200;

/// Record types, singular, whose duplicates are found and merged.
pub const MERGEABLE: [&str; 3] = [Account::DEF.name, Contact::DEF.name, Lead::DEF.name];

/// Adds the groups to the scope of a record type that has duplicates.
pub fn beside<R: Record>(scope: Scope) -> Scope {
    if MERGEABLE.contains(&R::DEF.name) { scope.service(resource::<R>()) } else { scope }
}

fn resource<R: Record>() -> Resource {
    web::resource("/duplicates").route(web::get().to(groups::<R>))
}

/// Mounts what is not under a record type.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/validation/check-duplicate-before-create").route(web::post().to(check)))
        .service(web::resource("/api/validation/find-duplicates").route(web::post().to(find)));
}

async fn groups<R: Record>(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let mut tenant = None;
    let ways = By::of(R::DEF.table);
    let mut query = GroupsQuery { by: ways.clone(), limit: query::DEFAULT_LIMIT, records: SHOWN, cursor: None };
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => query.limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "cursor" => {
                let cursor = Cursor::decode(&text).map_err(Error::from)?;
                query.cursor = Some(cursor);
            }
            "by" => {
                query.by.clear();
                for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
                    let by = By::named(name).filter(|by| ways.contains(by)).ok_or_else(|| {
                        let names: Vec<&str> = ways.iter().map(|by| by.as_str()).collect();
                        Error::parameter("by", format!("must be some of: {}", names.join(", ")))
                    })?;
                    if !query.by.contains(&by) {
                        query.by.push(by);
                    }
                }
                if query.by.is_empty() {
                    query.by.clone_from(&ways);
                }
            }
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let me = caller.in_tenant(tenant)?;
    me.require(R::DEF.plural, Action::Read)?;
    Ok(ok(duplicate_groups::<R>(&db, &me, &query).await?))
}

/// `Contact`, `contact` and `contacts` are the same.
fn entity(map: &mut Map<String, Value>, problems: &mut Vec<FieldError>) -> &'static str {
    let given = map.remove("entity_type");
    let given = given.as_ref().and_then(Value::as_str).unwrap_or_default().trim().to_lowercase();
    let found = MERGEABLE.into_iter().find(|name| *name == given.strip_suffix('s').unwrap_or(&given));
    found.unwrap_or_else(|| {
        problems.push(FieldError::new("entity_type", format!("must be one of: {}", MERGEABLE.join(", "))));
        ""
    })
}

fn unknown(map: &Map<String, Value>, problems: &mut Vec<FieldError>) {
    problems.extend(map.keys().map(|key| FieldError::new(key, "is not a field of this request")));
}

fn plural(entity: &str) -> &'static str {
    match entity {
        "account" => Account::DEF.plural,
        "contact" => Contact::DEF.plural,
        _ => Lead::DEF.plural,
    }
}

/// `POST /api/validation/check-duplicate-before-create`
async fn check(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let mut body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let mut problems = Vec::new();
    let entity = entity(&mut body.map, &mut problems);
    let exclude = match body.map.remove("exclude_id") {
        None | Some(Value::Null) => None,
        Some(v) => {
            let id = v.as_str().and_then(|s| Uuid::parse_str(s.trim()).ok());
            if id.is_none() {
                problems.push(FieldError::new("exclude_id", "must be a UUID"));
            }
            id
        }
    };
    let candidate = match body.map.remove("data") {
        Some(Value::Object(data)) => Candidate::read(&data).unwrap_or_else(|e| {
            problems.extend(e.details);
            Candidate::default()
        }),
        _ => {
            problems.push(FieldError::new("data", "is required: the record that would be created"));
            Candidate::default()
        }
    };
    unknown(&body.map, &mut problems);
    if !problems.is_empty() {
        return Err(Error::validation(problems).into());
    }
    me.require(plural(entity), Action::Create)?;
    let duplicates = duplicates_of(&db, &me, entity, &candidate, exclude).await?;
    Ok(ok(json!({ "has_duplicates": !duplicates.is_empty(), "duplicates": duplicates })))
}

/// The way in which a field of the legacy request compares.
fn legacy(field: &str, entity: &str) -> Option<By> {
    let by = match field {
        "email" => By::Email,
        "phone" | "mobile" => By::Phone,
        "website" => By::Website,
        "name" | "first_name" | "last_name" | "company_name" => By::Name,
        _ => return None,
    };
    By::of(plural(entity)).contains(&by).then_some(by)
}

async fn found(db: &Db, me: &Principal, entity: &str, query: &GroupsQuery) -> Result<Groups, Error> {
    match entity {
        "account" => duplicate_groups::<Account>(db, me, query).await,
        "contact" => duplicate_groups::<Contact>(db, me, query).await,
        _ => duplicate_groups::<Lead>(db, me, query).await,
    }
}

/// `POST /api/validation/find-duplicates`: the largest groups, by id.
async fn find(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let mut body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let mut problems = Vec::new();
    let entity = entity(&mut body.map, &mut problems);
    let fields = match body.map.remove("fields") {
        None | Some(Value::Null) => vec!["email".to_owned()],
        Some(Value::Array(list)) if (1..=10).contains(&list.len()) => {
            list.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect()
        }
        Some(_) => {
            problems.push(FieldError::new("fields", "must be a list of one to ten fields"));
            vec![]
        }
    };
    let mut by = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        match legacy(field, entity) {
            Some(way) if !by.contains(&way) => by.push(way),
            Some(_) => {}
            None if entity.is_empty() => {}
            None => {
                let ways: Vec<&str> = By::of(plural(entity)).into_iter().map(By::as_str).collect();
                problems.push(FieldError::new(format!("fields.{i}"), format!("must be one of: {}", ways.join(", "))));
            }
        }
    }
    unknown(&body.map, &mut problems);
    if !problems.is_empty() {
        return Err(Error::validation(problems).into());
    }
    me.require(plural(entity), Action::Read)?;
    let query = GroupsQuery { by, limit: LEGACY_GROUPS, records: LEGACY_GROUPS, cursor: None };
    let Groups { groups, total, .. } = found(&db, &me, entity, &query).await?;
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|g| {
            let records = g.records.value();
            let ids: Vec<&Value> = records.as_array().into_iter().flatten().filter_map(|r| r.get("id")).collect();
            json!({ "key": g.key, "count": g.count, "reason": g.reason, "ids": ids })
        })
        .collect();
    let tenant = me.tenant().0;
    Ok(ok(json!({ "total": total, "groups": groups, "fields": fields, "tenant_id": tenant, "entity_type": entity })))
}
