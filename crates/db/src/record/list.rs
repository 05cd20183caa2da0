//! Lists: one SELECT and, unless told not to, one capped count, in one flight.

use super::{Record, RowScope, filter::Filter, page::Sort};
use crate::{
    row::Column as _,
    sql::{Bind, Sql},
    tx::Db,
};
use aisha_auth::{Principal, Scope};
use aisha_kernel::{Error, cursor::Cursor};
use uuid::Uuid;

/// Where a list stops counting unless told otherwise: counting on costs two orders of magnitude more.
pub const COUNT_CAP: i64 = 10_000;
/// How many search hits are considered when the list is filtered or sorted beyond the search itself.
const SEARCH_CAP: i64 = 10_000;

/// How many rows there are in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Count {
    /// Exact up to [`COUNT_CAP`].
    #[default]
    Capped,
    /// Exact, however long it takes.
    Exact,
    /// Not at all.
    None,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct List {
    /// Conditions.
    pub filter: Filter,
    /// Words that must all occur; empty for no search.
    pub words: Vec<String>,
    /// Order.
    pub sort: Sort,
    /// Rows per page.
    pub limit: i64,
    /// Rows to skip; deep pages use the cursor.
    pub offset: i64,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
    /// Whether to count.
    pub count: Count,
    /// The trash instead of the live records.
    pub trash: bool,
}

/// One page.
#[derive(Debug)]
pub struct Page<R> {
    /// The rows.
    pub rows: Vec<R>,
    /// How many there are in all; `None` when not counted.
    pub total: Option<i64>,
    /// Whether there are more than `total`.
    pub total_is_lower_bound: bool,
    /// Where the next page starts; `None` on the last one.
    pub next_cursor: Option<String>,
}

impl List {
    fn searches(&self) -> bool {
        !self.words.is_empty()
    }

    /// Whether the search function itself can deliver the page: nothing narrows or reorders its hits.
    fn search_alone(&self) -> bool {
        self.filter.is_empty() && self.sort.is_newest() && self.offset == 0 && !self.trash
    }

    /// Conditions of every row of the list, without the owner's.
    fn conditions(&self, me: &Principal) -> Sql {
        let mut sql = Sql::new("tenant_id = ");
        sql.bind(me.tenant().0).push(if self.trash {
            " AND deleted_at IS NOT NULL"
        } else {
            " AND deleted_at IS NULL"
        });
        if !self.filter.is_empty() {
            sql.push(" AND ").append(self.filter.sql());
        }
        if self.filter.is_empty() || self.filter.is_plain() { sql } else { sql.prepared_once() }
    }

    /// Whether the search functions know the rows: they look at live records that belong to somebody.
    fn indexed<R: Record>(&self) -> bool {
        R::DEF.scope.owned() && !self.trash
    }

    /// The words as a plain condition, for rows that the search functions do not know; there are few of those.
    fn word_conditions(&self) -> Sql {
        let mut sql = Sql::new("");
        for word in &self.words {
            sql.push(" AND position(lower(").bind(Bind::text(word)).push(") in search_text) > 0");
        }
        sql
    }

    fn search<R: Record>(&self, limit: i64) -> Result<Sql, Error> {
        let mut sql = Sql::new(format!("record_search('{}', ", R::DEF.table));
        sql.bind(Bind::Texts(Some(self.words.clone()))).push(", ");
        match self.cursor.as_ref().filter(|_| self.search_alone()) {
            Some(c) => {
                let at = c.values.first().cloned().flatten();
                let at = at.and_then(|t| super::value::timestamp(&t).ok()).and_then(|t| t.cursor_text());
                let at = at.ok_or_else(|| Error::parameter("cursor", "is not a cursor of this list"))?;
                sql.bind(Bind::Text(Some(at), "timestamptz")).push(", ").bind(c.id)
            }
            None => sql.push("NULL, NULL"),
        };
        sql.push(format!(", {limit})"));
        Ok(sql)
    }

    /// The page itself: one row more than asked for tells whether there is a next one. The limit stands in the text: with
    /// a parameter in its place the planner thinks a kept plan too dear and plans every execution anew (measured: a
    /// fifth of the transaction).
    fn select<R: Record>(&self, me: &Principal) -> Result<Sql, Error> {
        let (columns, table) = (R::columns(), R::DEF.table);
        let order = self.sort.order_by();
        let after = match &self.cursor {
            Some(c) => Some(self.sort.after(c)?),
            None => None,
        };
        let mut conditions = self.conditions(me);
        if self.searches() && !self.indexed::<R>() {
            conditions.append(self.word_conditions());
        } else if self.searches() {
            let cap = if self.search_alone() { self.limit + 1 } else { SEARCH_CAP };
            conditions.push(" AND id IN (SELECT ").append(self.search::<R>(cap)?).push(")");
        }
        if let Some(after) = after {
            conditions.push(" AND ").append(after);
        }
        let mut tail = Sql::new(format!("{order} LIMIT {}", self.limit + 1));
        if self.offset > 0 {
            tail.push(" OFFSET ").bind(Bind::Int(self.offset));
        }

        // Ordered reads merged, one per way in which a row is the caller's: an OR of them would read the tenant's whole
        // index for somebody with few records. The merged arms keep the table's name, so that the select list fits both
        // ways.
        if owns::<R>(me) && me.employee().is_some() && self.sort.is_newest() && !self.searches() {
            let ways = owners::<R>(me);
            let mut sql = Sql::new(format!("SELECT {columns} FROM ("));
            for (i, (column, id)) in ways.iter().enumerate() {
                sql.push(if i > 0 { " UNION ALL " } else { "" });
                sql.append(self.arm(table, &conditions, &order, |s| {
                    s.push(format!(" AND {column} = ")).bind(*id);
                    // What another arm has is left out.
                    for (other, id) in ways.iter().take(i) {
                        s.push(format!(" AND {other} IS DISTINCT FROM ")).bind(*id);
                    }
                }));
            }
            sql.push(format!(") AS {table}")).append(tail);
            return Ok(sql);
        }
        let mut sql = Sql::new(format!("SELECT {columns} FROM {table} WHERE "));
        sql.append(conditions);
        scope::<R>(me, &mut sql);
        sql.append(tail);
        Ok(sql)
    }

