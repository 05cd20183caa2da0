//! The tests of `catalogue` and `isolation` can fail: each check is run against a database that was broken on purpose.
//!
//! The database is made for the test and dropped after it. Roles belong to the whole cluster, so those made here have names
//! of their own, and what is done to the others is rolled back.

use crate::{
    catalogue::{RULES, unreviewed},
    isolation::{
        IDLE, ROLES, Who, bare_login_sees_nothing, cannot_write, fill, idle_is_clean, secrets_are_silent, sees_no_other,
    },
};
use aisha_db::{Db, DbConfig};
use aisha_kernel::new_id;
use aisha_testkit::database::{address, admin, connect, migration_turn, with_database};
use tokio_postgres::Client;

/// A migrated database of its own, gone when the test is over.
struct Scratch {
    name: String,
    admin: Client,
    _turn: Client,
}

impl Scratch {
    async fn new() -> Self {
        let turn = migration_turn().await;
        let name = format!("aisha_mutations_{}", new_id().simple());
        let server = admin().await;
        server.batch_execute(&format!("CREATE DATABASE {name} OWNER aisha_owner")).await.unwrap();
        let db = connect(&with_database(&address("DATABASE_ADMIN_URL"), &name)).await;
        db.batch_execute("ALTER SCHEMA public OWNER TO aisha_owner").await.unwrap();
        aisha_db::migrate::up(&with_database(&address("DATABASE_OWNER_URL"), &name)).await.unwrap();
        Self { name, admin: db, _turn: turn }
    }

    fn url(&self, name: &str) -> String {
        with_database(&address(name), &self.name)
    }

    async fn tenant(&self) -> Who {
        let who = Who { tenant: Some(new_id()), user: new_id(), employee: new_id() };
        let (tenant, user, employee) = (who.tenant.unwrap(), who.user, who.employee);
        let sql = format!(
            "INSERT INTO tenant (id, name, slug) VALUES ('{tenant}', 'T', 't-{}');
             INSERT INTO users (id, tenant_id, email) VALUES ('{user}', '{tenant}', 'u-{user}@example.test');
             INSERT INTO employees (tenant_id, id, first_name, last_name) VALUES ('{tenant}', '{employee}', 'A', 'B')",
            tenant.simple()
        );
        self.admin.batch_execute(&sql).await.unwrap();
        fill(&self.admin, who).await;
        who
    }

