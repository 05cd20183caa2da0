//! A database and a virtual host of the broker for one test alone: a copy of the migrated database, and queues that nobody else
//! publishes to. `scripts/stack.sh` removes the databases before the next run.

use crate::database;
use awc::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Where they are.
#[derive(Debug, Clone)]
pub struct Own {
    /// The name of both.
    pub name: String,
    /// The database, as services reach it.
    pub database_url: String,
    /// The database, past every policy.
    pub admin_url: String,
    /// The virtual host.
    pub amqp_url: String,
}

impl Own {
    /// Makes both.
    pub async fn new() -> Self {
        let name = format!("aisha_own_{}", aisha_kernel::new_id().simple());
        let server = database::with_database(&database::address("DATABASE_ADMIN_URL"), "postgres");
        let server = database::connect(&server).await;
        let copy = format!("CREATE DATABASE {name} TEMPLATE aisha_template OWNER aisha_owner");
        server.batch_execute(&copy).await.unwrap_or_else(|e| panic!("{e:?}; `make test` makes the template"));
        let amqp = database::address("AMQP_URL");
        make_virtual_host(&amqp, &name).await;
        Self {
            database_url: database::with_database(&database::address("DATABASE_URL"), &name),
            admin_url: database::with_database(&database::address("DATABASE_ADMIN_URL"), &name),
            amqp_url: database::with_database(&amqp, &name),
            name,
        }
    }

    /// The names of the queues there are.
    pub async fn queues(&self) -> Vec<String> {
        let text = manage(Method::GET, &self.amqp_url, &format!("queues/{}", self.name)).await;
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        all.iter().map(|q| q["name"].as_str().unwrap().to_owned()).collect()
    }
}

async fn make_virtual_host(amqp_url: &str, name: &str) {
    manage(Method::PUT, amqp_url, &format!("vhosts/{name}")).await;
}

/// Asks the management API, which listens one port above the broker.
async fn manage(method: Method, amqp_url: &str, path: &str) -> String {
    let (credentials, place) = amqp_url.trim_start_matches("amqp://").split_once('@').unwrap();
    let (host, port) = place.split('/').next().unwrap().split_once(':').unwrap();
    let url = format!("http://{host}:{}/api/{path}", port.parse::<u16>().unwrap() + 1);
    let login = format!("Basic {}", STANDARD.encode(credentials));
    let http = awc::Client::new();
    let mut answer = http.request(method, url).insert_header(("authorization", login)).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap()
}
