//! The services on free ports, over the test stack.

use crate::{Client, MailFolder, database};
use aisha_auth::{
    Identity,
    token::{AccessKeys, InternalSigner},
};
use aisha_config::Env;
use aisha_http::{Running, ServeOptions};
use secrecy::SecretString;
use std::{collections::HashMap, net::TcpListener};

/// The running services.
pub struct Stack {
    /// Base URL of crm-core.
    pub core_url: String,
    /// Base URL of the gateway, where there is one.
    pub gateway_url: Option<String>,
    pub(crate) admin: tokio_postgres::Client,
    /// Where the gateway's mail becomes files, unless a setting says otherwise.
    pub mail: MailFolder,
    signer: InternalSigner,
    access: AccessKeys,
    _core: Running,
    _gateway: Option<aisha_gateway::Gateway>,
}

const JWT_SECRET: &str = "7d1f5a0c9be34d6286b1c0f2a48e93d57d1f5a0c9be34d6286b1c0f2a48e93d5";

/// What the services of a test stack seal with.
pub const CREDENTIALS_KEY: &str = "b7c1d2e3f4a5968778695a4b3c2d1e0fb7c1d2e3f4a5968778695a4b3c2d1e0f";

fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn options() -> ServeOptions {
    ServeOptions { workers: 1, signals: false, ..ServeOptions::default() }
}

impl Stack {
    /// crm-core alone; its clients carry the internal token that the gateway would mint.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// The gateway and crm-core behind it; clients carry access tokens. Without limits.
    pub async fn platform() -> Self {
        Self::platform_with(&[]).await
    }

    /// The same with settings of the gateway, such as `("RATE_LIMIT_MAX", "5")`.
    pub async fn platform_with(settings: &[(&str, &str)]) -> Self {
        Self::with(Some(settings)).await
    }

    async fn with(gateway: Option<&[(&str, &str)]>) -> Self {
        let seed = InternalSigner::generate().unwrap();
        let signer = InternalSigner::new(&SecretString::from(seed.clone())).unwrap();
        let setting = |settings: &[(&str, &str)], name: &str| {
            let given = settings.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            given.unwrap_or_else(|| database::address(name))
        };
        let given = gateway.unwrap_or_default();
        let env = Env::from_map([
            ("DATABASE_URL", setting(given, "DATABASE_URL")),
            ("AMQP_URL", setting(given, "AMQP_URL")),
            ("INTERNAL_PUBLIC_KEYS", signer.public_key().to_owned()),
            ("CREDENTIALS_KEY", CREDENTIALS_KEY.to_owned()),
        ]);
        let core = aisha_crm_core::start(aisha_crm_core::Config::read(&env).unwrap(), free(), &options()).unwrap();
        let core_url = core.url();
        let mail = MailFolder::new();
        let mut running = None;
        if let Some(settings) = gateway {
            let mut env: HashMap<String, String> = HashMap::from_iter([
                ("DATABASE_URL".to_owned(), database::address("DATABASE_URL")),
                ("REDIS_URL".to_owned(), database::address("REDIS_URL")),
                ("JWT_SECRET".to_owned(), JWT_SECRET.to_owned()),
                ("INTERNAL_SIGNING_KEY".to_owned(), seed),
                // A key of its own: a sender takes only what it can open, so tests do not send each other's mail.
                ("CREDENTIALS_KEY".to_owned(), format!("{0}{0}", aisha_kernel::new_id().simple())),
                ("MAIL_DIR".to_owned(), mail.path().display().to_string()),
                ("FRONTEND_URL".to_owned(), "http://crm.example".to_owned()),
                ("CRM_CORE_URL".to_owned(), core_url.clone()),
                ("RATE_LIMIT_MAX".to_owned(), "0".to_owned()),
                ("AUTH_RATE_LIMIT_MAX".to_owned(), "0".to_owned()),
            ]);
            env.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            let config = aisha_gateway::config::Config::read(&Env::from_map(env)).unwrap();
            running = Some(aisha_gateway::run(config, free(), &options()).unwrap());
        }
        let gateway_url = running.as_ref().map(aisha_gateway::Gateway::url);
        let access = AccessKeys::new(&SecretString::from(JWT_SECRET.to_owned()), None).unwrap();
        let admin = database::admin().await;
        Self { core_url, gateway_url, admin, mail, signer, access, _core: core, _gateway: running }
    }

    /// A client that acts as `identity`.
    #[must_use]
    pub fn client(&self, identity: &Identity) -> Client {
        match &self.gateway_url {
            Some(url) => {
                let tenant = identity.tenant_id.map(|t| t.0);
                let token = self.access.mint(identity.user_id, identity.sid, tenant, identity.role).unwrap();
                Client::anonymous(url).with("authorization", format!("Bearer {token}"))
            }
            None => {
                let token = self.signer.mint(identity, "crm-core").unwrap();
                Client::anonymous(&self.core_url).with("x-internal-token", token)
            }
        }
    }

    /// A client without a credential.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::anonymous(self.gateway_url.as_ref().unwrap_or(&self.core_url))
    }
}
