//! Which column of a file goes to which field, and what a row says by that.

use crate::ops::csv_file::Row;
use aisha_db::record::{
    Changes, Field, Kind, RecordDef,
    custom::{self, Definition},
    value,
};
use aisha_kernel::{Error, FieldError};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};

/// Where a column goes.
#[derive(Debug, Clone)]
enum Target {
    Field(&'static Field),
    Custom(String),
}

/// A target for each column of the file; `None` where it is not imported.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    targets: Vec<Option<Target>>,
}

/// The field that has the column's name.
fn same_name(def: &RecordDef, column: &str) -> Option<Target> {
    if column.trim().starts_with("custom_fields.") {
        return target(def, column.trim());
    }
    let name: String =
        column.trim().to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    target(def, &name)
}

fn target(def: &RecordDef, name: &str) -> Option<Target> {
    match name.strip_prefix("custom_fields.") {
        Some(custom) if !custom.is_empty() => Some(Target::Custom(custom.to_owned())),
        Some(_) => None,
        None => def.field(name).filter(|f| !f.read_only).map(Target::Field),
    }
}

impl Plan {
    /// Checks header and mapping against each other; without a mapping, columns are matched by name.
    ///
    /// # Errors
    /// 422 naming the column or field.
    pub(super) fn new(
        def: &'static RecordDef,
        header: &[String],
        mapping: Option<&BTreeMap<String, String>>,
    ) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let targets: Vec<Option<Target>> = match mapping {
            None => header.iter().map(|c| same_name(def, c)).collect(),
            Some(mapping) => {
                for (column, field) in mapping {
                    if !header.contains(column) {
                        problems.push(FieldError::new("mapping", format!("the file has no column {column}")));
                    }
                    if target(def, field).is_none() {
                        problems.push(FieldError::new("mapping", format!("{field} is not a field to import into")));
                    }
                }
                header.iter().map(|c| mapping.get(c).and_then(|f| target(def, f))).collect()
            }
        };
        let mapped: Vec<&str> = targets
            .iter()
            .flatten()
            .map(|t| match t {
                Target::Field(f) => f.name,
                Target::Custom(name) => name.as_str(),
            })
            .collect();
        for (i, name) in mapped.iter().enumerate() {
            if mapped.iter().take(i).any(|n| n == name) {
                problems.push(FieldError::new("mapping", format!("two columns go to {name}")));
            }
        }
        for field in def.fields.iter().filter(|f| f.required && !f.read_only && !mapped.contains(&f.name)) {
            problems.push(FieldError::new("mapping", format!("no column goes to {}, which is required", field.name)));
        }
        if problems.is_empty() { Ok(Self { targets }) } else { Err(Error::validation(problems)) }
    }

    /// The mapping in use, and the columns that are not imported.
    pub(super) fn describe<'h>(&self, header: &'h [String]) -> (Map<String, Value>, Vec<&'h String>) {
        let (mut mapping, mut unmapped) = (Map::new(), Vec::new());
        for (column, target) in header.iter().zip(&self.targets) {
            match target {
                Some(Target::Field(f)) => {
                    mapping.insert(column.clone(), f.name.into());
                }
                Some(Target::Custom(name)) => {
                    mapping.insert(column.clone(), format!("custom_fields.{name}").into());
                }
                None => unmapped.push(column),
            }
        }
        (mapping, unmapped)
    }

    /// Whether two batches have a row with the same key, as far as their text tells.
    pub(super) fn share_a_key(&self, def: &RecordDef, first: &[Row], second: &[Row]) -> bool {
        let is_key = |t: &Option<Target>| matches!(t, Some(Target::Field(f)) if f.name == def.key.0);
        let Some(column) = self.targets.iter().position(is_key) else { return false };
        let key = |row: &Row| row.cells.get(column).map(|c| c.trim().to_lowercase()).filter(|c| !c.is_empty());
        let keys: HashSet<String> = first.iter().filter_map(key).collect();
        second.iter().filter_map(key).any(|k| keys.contains(&k))
    }

    /// What a row says.
    ///
    /// # Errors
    /// A message for every cell that does not fit.
    pub(super) fn changes(&self, row: &Row, definitions: &[Definition]) -> Result<Changes, Vec<FieldError>> {
        let mut changes = Changes::default();
        let mut problems = Vec::new();
        if row.cells.len() > self.targets.len() {
            return Err(vec![FieldError::new("row", "has more cells than the header: is a quote missing?")]);
        }
        for (target, cell) in self.targets.iter().zip(row.cells.iter().map(String::as_str).chain(std::iter::repeat("")))
        {
            let cell = unescaped(cell.trim());
            match target {
                None => {}
                Some(_) if cell.is_empty() => {}
                Some(Target::Field(field)) if field.name == custom::FIELD => match serde_json::from_str(cell) {
                    Ok(Value::Object(map)) => changes.custom.extend(map),
                    _ => problems.push(FieldError::new(custom::FIELD, "must be a JSON object")),
                },
                Some(Target::Field(field)) => match value::parse_text(field, cell) {
                    Ok(parsed) => changes.put(field, parsed),
                    Err(e) => problems.push(e),
                },
                Some(Target::Custom(name)) => {
                    let v = definitions.iter().find(|d| d.field_name == *name).map(|d| d.from_text(cell));
                    changes.custom.insert(name.clone(), v.unwrap_or_else(|| cell.into()));
                }
            }
        }
        let required = self.targets.iter().flatten().filter_map(|t| match t {
            Target::Field(f) if f.required => Some(f.name),
            _ => None,
        });
        for name in required {
            if !changes.has(name) && !problems.iter().any(|p| p.field == name) {
                problems.push(FieldError::new(name, "is required"));
            }
        }
        if problems.is_empty() { Ok(changes) } else { Err(problems) }
    }

    /// The columns an update writes: name, SQL type and the column that says whether the row has a value for it. The
    /// E.164 form of a phone number follows the number, also when none can be made.
    pub(super) fn columns(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let mut columns = Vec::new();
        for target in self.targets.iter().flatten() {
            match target {
                Target::Field(f) if f.name != custom::FIELD => {
                    columns.push((f.name, f.sql_type(), f.name));
                    if let Kind::Phone(e164) = f.kind {
                        columns.push((e164, "text", f.name));
                    }
                }
                _ if columns.iter().any(|(c, ..)| *c == custom::FIELD) => {}
                _ => columns.push((custom::FIELD, "jsonb", custom::FIELD)),
            }
        }
        columns
    }
}

/// Exports put an apostrophe before what a spreadsheet would take for a formula; take it away again.
fn unescaped(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']) => rest,
        _ => cell,
    }
}
