//! Many records in few statements: the bulk endpoints and the import are made of these.

use super::{
    Changes, Record,
    changes::Reference,
    custom::{self, Definition},
    list::scope,
    value::Parsed,
    write::writable,
};
use crate::{
    sql::{Bind, Sql},
    tx::TenantTx,
};
use aisha_kernel::{Error, ErrorCode, FieldError, new_id};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What became of one item.
pub type Outcome<T> = Result<T, Vec<FieldError>>;

/// Looks up every reference of many changes at once: replaces employees' addresses by ids and reports what refers to
/// nothing that the principal may use.
///
/// # Errors
/// 503 when the database is away.
pub async fn references_resolve(tx: &mut TenantTx, items: &mut [Outcome<Changes>]) -> Result<(), Error> {
    let mut ids: HashMap<&'static str, HashSet<Uuid>> = HashMap::new();
    let mut emails: HashSet<String> = HashSet::new();
    let mut accounts: HashSet<String> = HashSet::new();
    for r in items.iter().flatten().flat_map(|c| &c.references) {
        match &r.by {
            Parsed::Value(Bind::Uuid(Some(id))) => {
                ids.entry(r.table).or_default().insert(*id);
            }
            Parsed::EmployeeEmail(email) => {
                emails.insert(email.clone());
            }
            Parsed::Value(Bind::Text(Some(email), _)) if r.table == "users" => {
                accounts.insert(email.clone());
            }
            Parsed::Value(_) => {}
        }
    }
    let mut known: HashMap<&'static str, HashSet<Uuid>> = HashMap::new();
    for (table, wanted) in ids {
        let mut sql = Sql::new(format!(
            "SELECT id FROM {table} WHERE tenant_id = current_tenant_id() AND deleted_at IS NULL AND id = ANY("
        ));
        sql.bind(Bind::Uuids(wanted.into_iter().collect())).push(")");
        let rows = tx.rows(sql).await?;
        known.insert(table, rows.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)?);
    }
    let mut by_email: HashMap<String, Uuid> = HashMap::new();
    if !emails.is_empty() {
        let mut sql = Sql::new(
            "SELECT email, id FROM employees WHERE tenant_id = current_tenant_id() AND deleted_at IS NULL AND email = ANY(",
        );
        sql.bind(Bind::Texts(Some(emails.into_iter().collect()))).push(")");
        for row in tx.rows(sql).await? {
            by_email.insert(row.get(0).map_err(Error::internal)?, row.get(1).map_err(Error::internal)?);
        }
    }
    let accounts = users_known(tx, accounts).await?;
    for item in items.iter_mut() {
        let Ok(changes) = item else { continue };
        let mut problems = resolve(changes, &known, &by_email);
        problems.extend(changes.references.iter().filter_map(|r| user_problem(changes, r, &accounts)));
        if !problems.is_empty() {
            *item = Err(problems);
        }
    }
    Ok(())
}

/// Users of the tenant by address, with whether they have an employee record.
async fn users_known(tx: &mut TenantTx, emails: HashSet<String>) -> Result<HashMap<String, bool>, Error> {
    if emails.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql = Sql::new(
        "SELECT u.email, EXISTS (SELECT FROM employees e WHERE e.tenant_id = u.tenant_id AND e.user_id = u.id) \
         FROM users u WHERE u.tenant_id = current_tenant_id() AND u.email = ANY(",
    );
    sql.bind(Bind::Texts(Some(emails.into_iter().collect()))).push(")");
    let rows = tx.rows(sql).await?;
    rows.iter().map(|r| Ok((r.get(0)?, r.get(1)?))).collect::<crate::Decoded<_>>().map_err(Error::internal)
}

/// What a trigger would refuse, said before it stops the rows beside this one. Somebody who has a record already may be
/// named by that record only, which has the same address.
fn user_problem(changes: &Changes, r: &Reference, accounts: &HashMap<String, bool>) -> Option<FieldError> {
    let Parsed::Value(Bind::Text(Some(user), _)) = &r.by else { return None };
    let own = changes.text("email");
    match accounts.get(user) {
        _ if r.table != "users" => None,
        Some(_) if own.is_some_and(|email| email != user) => {
            Some(FieldError::new("email", "must be the address of the user account"))
        }
        Some(linked) if !linked || own.is_some() => None,
        _ => Some(FieldError::new(r.field, "belongs to no user of this tenant who has no employee record yet")),
    }
}

fn resolve(
    changes: &mut Changes,
    known: &HashMap<&'static str, HashSet<Uuid>>,
    by_email: &HashMap<String, Uuid>,
) -> Vec<FieldError> {
    let mut problems = Vec::new();
    for Reference { field, table, by } in &changes.references {
        let found = match by {
            Parsed::Value(Bind::Uuid(Some(id))) => known.get(table).is_some_and(|k| k.contains(id)).then_some(*id),
            Parsed::EmployeeEmail(email) => by_email.get(email).copied(),
            Parsed::Value(_) => continue,
        };
        match (found, changes.set.iter_mut().find(|(c, _)| c == field)) {
            (Some(id), Some((_, value))) => *value = Parsed::Value(Bind::Uuid(Some(id))),
            _ => problems.push(FieldError::new(*field, "refers to nothing that you may use")),
        }
    }
    problems
}

