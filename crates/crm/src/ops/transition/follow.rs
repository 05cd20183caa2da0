//! What belongs to a record goes where the record goes, whether or not the one who moves it sees it.

use super::{Moved, Piece};
use aisha_db::{Bind, PgRow, Sql, TenantTx};
use aisha_kernel::Error;
use uuid::Uuid;

/// A record by type and id.
type Record = (&'static str, Uuid);

fn ids(rows: &[PgRow]) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)
}

fn relink(tenant: Uuid, table: &str, from: Record, to: Record) -> Sql {
    let mut sql = Sql::new(format!("UPDATE {table} SET related_type = "));
    sql.bind(Bind::text(to.0)).push(", related_id = ").bind(to.1).push(" WHERE tenant_id = ").bind(tenant);
    sql.push(" AND related_type = ").bind(Bind::text(from.0)).push(" AND related_id = ").bind(from.1);
    sql
}

/// Moves every activity and note of one record to another, those in the trash too.
pub(crate) async fn follow(tx: &mut TenantTx, from: Record, to: Record) -> Result<Moved, Error> {
    let tenant = tx.principal().tenant().0;
    let statements = ["activities", "notes"].map(|table| {
        let mut sql = relink(tenant, table, from, to);
        sql.push(" RETURNING id");
        sql
    });
    let mut moved = tx.beyond_scope(statements.into()).await?.into_iter();
    Ok(Moved {
        activities: ids(&moved.next().unwrap_or_default())?,
        notes: ids(&moved.next().unwrap_or_default())?,
        ..Moved::default()
    })
}

/// Moves what [`follow`] moved back, as far as it is still there: the record that it went to may have others of its own.
pub(crate) async fn follow_back(tx: &mut TenantTx, moved: &Moved, from: Record, to: Record) -> Result<(), Error> {
    let tenant = tx.principal().tenant().0;
    let both = [("activities", &moved.activities), ("notes", &moved.notes)];
    let statements = both.into_iter().filter(|(_, ids)| !ids.is_empty()).map(|(table, ids)| {
        let mut sql = relink(tenant, table, from, to);
        sql.push(" AND id = ANY(").bind(Bind::Uuids(ids.clone())).push(")");
        sql
    });
    tx.beyond_scope(statements.collect()).await?;
    Ok(())
}

/// Removes records that a transition made, for good: nothing was done with them, so nothing is lost.
pub(crate) async fn remove(tx: &mut TenantTx, pieces: &[(&'static str, Option<&Piece>)]) -> Result<(), Error> {
    let tenant = tx.principal().tenant().0;
    let statements = pieces.iter().filter_map(|(table, piece)| {
        let mut sql = Sql::new(format!("DELETE FROM {table} WHERE tenant_id = "));
        sql.bind(tenant).push(" AND id = ").bind(piece.filter(|p| p.created)?.id);
        Some(sql)
    });
    tx.beyond_scope(statements.collect()).await?;
    Ok(())
}
