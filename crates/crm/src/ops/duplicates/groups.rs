//! Groups of live records that are alike, largest first: what somebody who cleans up works through.

use super::By;
use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, Json, Sql,
    record::{Record, list::scope},
};
use aisha_kernel::{Error, cursor::Cursor};
use serde::Serialize;
use uuid::Uuid;

/// Rows that are looked at per group and column, however large the group is.
const LOOKED_AT: i64 = 500;

/// Which groups.
#[derive(Debug, Clone)]
pub struct GroupsQuery {
    /// In which ways alike.
    pub by: Vec<By>,
    /// Groups per page.
    pub limit: i64,
    /// Records per group that are shown.
    pub records: i64,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

/// Records that are alike.
#[derive(Debug, Serialize)]
pub struct Group {
    /// In which way.
    pub by: String,
    /// What they have in common, in its compared form.
    pub key: String,
    /// The same for a person.
    pub reason: &'static str,
    /// How many there are.
    pub count: i64,
    /// The oldest of them, in short.
    pub records: Json,
}

/// One page.
#[derive(Debug, Serialize)]
pub struct Groups {
    /// The groups, largest first.
    pub groups: Vec<Group>,
    /// How many there are in all.
    pub total: i64,
    /// Groups per page.
    pub limit: i64,
    /// Where the next page starts; null on the last one.
    pub next_cursor: Option<String>,
}

/// A record in short.
fn short(table: &str) -> &'static str {
    match table {
        "accounts" => {
            "'name', name, 'email', email, 'phone', phone, 'website', website, 'city', city, \
             'assigned_to_name', assigned_to_name, 'created_at', created_at"
        }
        "contacts" => {
            "'name', first_name || ' ' || last_name, 'email', email, 'phone', phone, 'mobile', mobile, \
             'company', account_name, 'assigned_to_name', assigned_to_name, 'created_at', created_at"
        }
        _ => {
            "'name', first_name || ' ' || last_name, 'email', email, 'phone', phone, \
             'company', coalesce(company, account_name), 'status', status, \
             'assigned_to_name', assigned_to_name, 'created_at', created_at"
        }
    }
}

/// The keys of one column. A contact whose two numbers are the same has one number.
fn keys<R: Record>(me: &Principal, column: &str, select: &str) -> Sql {
    let mut sql = Sql::new(format!("SELECT {select} FROM {} WHERE tenant_id = ", R::DEF.table));
    sql.bind(me.tenant().0).push(format!(" AND deleted_at IS NULL AND {column} IS NOT NULL"));
    if let Some(rest) = column.strip_prefix("mobile_") {
        sql.push(format!(" AND {column} IS DISTINCT FROM phone_{rest}"));
    }
    scope::<R>(me, &mut sql);
    sql
}

fn counted<R: Record>(me: &Principal, by: By) -> Sql {
    let name = by.as_str();
    match by.columns(R::DEF.table) {
        // In the order of the index, without a sort.
        [column] => {
            let mut sql = keys::<R>(me, column, &format!("'{name}'::text AS by, {column}::text AS key, count(*) AS n"));
            sql.push(format!(" GROUP BY {column} HAVING count(*) > 1"));
            sql
        }
        columns => {
            let mut sql = Sql::new(format!("SELECT '{name}'::text AS by, key, count(*) AS n FROM ("));
            for (i, column) in columns.iter().enumerate() {
                sql.push(if i > 0 { " UNION ALL " } else { "" });
                sql.append(keys::<R>(me, column, &format!("{column}::text AS key")));
            }
            sql.push(") AS numbers GROUP BY key HAVING count(*) > 1");
            sql
        }
    }
}

fn select<R: Record>(me: &Principal, query: &GroupsQuery, order: &str) -> Result<Sql, Error> {
    let table = R::DEF.table;
    let mut sql = Sql::new("WITH groups AS MATERIALIZED (");
    for (i, by) in query.by.iter().enumerate() {
        sql.push(if i > 0 { " UNION ALL " } else { "" }).append(counted::<R>(me, *by));
    }
    sql.push("), page AS MATERIALIZED (SELECT by, key, n FROM groups");
    if let Some(cursor) = &query.cursor {
        let odd = || Error::parameter("cursor", "is not a cursor of this list");
        let [Some(n), Some(by), Some(key)] = cursor.values.as_slice() else { return Err(odd()) };
        let n: i64 = n.parse().map_err(|_| odd())?;
        if cursor.sort != order || key.contains('\0') || by.contains('\0') {
            return Err(odd());
        }
        sql.push(" WHERE n < ").bind(Bind::Int(n)).push(" OR (n = ").bind(Bind::Int(n));
        sql.push(" AND (by, key) > (").bind(Bind::text(by)).push(", ").bind(Bind::text(key)).push("))");
    }
    sql.push(format!(
        " ORDER BY n DESC, by, key LIMIT {}) SELECT page.by, page.key, page.n, (SELECT count(*) FROM groups), \
         (SELECT coalesce(jsonb_agg(record ORDER BY created_at, id), '[]') FROM (SELECT * FROM (",
        query.limit + 1
    ));
    let mut first = true;
    for by in &query.by {
        for column in by.columns(table) {
            sql.push(if first { "" } else { " UNION ALL " });
            first = false;
            sql.push(format!(
                "(SELECT id, created_at, jsonb_build_object('id', id, {}) AS record FROM {table} WHERE tenant_id = ",
                short(table)
            ));
            sql.bind(me.tenant().0);
            sql.push(format!(" AND page.by = '{}' AND deleted_at IS NULL AND {column} = page.key", by.as_str()));
            if let Some(rest) = column.strip_prefix("mobile_") {
                sql.push(format!(" AND {column} IS DISTINCT FROM phone_{rest}"));
            }
            scope::<R>(me, &mut sql);
            sql.push(format!(" LIMIT {LOOKED_AT})"));
        }
    }
    sql.push(format!(
        ") AS alike ORDER BY created_at, id LIMIT {}) AS oldest) FROM page ORDER BY page.n DESC, page.by, page.key",
        query.records
    ));
    Ok(sql)
}

/// A page of groups, in one statement over the indexes of what is compared.
///
/// # Errors
/// 400 for a cursor of another list, 503 when the database is away.
pub async fn duplicate_groups<R: Record>(db: &Db, me: &Principal, query: &GroupsQuery) -> Result<Groups, Error> {
    let ways: Vec<&str> = query.by.iter().map(|by| by.as_str()).collect();
    let order = format!("{} {}", R::DEF.plural, ways.join(","));
    let rows = db.fetch(me, vec![select::<R>(me, query, &order)?]).await?.pop().unwrap_or_default();
    let mut total = 0;
    let mut groups = Vec::with_capacity(rows.len());
    for row in &rows {
        let by: String = row.get(0).map_err(Error::internal)?;
        total = row.get(3).map_err(Error::internal)?;
        groups.push(Group {
            reason: By::named(&by).map_or("", |by| by.reason(R::DEF.table)),
            by,
            key: row.get(1).map_err(Error::internal)?,
            count: row.get(2).map_err(Error::internal)?,
            records: row.get(4).map_err(Error::internal)?,
        });
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = groups.len() > limit;
    groups.truncate(limit);
    let next_cursor = groups.last().filter(|_| more).map(|g| {
        let values = vec![Some(g.count.to_string()), Some(g.by.clone()), Some(g.key.clone())];
        Cursor { sort: order, values, id: Uuid::nil() }.encode()
    });
    Ok(Groups { groups, total, limit: query.limit, next_cursor })
}
