//! Where everything is: addresses, keys, programs, logs, and the environment of each service.

use aisha_auth::token::InternalSigner;
use anyhow::Context as _;
use secrecy::SecretString;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// The whole setup of a run.
pub struct Settings {
    servers: HashMap<String, String>,
    bin_dir: PathBuf,
    /// Where logs and reports go.
    pub run_dir: PathBuf,
    port: u16,
    common: Vec<(&'static str, String)>,
}

/// How a service is started.
pub struct Spec {
    pub name: &'static str,
    pub program: PathBuf,
    pub env: Vec<(&'static str, String)>,
    pub log: PathBuf,
}

/// Program, variable of the address, roles, and distance from the first port.
fn place(name: &str) -> Option<(&'static str, &'static str, &'static str, u16)> {
    Some(match name {
        "gateway" => ("gateway", "GATEWAY_LISTEN", "", 0),
        "api" => ("crm-core", "CRM_CORE_LISTEN", "api", 1),
        "relay-1" => ("crm-core", "CRM_CORE_LISTEN", "relay", 2),
        "relay-2" => ("crm-core", "CRM_CORE_LISTEN", "relay", 3),
        "webhooks-1" => ("crm-core", "CRM_CORE_LISTEN", "webhooks", 4),
        "webhooks-2" => ("crm-core", "CRM_CORE_LISTEN", "webhooks", 5),
        "cron" => ("crm-core", "CRM_CORE_LISTEN", "cron", 6),
        "tenant-resolver" => ("tenant-resolver", "TENANT_RESOLVER_LISTEN", "", 7),
        _ => return None,
    })
}

impl Settings {
    /// Reads the servers' addresses and makes keys.
    pub fn new(stack_dir: &Path, bin_dir: &Path, port: u16) -> anyhow::Result<Self> {
        let path = stack_dir.join("env");
        let text = fs::read_to_string(&path).with_context(|| format!("{}: run chaos/run.sh", path.display()))?;
        let servers: HashMap<String, String> =
            text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let run_dir = stack_dir.join("run").canonicalize()?;
        let signing_key = InternalSigner::generate()?;
        let signer = InternalSigner::new(&SecretString::from(signing_key.clone()))?;
        let mut this = Self { servers, bin_dir: bin_dir.canonicalize()?, run_dir, port, common: Vec::new() };
        this.common = vec![
            ("JWT_SECRET", InternalSigner::generate()?),
            ("INTERNAL_SIGNING_KEY", signing_key),
            ("INTERNAL_PUBLIC_KEYS", signer.public_key().to_owned()),
            ("CREDENTIALS_KEY", InternalSigner::generate()?),
            ("CRM_CORE_URL", this.url("api")),
            ("TENANT_RESOLVER_URL", this.url("tenant-resolver")),
            ("PUBLIC_URL", this.url("gateway")),
            ("MAIL_DIR", this.run_dir.join("mail").display().to_string()),
            ("WEBHOOKS_ENABLED", "true".to_owned()),
            ("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1".to_owned()),
            // Counted, so that Redis is asked, and never reached.
            ("RATE_LIMIT_MAX", "1000000".to_owned()),
            ("AUTH_RATE_LIMIT_MAX", "100000".to_owned()),
            ("HTTP_WORKERS", "2".to_owned()),
            ("DATABASE_POOL_SIZE", "4".to_owned()),
            ("LOG_LEVEL", "info".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ];
        for name in ["DATABASE_URL", "REDIS_URL", "AMQP_URL"] {
            let address = this.server(name)?.to_owned();
            this.common.push((name, address));
        }
        Ok(this)
    }

    /// The address of a server, such as `DATABASE_ADMIN_URL`.
    pub fn server(&self, name: &str) -> anyhow::Result<&str> {
        self.servers.get(name).map(String::as_str).with_context(|| format!("the stack has no {name}"))
    }

    fn address(&self, name: &str) -> String {
        format!("127.0.0.1:{}", self.port + place(name).map_or(0, |(.., offset)| offset))
    }

    /// The base URL of a service.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}", self.address(name))
    }

    /// The log of a service.
    pub fn log(&self, name: &str) -> PathBuf {
        self.run_dir.join(format!("{name}.log"))
    }

    /// How a service is started.
    pub fn spec(&self, name: &'static str) -> anyhow::Result<Spec> {
        let (program, listen, roles, _) = place(name).with_context(|| format!("there is no service {name}"))?;
        let mut env = self.common.clone();
        env.push((listen, self.address(name)));
        if !roles.is_empty() {
            env.push(("CRM_CORE_ROLES", roles.to_owned()));
        }
        Ok(Spec { name, program: self.bin_dir.join(program), env, log: self.log(name) })
    }
}
