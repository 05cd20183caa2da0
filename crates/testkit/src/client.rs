//! A client that acts as one person.

use aisha_auth::{Identity, token::InternalSigner};
use awc::http::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// An internal token lives for two minutes, and a test may take longer: one of this age is replaced, as the gateway does.
const MINT_AFTER: Duration = Duration::from_secs(60);

/// Sends requests with one credential.
#[derive(Clone)]
pub struct Client {
    base: String,
    credential: Option<Credential>,
    http: awc::Client,
}

#[derive(Clone)]
enum Credential {
    Fixed(&'static str, String),
    Internal(Rc<Internal>),
}

impl Credential {
    fn header(&self) -> (&str, String) {
        match self {
            Self::Fixed(name, value) => (name, value.clone()),
            Self::Internal(internal) => ("x-internal-token", internal.token()),
        }
    }
}

/// Whom the gateway would vouch for, towards which service.
struct Internal {
    signer: Arc<InternalSigner>,
    identity: Identity,
    service: String,
    minted: RefCell<Option<(Instant, String)>>,
}

impl Internal {
    fn token(&self) -> String {
        let mut minted = self.minted.borrow_mut();
        if let Some((at, token)) = &*minted
            && at.elapsed() < MINT_AFTER
        {
            return token.clone();
        }
        let token = self.signer.mint(&self.identity, &self.service).unwrap();
        *minted = Some((Instant::now(), token.clone()));
        token
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub text: String,
}

impl Reply {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// `data` of the envelope.
    #[must_use]
    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    /// The error code.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Names of the fields in `details`.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        let details = self.json()["details"].clone();
        let names = details.as_array().into_iter().flatten().filter_map(|d| d["field"].as_str());
        names.map(str::to_owned).collect()
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// The id in `data`.
    #[track_caller]
    #[must_use]
    pub fn id(&self) -> uuid::Uuid {
        self.data()["id"].as_str().and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no id in {}", self.text))
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

impl Client {
    /// A client without a credential.
    #[must_use]
    pub fn anonymous(base: &str) -> Self {
        let http = awc::Client::builder().timeout(Duration::from_secs(300)).disable_redirects().finish();
        Self { base: base.to_owned(), credential: None, http }
    }

    /// The same client with a credential header.
    #[must_use]
    pub fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        Self { credential: Some(Credential::Fixed(name, value.into())), ..self.clone() }
    }

    /// A client with the token that the gateway would show to a service, always a fresh one.
    pub(crate) fn internal(base: &str, signer: &Arc<InternalSigner>, service: &str, identity: &Identity) -> Self {
        let (signer, identity, service) = (Arc::clone(signer), identity.clone(), service.to_owned());
        let internal = Internal { signer, identity, service, minted: RefCell::default() };
        Self { credential: Some(Credential::Internal(Rc::new(internal))), ..Self::anonymous(base) }
    }

    /// Base URL and credential header, for a request that is written byte by byte.
    #[must_use]
    pub fn raw(&self) -> (&str, Option<(&str, String)>) {
        (&self.base, self.credential.as_ref().map(Credential::header))
    }

    /// Sends a request with any headers and body.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Reply {
        self.try_send(method, path, headers, body).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// The same where the other side may be away: no whole answer is no failed test then.
    ///
    /// # Errors
    /// Why there was none.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Reply, String> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(credential) = &self.credential {
            request = request.insert_header(credential.header());
        }
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let sent = match body {
            Some(body) => request.send_body(body).await,
            None => request.send().await,
        };
        let mut response = sent.map_err(|e| e.to_string())?;
        let bytes = response.body().limit(256 * 1024 * 1024).await.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Reply { status: response.status(), headers: response.headers().clone(), text })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], None).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], None).await
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> Reply {
        self.send(method, path, &[("content-type", "application/json")], Some(body.to_string().into_bytes())).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.json("POST", path, body).await
    }

    /// PATCH of JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.json("PATCH", path, body).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.json("PUT", path, body).await
    }

    /// Uploads a CSV file to an import with the other parts of the form.
    pub async fn import(&self, path: &str, csv: &[u8], parts: &[(&str, &str)]) -> Reply {
        let boundary = "aisha-test-boundary";
        let mut body = Vec::new();
        for (name, value) in parts {
            body.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                    .as_bytes(),
            );
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"test.csv\"\r\nContent-Type: text/csv\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(csv);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        self.send("POST", path, &[("content-type", &kind)], Some(body)).await
    }
}
