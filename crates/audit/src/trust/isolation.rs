//! The rules of isolation, each asked of the system catalogue, and a probe: what the caller's role sees of another tenant.

use crate::{acting, col, first};
use aisha_auth::Principal;
use aisha_db::{Db, RequestContext, Sql};
use aisha_kernel::Error;
use serde::Serialize;
use uuid::Uuid;

/// One thing that must hold.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// What it says.
    pub detail: &'static str,
    /// What breaks it; empty when it holds.
    pub violations: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Isolation {
    /// Rules of the catalogue.
    pub checks: Vec<Check>,
    /// Tables that the caller's role was made to look into.
    pub tables_probed: usize,
    /// Whether there is another tenant to look for.
    pub other_tenant_probed: bool,
    /// Rows of another tenant that the caller's role sees.
    pub foreign_rows: i64,
    /// Rows it sees while no tenant is set.
    pub rows_without_tenant: i64,
}

impl Isolation {
    /// Whether all of it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|c| c.passed) && self.foreign_rows == 0 && self.rows_without_tenant == 0
    }
}

/// Name, what it says, and a query of what breaks it. The migration runner's own table, on which no role has a right, is
/// read by its owner.
const RULES: &[(&str, &str, &str)] = &[
    (
        "row_security_enabled",
        "Row-level security is on for every table.",
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \
         AND NOT relrowsecurity",
    ),
    (
        "row_security_forced",
        "It binds the owner of the tables too.",
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \
         AND NOT relforcerowsecurity AND relname <> '__diesel_schema_migrations'",
    ),
    (
        "policies_name_the_tenant",
        "Every policy of the roles that requests run in compares with the caller's tenant, for reading and for writing.",
        "SELECT tablename || '.' || policyname FROM pg_policies WHERE schemaname = 'public' AND permissive = 'PERMISSIVE' \
         AND roles && '{public,aisha_all,aisha_own,aisha_department,aisha_reporting}'::name[] \
         AND (qual !~ 'current_tenant_id\\(\\)' OR with_check !~ 'current_tenant_id\\(\\)' OR 'public' = ANY (roles))",
    ),
    (
        "views_ask_as_the_caller",
        "No view reads with more rights than its caller.",
        "SELECT relname::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' \
         AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e') \
         AND NOT coalesce(array_to_string(reloptions, ' '), '') ~ 'security_invoker=(true|on)'",
    ),
    (
        "login_is_bound",
        "The login of the services is no superuser, bypasses no policy, inherits nothing and owns nothing.",
        "SELECT rolname::text FROM pg_roles r WHERE rolname = session_user AND (rolsuper OR rolbypassrls OR rolinherit \
         OR rolcreaterole OR rolcreatedb OR rolreplication OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid))",
    ),
    (
        "roles_are_bound",
        "Neither do the roles that it takes on bypass a policy or log in.",
        "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^aisha_(all|own|department|system|reporting|trigger|search)$' \
         AND (rolcanlogin OR rolsuper OR rolbypassrls)",
    ),
    (
        "secrets_are_unreadable",
        "No role that requests run in may read a column of passwords, hashes or sealed secrets; digests of one's own \
         requests aside.",
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
         AND a.atttypid NOT IN ('timestamptz'::regtype, 'boolean'::regtype) AND a.attname <> 'request_hash' \
         AND a.attname ~ '(password|secret|hash|totp|credential|token|sealed|private_key)' \
         AND (has_column_privilege('aisha_all', c.oid, a.attname, 'SELECT') \
              OR has_column_privilege('aisha_own', c.oid, a.attname, 'SELECT') \
              OR has_column_privilege('aisha_department', c.oid, a.attname, 'SELECT'))",
    ),
    (
        "audit_log_only_grows",
        "No role that a service can take on may change or remove what is in the audit log.",
        "SELECT c.relname || ' ' || r || ' ' || p FROM pg_class c, \
         unnest('{aisha_all,aisha_own,aisha_department,aisha_system}'::text[]) AS r, \
         unnest('{UPDATE,DELETE,TRUNCATE}'::text[]) AS p WHERE c.relnamespace = 'public'::regnamespace \
         AND c.relkind IN ('r', 'p') AND c.relname ~ '^(audit_log|audit_chain$)' AND has_table_privilege(r, c.oid, p)",
    ),
];

/// Tables of tenants that the current role may look into.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
    AND a.attname = 'tenant_id' AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT') ORDER BY 1";

/// Sums what is there of `condition` over the tables, which come from the catalogue.
fn count(tables: &[String], condition: &str) -> Sql {
    let parts: Vec<String> =
        tables.iter().map(|t| format!("SELECT count(*) AS n FROM \"{}\"{condition}", t.replace('"', "\"\""))).collect();
    Sql::new(format!("SELECT coalesce(sum(n), 0)::bigint FROM ({}) AS probed", parts.join(" UNION ALL ")))
}

/// Asks all of it.
///
/// # Errors
/// 503 when the database is away.
pub async fn isolation(db: &Db, me: &Principal, cx: &RequestContext) -> Result<Isolation, Error> {
    // The tenant that was last active; only its id is used, and only inside the database.
    let mut other = Sql::new(
        "SELECT tenant_id FROM audit_chain_state WHERE tenant_id NOT IN ('00000000-0000-0000-0000-000000000000', ",
    );
    other.bind(me.tenant().0).push(") ORDER BY sealed_at DESC LIMIT 1");
    let why = acting(me.identity(), "trust", Some(me.tenant()), cx);
    let found = db.system(&why, async |tx| tx.rows(other.clone()).await).await?;
    let other: Option<Uuid> = found.first().map(|row| col(row, 0)).transpose()?;

    db.read(me, async |tx| {
        let mut statements: Vec<Sql> = RULES.iter().map(|(_, _, query)| Sql::new(*query)).collect();
        statements.push(Sql::new(TABLES));
        let mut results = tx.flight(statements).await?;
        let tables = results.pop().unwrap_or_default();
        let tables = tables.iter().map(|row| col(row, 0)).collect::<Result<Vec<String>, _>>()?;
        let mut checks = Vec::with_capacity(RULES.len());
        for ((check, detail, _), rows) in RULES.iter().zip(&results) {
            let violations = rows.iter().map(|row| col(row, 0)).collect::<Result<Vec<String>, _>>()?;
            checks.push(Check { check, passed: violations.is_empty(), detail, violations });
        }
        // Both find nothing by an index, at once, whatever the size of the tables.
        let mut probes = vec![Sql::new("SET LOCAL enable_seqscan = off")];
        if let Some(other) = other {
            probes.push(count(&tables, &format!(" WHERE tenant_id = '{other}'")).prepared_once());
        }
        let foreign = tx.flight(probes).await?;
        let without = tx.without_tenant(vec![count(&tables, "")]).await?;
        Ok(Isolation {
            checks,
            tables_probed: tables.len(),
            other_tenant_probed: other.is_some(),
            foreign_rows: foreign.get(1).map_or(Ok(0), first)?,
            rows_without_tenant: without.first().map_or(Ok(0), first)?,
        })
    })
    .await
}
