//! The services on free ports, over the test stack.

use crate::{Client, database};
use aisha_auth::{Identity, token::InternalSigner};
use aisha_config::Env;
use aisha_http::{Running, ServeOptions};
use secrecy::SecretString;
use std::net::TcpListener;

/// The running services.
pub struct Stack {
    /// Base URL of crm-core.
    pub core_url: String,
    pub(crate) admin: tokio_postgres::Client,
    signer: InternalSigner,
    _running: Vec<Running>,
}

fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn options() -> ServeOptions {
    ServeOptions { workers: 1, signals: false, ..ServeOptions::default() }
}

impl Stack {
    /// Starts crm-core.
    pub async fn start() -> Self {
        let signer = InternalSigner::new(&SecretString::from(InternalSigner::generate().unwrap())).unwrap();
        let env = Env::from_map([
            ("DATABASE_URL", database::address("DATABASE_URL")),
            ("AMQP_URL", database::address("AMQP_URL")),
            ("INTERNAL_PUBLIC_KEYS", signer.public_key().to_owned()),
        ]);
        let config = aisha_crm_core::Config::read(&env).unwrap();
        let core = aisha_crm_core::start(config, free(), &options()).unwrap();
        Self { core_url: core.url(), admin: database::admin().await, signer, _running: vec![core] }
    }

    /// A client that acts as `identity`.
    pub(crate) fn client(&self, identity: &Identity) -> Client {
        let token = self.signer.mint(identity, "crm-core").unwrap();
        Client::anonymous(&self.core_url).with("x-internal-token", token)
    }

    /// A client without a credential.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::anonymous(&self.core_url)
    }
}
