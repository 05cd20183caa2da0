//! Filters: a small tree of conditions on whitelisted fields, parsed from JSON and bounded in depth and size.
//!
//! `filter={"$or":[{"status":"active"},{"score":{"$gte":50}}]}`. A field name never reaches SQL as sent: it is looked
//! up in the field table, and its value is bound.

mod sql;

use super::{
    RecordDef,
    field::{Field, Kind, State},
    value::{self, Parsed},
};
use crate::sql::Bind;
use aisha_kernel::{Error, ErrorCode};
use serde_json::Value;

/// Deepest nesting of `$and` and `$or`.
pub const MAX_DEPTH: usize = 5;
/// Most conditions in one filter.
pub const MAX_CONDITIONS: usize = 50;
/// Most values in one `$in`.
pub const MAX_VALUES: usize = 200;

/// A condition tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All of them.
    And(Vec<Filter>),
    /// At least one of them.
    Or(Vec<Filter>),
    /// One condition on one field.
    Field(Target, Op),
}

/// What a condition is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A column, by its name.
    Column(&'static str),
    /// A column with a list of words.
    List(&'static str),
    /// A custom field, by its key.
    Custom(String),
    /// A column that is shown in a computed state.
    State(&'static str, State),
}

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Equal; null matches null.
    Eq(Bind),
    /// Not equal; null differs from every value.
    Ne(Bind),
    /// One of.
    In(Vec<Bind>),
    /// None of.
    Nin(Vec<Bind>),
    /// `>`, `>=`, `<`, `<=`.
    Compare(&'static str, Bind),
    /// Contains the text, in any case; for lists: has the entry.
    Contains(String),
    /// Has, or has not, a value.
    Exists(bool),
    /// The list has all these entries.
    All(Vec<String>),
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidParameter, "The filter cannot be used.").field("filter", message)
}

impl Filter {
    /// Reads a filter. `{}` matches everything.
    ///
    /// # Errors
    /// 400 that names the field or the operator.
    pub fn parse(def: &'static RecordDef, v: &Value) -> Result<Self, Error> {
        let mut left = MAX_CONDITIONS;
        parse_tree(def, v, 0, &mut left)
    }

    /// Whether it is `$and` of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::And(all) if all.is_empty())
    }

    /// Whether its shape is common enough to keep the statement prepared: a few equalities.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Self::And(all) => all.len() <= 1 && all.iter().all(Self::is_plain),
            Self::Field(Target::Column(_), Op::Eq(b)) => !b.is_null(),
            _ => false,
        }
    }
}

fn parse_tree(def: &'static RecordDef, v: &Value, depth: usize, left: &mut usize) -> Result<Filter, Error> {
    if depth > MAX_DEPTH {
        return Err(bad(format!("may be nested at most {MAX_DEPTH} deep")));
    }
    let map = v.as_object().ok_or_else(|| bad("must be an object such as {\"status\":\"active\"}"))?;
    let mut all = Vec::new();
    for (key, v) in map {
        match key.as_str() {
            "$and" | "$or" => {
                let list = v.as_array().ok_or_else(|| bad(format!("{key} takes a list")))?;
                let parts = list.iter().map(|v| parse_tree(def, v, depth + 1, left)).collect::<Result<Vec<_>, _>>()?;
                all.push(if key == "$or" { Filter::Or(parts) } else { Filter::And(parts) });
            }
            _ => parse_field(def, key, v, left, &mut all)?,
        }
    }
    Ok(match all.len() {
        1 => all.swap_remove(0),
        _ => Filter::And(all),
    })
}

