//! What the server says of itself. Asked as the login role, without taking on another: only it sees the sessions of all
//! services. It has no right on any table, so what is asked here is the server's own catalogue.

use crate::{
    error::from_diesel,
    row::Json,
    sql::Sql,
    tx::{Db, send},
};
use aisha_kernel::Error;

/// Numbers of the server and of this database since its statistics were last reset. Of sessions of other roles (the owner,
/// a backup) it is known that they are there, not what they do.
const STATISTICS: &str = "SELECT jsonb_build_object(
    'version', current_setting('server_version'),
    'size_bytes', pg_database_size(current_database()),
    'max_connections', current_setting('max_connections')::integer,
    'connections', a.connections, 'connections_active', a.active, 'connections_idle', a.idle,
    'connections_idle_in_transaction', a.idle_in_transaction, 'waiting_for_locks', a.waiting,
    'longest_transaction_ms', a.longest_ms,
    'commits', d.xact_commit, 'rollbacks', d.xact_rollback, 'deadlocks', d.deadlocks,
    'rows_read', d.tup_fetched, 'rows_written', d.tup_inserted + d.tup_updated + d.tup_deleted,
    'temporary_bytes', d.temp_bytes,
    'cache_hit_ratio', round(d.blks_hit::numeric / nullif(d.blks_hit + d.blks_read, 0), 4))
FROM (SELECT count(*) AS connections, count(*) FILTER (WHERE state = 'active') AS active,
             count(*) FILTER (WHERE state = 'idle') AS idle,
             count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
             count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting,
             coalesce(max(extract(epoch FROM clock_timestamp() - xact_start) * 1000)
                      FILTER (WHERE pid <> pg_backend_pid()), 0)::bigint AS longest_ms
      FROM pg_stat_activity WHERE backend_type = 'client backend') AS a,
     (SELECT * FROM pg_stat_database WHERE datname = current_database()) AS d";

impl Db {
    /// Numbers of the server as a JSON object.
    ///
    /// # Errors
    /// 503 when it is away.
    pub async fn server_statistics(&self) -> Result<Json, Error> {
        let conn = self.checkout().await?;
        let rows = send(&conn.pg, Sql::new(STATISTICS)).await.map_err(from_diesel)?;
        rows.first().ok_or_else(|| Error::internal("no statistics"))?.get(0).map_err(Error::internal)
    }
}
