//! What stands in the way of taking a transition back: records it made that were changed since, and whatever was linked to
//! them since.

use super::{Made, Piece};
use aisha_db::{Bind, Sql, TenantTx};
use aisha_kernel::{Error, ErrorCode, error::Conflict};
use std::collections::HashMap;
use uuid::Uuid;

/// Records of one link that are listed at most.
const LISTED: u8 = 100;

/// The record that is restored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// `leads` or `bizdev_sources`.
    pub table: &'static str,
    /// Its id.
    pub id: Uuid,
    /// Type that its activities and notes went to.
    pub followed: &'static str,
}

/// A record that the transition made and that taking it back removes.
#[derive(Clone, Copy)]
struct Removed<'a> {
    kind: &'static str,
    table: &'static str,
    name: &'static str,
    piece: &'a Piece,
}

const PERSON: &str = "first_name || ' ' || last_name";
const MONEY: &str = "coalesce(description, vendor_client, category)";

/// What a merge leaves in the records that it moved to the trash.
const MERGED: &str = "merged_into";

/// Columns that link a record to one that a transition may have made: type, table, SQL of the name, column, and the linked
/// type, which for activities and notes stands in `related_type`.
pub const LINKS: &[(&str, &str, &str, &str, Option<&str>)] = &[
    ("contact", "contacts", PERSON, "account_id", Some("account")),
    ("contact", "contacts", PERSON, MERGED, Some("contact")),
    ("account", "accounts", "name", MERGED, Some("account")),
    ("lead", "leads", PERSON, "account_id", Some("account")),
    ("lead", "leads", PERSON, "converted_account_id", Some("account")),
    ("lead", "leads", PERSON, "converted_contact_id", Some("contact")),
    ("lead", "leads", PERSON, "converted_opportunity_id", Some("opportunity")),
    ("opportunity", "opportunities", "name", "account_id", Some("account")),
    ("opportunity", "opportunities", "name", "contact_id", Some("contact")),
    ("bizdev_source", "bizdev_sources", "company_name", "account_id", Some("account")),
    ("bizdev_source", "bizdev_sources", "company_name", "contact_id", Some("contact")),
    ("cash_flow", "cash_flow", MONEY, "account_id", Some("account")),
    ("cash_flow", "cash_flow", MONEY, "opportunity_id", Some("opportunity")),
    ("activity", "activities", "subject", "related_id", None),
    ("note", "notes", "coalesce(title, left(content, 80))", "related_id", None),
];

/// Linked records that are the transition's own work.
fn own_links(target: Target, made: &Made, table: &str, column: &str, kind: &str) -> Vec<Uuid> {
    let id_of = |p: &Option<Piece>| p.iter().map(|p| p.id).collect::<Vec<_>>();
    match (table, column) {
        ("leads", "account_id") => Vec::new(),
        ("leads" | "bizdev_sources", _) if table == target.table => vec![target.id],
        ("contacts", _) => id_of(&made.contact),
        ("opportunities", "contact_id") => {
            [id_of(&made.opportunity), made.moved.opportunities_contact.clone()].concat()
        }
        ("opportunities", _) => [id_of(&made.opportunity), made.moved.opportunities_account.clone()].concat(),
        ("activities", _) if kind == target.followed => made.moved.activities.clone(),
        ("notes", _) if kind == target.followed => made.moved.notes.clone(),
        _ => Vec::new(),
    }
}

/// Live records that are linked to `one`: type, id, name. `which` completes the condition for a table and column.
fn linked(tenant: Uuid, one: Removed<'_>, which: impl Fn(&mut Sql, &str, &str)) -> Sql {
    let mut sql = Sql::new("SELECT * FROM (");
    let mut first = true;
    for (kind, table, name, column, to) in LINKS {
        if to.is_some_and(|to| to != one.kind) {
            continue;
        }
        sql.push(if first { "(" } else { " UNION ALL (" });
        first = false;
        sql.push(format!("SELECT '{kind}'::text AS kind, id, ({name})::text AS name FROM {table} WHERE tenant_id = "));
        // What was merged into it is in the trash.
        let live = if *column == MERGED { "" } else { " AND deleted_at IS NULL" };
        sql.bind(tenant).push(format!("{live} AND {column} = ")).bind(one.piece.id);
        if to.is_none() {
            sql.push(format!(" AND related_type = '{}'", one.kind));
        }
        which(&mut sql, table, column);
        sql.push(format!(" ORDER BY created_at, id LIMIT {LISTED})"));
    }
    sql.push(") AS linked");
    sql
}

