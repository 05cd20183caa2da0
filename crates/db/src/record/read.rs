//! Reading one record.

use super::{Record, list::scope};
use crate::{
    row::PgRow,
    sql::Sql,
    tx::{Db, TenantTx},
};
use aisha_auth::Principal;
use aisha_kernel::Error;
use uuid::Uuid;

pub(crate) fn select<R: Record>(me: &Principal, id: Uuid, live: bool) -> Sql {
    let mut sql = Sql::new(format!("SELECT {} FROM {} WHERE tenant_id = ", R::columns(), R::DEF.table));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    sql.push(if live { " AND deleted_at IS NULL" } else { "" });
    scope::<R>(me, &mut sql);
    sql
}

/// Decodes the first row; 404 when there is none.
pub(crate) fn one<R: Record>(rows: &[PgRow]) -> Result<R, Error> {
    R::from_row(rows.first().ok_or_else(Error::not_found)?).map_err(Error::internal)
}

/// Reads a live record in one flight.
///
/// # Errors
/// 404 when there is none that `me` sees.
pub async fn record_read<R: Record>(db: &Db, me: &Principal, id: Uuid) -> Result<R, Error> {
    let rows = db.fetch(me, vec![select::<R>(me, id, true)]).await?.pop().unwrap_or_default();
    one(&rows)
}

/// Reads a live record inside a transaction.
///
/// # Errors
/// 404 when there is none that the principal sees.
pub async fn record_find<R: Record>(tx: &mut TenantTx, id: Uuid) -> Result<R, Error> {
    let sql = select::<R>(tx.principal(), id, true);
    one(&tx.rows(sql).await?)
}
