//! A condition tree as SQL. Names come from the field table or were checked when the filter was parsed; values are bound.

use super::{Filter, Op, Target};
use crate::record::field::State;
use crate::sql::{Bind, Sql};

impl Filter {
    /// The condition as SQL.
    #[must_use]
    pub fn sql(&self) -> Sql {
        match self {
            Self::And(all) if all.is_empty() => Sql::new("true"),
            Self::Or(any) if any.is_empty() => Sql::new("false"),
            Self::And(all) => joined(all, " AND "),
            Self::Or(any) => joined(any, " OR "),
            Self::Field(Target::Column(name), op) => column_sql(name, op),
            Self::Field(Target::List(name), op) => list_sql(name, op),
            Self::Field(Target::Custom(key), op) => custom_sql(key, op),
            Self::Field(Target::State(name, state), op) => state_sql(name, *state, op),
        }
    }
}

fn joined(parts: &[Filter], with: &'static str) -> Sql {
    let mut sql = Sql::new("(");
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            sql.push(with);
        }
        sql.append(part.sql());
    }
    sql.push(")");
    sql
}

fn list(sql: &mut Sql, values: &[Bind]) {
    for (i, v) in values.iter().enumerate() {
        if i > 0 {
            sql.push(", ");
        }
        sql.bind(v.clone());
    }
}

fn comparison(column: &str, op: &Op) -> Option<Sql> {
    let mut sql = Sql::new(column.to_owned());
    match op {
        Op::Eq(v) if v.is_null() => sql.push(" IS NULL"),
        Op::Ne(v) if v.is_null() => sql.push(" IS NOT NULL"),
        Op::Eq(v) => sql.push(" = ").bind(v.clone()),
        Op::Ne(v) => sql.push(" IS DISTINCT FROM ").bind(v.clone()),
        Op::In(values) if values.is_empty() => return Some(Sql::new("false")),
        Op::Nin(values) if values.is_empty() => return Some(Sql::new("true")),
        Op::In(values) | Op::Nin(values) => return Some(among(column, values, matches!(op, Op::Nin(_)))),
        Op::Compare(op, v) => sql.push(format!(" {op} ")).bind(v.clone()),
        Op::Exists(true) => sql.push(" IS NOT NULL"),
        Op::Exists(false) => sql.push(" IS NULL"),
        Op::Contains(_) | Op::All(_) => return None,
    };
    Some(sql)
}

/// `IN` and `NOT IN`, where null is a value like any other.
fn among(column: &str, values: &[Bind], none_of: bool) -> Sql {
    let (nulls, given): (Vec<Bind>, Vec<Bind>) = values.iter().cloned().partition(is_null);
    let mut sql = Sql::new(match (none_of, given.is_empty()) {
        (false, true) => return Sql::new(format!("{column} IS NULL")),
        (true, true) => return Sql::new(format!("{column} IS NOT NULL")),
        (false, false) => format!("({column} IN ("),
        (true, false) => format!("({column} NOT IN ("),
    });
    list(&mut sql, &given);
    sql.push(match (none_of, nulls.is_empty()) {
        (false, true) => "))".to_owned(),
        (false, false) | (true, true) => format!(") OR {column} IS NULL)"),
        (true, false) => format!(") AND {column} IS NOT NULL)"),
    });
    sql
}

/// SQL null, or the null of JSON, which a custom field without a value equals.
fn is_null(value: &Bind) -> bool {
    value.is_null() || matches!(value, Bind::Text(Some(s), "jsonb") if s == "null")
}

fn contains(text: &str, needle: &str) -> Sql {
    let mut sql = Sql::new("position(lower(");
    sql.bind(Bind::text(needle)).push(format!(") in lower({text})) > 0"));
    sql
}

fn column_sql(name: &'static str, op: &Op) -> Sql {
    let column = if matches!(op, Op::Compare(_, Bind::Int(_)) | Op::Eq(Bind::Int(_)) | Op::Ne(Bind::Int(_))) {
        format!("{name}_minor")
    } else {
        name.to_owned()
    };
    match op {
        Op::In(values) | Op::Nin(values) if values.iter().any(|v| matches!(v, Bind::Int(_))) => {
            comparison(&format!("{name}_minor"), op).unwrap_or_else(|| Sql::new("true"))
        }
        Op::Contains(needle) => contains(name, needle),
        _ => comparison(&column, op).unwrap_or_else(|| Sql::new("true")),
    }
}

fn list_sql(name: &str, op: &Op) -> Sql {
    let mut sql = Sql::new("");
    match op {
        Op::Contains(word) => sql.bind(Bind::text(word)).push(format!(" = ANY({name})")),
        Op::All(wanted) => sql.push(format!("{name} @> ")).bind(Bind::Texts(Some(wanted.clone()))),
        Op::In(wanted) => {
            sql.push(format!("{name} && ARRAY["));
            list(&mut sql, wanted);
            sql.push("]::text[]")
        }
        Op::Exists(yes) => sql.push(format!("{name} {} '{{}}'", if *yes { "<>" } else { "=" })),
        _ => return comparison(name, op).unwrap_or_else(|| Sql::new("true")),
    };
    sql
}

/// Equalities are spelled out, so that an index can serve them.
fn state_sql(name: &str, State { value, when }: State, op: &Op) -> Sql {
    match op {
        Op::Eq(Bind::Text(Some(s), _)) if s == value => Sql::new(format!("({when})")),
        Op::Eq(v) if !v.is_null() => {
            let mut sql = Sql::new(format!("({name} = "));
            sql.bind(v.clone()).push(format!(" AND ({when}) IS NOT TRUE)"));
            sql
        }
        _ => {
            let shown = format!("(CASE WHEN {when} THEN '{value}' ELSE {name} END)");
            match op {
                Op::Contains(needle) => contains(&shown, needle),
                _ => comparison(&shown, op).unwrap_or_else(|| Sql::new("true")),
            }
        }
    }
}

/// `key` consists of letters, digits and underscores: it was checked when the filter was parsed.
fn custom_sql(key: &str, op: &Op) -> Sql {
    let as_json = format!("(custom_fields -> '{key}')");
    match op {
        Op::Contains(needle) => contains(&format!("(custom_fields ->> '{key}')"), needle),
        Op::All(_) => Sql::new("false"),
        // A cleared key and a missing one are the same.
        Op::Eq(Bind::Text(Some(s), _)) if s == "null" => Sql::new(format!("{as_json} IS NULL")),
        Op::Ne(Bind::Text(Some(s), _)) if s == "null" => Sql::new(format!("{as_json} IS NOT NULL")),
        Op::Compare(o, v) => {
            // jsonb orders across types; only values of the same type are compared.
            let mut sql = Sql::new(format!("(jsonb_typeof{as_json} = jsonb_typeof("));
            sql.bind(v.clone()).push(format!(") AND {as_json} {o} ")).bind(v.clone()).push(")");
            sql
        }
        _ => comparison(&as_json, op).unwrap_or_else(|| Sql::new("true")),
    }
}