    fn arm(&self, table: &str, conditions: &Sql, order: &str, whose: impl Fn(&mut Sql)) -> Sql {
        let mut sql = Sql::new(format!("(SELECT * FROM {table} WHERE "));
        sql.append(conditions.clone());
        whose(&mut sql);
        if self.offset > 0 {
            sql.push(format!("{order} LIMIT ")).bind(Bind::Int(self.limit + 1 + self.offset)).push(")");
        } else {
            sql.push(format!("{order} LIMIT {})", self.limit + 1));
        }
        sql
    }

    fn counting<R: Record>(&self, me: &Principal) -> Result<Option<Sql>, Error> {
        let table = R::DEF.table;
        let cap = match self.count {
            Count::None => return Ok(None),
            Count::Capped => format!(" LIMIT {}", COUNT_CAP + 1),
            Count::Exact => String::new(),
        };
        if self.searches() && self.filter.is_empty() && self.indexed::<R>() {
            let most = if self.count == Count::Exact { i64::from(i32::MAX) } else { COUNT_CAP + 1 };
            let mut sql = Sql::new(format!("SELECT record_search_count('{table}', "));
            sql.bind(Bind::Texts(Some(self.words.clone()))).push(format!(", {most})::bigint"));
            return Ok(Some(sql));
        }
        let mut sql = Sql::new(format!("SELECT count(*) FROM (SELECT FROM {table} WHERE "));
        sql.append(self.conditions(me));
        if self.searches() && !self.indexed::<R>() {
            sql.append(self.word_conditions());
        } else if self.searches() {
            let mut everything = self.clone();
            everything.cursor = None;
            sql.push(" AND id IN (SELECT ").append(everything.search::<R>(SEARCH_CAP)?).push(")");
        }
        scope::<R>(me, &mut sql);
        sql.push(format!("{cap}) AS counted"));
        Ok(Some(sql))
    }
}

/// Whether `me` sees only its own rows of `R`.
fn owns<R: Record>(me: &Principal) -> bool {
    R::DEF.scope.owned() && me.scope() == Scope::Own
}

/// The ways in which a row is `me`'s: column and value.
fn owners<R: Record>(me: &Principal) -> Vec<(&'static str, Uuid)> {
    let (user, employee) = (me.user().0, me.employee());
    let mut ways: Vec<(&'static str, Uuid)> = employee.map(|e| ("assigned_to", e)).into_iter().collect();
    ways.push(("created_by", user));
    if R::DEF.scope == RowScope::Attached {
        ways.extend(employee.map(|e| ("related_assigned_to", e)));
        ways.push(("related_created_by", user));
    }
    ways
}

/// Spells the owner's condition out: the policy has it too, but an index serves only what the query says itself.
pub fn scope<R: Record>(me: &Principal, sql: &mut Sql) {
    if owns::<R>(me) {
        for (i, (column, id)) in owners::<R>(me).into_iter().enumerate() {
            sql.push(if i > 0 { " OR " } else { " AND (" }).push(format!("{column} = ")).bind(id);
        }
        sql.push(")");
    }
}

/// Runs a list.
///
/// # Errors
/// 400 for a cursor of another order, 503 when the database is away.
pub async fn record_list<R: Record>(db: &Db, me: &Principal, list: &List) -> Result<Page<R>, Error> {
    let mut statements = vec![list.select::<R>(me)?];
    let mut counting = list.counting::<R>(me)?;
    // A search is counted only when its first page does not tell: most find less than a page.
    if !list.searches() {
        statements.extend(counting.take());
    }
    let mut results = db.fetch(me, statements).await?.into_iter();
    let rows = results.next().unwrap_or_default();
    let mut rows = rows.iter().map(R::from_row).collect::<Result<Vec<R>, _>>().map_err(Error::internal)?;
    let mut counted = results.next();

    let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = if more { rows.last().map(|r| list.sort.cursor(r).encode()) } else { None };
    let whole = !more && list.cursor.is_none() && list.offset == 0;
    let mut known = None;
    match counting {
        Some(_) if whole => known = i64::try_from(rows.len()).ok(),
        Some(sql) => counted = db.fetch(me, vec![sql]).await?.pop(),
        None => {}
    }
    let counted = known.or_else(|| counted?.first()?.get(0).ok());
    let over = list.count == Count::Capped && counted.is_some_and(|n| n > COUNT_CAP);
    let total = counted.map(|n| if over { COUNT_CAP } else { n });
    Ok(Page { rows, total, total_is_lower_bound: over, next_cursor })
}
