//! The bench's own servers: their addresses, statements past every policy, and the data as it was loaded.
//!
//! Does not belong here: the services (`process`), and starting the servers (`run.sh`).

use anyhow::{Context as _, bail};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};
use url::Url;

/// What is written during a run goes, and the tables are as the load left them.
const CLEAN: &str = "SET session_replication_role = replica; \
     DELETE FROM contacts WHERE created_at > (SELECT at FROM bench.loaded); \
     TRUNCATE audit_log, audit_chain, audit_chain_state, event_outbox, import_row, import_log, idempotency_key, notifications, notification_event, \
         webhook, webhook_message, webhook_delivery, webhook_attempt, webhook_ledger, webhook_replay; \
     DELETE FROM event_relay_member; UPDATE event_relay SET lease_owner = NULL, lease_until = NULL;";

/// Whether no event waits for a relay.
pub const PUBLISHED: &str = "SELECT NOT EXISTS (SELECT FROM event_relay r JOIN event_outbox e ON e.shard = r.shard \
     AND (e.transaction_id, e.seq) > (r.transaction_id, r.seq))";

/// The servers of one data folder.
pub struct Stack {
    dir: PathBuf,
    vars: HashMap<String, String>,
}

impl Stack {
    /// Reads the addresses that the servers were started with.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("env");
        let text = fs::read_to_string(&path).with_context(|| format!("{}: run bench/run.sh", path.display()))?;
        let vars = text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let this = Self { dir: dir.to_owned(), vars };
        fs::create_dir_all(this.file("run"))?;
        Ok(this)
    }

    /// A file in the data folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// An address, such as `DATABASE_URL`.
    pub fn address(&self, name: &str) -> anyhow::Result<&str> {
        self.vars.get(name).map(String::as_str).with_context(|| format!("the stack has no {name}"))
    }

    /// A program of Postgres that connects to the address of that name. The password stays out of the command line.
    pub fn client(&self, program: &Path, address: &str) -> anyhow::Result<Command> {
        let url = Url::parse(self.address(address)?)?;
        let mut command = Command::new(program);
        command
            .env("PGHOST", url.host_str().unwrap_or_default())
            .env("PGPORT", url.port().unwrap_or(5432).to_string())
            .env("PGUSER", url.username())
            .env("PGPASSWORD", url.password().unwrap_or_default())
            .env("PGDATABASE", url.path().trim_start_matches('/'));
        Ok(command)
    }

    /// Runs statements as the superuser; what they return, one row a line.
    pub fn sql(&self, statements: &[&str]) -> anyhow::Result<String> {
        let mut command = self.client(Path::new("psql"), "DATABASE_ADMIN_URL")?;
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        let output = command.output().context("psql")?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Removes what runs wrote.
    pub fn clean(&self) -> anyhow::Result<()> {
        self.sql(&[CLEAN, "VACUUM (ANALYZE) contacts", "VACUUM audit_log, event_outbox, import_log", "CHECKPOINT"])?;
        Ok(())
    }

    /// Waits until the services have done what they do after a start, such as emptying the trash, and after writes: publishing
    /// events, sealing the audit log. It would be counted with what is measured next.
    pub fn settle(&self) -> anyhow::Result<()> {
        const BUSY: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity \
             WHERE application_name IN ('crm-core', 'gateway') AND (state <> 'idle' OR state_change > now() - interval '0.5 s')) \
             OR EXISTS (SELECT FROM audit_log l, audit_sealing s WHERE l.transaction_id > s.transaction_id)";
        for _ in 0..600 {
            if self.sql(&[BUSY, PUBLISHED])? == "f\nt" {
                return Ok(());
            }
            sleep(Duration::from_millis(200));
        }
        bail!("the services are still busy after two minutes");
    }

    /// Makes Postgres write every statement into its log, or stop doing so.
    pub fn log_statements(&self, on: bool) -> anyhow::Result<()> {
        let (all, prefix) = if on { ("'all'", "'%a|%p|'") } else { ("DEFAULT", "DEFAULT") };
        let statement = |name: &str, value: &str| match value {
            "DEFAULT" => format!("ALTER SYSTEM RESET {name}"),
            _ => format!("ALTER SYSTEM SET {name} = {value}"),
        };
        self.sql(&[
            &statement("log_statement", all),
            &statement("log_line_prefix", prefix),
            "SELECT pg_reload_conf()",
            "SELECT pg_sleep(0.3)",
        ])?;
        Ok(())
    }

    /// The log of Postgres.
    pub fn postgres_log(&self) -> PathBuf {
        self.file("data/log/postgres.log")
    }

    /// The process all others of Postgres come from.
    pub fn postmaster(&self) -> anyhow::Result<u32> {
        let path = self.file("data/postgres/postmaster.pid");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        text.lines().next().and_then(|l| l.trim().parse().ok()).context("postmaster.pid has no number")
    }
}
