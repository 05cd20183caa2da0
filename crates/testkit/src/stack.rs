//! The services on free ports, over the test stack.

use crate::{Client, MailFolder, database, own::Own};
use aisha_auth::{
    Identity,
    token::{AccessKeys, InternalSigner},
};
use aisha_config::Env;
use aisha_http::{Background, Running, ServeOptions};
use secrecy::SecretString;
use std::{collections::HashMap, net::TcpListener, sync::Arc};

/// The running services.
pub struct Stack {
    /// Base URL of crm-core.
    pub core_url: String,
    /// Base URL of the gateway, where there is one.
    pub gateway_url: Option<String>,
    /// The tenant resolver behind the gateway, where there is one.
    pub resolver: Option<Resolver>,
    pub(crate) admin: tokio_postgres::Client,
    /// Where the gateway's mail becomes files, unless a setting says otherwise.
    pub mail: MailFolder,
    signer: Arc<InternalSigner>,
    access: AccessKeys,
    _core: Running,
    _gateway: Option<aisha_gateway::Gateway>,
    _work: Vec<Background>,
    /// The database and the broker's virtual host, where they are this stack's own.
    pub own: Option<Own>,
}

/// A replica of the tenant resolver; stops listening to events when dropped.
pub struct Resolver {
    /// Its base URL.
    pub url: String,
    _service: aisha_tenant_resolver::Service,
}

impl Resolver {
    fn start(public_key: &str, settings: &[(&str, &str)]) -> Self {
        let mut env: HashMap<String, String> = HashMap::from_iter([
            ("DATABASE_URL".to_owned(), database::address("DATABASE_URL")),
            ("AMQP_URL".to_owned(), database::address("AMQP_URL")),
            ("INTERNAL_PUBLIC_KEYS".to_owned(), public_key.to_owned()),
        ]);
        env.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let config = aisha_tenant_resolver::Config::read(&Env::from_map(env)).unwrap();
        let service = aisha_tenant_resolver::start(config, free(), &options()).unwrap();
        Self { url: service.url(), _service: service }
    }
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

    /// The gateway, and crm-core and the tenant resolver behind it; clients carry access tokens. Without limits.
    pub async fn platform() -> Self {
        Self::platform_with(&[]).await
    }

    /// The same with settings of the gateway, such as `("RATE_LIMIT_MAX", "5")`.
    pub async fn platform_with(settings: &[(&str, &str)]) -> Self {
        Self::with(Some(settings)).await
    }

    /// The platform with everything that happens beside requests (relay, webhooks, cron), over a database and a virtual host
    /// of its own: what one test leaves to be published reaches no other. Webhooks are on, and may go to this machine.
    pub async fn events() -> Self {
        Self::events_with(&[]).await
    }

    /// The same with settings.
    pub async fn events_with(settings: &[(&str, &str)]) -> Self {
        Self::events_in(Own::new().await, settings).await
    }

    /// The same over a database and a virtual host that are there already: another process beside the first.
    pub async fn events_in(own: Own, settings: &[(&str, &str)]) -> Self {
        let (database_url, amqp_url) = (own.database_url.clone(), own.amqp_url.clone());
        let mut all = vec![
            ("DATABASE_URL", database_url.as_str()),
            ("AMQP_URL", amqp_url.as_str()),
            ("WEBHOOKS_ENABLED", "true"),
            ("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1"),
        ];
        all.extend_from_slice(settings);
        Self::build(Some(&all), Some(own)).await
    }

    async fn with(gateway: Option<&[(&str, &str)]>) -> Self {
        Self::build(gateway, None).await
    }