    /// Dropped whatever the test found, then judged.
    async fn done(self, problems: Vec<String>) {
        let server = admin().await;
        server.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

/// Rule of the catalogue and what breaks it.
const BREAKS: &[(&str, &str)] = &[
    ("row_security", "ALTER TABLE contacts NO FORCE ROW LEVEL SECURITY"),
    ("row_security_off", "ALTER TABLE audit_log_default DISABLE ROW LEVEL SECURITY"),
    ("without_tenant", "CREATE TABLE stray (id uuid PRIMARY KEY, name text)"),
    ("tenant_may_be_null", "CREATE TABLE stray (tenant_id uuid, id uuid)"),
    ("primary_key", "CREATE TABLE stray (id uuid, tenant_id uuid NOT NULL, PRIMARY KEY (id, tenant_id))"),
    ("indexes", "CREATE INDEX stray ON contacts (email)"),
    (
        "foreign_keys",
        "CREATE UNIQUE INDEX stray ON accounts (id);
        ALTER TABLE contacts ADD CONSTRAINT stray FOREIGN KEY (account_id) REFERENCES accounts (id)",
    ),
    (
        "set_null_spares_the_tenant",
        "ALTER TABLE contacts ADD CONSTRAINT stray
        FOREIGN KEY (tenant_id, account_id) REFERENCES accounts ON DELETE SET NULL",
    ),
    ("policies_name_the_tenant", "CREATE POLICY stray ON contacts TO aisha_own USING (created_by = current_user_id())"),
    ("policies_of_strangers", "CREATE POLICY stray ON contacts TO aisha_owner USING (true)"),
    (
        "volatile_policies",
        "CREATE POLICY stray ON contacts TO aisha_all USING (tenant_id = current_tenant_id() AND random() < 2)",
    ),
    ("definer_search_path", "ALTER FUNCTION search_all RESET search_path"),
    ("definer_owner", "ALTER FUNCTION search_all OWNER TO aisha_admin"),
    ("public_functions", "GRANT EXECUTE ON FUNCTION search_all TO PUBLIC"),
    ("views", "CREATE VIEW stray AS SELECT * FROM contacts"),
    ("login_attributes", "ALTER ROLE aisha_login INHERIT"),
    ("role_attributes", "ALTER ROLE aisha_own BYPASSRLS"),
    ("login_owns_nothing", "ALTER TABLE import_row OWNER TO aisha_login"),
    ("login_has_no_grants", "GRANT SELECT (id) ON contacts TO aisha_login"),
    ("memberships", "GRANT aisha_all TO aisha_own"),
    ("lasting_ownership", "GRANT aisha_search TO aisha_owner"),
    ("types_that_no_index_serves", "CREATE TYPE stray AS ENUM ('a'); ALTER TABLE contacts ADD COLUMN stray stray"),
    ("audit_and_events_only_grow", "GRANT UPDATE (new_values) ON audit_log TO aisha_all"),
    ("definers_write_little", "GRANT SELECT ON contacts TO aisha_search"),
    ("secrets_are_unreadable", "GRANT SELECT ON users TO aisha_own"),
    ("secrets_are_not_recorded", "SELECT audited_table('api_key', 'api_key')"),
];

/// Every rule of the catalogue finds what breaks it, and nothing in a database as it was migrated.
#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_the_catalogue_can_fail() {
    let scratch = Scratch::new().await;
    let mut problems = Vec::new();
    for (rule, query) in RULES {
        let found = unreviewed(&scratch.admin, rule, query).await;
        if !found.is_empty() {
            problems.push(format!("{rule} fails in a new database: {found:?}"));
        }
        let Some((_, breaks)) = BREAKS.iter().find(|(name, _)| name == rule) else {
            problems.push(format!("nothing here breaks {rule}"));
            continue;
        };
        scratch.admin.batch_execute("BEGIN").await.unwrap();
        match scratch.admin.batch_execute(breaks).await {
            Ok(()) if unreviewed(&scratch.admin, rule, query).await.is_empty() => {
                problems.push(format!("{rule} does not see {breaks}"))
            }
            Ok(()) => {}
            Err(e) => problems.push(format!("{breaks}: {e:?}")),
        }
        scratch.admin.batch_execute("ROLLBACK").await.unwrap();
    }
    scratch.done(problems).await;
}

/// The checks of `isolation` pass here and fail once row-level security is off, a policy lies, or a secret is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn the_isolation_checks_can_fail() {
    let scratch = Scratch::new().await;
    let (a, b) = (scratch.tenant().await, scratch.tenant().await);
    let login = connect(&scratch.url("DATABASE_URL")).await;
    let mut problems = Vec::new();
    let mut expect = |what: String, fails: bool, result: Result<(), String>| {
        if result.is_err() != fails {
            problems.push(format!("{what}: {result:?}"));
        }
    };
    let nobody = Who { tenant: None, ..b };
    for (broken, sql) in [(false, "SELECT 1"), (true, "ALTER TABLE contacts DISABLE ROW LEVEL SECURITY")] {
        scratch.admin.batch_execute(sql).await.unwrap();
        for role in ROLES {
            expect(
                format!("{role}, own tenant, after {sql}"),
                broken,
                sees_no_other(&login, role, b, "contacts", "tenant_id").await,
            );
            expect(
                format!("{role}, no tenant, after {sql}"),
                broken,
                sees_no_other(&login, role, nobody, "contacts", "tenant_id").await,
            );
            expect(
                format!("{role}, writing, after {sql}"),
                broken,
                cannot_write(&login, &scratch.admin, role, b, a, "contacts").await,
            );
        }
    }
    let reads = "ALTER TABLE contacts ENABLE ROW LEVEL SECURITY; DROP POLICY all_rows ON contacts;
        CREATE POLICY all_rows ON contacts TO aisha_all USING (tenant_id = current_tenant_id()) WITH CHECK (true)";
    scratch.admin.batch_execute(reads).await.unwrap();
    expect(
        "reading without WITH CHECK".into(),
        false,
        sees_no_other(&login, "aisha_all", b, "contacts", "tenant_id").await,
    );
    expect(
        "writing without WITH CHECK".into(),
        true,
        cannot_write(&login, &scratch.admin, "aisha_all", b, a, "contacts").await,
    );