fn parse_field(
    def: &'static RecordDef,
    key: &str,
    v: &Value,
    left: &mut usize,
    out: &mut Vec<Filter>,
) -> Result<(), Error> {
    let (target, field) = match key.strip_prefix("custom_fields.") {
        Some(name) => {
            let named = !name.is_empty() && name.len() <= 63;
            if !named || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(bad(format!("{key} is not a custom field")));
            }
            (Target::Custom(name.to_owned()), None)
        }
        None => {
            let field = def.field(key).ok_or_else(|| bad(format!("{key} is not a field of this list")))?;
            if matches!(field.kind, Kind::Json | Kind::JsonList) {
                return Err(bad(format!("{key} cannot be filtered by")));
            }
            let target = match (field.kind, field.state) {
                (Kind::Tags, _) => Target::List(field.name),
                (_, Some(state)) => Target::State(field.name, state),
                _ => Target::Column(field.name),
            };
            (target, Some(field))
        }
    };
    let operators = v.as_object().filter(|m| m.keys().any(|k| k.starts_with('$')));
    let Some(operators) = operators else {
        let op = if v.is_array() { "$in" } else { "$eq" };
        return push(target, parse_op(field, key, op, v)?, left, out);
    };
    for (op, v) in operators {
        if op == "$options" {
            continue;
        }
        push(target.clone(), parse_op(field, key, op, v)?, left, out)?;
    }
    Ok(())
}

fn push(target: Target, op: Op, left: &mut usize, out: &mut Vec<Filter>) -> Result<(), Error> {
    *left = left.checked_sub(1).ok_or_else(|| bad(format!("may have at most {MAX_CONDITIONS} conditions")))?;
    out.push(Filter::Field(target, op));
    Ok(())
}

fn parse_op(field: Option<&'static Field>, key: &str, op: &str, v: &Value) -> Result<Op, Error> {
    let one = |v: &Value| bind(field, key, v);
    let many = |v: &Value| -> Result<Vec<Bind>, Error> {
        let list = v.as_array().ok_or_else(|| bad(format!("{op} takes a list")))?;
        if list.len() > MAX_VALUES {
            return Err(bad(format!("{op} takes at most {MAX_VALUES} values")));
        }
        list.iter().map(one).collect()
    };
    let is_list = field.is_some_and(|f| f.kind == Kind::Tags);
    if is_list && !matches!(op, "$eq" | "$contains" | "$all" | "$in" | "$exists") {
        return Err(bad(format!("{op} does not apply to {key}")));
    }
    let comparable = |op: &'static str| match field.map(|f| f.kind) {
        Some(Kind::Bool | Kind::Tags | Kind::Json | Kind::JsonList) => Err(bad(format!("{key} has no order"))),
        _ if v.is_null() => Err(bad("null has no order")),
        _ => Ok(Op::Compare(op, one(v)?)),
    };
    let text = |v: &Value| match v.as_str() {
        Some(s) if s.len() <= 500 && !s.contains('\0') => Ok(s.to_owned()),
        _ => Err(bad(format!("{op} takes a text of at most 500 bytes"))),
    };
    Ok(match op {
        "$eq" if is_list => Op::Contains(text(v)?),
        "$eq" => Op::Eq(one(v)?),
        "$ne" => Op::Ne(one(v)?),
        "$in" => Op::In(many(v)?),
        "$nin" => Op::Nin(many(v)?),
        "$gt" => comparable(">")?,
        "$gte" => comparable(">=")?,
        "$lt" => comparable("<")?,
        "$lte" => comparable("<=")?,
        // A regular expression of a client is taken literally: it could run for minutes.
        "$contains" | "$regex" => match field.map(|f| f.kind) {
            None | Some(Kind::Text(_) | Kind::Choice(_) | Kind::Email | Kind::Phone(_) | Kind::Url | Kind::Tags) => {
                Op::Contains(text(v)?)
            }
            _ => return Err(bad(format!("{op} applies to texts and lists only"))),
        },
        "$exists" => Op::Exists(v.as_bool().ok_or_else(|| bad("$exists takes true or false"))?),
        "$all" if is_list => {
            let list = v.as_array().filter(|l| l.len() <= MAX_VALUES).ok_or_else(|| bad("$all takes a list"))?;
            Op::All(list.iter().map(text).collect::<Result<_, _>>()?)
        }
        _ => return Err(bad(format!("{op} is not an operator for {key}"))),
    })
}

