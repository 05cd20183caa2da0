//! A request body, checked against the field table and ready to be written.

use super::{
    RecordDef, custom,
    field::{Field, Kind},
    value::{self, Parsed},
};
use crate::sql::{Bind, Sql};
use aisha_kernel::{Error, FieldError};
use serde_json::{Map, Value};

/// Values for columns, and what must be checked in the database before they may be written.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Column and value.
    pub(crate) set: Vec<(&'static str, Parsed)>,
    /// Values that must name a live row that the caller sees.
    pub(crate) references: Vec<Reference>,
    /// Custom fields to merge, as sent; checked against the tenant's definitions later.
    pub custom: Map<String, Value>,
}

/// A value that must name a live row that the caller sees.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub field: &'static str,
    pub table: &'static str,
    pub by: Parsed,
}

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Required fields must be there.
    Create,
    /// Absent fields stay as they are.
    Update,
}

/// Names that a client may send back because it was shown them, or because the tenant is chosen with them.
const IGNORED: [&str; 2] = ["tenant_id", "created_date"];

impl Changes {
    /// Reads a JSON object. Unknown fields are refused, read-only ones ignored.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(def: &'static RecordDef, body: &Map<String, Value>, mode: Mode) -> Result<Self, Error> {
        Self::read_with(|name| def.field(name), def.fields, body, mode)
    }

    /// The same for a table that is no record type, by its own list of fields.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read_fields(fields: &'static [Field], body: &Map<String, Value>, mode: Mode) -> Result<Self, Error> {
        Self::read_with(|name| fields.iter().find(|f| f.name == name || f.aliases.contains(&name)), fields, body, mode)
    }

    fn read_with(
        find: impl Fn(&str) -> Option<&'static Field>,
        fields: &'static [Field],
        body: &Map<String, Value>,
        mode: Mode,
    ) -> Result<Self, Error> {
        let mut changes = Self::default();
        let mut problems = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        for (key, v) in body {
            let Some(field) = find(key) else {
                if !IGNORED.contains(&key.as_str()) {
                    problems.push(FieldError::new(key, "is not a field of this record"));
                }
                continue;
            };
            if field.read_only {
                continue;
            }
            if seen.contains(&field.name) {
                problems.push(FieldError::new(key, format!("is given twice, also as {}", field.name)));
                continue;
            }
            seen.push(field.name);
            if let Err(mut e) = changes.put_json(field, v, mode) {
                e.field.clone_from(key);
                problems.push(e);
            }
        }
        if mode == Mode::Create {
            let missing = fields.iter().filter(|f| f.required && !f.read_only && !seen.contains(&f.name));
            problems.extend(missing.map(|f| FieldError::new(f.name, "is required")));
        }
        if problems.is_empty() { Ok(changes) } else { Err(Error::validation(problems)) }
    }

    fn put_json(&mut self, field: &'static Field, v: &Value, mode: Mode) -> Result<(), FieldError> {
        if field.name == custom::FIELD {
            match v {
                Value::Object(map) => self.custom.clone_from(map),
                Value::Null => {}
                _ => return Err(FieldError::new(field.name, "must be an object")),
            }
            return Ok(());
        }
        // An emptied form field means "no value".
        let empty = v.is_null() || (v.as_str().is_some_and(|s| s.trim().is_empty()) && !field.required);
        if empty {
            return match (field.nullable(), mode) {
                (true, _) => {
                    self.put_null(field);
                    Ok(())
                }
                // The default applies.
                (false, Mode::Create) if field.default.is_some() => Ok(()),
                _ => Err(FieldError::new(field.name, "must have a value")),
            };
        }
        // What is shown but not stored leaves the stored value as it is.
        if field.state.is_some_and(|s| v.as_str() == Some(s.value)) {
            return Ok(());
        }
        let parsed = value::parse(field, v)?;
        self.put(field, parsed);
        Ok(())
    }

    /// Sets a column to null, with its companion.
    pub(crate) fn put_null(&mut self, field: &'static Field) {
        let null = || Parsed::Value(Bind::Text(None, field.sql_type()));
        self.set.push((field.name, null()));
        if let Kind::Phone(companion) = field.kind {
            self.set.push((companion, null()));
        }
    }

    /// Sets a field to a value that fits.
    pub fn put(&mut self, field: &'static Field, parsed: Parsed) {
        let table = match field.kind {
            Kind::Reference(table) => Some(table),
            Kind::Employee => Some("employees"),
            Kind::UserEmail => Some("users"),
            _ => None,
        };
        if let Some(table) = table {
            self.references.push(Reference { field: field.name, table, by: parsed.clone() });
        }
        if let (Kind::Phone(companion), Parsed::Value(Bind::Text(Some(s), _))) = (field.kind, &parsed) {
            self.set.push((companion, Parsed::Value(Bind::Text(value::e164(s, None), "text"))));
        }
        self.set.push((field.name, parsed));
    }

    /// Takes out the values that `pick` chooses, for columns that are not simply assigned.
    pub fn take(&mut self, mut pick: impl FnMut(&'static str, &Parsed) -> bool) {
        self.set.retain(|(column, value)| !pick(column, value));
    }

    /// Whether nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.custom.is_empty()
    }

    /// The value given for a column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Parsed> {
        self.set.iter().find_map(|(c, v)| (*c == column).then_some(v))
    }

    /// The text given for a column.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        self.set.iter().find_map(|(c, v)| match v {
            Parsed::Value(Bind::Text(Some(s), _)) if *c == column => Some(s.as_str()),
            _ => None,
        })
    }

    /// `(a, b) VALUES (1, 2)` for an INSERT of the given columns only, after `fixed` ones.
    #[must_use]
    pub fn values(&self, fixed: Vec<(&'static str, Bind)>) -> Sql {
        let fixed: Vec<(&'static str, Parsed)> = fixed.into_iter().map(|(c, b)| (c, Parsed::Value(b))).collect();
        let all: Vec<&(&'static str, Parsed)> = fixed.iter().chain(&self.set).collect();
        let columns: Vec<&str> = all.iter().map(|(c, _)| *c).collect();
        let mut sql = Sql::new(format!("({}) VALUES (", columns.join(", ")));
        for (i, (_, value)) in all.into_iter().enumerate() {
            sql.push(if i > 0 { ", " } else { "" });
            push_value(&mut sql, value);
        }
        sql.push(")");
        sql.prepared_once()
    }

    /// `a = 1, b = 2` for an UPDATE.
    #[must_use]
    pub fn assignments(&self) -> Sql {
        let mut sql = Sql::new("");
        for (i, (column, value)) in self.set.iter().enumerate() {
            sql.push(if i > 0 { ", " } else { "" }).push(format!("{column} = "));
            push_value(&mut sql, value);
        }
        // Few shapes for one column, countless for many.
        if self.set.len() <= 1 { sql } else { sql.prepared_once() }
    }

    /// Whether a value for the column was given.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.set.iter().any(|(c, _)| *c == column)
    }

    /// A statement that returns the fields whose reference may not be used; `unchanged_in` names the row whose own
    /// current values are fine whatever became of them.
    pub(crate) fn reference_check(&self, unchanged_in: Option<(&'static str, uuid::Uuid)>) -> Option<Sql> {
        let mut sql: Option<Sql> = None;
        // A user is linked by a trigger, which also says when there is none.
        for r in self.references.iter().filter(|r| r.table != "users") {
            let q = match &mut sql {
                Some(q) => q.push(" UNION ALL "),
                None => sql.insert(Sql::new("")),
            };
            q.push(format!("SELECT '{}'::text WHERE NOT EXISTS (SELECT FROM {} WHERE ", r.field, r.table));
            q.push("tenant_id = current_tenant_id() AND deleted_at IS NULL AND ");
            match &r.by {
                Parsed::EmployeeEmail(email) => q.push("email = ").bind(Bind::text(email)).push(")"),
                Parsed::Value(id) => q.push("id = ").bind(id.clone()).push(")"),
            };
            if let (Some((table, row)), Parsed::Value(id)) = (unchanged_in, &r.by) {
                q.push(format!(" AND NOT EXISTS (SELECT FROM {table} WHERE tenant_id = current_tenant_id() AND id = "));
                q.bind(row).push(format!(" AND {} = ", r.field)).bind(id.clone()).push(")");
            }
        }
        sql
    }
}

/// Appends a value.
pub(crate) fn push_value(sql: &mut Sql, value: &Parsed) {
    match value {
        Parsed::Value(bind) => sql.bind(bind.clone()),
        Parsed::EmployeeEmail(email) => sql
            .push("(SELECT id FROM employees WHERE tenant_id = current_tenant_id() AND deleted_at IS NULL AND email = ")
            .bind(Bind::text(email))
            .push(")"),
    };
}
