//! Somebody who uses the API while it falls to pieces: signs in again when it must, and takes no answer for what it is.

use aisha_testkit::{Client, Reply};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Access tokens live for 15 minutes.
const SIGN_IN_EVERY: Duration = Duration::from_secs(600);
/// Between two attempts.
pub const PAUSE: Duration = Duration::from_millis(250);

/// What came of one request.
pub enum Said {
    /// 2xx.
    Done(Reply),
    /// The platform, or a part of it, is away: the request may have been carried out, or not.
    Nothing(String),
    /// It was understood and refused.
    Refused(String),
}

/// Somebody with a password.
pub struct Person {
    base: String,
    email: String,
    password: String,
    session: RefCell<Option<(Client, Instant)>>,
}

impl Person {
    /// Nothing is sent yet.
    pub fn new(base: &str, email: &str, password: &str) -> Self {
        let (base, email, password) = (base.to_owned(), email.to_owned(), password.to_owned());
        Self { base, email, password, session: RefCell::default() }
    }

    /// A client with a token that holds for a while yet.
    pub async fn client(&self) -> Result<Client, Said> {
        if let Some((client, since)) = &*self.session.borrow()
            && since.elapsed() < SIGN_IN_EVERY
        {
            return Ok(client.clone());
        }
        let anonymous = Client::anonymous(&self.base);
        let body = json!({ "email": self.email, "password": self.password }).to_string();
        match judge(send(&anonymous, "POST", "/api/auth/login", None, Some(body)).await) {
            Said::Done(reply) => {
                let token = reply.json()["token"].as_str().unwrap_or_default().to_owned();
                let client = anonymous.with("authorization", format!("Bearer {token}"));
                self.session.replace(Some((client.clone(), Instant::now())));
                Ok(client)
            }
            other => Err(other),
        }
    }

    /// The next request signs in anew.
    pub fn forget(&self) {
        self.session.replace(None);
    }

    /// One attempt at a request.
    pub async fn once(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Said {
        let client = match self.client().await {
            Ok(client) => client,
            Err(said) => return said,
        };
        let reply = send(&client, method, path, key, body.map(Value::to_string)).await;
        if reply.as_ref().is_ok_and(|r| r.status == 401) {
            self.forget();
            return Said::Nothing("401".to_owned());
        }
        judge(reply)
    }

    /// A request that is repeated, as the same one, until it is done.
    pub async fn insist(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> anyhow::Result<Reply> {
        let end = Instant::now() + patience;
        let key = (method != "GET").then(|| aisha_kernel::new_id().to_string());
        loop {
            let why = match self.once(method, path, key.as_deref(), body).await {
                Said::Done(reply) => return Ok(reply),
                Said::Refused(why) => bail!("{method} {path}: {why}"),
                Said::Nothing(why) => why,
            };
            if Instant::now() > end {
                bail!("{method} {path}: nothing within {} s: {why}", patience.as_secs());
            }
            sleep(PAUSE).await;
        }
    }

    /// The id of what a POST makes.
    pub async fn make(&self, path: &str, body: &Value, patience: Duration) -> anyhow::Result<(Uuid, Value)> {
        let data = self.insist("POST", path, Some(body), patience).await?.data();
        let id = data["id"].as_str().and_then(|id| id.parse().ok()).with_context(|| format!("no id in {data}"))?;
        Ok((id, data))
    }
}

async fn send(
    client: &Client,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: Option<String>,
) -> Result<Reply, String> {
    let mut headers = Vec::new();
    headers.extend(key.map(|key| ("idempotency-key", key)));
    headers.extend(body.is_some().then_some(("content-type", "application/json")));
    let sent = client.try_send(method, path, &headers, body.map(String::into_bytes));
    timeout(ANSWER_WITHIN, sent).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// 409 is what a repetition gets while the first request is still under way.
fn judge(reply: Result<Reply, String>) -> Said {
    match reply {
        Err(e) => Said::Nothing(e),
        Ok(reply) => match reply.status.as_u16() {
            200..=299 => Said::Done(reply),
            409 if reply.text.contains("Idempotency-Key") => Said::Nothing(reply.text),
            429 | 500.. => Said::Nothing(format!("{} {}", reply.status, reply.text)),
            _ => Said::Refused(format!("{} {}", reply.status, reply.text)),
        },
    }
}
