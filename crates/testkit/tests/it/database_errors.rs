//! What is wrong with a value is told from what is wrong with the server: the first is given up, the second waits.

use aisha_db::{Db, DbConfig, Sql, SystemReason, SystemTx};
use aisha_kernel::ErrorCode;
use aisha_testkit::database::address;

async fn failed(db: &Db, statements: &[&str]) -> ErrorCode {
    let why = SystemReason { reason: "test", ..SystemReason::default() };
    let run = async |tx: &mut SystemTx| {
        let all = statements.iter().map(|sql| Sql::new((*sql).to_owned()).prepared_once()).collect();
        tx.flight(all).await.map(|_| ())
    };
    db.system(&why, run).await.unwrap_err().code
}

#[actix_web::test]
async fn what_is_wrong_with_a_value_is_told_from_what_is_wrong_with_the_server() {
    let url = address("DATABASE_URL");
    let db = Db::new(&DbConfig { url, pool_size: 1, application_name: "errors".into() }).unwrap();
    for value in [
        "SELECT 'x'::integer",
        "SELECT '2026-02-30'::date",
        "SELECT 2147483647 + 1",
        "SELECT 12345::numeric(3, 0)",
        "SELECT '{a'::text[]",
        r"SELECT convert_from('\xff', 'UTF8')",
        r#"SELECT '"\u0000"'::jsonb ->> 0"#,
    ] {
        assert_eq!(failed(&db, &[value]).await, ErrorCode::ValidationFailed, "{value}");
    }
    for (state, message) in [
        ("53100", "could not extend file: No space left on device"),
        ("53200", "out of shared memory"),
        ("23514", "no partition of relation found for row"),
        ("XX001", "could not read block 1 in file: read only 0 of 8192 bytes"),
    ] {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{state}'; END $$");
        assert_eq!(failed(&db, &[&raise]).await, ErrorCode::Internal, "{message}");
    }
    for missing in ["SELECT 1 FROM not_yet_migrated", "SELECT not_yet_migrated FROM tenant"] {
        assert_eq!(failed(&db, &[missing]).await, ErrorCode::Internal, "{missing}");
    }
    let after_failover = ["SET TRANSACTION READ ONLY", "DELETE FROM webhook_ledger"];
    assert_eq!(failed(&db, &after_failover).await, ErrorCode::Forbidden);
}
