//! Definitions of a tenant's own fields. The values stand in the records; `aisha_db::record::custom` checks them.

use aisha_auth::{Action, Principal};
use aisha_db::{
    Bind, Db, Json, PgRow, RequestContext, Sql,
    record::{
        Changes,
        changes::Mode,
        custom::TYPES,
        field::{Field, choice, flag, integer, text},
    },
};
use aisha_kernel::{Error, FieldError, new_id};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

/// A definition as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct CustomField {
    /// Identifier.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// The record type, singular (`contact`).
    pub entity: String,
    /// Key under `custom_fields` of the record.
    pub field_name: String,
    /// What people see.
    pub field_label: String,
    /// One of the ten types.
    pub field_type: String,
    /// Choices of `select` and `multiselect`.
    pub options: Json,
    /// Whether every new record needs a value.
    pub is_required: bool,
    /// Position in forms.
    pub display_order: i32,
    /// A hint for people.
    pub help_text: Option<String>,
    /// The user who created it.
    pub created_by: Option<Uuid>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

const COLUMNS: &str = "id, tenant_id, entity, field_name, field_label, field_type, options, is_required, \
    display_order, help_text, created_by, created_at, updated_at";

/// What a client may set; `options` is read apart.
pub static FIELDS: [Field; 7] = [
    text(63).required().named("entity", "The record type, singular (contact)."),
    text(63).required().named("field_name", "Key under custom_fields: lower-case letters, digits, underscores."),
    text(200).required().named("field_label", "What people see; the key when absent."),
    choice(&TYPES).required().named("field_type", "What it holds."),
    flag().named("is_required", "Whether every new record needs a value."),
    integer(0, 100_000).default("0").named("display_order", "Position in forms."),
    text(2_000).named("help_text", "A hint for people."),
];

/// Shown, but not to be set.
const READ_ONLY: [&str; 5] = ["id", "tenant_id", "created_by", "created_at", "updated_at"];

fn from_row(row: &PgRow) -> Result<CustomField, Error> {
    let read = || -> Result<CustomField, Box<dyn std::error::Error + Send + Sync>> {
        Ok(CustomField {
            id: row.get(0)?,
            tenant_id: row.get(1)?,
            entity: row.get(2)?,
            field_name: row.get(3)?,
            field_label: row.get(4)?,
            field_type: row.get(5)?,
            options: row.get(6)?,
            is_required: row.get(7)?,
            display_order: row.get(8)?,
            help_text: row.get(9)?,
            created_by: row.get(10)?,
            created_at: row.get(11)?,
            updated_at: row.get(12)?,
        })
    };
    read().map_err(Error::internal)
}

/// A body, checked.
#[derive(Debug)]
pub struct CustomFieldInput {
    changes: Changes,
    options: Option<Vec<String>>,
}

fn options(value: Value) -> Result<Vec<String>, FieldError> {
    let bad = || FieldError::new("options", "must be a list of 1 to 200 different texts of at most 200 characters");
    let Value::Array(list) = value else { return Err(bad()) };
    let mut out: Vec<String> = Vec::with_capacity(list.len());
    for item in list {
        // A form builder sends {value, label}; the value is what records hold.
        let text = item.as_str().or_else(|| item.get("value").and_then(Value::as_str)).map(str::trim);
        let text = text.filter(|t| !t.is_empty() && t.chars().count() <= 200 && !t.contains('\0')).ok_or_else(bad)?;
        if out.iter().any(|o| o == text) {
            return Err(bad());
        }
        out.push(text.to_owned());
    }
    if out.len() > 200 { Err(bad()) } else { Ok(out) }
}

impl CustomFieldInput {
    /// Reads a JSON object. `entities` are the record types that can have custom fields.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, mode: Mode, entities: &[&str]) -> Result<Self, Error> {
        body.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
        let mut problems = Vec::new();
        let options = match body.remove("options") {
            None | Some(Value::Null) => None,
            Some(value) => match options(value) {
                Ok(list) => Some(list),
                Err(e) => {
                    problems.push(e);
                    None
                }
            },
        };
        if mode == Mode::Create && !body.contains_key("field_label") {
            let label = body.get("field_name").cloned().unwrap_or_default();
            body.insert("field_label".into(), label);
        }
        if mode == Mode::Update {
            for fixed in ["entity", "field_name", "field_type"] {
                if body.contains_key(fixed) {
                    problems.push(FieldError::new(fixed, "cannot be changed: records hold values of it"));
                }
            }
        }
        match Changes::read_fields(&FIELDS, &body, mode) {
            Ok(changes) => {
                let text = |name: &str| changes.text(name).unwrap_or_default().to_owned();
                if mode == Mode::Create {
                    if !entities.contains(&text("entity").as_str()) {
                        problems.push(FieldError::new("entity", format!("must be one of: {}", entities.join(", "))));
                    }
                    let choices = matches!(text("field_type").as_str(), "select" | "multiselect");
                    let said = problems.iter().any(|p| p.field == "options");
                    if choices && !said && options.as_ref().is_none_or(Vec::is_empty) {
                        problems.push(FieldError::new("options", "is required for a choice"));
                    }
                    let key = text("field_name");
                    let named = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                    if !named || !key.starts_with(|c: char| c.is_ascii_lowercase()) {
                        let rule = "must start with a lower-case letter and consist of those, digits and underscores";
                        problems.push(FieldError::new("field_name", rule));
                    }
                }
                if problems.is_empty() { Ok(Self { changes, options }) } else { Err(Error::validation(problems)) }
            }
            Err(mut e) => {
                e.details.extend(problems);
                Err(e)
            }
        }
    }

    fn options_json(&self) -> Option<Bind> {
        let text = serde_json::json!(self.options.as_ref()?).to_string();
        Some(Bind::Text(Some(text), "jsonb"))
    }
}