/// Checks the custom fields of many changes, required ones included, and returns each row for [`insert_many`].
#[must_use]
pub fn rows_checked(
    items: Vec<Outcome<Changes>>,
    definitions: &[Definition],
    required: &[String],
) -> Vec<Outcome<Map<String, Value>>> {
    let check = |changes: Changes| {
        let custom = custom::check(definitions, &changes.custom)?;
        let missing = required.iter().filter(|name| custom.get(*name).is_none_or(Value::is_null));
        let missing: Vec<_> =
            missing.map(|name| FieldError::new(format!("{}.{name}", custom::FIELD), "is required")).collect();
        if missing.is_empty() { Ok(changes.to_json(&custom)) } else { Err(missing) }
    };
    items.into_iter().map(|item| item.and_then(check)).collect()
}

/// The names of the tenant's required custom fields.
///
/// # Errors
/// 503 when the database is away.
pub async fn custom_required<R: Record>(tx: &mut TenantTx) -> Result<Vec<String>, Error> {
    let rows = tx.rows(custom::missing_required(R::DEF.name, &Map::new())).await?;
    rows.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)
}

/// Inserts rows made by [`rows_checked`] in one statement. Returns, for each, its new id, or `None` where a live record
/// is already there.
///
/// # Errors
/// 403 when read-only, 503 when the database is away.
pub async fn insert_many<R: Record>(
    tx: &mut TenantTx,
    rows: Vec<Map<String, Value>>,
    import_id: Option<Uuid>,
) -> Result<Vec<Option<Uuid>>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut ids = Vec::with_capacity(rows.len());
    let mut payload = Vec::with_capacity(rows.len());
    for mut row in rows {
        let id = new_id();
        ids.push(id);
        row.insert("id".into(), id.to_string().into());
        payload.push(Value::Object(row));
    }
    let (mut columns, mut types, mut values) = (String::new(), String::from("id uuid"), String::new());
    for (column, sql_type, default) in writable::<R>() {
        columns.push_str(&format!(", {column}"));
        types.push_str(&format!(", {column} {sql_type}"));
        match default {
            Some(d) => values.push_str(&format!(", coalesce(r.{column}, '{d}'::{sql_type})")),
            None => values.push_str(&format!(", r.{column}")),
        }
    }
    let mut sql =
        Sql::new(format!("INSERT INTO {} (tenant_id, created_by, import_id, id{columns}) SELECT ", R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(", ").bind(tx.principal().user().0).push(", ");
    sql.bind(Bind::Uuid(import_id)).push(format!(", r.id{values} FROM jsonb_to_recordset("));
    sql.bind(Bind::Text(Some(Value::Array(payload).to_string()), "jsonb"));
    sql.push(format!(") AS r({types}) ON CONFLICT DO NOTHING RETURNING id"));
    let inserted: HashSet<Uuid> =
        tx.rows(sql).await?.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)?;
    Ok(ids.into_iter().map(|id| inserted.contains(&id).then_some(id)).collect())
}

/// [`insert_many`], but a row that the database refuses (a stage that the tenant does not have, a link to nothing) gets its
/// own error and leaves the others alone: the rows are halved until the bad ones stand alone.
///
/// # Errors
/// 403 when read-only, 503 when the database is away.
pub async fn insert_each<R: Record>(
    tx: &mut TenantTx,
    rows: Vec<Map<String, Value>>,
    import_id: Option<Uuid>,
) -> Result<Vec<Outcome<Option<Uuid>>>, Error> {
    let mut results = Vec::with_capacity(rows.len());
    let mut left = vec![rows];
    while let Some(mut rows) = left.pop() {
        if rows.is_empty() {
            continue;
        }
        tx.rows(Sql::new("SAVEPOINT insert_each")).await?;
        match insert_many::<R>(tx, rows.clone(), import_id).await {
            Ok(ids) => {
                tx.rows(Sql::new("RELEASE SAVEPOINT insert_each")).await?;
                results.extend(ids.into_iter().map(Ok));
            }
            Err(e) if e.code == ErrorCode::ValidationFailed => {
                tx.rows(Sql::new("ROLLBACK TO SAVEPOINT insert_each")).await?;
                if rows.len() == 1 {
                    results.push(Err(e.details));
                } else {
                    let second = rows.split_off(rows.len() / 2);
                    left.extend([second, rows]);
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(results)
}

/// Moves live records to the trash; returns those that were there.
///
/// # Errors
/// 403 when read-only, 503 when the database is away.
pub async fn trash_many<R: Record>(tx: &mut TenantTx, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, Error> {
    let mut sql = Sql::new(format!("UPDATE {} SET deleted_at = now(), deleted_by = ", R::DEF.table));
    sql.bind(tx.principal().user().0).push(" WHERE tenant_id = ").bind(tx.principal().tenant().0);
    sql.push(" AND deleted_at IS NULL AND id = ANY(").bind(Bind::Uuids(ids)).push(")");
    scope::<R>(tx.principal(), &mut sql);
    sql.push(" RETURNING id");
    tx.rows(sql).await?.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)
}
