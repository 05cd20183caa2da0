//! From a query string to a [`List`]: the one place where parameter forms become the filter tree.

use aisha_db::record::{
    Count, Kind, List, RecordDef,
    filter::{Filter, MAX_CONDITIONS},
    page::Sort,
};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use serde_json::{Map, Value};

/// Rows per page unless told otherwise.
pub const DEFAULT_LIMIT: i64 = 50;
/// Most rows per page.
pub const MAX_LIMIT: i64 = 200;
/// Deepest offset; deeper pages use the cursor.
pub const MAX_OFFSET: i64 = 100_000;
/// Longest query string that is read.
const MAX_QUERY: usize = 16 * 1024;

/// What a query string asks for.
#[derive(Debug)]
pub struct ListQuery {
    /// The tenant it names, if any.
    pub tenant_id: Option<TenantId>,
    /// The list.
    pub list: List,
    /// The fields to show; all when empty.
    pub fields: Vec<&'static str>,
}

/// The parameters of a request, in order.
///
/// # Errors
/// 400 when they cannot be decoded.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Error> {
    if query.len() > MAX_QUERY {
        return Err(Error::parameter("query", format!("is longer than {MAX_QUERY} bytes")));
    }
    serde_urlencoded::from_str(query).map_err(|e| Error::parameter("query", "cannot be decoded").because(e))
}

/// Reads the `tenant_id` of a request that takes no other parameter.
///
/// # Errors
/// 400 naming what else was given.
pub fn tenant_only(query: &str) -> Result<Option<TenantId>, Error> {
    let mut found = None;
    for (name, text) in pairs(query)? {
        match name.as_str() {
            "tenant_id" => found = Some(TenantId::parse(&text)?),
            _ => return Err(Error::parameter(name, "is not a parameter of this request")),
        }
    }
    Ok(found)
}

/// Reads a whole number within bounds.
///
/// # Errors
/// 400 naming the parameter.
pub fn number(name: &str, text: &str, least: i64, most: i64) -> Result<i64, Error> {
    text.parse::<i64>()
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| Error::parameter(name, format!("must be a whole number from {least} to {most}")))
}

fn json(name: &str, text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|e| Error::parameter(name, format!("is not valid JSON: {e}")))
}

/// Reads the parameters of a list.
///
/// # Errors
/// 400 naming the parameter.
pub fn parse(def: &'static RecordDef, query: &str, trash: bool) -> Result<ListQuery, Error> {
    let mut out = ListQuery {
        tenant_id: None,
        fields: Vec::new(),
        list: List {
            filter: Filter::And(Vec::new()),
            words: Vec::new(),
            sort: Sort::newest(def),
            limit: DEFAULT_LIMIT,
            offset: 0,
            cursor: None,
            count: Count::default(),
            trash,
        },
    };
    let mut conditions: Vec<Value> = Vec::new();
    for (name, text) in pairs(query)? {
        match name.as_str() {
            "tenant_id" => out.tenant_id = Some(TenantId::parse(&text)?),
            "limit" => out.list.limit = number("limit", &text, 1, MAX_LIMIT)?,
            "offset" => {
                out.list.offset =
                    text.parse::<i64>().ok().filter(|n| (0..=MAX_OFFSET).contains(n)).ok_or_else(|| {
                        Error::parameter("offset", format!("must be 0 to {MAX_OFFSET}; deeper pages use cursor"))
                    })?;
            }
            "cursor" => {
                let cursor = Cursor::decode(&text)?;
                out.list.cursor = Some(cursor);
            }
            "sort" => out.list.sort = Sort::parse(def, &text)?,
            "count" => {
                out.list.count = match text.as_str() {
                    "exact" => Count::Exact,
                    "none" => Count::None,
                    "capped" => Count::Capped,
                    _ => return Err(Error::parameter("count", "must be exact, capped or none")),
                };
            }
            "q" => out.list.words = words(&text)?,
            // The switch of the user interface; `is_test_data` is the filter with both answers.
            "show_test_data" => match text.as_str() {
                "true" => {}
                "false" => conditions.push(serde_json::json!({ "is_test_data": false })),
                _ => return Err(Error::parameter("show_test_data", "must be true or false")),
            },
            "fields" => out.fields = fields(def, &text)?,
            "filter" => conditions.push(json("filter", &text)?),
            "$or" | "$and" => conditions.push(Value::Object(Map::from_iter([(name.clone(), json(&name, &text)?)]))),
            _ => conditions.push(column(def, &name, &text)?),
        }
        if conditions.len() > MAX_CONDITIONS {
            return Err(Error::parameter("filter", format!("may have at most {MAX_CONDITIONS} conditions")));
        }
    }
    if out.list.cursor.is_some() && out.list.offset > 0 {
        return Err(Error::parameter("offset", "cannot be combined with cursor"));
    }
    if !conditions.is_empty() {
        let tree = match conditions.len() {
            1 => conditions.swap_remove(0),
            _ => serde_json::json!({ "$and": conditions }),
        };
        out.list.filter = Filter::parse(def, &tree)?;
    }
    Ok(out)
}

/// `status=active`, or operators: `score={"$gte":50}`.
fn column(def: &'static RecordDef, name: &str, text: &str) -> Result<Value, Error> {
    let field = def.field(name);
    if field.is_none() && !name.starts_with("custom_fields.") {
        return Err(Error::parameter(name, "is not a parameter or field of this list"));
    }
    let value = match field.map(|f| f.kind) {
        _ if text.starts_with('{') => json(name, text)?,
        // A custom field compares as JSON, where 5 and true are not texts; the definition is not known here, so both count.
        None => match serde_json::from_str::<Value>(text) {
            Ok(v @ (Value::Number(_) | Value::Bool(_))) => serde_json::json!({ "$in": [v, text] }),
            Ok(v) => v,
            Err(_) => text.into(),
        },
        Some(Kind::Tags) => Value::from(text),
        _ if text == "null" => Value::Null,
        _ => Value::from(text),
    };
    Ok(Value::Object(Map::from_iter([(name.to_owned(), value)])))
}

fn words(text: &str) -> Result<Vec<String>, Error> {
    if text.chars().count() > 200 || text.contains('\0') {
        return Err(Error::parameter("q", "must have at most 200 characters"));
    }
    Ok(text.to_lowercase().split_whitespace().take(10).map(str::to_owned).collect())
}

fn fields(def: &'static RecordDef, text: &str) -> Result<Vec<&'static str>, Error> {
    let names = text.split(',').map(str::trim).filter(|n| !n.is_empty());
    let known =
        |n: &str| def.field(n).map(|f| f.name).ok_or_else(|| Error::parameter("fields", format!("{n} is unknown")));
    let mut out = vec!["id"];
    for name in names {
        let name = known(name)?;
        if !out.contains(&name) {
            out.push(name);
        }
    }
    Ok(out)
}