/// The tenant's definitions, of one record type or all.
///
/// # Errors
/// 503 when the database is away.
pub async fn custom_field_list(db: &Db, me: &Principal, entity: Option<&str>) -> Result<Vec<CustomField>, Error> {
    me.require("custom_fields", Action::Read)?;
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM custom_fields WHERE tenant_id = "));
    sql.bind(me.tenant().0);
    if let Some(entity) = entity {
        sql.push(" AND entity = ").bind(Bind::text(entity));
    }
    sql.push(" ORDER BY entity, display_order, field_name LIMIT 1000");
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    rows.iter().map(from_row).collect()
}

/// Defines a field.
///
/// # Errors
/// 403, 409 when the record type has such a field already.
pub async fn custom_field_create(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    input: &CustomFieldInput,
) -> Result<CustomField, Error> {
    me.require("custom_fields", Action::Create)?;
    let mut fixed = vec![
        ("tenant_id", Bind::from(me.tenant().0)),
        ("id", Bind::from(new_id())),
        ("created_by", Bind::from(me.user().0)),
    ];
    fixed.extend(input.options_json().map(|o| ("options", o)));
    let mut sql = Sql::new("INSERT INTO custom_fields ");
    sql.append(input.changes.values(fixed)).push(format!(" RETURNING {COLUMNS}"));
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// Changes label, hint, choices, position or duty of a field.
///
/// # Errors
/// 403, 404, 422.
pub async fn custom_field_update(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    id: Uuid,
    input: &CustomFieldInput,
) -> Result<CustomField, Error> {
    me.require("custom_fields", Action::Update)?;
    let mut sql = Sql::new("UPDATE custom_fields SET updated_at = updated_at");
    if !input.changes.is_empty() {
        sql.push(", ").append(input.changes.assignments());
    }
    if let Some(options) = input.options_json() {
        sql.push(", options = ").bind(options);
    }
    sql.push(" WHERE tenant_id = ").bind(me.tenant().0).push(" AND id = ").bind(id);
    sql.push(format!(" RETURNING {COLUMNS}"));
    let sql = sql.prepared_once();
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// Removes a definition. Values in records stay where they are and show again when the field is defined anew.
///
/// # Errors
/// 403, 404.
pub async fn custom_field_delete(db: &Db, me: &Principal, cx: &RequestContext, id: Uuid) -> Result<(), Error> {
    me.require("custom_fields", Action::Delete)?;
    let mut sql = Sql::new("DELETE FROM custom_fields WHERE tenant_id = ");
    sql.bind(me.tenant().0).push(" AND id = ").bind(id).push(" RETURNING id");
    let rows = db.write(me, cx, async |tx| tx.rows(sql.clone()).await).await?;
    if rows.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(v: Value, mode: Mode) -> Result<CustomFieldInput, Error> {
        match v {
            Value::Object(map) => CustomFieldInput::read(map, mode, &["contact"]),
            _ => Err(Error::not_found()),
        }
    }

    #[test]
    fn definitions_are_checked() {
        let good = json!({"entity":"contact","field_name":"tier","field_type":"select","options":["a",{"value":"b"}]});
        assert!(read(good, Mode::Create).is_ok_and(|i| i.options.is_some_and(|o| o == ["a", "b"])));
        for (bad, field) in [
            (json!({"entity":"thing","field_name":"x","field_type":"text"}), "entity"),
            (json!({"entity":"contact","field_name":"X y","field_type":"text"}), "field_name"),
            (json!({"entity":"contact","field_name":"x","field_type":"colour"}), "field_type"),
            (json!({"entity":"contact","field_name":"x","field_type":"select"}), "options"),
            (json!({"entity":"contact","field_name":"x","field_type":"select","options":["a","a"]}), "options"),
        ] {
            let e = read(bad, Mode::Create).unwrap_err();
            assert!(e.details.iter().any(|d| d.field == field), "{field}: {e:?}");
        }
        assert!(read(json!({"field_type":"text"}), Mode::Update).is_err());
    }
}
