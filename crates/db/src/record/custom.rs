//! The tenant's own fields: definitions in `custom_fields`, values under the record's `custom_fields` key.

use super::value;
use crate::{row::PgRow, sql::Sql, tx::Tx};
use aisha_kernel::{Error, FieldError, money::Money};
use serde_json::{Map, Value};

/// The field under which a record's custom values stand.
pub const FIELD: &str = "custom_fields";

/// The types of a custom field.
pub const TYPES: [&str; 10] =
    ["text", "email", "phone", "textarea", "select", "multiselect", "date", "number", "checkbox", "currency"];

/// Definition of one custom field.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Key under `custom_fields`.
    pub field_name: String,
    /// One of [`TYPES`].
    pub field_type: String,
    /// Choices of `select` and `multiselect`.
    pub options: Vec<String>,
    /// Whether a value may not be taken away.
    pub is_required: bool,
}

impl Definition {
    fn from_row(row: &PgRow) -> diesel::deserialize::Result<Self> {
        let options = row.get::<crate::Json>(2)?.value();
        let options = options.as_array().into_iter().flatten().filter_map(|o| o.as_str().map(str::to_owned)).collect();
        Ok(Self { field_name: row.get(0)?, field_type: row.get(1)?, options, is_required: row.get(3)? })
    }

    /// Checks one value and brings it into its stored form.
    fn check(&self, v: &Value) -> Result<Value, String> {
        let text = |max: usize| match v.as_str().map(str::trim) {
            Some(s) if s.chars().count() <= max && !s.contains('\0') => Ok(s.to_owned()),
            _ => Err(format!("must be a text of at most {max} characters")),
        };
        let choice = |v: &Value| match v.as_str() {
            Some(s) if self.options.iter().any(|o| o == s) => Ok(Value::from(s)),
            _ => Err(format!("must be one of: {}", self.options.join(", "))),
        };
        match self.field_type.as_str() {
            "email" => match text(254)?.to_lowercase() {
                s if value::is_email(&s) => Ok(s.into()),
                _ => Err("must be an e-mail address".into()),
            },
            "phone" => Ok(text(50)?.into()),
            "textarea" => Ok(text(20_000)?.into()),
            "select" => choice(v),
            "multiselect" => {
                let list = v.as_array().filter(|l| l.len() <= 100).ok_or("must be a list of at most 100 choices")?;
                list.iter().map(choice).collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            "date" => value::date(v.as_str().unwrap_or_default()).map(|d| d.to_string().into()),
            "number" => {
                (v.is_number() && value::storable(v)).then(|| v.clone()).ok_or_else(|| "must be a number".into())
            }
            "checkbox" => v.is_boolean().then(|| v.clone()).ok_or_else(|| "must be true or false".into()),
            "currency" => {
                let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
                let amount: Money = text.parse().map_err(|e: aisha_kernel::money::NotMoney| e.to_string())?;
                serde_json::from_str(&amount.to_string()).map_err(|e| e.to_string())
            }
            _ => Ok(text(1_000)?.into()),
        }
    }

    /// Reads a CSV cell.
    #[must_use]
    pub fn from_text(&self, s: &str) -> Value {
        match self.field_type.as_str() {
            "number" | "currency" => serde_json::from_str(s).unwrap_or_else(|_| s.into()),
            "checkbox" => match s.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => true.into(),
                "false" | "no" | "0" => false.into(),
                _ => s.into(),
            },
            "multiselect" => s.split([';', ',']).map(str::trim).filter(|t| !t.is_empty()).collect::<Vec<_>>().into(),
            _ => s.into(),
        }
    }
}

/// The tenant's definitions for a record type.
///
/// # Errors
/// 503 when the database is away.
pub async fn definitions(tx: &mut Tx, entity: &'static str) -> Result<Vec<Definition>, Error> {
    let sql = Sql::new(format!(
        "SELECT field_name, field_type, coalesce(options, '[]'), is_required FROM custom_fields \
         WHERE tenant_id = current_tenant_id() AND entity = '{entity}'"
    ));
    tx.rows(sql).await?.iter().map(Definition::from_row).collect::<Result<_, _>>().map_err(Error::internal)
}

/// Checks values against the definitions; null removes, also what is no longer defined.
///
/// # Errors
/// A message for every field that is unknown, required or does not fit, named `custom_fields.<name>`.
pub fn check(definitions: &[Definition], values: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut problems = Vec::new();
    let mut checked = Map::new();
    for (name, v) in values {
        let at = || format!("{FIELD}.{name}");
        match definitions.iter().find(|d| d.field_name == *name) {
            Some(d) if v.is_null() && d.is_required => problems.push(FieldError::new(at(), "is required")),
            _ if v.is_null() => {
                checked.insert(name.clone(), Value::Null);
            }
            None => problems.push(FieldError::new(at(), "is not defined for this record")),
            Some(d) => match d.check(v) {
                Ok(v) => {
                    checked.insert(name.clone(), v);
                }
                Err(message) => problems.push(FieldError::new(at(), message)),
            },
        }
    }
    if problems.is_empty() { Ok(checked) } else { Err(problems) }
}

/// A statement that returns the required custom fields that are not among `given`.
pub(crate) fn missing_required(entity: &'static str, given: &Map<String, Value>) -> Sql {
    let mut sql = Sql::new(format!(
        "SELECT field_name FROM custom_fields WHERE tenant_id = current_tenant_id() AND entity = '{entity}' \
         AND is_required AND NOT field_name = ANY("
    ));
    let given = given.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.clone()).collect();
    sql.bind(crate::Bind::Texts(Some(given))).push(")");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_type_takes_its_values_and_no_others() {
        let def = |t: &str| Definition {
            field_name: "x".into(),
            field_type: t.into(),
            options: vec!["a".into(), "b".into()],
            is_required: t == "text",
        };
        for (t, good, bad) in [
            ("text", json!("x"), json!(1)),
            ("email", json!("A@b.co"), json!("a")),
            ("phone", json!("+1 555"), json!(5)),
            ("textarea", json!("a\nb"), json!({})),
            ("select", json!("a"), json!("c")),
            ("multiselect", json!(["a", "b"]), json!(["c"])),
            ("date", json!("2026-11-21"), json!("2026-02-30")),
            ("number", json!(1.5), json!("1.5")),
            ("checkbox", json!(true), json!("true")),
            ("currency", json!(1.25), json!(1.255)),
        ] {
            assert!(def(t).check(&good).is_ok(), "{t}");
            assert!(def(t).check(&bad).is_err(), "{t}");
        }
        let values = |v: Value| v.as_object().cloned().unwrap_or_default();
        assert!(check(&[def("date")], &values(json!({"x": null, "gone": null}))).is_ok());
        assert!(check(&[def("text")], &values(json!({"x": null}))).is_err(), "a required value stays");
        assert!(check(&[def("text")], &values(json!({"gone": 1}))).is_err());
        assert_eq!(def("currency").check(&json!("10.50")).map(|v| v.as_f64()), Ok(Some(10.5)));
    }
}
