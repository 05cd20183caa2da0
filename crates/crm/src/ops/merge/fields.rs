//! Which record gives the survivor of a merge each of its fields.

use aisha_db::{
    Bind, Sql,
    record::{Field, Kind, RecordDef, custom},
};
use aisha_kernel::{Error, FieldError};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Fields that only make sense together: an empty one is filled from a record whose others agree with the survivor's.
const TOGETHER: &[&[&str]] =
    &[&["address_1", "address_2", "city", "state", "zip", "country"], &["score", "score_reason"]];

/// What must not get lost: true for one of them is true for all.
const CAUTIOUS: &[&str] = &["do_not_call", "do_not_text"];

/// Most tags and bytes of JSON, as for a record that a client sends.
const MOST_TAGS: usize = 100;
const MOST_JSON: usize = 64 * 1024;

/// A locked record, column by column.
#[derive(Debug)]
pub struct Source {
    /// Its id.
    pub id: Uuid,
    /// Its columns.
    pub row: Map<String, Value>,
}

/// What the survivor gets from others.
#[derive(Debug, Default)]
pub struct Plan {
    /// Column and the record that it is copied from.
    copies: Vec<(&'static str, Uuid)>,
    /// Tags of all.
    tags: Vec<(&'static str, Vec<String>)>,
    /// Objects and the records that have keys to add to them, the last one first.
    objects: Vec<(&'static str, Vec<Uuid>)>,
    /// Flags that are set.
    flags: Vec<&'static str>,
}

/// The fields that a merge may write.
pub fn writable(def: &'static RecordDef) -> impl Iterator<Item = &'static Field> {
    def.all_fields().filter(|f| !f.read_only)
}

/// A field with the column that goes along with it.
pub fn columns(field: &'static Field) -> impl Iterator<Item = &'static str> {
    let companion = if let Kind::Phone(column) = field.kind { Some(column) } else { None };
    std::iter::once(field.name).chain(companion)
}

fn given(row: &Map<String, Value>, name: &str) -> bool {
    row.get(name).is_some_and(|v| !v.is_null() && v.as_str() != Some(""))
}

/// Whether `other` says the same as `survivor` wherever both say something, in the fields that belong with `name`.
fn agrees(survivor: &Map<String, Value>, other: &Map<String, Value>, name: &str) -> bool {
    let Some(group) = TOGETHER.iter().find(|g| g.contains(&name)) else { return true };
    let plain = |v: Option<&Value>| match v {
        Some(Value::String(s)) => Value::String(s.trim().to_lowercase()),
        Some(v) => v.clone(),
        None => Value::Null,
    };
    group.iter().all(|f| !given(survivor, f) || !given(other, f) || plain(survivor.get(*f)) == plain(other.get(*f)))
}

impl Plan {
    /// Decides field by field: what was chosen, else the survivor's own value, else the first merged record's that has
    /// one. `explicit` are fields that get a value of the request.
    ///
    /// # Errors
    /// 422 naming a field that would hold more than a record may.
    pub fn new(
        def: &'static RecordDef,
        survivor: &Source,
        merged: &[&Source],
        chosen: &[(&'static Field, Uuid)],
        explicit: &[&'static str],
    ) -> Result<Self, Error> {
        let mut plan = Self::default();
        let mut problems = Vec::new();
        for field in writable(def) {
            if let Some((_, from)) = chosen.iter().find(|(f, _)| f.name == field.name) {
                if *from != survivor.id {
                    plan.copies.extend(columns(field).map(|column| (column, *from)));
                }
                continue;
            }
            if explicit.contains(&field.name) && field.name != custom::FIELD {
                continue;
            }
            match field.kind {
                Kind::Tags => plan.unite(field, survivor, merged, &mut problems),
                Kind::Json => plan.combine(field, survivor, merged, &mut problems),
                Kind::Bool if CAUTIOUS.contains(&field.name) => {
                    let set = |s: &Source| s.row.get(field.name) == Some(&Value::Bool(true));
                    if !set(survivor) && merged.iter().any(|m| set(m)) {
                        plan.flags.push(field.name);
                    }
                }
                _ if !given(&survivor.row, field.name) => {
                    let from =
                        merged.iter().find(|m| given(&m.row, field.name) && agrees(&survivor.row, &m.row, field.name));
                    if let Some(from) = from {
                        plan.copies.extend(columns(field).map(|column| (column, from.id)));
                    }
                }
                _ => {}
            }
        }
        if problems.is_empty() { Ok(plan) } else { Err(Error::validation(problems)) }
    }

    fn unite(&mut self, field: &Field, survivor: &Source, merged: &[&Source], problems: &mut Vec<FieldError>) {
        let tags = |s: &Source| -> Vec<String> {
            let list = s.row.get(field.name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let own = tags(survivor);
        let mut all = own.clone();
        for tag in merged.iter().flat_map(|m| tags(m)) {
            if !all.contains(&tag) {
                all.push(tag);
            }
        }
        if all.len() > MOST_TAGS && all.len() > own.len() {
            let message =
                format!("would have {} entries, at most {MOST_TAGS} are allowed: choose whose to keep", all.len());
            problems.push(FieldError::new(format!("fields.{}", field.name), message));
        } else if all != own {
            self.tags.push((field.name, all));
        }
    }

    fn combine(&mut self, field: &Field, survivor: &Source, merged: &[&Source], problems: &mut Vec<FieldError>) {
        let object = |s: &Source| s.row.get(field.name).and_then(Value::as_object).cloned().unwrap_or_default();
        let own = object(survivor);
        let mut all = own.clone();
        let mut from = Vec::new();
        for m in merged {
            let before = all.len();
            for (key, value) in object(m) {
                all.entry(key).or_insert(value);
            }
            if all.len() > before {
                from.insert(0, m.id);
            }
        }
        if from.is_empty() {
            return;
        }
        if Value::Object(all).to_string().len() > MOST_JSON {
            let message = "would be larger than 64 KiB: choose whose to keep";
            problems.push(FieldError::new(format!("fields.{}", field.name), message));
        } else {
            self.objects.push((field.name, from));
        }
    }

    /// The UPDATE of the survivor, unless it gets nothing. Copied values never leave the database, so they stay exact.
    #[must_use]
    pub fn update(&self, def: &'static RecordDef, survivor: Uuid) -> Option<Sql> {
        let table = def.table;
        let added = self.objects.iter().flat_map(|(_, from)| from.iter().copied());
        let mut sources: Vec<Uuid> = self.copies.iter().map(|(_, from)| *from).chain(added).collect();
        sources.sort_unstable();
        sources.dedup();
        let mut set: Vec<Sql> = Vec::new();
        let at = |from: &Uuid| sources.iter().position(|s| s == from).unwrap_or_default();
        for (column, from) in &self.copies {
            set.push(Sql::new(format!("{column} = s{}.{column}", at(from))));
        }
        for (column, tags) in &self.tags {
            let mut sql = Sql::new(format!("{column} = "));
            sql.bind(Bind::Texts(Some(tags.clone())));
            set.push(sql);
        }
        for (column, from) in &self.objects {
            let others: String = from.iter().map(|f| format!("s{}.{column} || ", at(f))).collect();
            set.push(Sql::new(format!("{column} = {others}t.{column}")));
        }
        set.extend(self.flags.iter().map(|column| Sql::new(format!("{column} = true"))));
        if set.is_empty() {
            return None;
        }
        let mut sql = Sql::new(format!("UPDATE {table} AS t SET "));
        for (i, assignment) in set.into_iter().enumerate() {
            sql.push(if i > 0 { ", " } else { "" }).append(assignment);
        }
        for i in 0..sources.len() {
            sql.push(if i > 0 { format!(", {table} AS s{i}") } else { format!(" FROM {table} AS s{i}") });
        }
        sql.push(" WHERE t.tenant_id = current_tenant_id() AND t.id = ").bind(survivor);
        for (i, source) in sources.iter().enumerate() {
            sql.push(format!(" AND s{i}.tenant_id = current_tenant_id() AND s{i}.id = ")).bind(*source);
        }
        sql.push(" RETURNING t.id");
        Some(sql.prepared_once())
    }
}

#[cfg(test)]
mod tests {
    use super::agrees;
    use serde_json::{Map, Value, json};

    fn row(v: Value) -> Map<String, Value> {
        v.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn an_address_is_filled_from_one_that_is_the_same_place() {
        let berlin = row(json!({ "city": "Berlin", "zip": null }));
        assert!(agrees(&berlin, &row(json!({ "city": "berlin ", "zip": "10117" })), "zip"));
        assert!(agrees(&berlin, &row(json!({ "city": null, "country": "Germany" })), "country"));
        assert!(!agrees(&berlin, &row(json!({ "city": "Paris", "zip": "75001" })), "zip"));
        assert!(agrees(&berlin, &row(json!({ "city": "Paris" })), "job_title"));
    }
}
