//! From a credential to who is calling.
//!
//! A verified credential is looked up in the database at most twice a second; in between its entry answers. So a logout,
//! a deactivation or a new role holds within a second on every replica, and at once on this one, which drops the entry.

use crate::upstream::Upstream;
use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use aisha_auth::{
    Identity, api_key,
    token::{AccessKeys, InternalSigner},
};
use aisha_db::Db;
use aisha_http::ApiError;
use aisha_identity::{
    api_key::key_identity,
    session::{SessionProof, session_identity},
};
use aisha_kernel::{Error, TenantId};
use moka::sync::Cache;
use std::{
    fmt,
    future::{Ready, ready},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use uuid::Uuid;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// How long an entry answers without asking the database.
const FRESH: Duration = Duration::from_millis(500);
/// How long an internal token is used; it is valid for twice as long.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Entries kept; each is a few hundred bytes.
const MOST_ENTRIES: u64 = 50_000;

/// What a credential is remembered by.
#[derive(Clone, PartialEq, Eq, Hash)]
enum CredentialId {
    Session(Uuid),
    /// The SHA-256 of an API key.
    Key(Vec<u8>),
}

/// Who is calling, with the tokens that vouch for it towards the services.
#[derive(Clone)]
pub struct Caller(Arc<Entry>);

struct Entry {
    identity: Arc<Identity>,
    must_enrol: bool,
    checked: Instant,
    tokens: Arc<Tokens>,
}

struct Tokens {
    minted: Instant,
    /// One per upstream, made when first needed.
    ready: [OnceLock<HeaderValue>; Upstream::ALL.len()],
}

impl Caller {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.0.identity
    }

    /// Whether it may set up a second factor and nothing else.
    #[must_use]
    pub fn must_enrol(&self) -> bool {
        self.0.must_enrol
    }

    /// The token for a service, as a header value.
    ///
    /// # Errors
    /// When signing fails.
    pub fn internal_token(&self, signer: &InternalSigner, upstream: Upstream) -> Result<HeaderValue, Error> {
        let slot = self.0.tokens.ready.get(upstream as usize);
        if let Some(token) = slot.and_then(OnceLock::get) {
            return Ok(token.clone());
        }
        let token = signer.mint(self.identity(), upstream.name()).map_err(Error::internal)?;
        let mut value =
            HeaderValue::from_maybe_shared(bytes::Bytes::from(token)).map_err(|e| Error::internal(e.to_string()))?;
        value.set_sensitive(true);
        Ok(slot.map_or_else(|| value.clone(), |slot| slot.get_or_init(|| value.clone()).clone()))
    }
}

/// Taken from the request that the door let in; on a public route only where a credential was shown.
impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or_else(|| ApiError(Error::unauthenticated())))
    }
}

/// Verifies credentials. One per process: the entries are shared by its workers.
pub struct Authenticator {
    /// Signs and verifies access tokens.
    pub access: AccessKeys,
    /// Signs internal tokens.
    pub internal: InternalSigner,
    entries: Cache<CredentialId, Arc<Entry>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("entries", &self.entries.entry_count()).finish()
    }
}

impl Authenticator {
    /// With these keys.
    #[must_use]
    pub fn new(access: AccessKeys, internal: InternalSigner) -> Self {
        let entries = Cache::builder().max_capacity(MOST_ENTRIES).time_to_live(TOKEN_LIFE).build();
        Self { access, internal, entries }
    }

    /// Who shows a credential in these headers: `Authorization: Bearer` or `X-API-Key`.
    ///
    /// # Errors
    /// 401 for none or one that does not hold; 503 when the database is away.
    pub async fn authenticate(&self, db: &Db, headers: &HeaderMap) -> Result<Caller, Error> {
        if let Some(token) = bearer(headers) {
            let claims = self.access.verify(token).map_err(|e| Error::unauthenticated().because(e))?;
            let find = || session_identity(db, claims.sid, claims.tenant_id.map(TenantId));
            let caller = self.entry(CredentialId::Session(claims.sid), find).await?;
            // A session belongs to one user for good.
            return if caller.identity().user_id == claims.sub { Ok(caller) } else { Err(Error::unauthenticated()) };
        }
        let key = headers.get(API_KEY).and_then(|v| v.to_str().ok()).filter(|k| api_key::prefix(k).is_some());
        let key = key.ok_or_else(Error::unauthenticated)?;
        // A key was made by somebody who could; nobody types a code for a program.
        let find = async || {
            let identity = key_identity(db, key).await?;
            Ok(identity.map(|identity| SessionProof { identity, must_enrol: false }))
        };
        self.entry(CredentialId::Key(api_key::hash(key)), find).await
    }

    async fn entry<F>(&self, id: CredentialId, find: impl FnOnce() -> F) -> Result<Caller, Error>
    where
        F: Future<Output = Result<Option<SessionProof>, Error>>,
    {
        let known = self.entries.get(&id);
        if let Some(entry) = known.as_ref().filter(|e| e.checked.elapsed() < FRESH) {
            return Ok(Caller(Arc::clone(entry)));
        }
        // Before the look-up: what changes while it runs must count as not seen.
        let checked = Instant::now();
        let Some(SessionProof { identity, must_enrol }) = find().await? else {
            self.entries.invalidate(&id);
            return Err(Error::unauthenticated());
        };
        let same = known.filter(|e| *e.identity == identity);
        let (identity, tokens) = match same {
            Some(e) if e.tokens.minted.elapsed() < TOKEN_LIFE => (Arc::clone(&e.identity), Arc::clone(&e.tokens)),
            _ => (Arc::new(identity), Arc::new(Tokens { minted: checked, ready: Default::default() })),
        };
        let entry = Arc::new(Entry { identity, must_enrol, checked, tokens });
        self.entries.insert(id, Arc::clone(&entry));
        Ok(Caller(entry))
    }

    /// Forgets a session.
    pub fn forget_session(&self, sid: Uuid) {
        self.entries.invalidate(&CredentialId::Session(sid));
    }

    /// Forgets everything of a user: it was changed.
    pub fn forget_user(&self, user: Uuid) {
        self.forget(|identity| identity.user_id.0 == user);
    }

    /// Forgets an API key.
    pub fn forget_key(&self, id: Uuid) {
        self.forget(|identity| identity.sid == id);
    }

    fn forget(&self, matches: impl Fn(&Identity) -> bool) {
        for (id, _) in self.entries.iter().filter(|(_, entry)| matches(&entry.identity)) {
            self.entries.invalidate(&*id);
        }
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