/// Records with their names, as far as the query shows them.
async fn names(tx: &mut TenantTx, sql: Sql) -> Result<HashMap<Uuid, String>, Error> {
    let rows = tx.rows(sql).await?;
    let read = |r: &aisha_db::PgRow| Ok((r.get(1)?, r.get(2)?));
    rows.iter().map(read).collect::<aisha_db::Decoded<_>>().map_err(Error::internal)
}

/// What became of a record that the transition made, if anything did. Keeps it as it is until the transaction ends, so that
/// nothing is linked to it meanwhile.
async fn state(tx: &mut TenantTx, one: Removed<'_>) -> Result<Option<&'static str>, Error> {
    let mut sql = Sql::new(format!("SELECT version, deleted_at IS NOT NULL FROM {} WHERE tenant_id = ", one.table));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(one.piece.id).push(" FOR UPDATE");
    let rows = tx.beyond_scope(vec![sql]).await?.pop().unwrap_or_default();
    let Some(row) = rows.first() else { return Ok(Some("was removed for good")) };
    let (version, trashed): (i32, bool) = (row.get(0).map_err(Error::internal)?, row.get(1).map_err(Error::internal)?);
    Ok(match (trashed, version == one.piece.version) {
        (true, _) => Some("was moved to the trash"),
        (false, false) => Some("was changed"),
        (false, true) => None,
    })
}

/// Everything that happened since to what the transition made. Names and ids only of what the caller sees.
pub(crate) async fn changed_since(tx: &mut TenantTx, target: Target, made: &Made) -> Result<Vec<Conflict>, Error> {
    let tenant = tx.principal().tenant().0;
    let pieces = [
        ("contact", "contacts", PERSON, &made.contact),
        ("account", "accounts", "name", &made.account),
        ("opportunity", "opportunities", "name", &made.opportunity),
    ];
    let removed: Vec<Removed<'_>> = pieces
        .into_iter()
        .filter_map(|(kind, table, name, piece)| {
            let piece = piece.as_ref().filter(|p| p.created)?;
            Some(Removed { kind, table, name, piece })
        })
        .collect();
    let mut conflicts = Vec::new();
    for one in &removed {
        let Some(what) = state(tx, *one).await? else { continue };
        let mut sql = Sql::new(format!("SELECT '', id, ({})::text FROM {} WHERE tenant_id = ", one.name, one.table));
        sql.bind(tenant).push(" AND id = ").bind(one.piece.id);
        let name = names(tx, sql).await?.remove(&one.piece.id);
        // The id is in the lead or the source, for everybody who sees that.
        conflicts.push(Conflict { kind: one.kind.into(), id: Some(one.piece.id), name, what: what.into() });
    }
    for one in &removed {
        let all = linked(tenant, *one, |sql, table, column| {
            sql.push(" AND id <> ALL(").bind(Bind::Uuids(own_links(target, made, table, column, one.kind))).push(")");
        });
        let all = tx.beyond_scope(vec![all]).await?.pop().unwrap_or_default();
        if all.is_empty() {
            continue;
        }
        let found: Vec<(String, Uuid)> = all
            .iter()
            .map(|r| Ok((r.get(0)?, r.get(1)?)))
            .collect::<aisha_db::Decoded<_>>()
            .map_err(Error::internal)?;
        let ids: Vec<Uuid> = found.iter().map(|(_, id)| *id).collect();
        let seen = linked(tenant, *one, |sql, _, _| {
            sql.push(" AND id = ANY(").bind(Bind::Uuids(ids.clone())).push(")");
        });
        let seen = names(tx, seen).await?;
        conflicts.extend(found.into_iter().map(|(kind, id)| Conflict {
            kind,
            id: seen.contains_key(&id).then_some(id),
            name: seen.get(&id).cloned(),
            what: format!("was linked to the {}", one.kind),
        }));
    }
    Ok(conflicts)
}

/// 409 with the list, if there is one.
pub(crate) fn refuse_changed(conflicts: Vec<Conflict>) -> Result<(), Error> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let message = "Records were changed or linked since; undo that first, or keep what is there.";
    let mut e = Error::new(ErrorCode::ConversionChanged, message);
    e.details = conflicts
        .iter()
        .map(|c| {
            let name = c.name.as_deref().unwrap_or("One that you may not see");
            aisha_kernel::FieldError::new(c.kind.clone(), format!("{name} {}", c.what))
        })
        .collect();
    e.conflicts = conflicts;
    Err(e)
}
