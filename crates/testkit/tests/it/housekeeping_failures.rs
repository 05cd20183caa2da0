//! What goes wrong in one tenant is that tenant's: housekeeping has done the others when it is through.

use aisha_db::{Db, DbConfig};
use aisha_testkit::{Stack, own::Own};
use serde_json::json;

#[actix_web::test]
async fn one_tenant_s_failure_stops_no_other() {
    let own = Own::new().await;
    let config = DbConfig { url: own.database_url.clone(), pool_size: 1, application_name: "care".into() };
    let stack = Stack::events_in(own, &[("CRM_CORE_ROLES", "api")]).await;
    let tenants = [stack.tenant().await, stack.tenant().await, stack.tenant().await];
    for t in &tenants {
        let id = t.admin.client.post("/api/accounts", json!({ "name": "Old" })).await.expect(201).id();
        t.admin.client.delete(&format!("/api/accounts/{id}")).await.expect(200);
    }
    // They have their turn in the order of their ids: one at the beginning fails.
    let mut ids: Vec<_> = tenants.iter().map(|t| t.id).collect();
    ids.sort_unstable();
    stack
        .sql(&format!(
            "SET session_replication_role = replica; UPDATE accounts SET deleted_at = now() - interval '31 days'; \
             RESET session_replication_role; \
             CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'canceling statement'; END $$; \
             CREATE TRIGGER fails BEFORE DELETE ON accounts FOR EACH ROW WHEN (old.tenant_id = '{}') EXECUTE FUNCTION fails()",
            ids[0]
        ))
        .await;
    aisha_crm_core::housekeeping::round(&Db::new(&config).unwrap()).await.unwrap();
    let left = stack.text("SELECT string_agg(tenant_id::text, ' ') FROM accounts").await;
    assert_eq!(left, ids[0].to_string(), "what could not be done is left, the rest is done");
}