    expect("secrets".into(), false, secrets_are_silent(&scratch.admin, b).await);
    scratch.admin.batch_execute("SELECT audited_table('users', 'user')").await.unwrap();
    expect("secrets in the audit log".into(), true, secrets_are_silent(&scratch.admin, b).await);
    drop(login);
    scratch.done(problems).await;
}

async fn idle(login: &Client) -> Result<(), String> {
    let row = login.query_one(IDLE, &[]).await.map_err(|e| e.to_string())?;
    idle_is_clean(row.get(0), row.get(1))
}

/// Settings that outlive their transaction are found on the idle connection.
#[tokio::test]
async fn a_setting_for_the_session_is_found() {
    let login = aisha_testkit::database::login().await;
    for (local, clean) in [("true", true), ("false", false)] {
        for (setting, value) in [("app.current_tenant_id", new_id().to_string()), ("role", "aisha_all".to_owned())] {
            login.batch_execute("BEGIN").await.unwrap();
            login.execute(&format!("SELECT set_config($1, $2, {local})"), &[&setting, &value]).await.unwrap();
            login.batch_execute("COMMIT").await.unwrap();
            assert_eq!(idle(&login).await.is_ok(), clean, "{setting} {local}");
            login.batch_execute("RESET ALL; RESET ROLE").await.unwrap();
        }
    }
}

/// A login that inherits a policy role sees rows without choosing one: the check finds it, and a service refuses to start.
#[tokio::test(flavor = "multi_thread")]
async fn an_inheriting_login_is_found_and_refused() {
    let scratch = Scratch::new().await;
    let who = scratch.tenant().await;
    let (role, password) = (format!("aisha_test_{}", new_id().simple()), new_id().simple().to_string());
    scratch
        .admin
        .batch_execute(&format!("CREATE ROLE {role} LOGIN INHERIT PASSWORD '{password}' IN ROLE aisha_all"))
        .await
        .unwrap();
    let safe = scratch.url("DATABASE_URL");
    let (_, host) = safe.split_once('@').unwrap();
    let unsafe_url = format!("postgres://{role}:{password}@{host}");
    let mut problems = Vec::new();
    for (url, accepted) in [(&safe, true), (&unsafe_url, false)] {
        let db = Db::new(&DbConfig { url: url.clone(), pool_size: 1, application_name: "mutations".into() }).unwrap();
        let verified = db.verify_login().await;
        let blind = bare_login_sees_nothing(&connect(url).await, who.tenant.unwrap()).await;
        if verified.is_ok() != accepted || blind.is_ok() != accepted {
            problems.push(format!("accepted should be {accepted}: {verified:?}, {blind:?}"));
        }
    }
    for (attribute, undo) in [("SUPERUSER NOINHERIT", "NOSUPERUSER"), ("BYPASSRLS NOINHERIT", "NOBYPASSRLS")] {
        scratch.admin.batch_execute(&format!("ALTER ROLE {role} {attribute}")).await.unwrap();
        let db =
            Db::new(&DbConfig { url: unsafe_url.clone(), pool_size: 1, application_name: "mutations".into() }).unwrap();
        if db.verify_login().await.is_ok() {
            problems.push(format!("a login with {attribute} is accepted"));
        }
        scratch.admin.batch_execute(&format!("ALTER ROLE {role} {undo}")).await.unwrap();
    }
    scratch.admin.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    scratch.done(problems).await;
}
