//! What this database is busy with: its sessions by service, and how its queries fare. Never the text of one: it may hold what
//! belongs to a tenant.

use crate::sql::{col, itself};
use aisha_db::{Db, Json, Sql, as_login};
use aisha_kernel::Error;

/// Of the sessions of other roles (the owner, a backup) it is known that they are there, not what they do: they have no state.
const CONNECTIONS: &str = "WITH sessions AS (SELECT application_name, state, wait_event_type FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend'),
    counted AS (SELECT grouping(application_name) AS whole, application_name, count(*) AS total,
            count(*) FILTER (WHERE state = 'active') AS active, count(*) FILTER (WHERE state = 'idle') AS idle,
            count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
            count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks
        FROM sessions GROUP BY GROUPING SETS ((), (application_name)))
    SELECT jsonb_build_object('total', c.total, 'active', c.active, 'idle', c.idle,
        'idle_in_transaction', c.idle_in_transaction, 'waiting_for_locks', c.waiting_for_locks,
        'server_total', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        'max_connections', current_setting('max_connections')::integer,
        'by_application', coalesce((SELECT jsonb_agg(to_jsonb(a) - 'whole' ORDER BY total DESC, application_name)
                                    FROM counted a WHERE whole = 0), '[]'))
    FROM counted c WHERE whole = 1";

/// The session that asks is none of those that are looked at. Counts are since `counted_since`; without it, since there is the database.
const QUERIES: &str = "SELECT jsonb_build_object('running', a.running, 'longest_running_ms', a.longest_ms,
        'longest_transaction_ms', a.longest_transaction_ms, 'counted_since', d.since,
        'cache_hit_ratio', round(d.blks_hit::numeric / nullif(d.blks_hit + d.blks_read, 0), 4),
        'commits', d.xact_commit, 'rollbacks', d.xact_rollback, 'deadlocks', d.deadlocks, 'conflicts', d.conflicts,
        'rows_read', d.tup_fetched, 'rows_written', d.tup_inserted + d.tup_updated + d.tup_deleted,
        'temporary_files', d.temp_files, 'temporary_bytes', d.temp_bytes)
    FROM (SELECT count(*) FILTER (WHERE state = 'active') AS running,
            coalesce(max(extract(epoch FROM clock_timestamp() - query_start) * 1000) FILTER (WHERE state = 'active'), 0)::bigint
                AS longest_ms,
            coalesce(max(extract(epoch FROM clock_timestamp() - xact_start) * 1000), 0)::bigint AS longest_transaction_ms
        FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
            AND pid <> pg_backend_pid()) AS a,
        (SELECT *, to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since
         FROM pg_stat_database WHERE datname = current_database()) AS d";

/// Its connections and its queries, as JSON objects.
///
/// # Errors
/// 503 when the database is away.
pub async fn database_at_work(db: &Db) -> Result<(Json, Json), Error> {
    let rows = db
        .system(&itself("diagnostics", None), async |tx| {
            tx.flight(vec![as_login(), Sql::new(CONNECTIONS), Sql::new(QUERIES)]).await
        })
        .await?;
    let [_, connections, queries] = rows.as_slice() else { return Err(Error::internal("not what was asked for")) };
    let one = |rows: &aisha_db::tx::Rows| col(rows.first().ok_or_else(|| Error::internal("no statistics"))?, 0);
    Ok((one(connections)?, one(queries)?))
}