    async fn build(gateway: Option<&[(&str, &str)]>, own: Option<Own>) -> Self {
        let seed = InternalSigner::generate().unwrap();
        let signer = Arc::new(InternalSigner::new(&SecretString::from(seed.clone())).unwrap());
        let given = gateway.unwrap_or_default();
        let mut env: HashMap<String, String> = HashMap::from_iter([
            ("DATABASE_URL".to_owned(), database::address("DATABASE_URL")),
            ("AMQP_URL".to_owned(), database::address("AMQP_URL")),
            ("INTERNAL_PUBLIC_KEYS".to_owned(), signer.public_key().to_owned()),
            ("CREDENTIALS_KEY".to_owned(), CREDENTIALS_KEY.to_owned()),
            // Addresses that tests subscribe and nothing is sent to, unless events are on.
            ("WEBHOOKS_ENABLED".to_owned(), "true".to_owned()),
            ("WEBHOOK_ALLOWED_HOSTS".to_owned(), "hooks.example".to_owned()),
        ]);
        // The gateway's key is its own, see below.
        env.extend(
            given.iter().filter(|(k, _)| *k != "CREDENTIALS_KEY").map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        let core_config = aisha_crm_core::Config::read(&Env::from_map(env)).unwrap();
        let work = if own.is_some() { aisha_crm_core::work(&core_config).unwrap() } else { Vec::new() };
        let core = aisha_crm_core::start(core_config, free(), &options()).unwrap();
        let core_url = core.url();
        let mail = MailFolder::new();
        let (mut running, mut resolver) = (None, None);
        if let Some(settings) = gateway {
            let behind = resolver.insert(Resolver::start(signer.public_key(), settings)).url.clone();
            let mut env: HashMap<String, String> = HashMap::from_iter([
                ("DATABASE_URL".to_owned(), database::address("DATABASE_URL")),
                ("REDIS_URL".to_owned(), database::address("REDIS_URL")),
                // Without an answer of Redis the gateway counts nothing, and tests count exactly.
                ("REDIS_TIMEOUT_MS".to_owned(), "5000".to_owned()),
                ("JWT_SECRET".to_owned(), JWT_SECRET.to_owned()),
                ("INTERNAL_SIGNING_KEY".to_owned(), seed),
                // A key of its own: a sender takes only what it can open, so tests do not send each other's mail.
                ("CREDENTIALS_KEY".to_owned(), format!("{0}{0}", aisha_kernel::new_id().simple())),
                ("MAIL_DIR".to_owned(), mail.path().display().to_string()),
                ("FRONTEND_URL".to_owned(), "http://crm.example".to_owned()),
                ("CRM_CORE_URL".to_owned(), core_url.clone()),
                ("TENANT_RESOLVER_URL".to_owned(), behind),
                ("RATE_LIMIT_MAX".to_owned(), "0".to_owned()),
                ("AUTH_RATE_LIMIT_MAX".to_owned(), "0".to_owned()),
            ]);
            env.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            let config = aisha_gateway::config::Config::read(&Env::from_map(env)).unwrap();
            running = Some(aisha_gateway::run(config, free(), &options()).unwrap());
        }
        let gateway_url = running.as_ref().map(aisha_gateway::Gateway::url);
        let access = AccessKeys::new(&SecretString::from(JWT_SECRET.to_owned()), None).unwrap();
        let admin = match &own {
            Some(own) => database::connect(&own.admin_url).await,
            None => database::admin().await,
        };
        Self {
            core_url,
            gateway_url,
            resolver,
            admin,
            mail,
            signer,
            access,
            _core: core,
            _gateway: running,
            _work: work,
            own,
        }
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
            None => self.internal(&self.core_url, "crm-core", identity),
        }
    }

    /// One more replica of the tenant resolver, with these settings.
    #[must_use]
    pub fn resolver_with(&self, settings: &[(&str, &str)]) -> Resolver {
        Resolver::start(self.signer.public_key(), settings)
    }

    /// A client that calls a service directly, with the token that the gateway would show it.
    #[must_use]
    pub fn internal(&self, url: &str, service: &str, identity: &Identity) -> Client {
        Client::internal(url, &self.signer, service, identity)
    }

    /// A client without a credential.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::anonymous(self.gateway_url.as_ref().unwrap_or(&self.core_url))
    }
}
