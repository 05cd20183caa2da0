//! Writing what a service has collected.

use crate::sql::{instant, json};
use aisha_db::{Sql, SystemTx};
use aisha_kernel::Error;
use aisha_telemetry::records::LogRecord;
use serde_json::{Value, json};

/// Adds records of a service. A record that is there already (its batch is sent again) is not added twice.
///
/// # Errors
/// 503 when the database is away.
pub async fn system_log_store(tx: &mut SystemTx, service: &str, records: &[LogRecord]) -> Result<(), Error> {
    let rows: Vec<Value> = records.iter().map(|r| row(service, r)).collect();
    let mut sql = Sql::new(
        "INSERT INTO system_logs (id, tenant_id, service, level, source, message, fields, request_id, user_id, trace_id, created_at) \
         SELECT * FROM jsonb_to_recordset(",
    );
    sql.bind(json(&Value::Array(rows))).push(
        ") AS r (id uuid, tenant_id uuid, service text, level text, source text, message text, fields jsonb, \
         request_id text, user_id uuid, trace_id text, created_at timestamptz) ON CONFLICT (id) DO NOTHING",
    );
    tx.rows(sql).await.map(|_| ())
}

fn row(service: &str, r: &LogRecord) -> Value {
    json!({
        "id": r.id,
        "tenant_id": r.tenant_id,
        "service": service,
        "level": r.level,
        "source": r.source,
        "message": r.message,
        "fields": r.fields,
        "request_id": r.request_id,
        "user_id": r.user_id,
        "trace_id": r.trace_id,
        "created_at": instant(r.at),
    })
}
