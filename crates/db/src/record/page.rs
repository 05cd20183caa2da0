//! Sorting and keyset pages.

use super::{Record, RecordDef, field::Field};
use crate::sql::{Bind, Sql};
use aisha_kernel::{Error, cursor::Cursor};

/// One sort column.
#[derive(Debug, Clone, Copy)]
pub struct SortKey {
    /// The field.
    pub field: &'static Field,
    /// Largest first.
    pub descending: bool,
}

/// A sort order, always made total by the id, which runs in the direction of the last column. Nulls come last.
#[derive(Debug, Clone)]
pub struct Sort {
    /// The columns.
    pub keys: Vec<SortKey>,
    /// The order as text, as in `sort=`.
    pub text: String,
}

impl Sort {
    /// Newest first.
    #[must_use]
    pub fn newest(def: &'static RecordDef) -> Self {
        let keys = def.field("created_at").map(|field| SortKey { field, descending: true }).into_iter().collect();
        Self { keys, text: "-created_at".into() }
    }

    /// Reads `-created_at,name`. At most three columns.
    ///
    /// # Errors
    /// 400 that names the column.
    pub fn parse(def: &'static RecordDef, text: &str) -> Result<Self, Error> {
        let mut keys: Vec<SortKey> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (descending, name) = match part.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, part.trim_start_matches('+')),
            };
            if name == "id" {
                continue;
            }
            let field = def
                .field(name)
                .filter(|f| f.sortable())
                .ok_or_else(|| Error::parameter("sort", format!("cannot sort by {name}")))?;
            if keys.iter().any(|k| k.field.name == field.name) {
                return Err(Error::parameter("sort", format!("{name} is given twice")));
            }
            keys.push(SortKey { field, descending });
        }
        if keys.len() > 3 {
            return Err(Error::parameter("sort", "takes at most three columns"));
        }
        if keys.is_empty() {
            return Ok(Self::newest(def));
        }
        let sign = |k: &SortKey| if k.descending { "-" } else { "" };
        let text = keys.iter().map(|k| format!("{}{}", sign(k), k.field.name)).collect::<Vec<_>>().join(",");
        Ok(Self { keys, text })
    }

    /// Whether it is the default order, which has an index of its own.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        self.text == "-created_at"
    }

    fn id_descending(&self) -> bool {
        self.keys.last().is_some_and(|k| k.descending)
    }

    /// `ORDER BY …`.
    #[must_use]
    pub fn order_by(&self) -> String {
        let dir = |d: bool| if d { "DESC" } else { "ASC" };
        let mut out = String::from(" ORDER BY ");
        for k in &self.keys {
            let nulls = if k.field.nullable() { " NULLS LAST" } else { "" };
            out.push_str(&format!("{} {}{nulls}, ", k.field.selected(), dir(k.descending)));
        }
        out.push_str(&format!("id {}", dir(self.id_descending())));
        out
    }

    /// The cursor after `row`.
    pub fn cursor<R: Record>(&self, row: &R) -> Cursor {
        let values = self.keys.iter().map(|k| row.cursor_text(k.field.name)).collect();
        Cursor { sort: self.text.clone(), values, id: row.id() }
    }

    /// The condition for rows after the cursor.
    ///
    /// # Errors
    /// 400 when the cursor belongs to another order.
    pub fn after(&self, cursor: &Cursor) -> Result<Sql, Error> {
        if cursor.sort != self.text || cursor.values.len() != self.keys.len() {
            return Err(Error::parameter("cursor", "belongs to another sort order"));
        }
        let sign = |descending| if descending { " < " } else { " > " };
        let not_null = self.keys.iter().all(|k| !k.field.nullable());
        if let ([key], [Some(value)], true) = (self.keys.as_slice(), cursor.values.as_slice(), not_null) {
            // One row comparison, which the index serves as one range.
            let mut sql = Sql::new(format!("({}, id){}(", key.field.selected(), sign(key.descending)));
            sql.bind(bind(key, value)?).push(", ").bind(cursor.id).push(")");
            return Ok(sql);
        }
        // a after A, or a = A and b after B, or … and id after ID.
        let mut any = Sql::new("(");
        let mut equal = Sql::new("");
        for (key, value) in self.keys.iter().zip(&cursor.values) {
            let column = key.field.selected();
            if let Some(value) = value {
                let value = bind(key, value)?;
                any.append(equal.clone());
                any.push(format!("({column}{}", sign(key.descending)));
                any.bind(value.clone()).push(format!(" OR {column} IS NULL) OR "));
                equal.push(format!("{column} = ")).bind(value).push(" AND ");
            } else {
                equal.push(format!("{column} IS NULL AND "));
            }
        }
        any.append(equal);
        any.push(format!("id{}", sign(self.id_descending()))).bind(cursor.id).push(")");
        Ok(any)
    }
}

fn bind(key: &SortKey, text: &str) -> Result<Bind, Error> {
    let odd = || Error::parameter("cursor", "is not a cursor of this list");
    if key.field.kind == super::Kind::Money {
        return text.parse().map(Bind::Int).map_err(|_| odd());
    }
    // A text compares as it is stored: it may be older than today's rules.
    if key.field.sql_type() == "text" {
        return if text.contains('\0') { Err(odd()) } else { Ok(Bind::text(text)) };
    }
    match super::value::parse_text(key.field, text) {
        Ok(super::value::Parsed::Value(b)) => Ok(b),
        _ => Err(odd()),
    }
}