fn bind(field: Option<&'static Field>, key: &str, v: &Value) -> Result<Bind, Error> {
    let Some(field) = field else {
        // A custom field is compared as JSON: numbers as numbers, texts as texts.
        return match v {
            Value::Object(_) | Value::Array(_) => Err(bad(format!("{key} takes a plain value"))),
            _ if !value::storable(v) => Err(bad(format!("{key} takes no NUL characters and no endless numbers"))),
            _ => Ok(Bind::Text(Some(v.to_string()), "jsonb")),
        };
    };
    if field.kind == Kind::Tags {
        return match v.as_str() {
            Some(s) if !s.contains('\0') => Ok(Bind::text(s)),
            _ => Err(bad(format!("{key} is compared with texts"))),
        };
    }
    if v.is_null() {
        return Ok(Bind::Text(None, field.sql_type()));
    }
    if let Some(state) = field.state.filter(|s| v.as_str() == Some(s.value)) {
        return Ok(Bind::text(state.value));
    }
    // Values from a query string are texts whatever the field holds.
    let parsed = match v.as_str() {
        Some(s) => value::parse_text(field, s),
        None => value::parse(field, v),
    };
    match parsed {
        Ok(Parsed::Value(b)) => Ok(minor(field, b)),
        Ok(Parsed::EmployeeEmail(_)) => Err(bad(format!("{key} takes an employee's id"))),
        Err(e) => Err(bad(format!("{key} {}", e.message))),
    }
}

/// Money is compared by its minor units, which an index can serve.
fn minor(field: &Field, b: Bind) -> Bind {
    match (field.kind, &b) {
        (Kind::Money, Bind::Text(Some(s), _)) => match s.parse::<aisha_kernel::money::Money>() {
            Ok(m) => Bind::Int(m.minor()),
            Err(_) => b,
        },
        _ => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::field::{date, integer, money, phone, tags, text};
    use diesel::pg::Pg;
    use proptest::prelude::*;
    use serde_json::json;

    static FIELDS: [Field; 6] = [
        text(50).named("name", ""),
        integer(0, 9).named("score", ""),
        money().named("price", ""),
        tags().named("tags", ""),
        date().named("day", ""),
        phone("phone_e164").named("phone", ""),
    ];
    static DEF: RecordDef = RecordDef {
        name: "thing",
        plural: "things",
        table: "things",
        doc: "",
        scope: super::super::RowScope::Tenant,
        key: ("name", "name"),
        fields: &FIELDS,
    };

    fn sql(v: &Value) -> String {
        let text = match Filter::parse(&DEF, v) {
            Ok(filter) => diesel::debug_query::<Pg, _>(&filter.sql()).to_string(),
            Err(e) => return format!("{}", e.code.status()),
        };
        text.split(" -- ").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn null_is_a_value_of_a_list() {
        for (filter, wanted) in [
            (json!({"score": {"$in": [1, null]}}), "(score IN (CAST($1 AS integer)) OR score IS NULL)"),
            (json!({"score": {"$nin": [1, null]}}), "(score NOT IN (CAST($1 AS integer)) AND score IS NOT NULL)"),
            (json!({"score": {"$nin": [1]}}), "(score NOT IN (CAST($1 AS integer)) OR score IS NULL)"),
            (json!({"score": {"$in": [null]}}), "score IS NULL"),
            (json!({"price": {"$in": [null, 1.5]}}), "(price_minor IN ($1) OR price_minor IS NULL)"),
            (json!({"custom_fields.n": {"$nin": [null]}}), "(custom_fields -> 'n') IS NOT NULL"),
        ] {
            assert_eq!(sql(&filter), wanted, "{filter}");
        }
    }

    #[test]
    fn what_postgres_could_not_read_is_refused() {
        for filter in [
            json!({"tags": {"$in": ["a", null]}}),
            json!({"tags": {"$in": ["a", ["b"]]}}),
            json!({"custom_fields.n": "a\u{0}b"}),
            json!({"day": "0000-01-01"}),
        ] {
            assert_eq!(sql(&filter), "400", "{filter}");
        }
        assert_ne!(sql(&json!({"custom_fields.n": "\\u0000"})), "400", "a backslash is no NUL");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_refused(s in prop_oneof![any::<String>(), "[+0-9 ()x;./-]{0,30}"]) {
            for field in &FIELDS {
                for v in [Value::from(s.as_str()), json!([s])] {
                    let _ = value::parse(field, &v);
                    sql(&json!({field.name: v}));
                }
                let _ = value::parse_text(field, &s);
            }
        }
    }
}
