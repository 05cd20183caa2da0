//! The caller of a service, as the gateway vouches for it. Services accept nothing else.

use crate::{ApiError, RequestFacts};
use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use aisha_auth::{Identity, Principal, token::InternalVerifier};
use aisha_db::RequestContext;
use aisha_kernel::{Error, TenantId, clock};
use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Ready, ready},
    sync::Arc,
};

/// The header that carries the gateway's token.
pub const INTERNAL_TOKEN: &str = "x-internal-token";

/// Most verified tokens that a worker remembers: one lives two minutes, so this is some eighty new sessions a second.
const REMEMBERED: usize = 10_000;

/// Verifies internal tokens; one per worker. A token is verified once and then remembered until it expires, so that the
/// signature costs nothing per request.
pub struct Doorkeeper {
    verifier: Arc<InternalVerifier>,
    verified: RefCell<HashMap<String, (Arc<Identity>, i64)>>,
}

impl Doorkeeper {
    /// For one worker.
    #[must_use]
    pub fn new(verifier: Arc<InternalVerifier>) -> Self {
        Self { verifier, verified: RefCell::default() }
    }

    fn identify(&self, token: &str) -> Result<Arc<Identity>, Error> {
        let now = clock::now().unix_timestamp();
        if let Some((identity, expires)) = self.verified.borrow().get(token)
            && *expires > now
        {
            return Ok(Arc::clone(identity));
        }
        let (identity, expires) = self.verifier.verify(token).map_err(|e| Error::unauthenticated().because(e))?;
        let identity = Arc::new(identity);
        let mut verified = self.verified.borrow_mut();
        if verified.len() >= REMEMBERED {
            verified.retain(|_, (_, expires)| *expires > now);
            if verified.len() >= REMEMBERED {
                verified.clear();
            }
        }
        verified.insert(token.to_owned(), (Arc::clone(&identity), expires));
        Ok(identity)
    }
}

/// Somebody the gateway vouches for. As an extractor it is what makes a route closed: a handler without it is public.
#[derive(Debug, Clone)]
pub struct Caller {
    identity: Arc<Identity>,
    context: RequestContext,
}

impl Caller {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Facts of the request for the audit log.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// The caller in one tenant; see [`Identity::in_tenant`].
    ///
    /// # Errors
    /// 403 for another tenant, 400 when a superadmin names none.
    pub fn in_tenant(&self, requested: Option<TenantId>) -> Result<Principal, Error> {
        let me = self.identity.in_tenant(requested)?;
        if let Some(facts) = RequestFacts::current() {
            facts.set_tenant_id(me.tenant());
        }
        Ok(me)
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(caller(request).map_err(ApiError))
    }
}

fn caller(request: &HttpRequest) -> Result<Caller, Error> {
    let text = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let token = text(INTERNAL_TOKEN).ok_or_else(Error::unauthenticated)?;
    let door = request.app_data::<web::Data<Doorkeeper>>().ok_or_else(Error::unauthenticated)?;
    let identity = door.identify(token)?;
    let facts = RequestFacts::of(request);
    if let Some(facts) = &facts {
        facts.set_user_id(identity.user_id);
        if let Some(tenant) = identity.tenant_id {
            facts.set_tenant_id(tenant);
        }
        // The gateway is the only one with a token, so its word on the client's address is good.
        if let Some(ip) = text("x-forwarded-for").and_then(|v| v.split(',').next()?.trim().parse().ok()) {
            facts.set_client_ip(ip);
        }
    }
    let context = RequestContext {
        request_id: facts.as_ref().map(|f| f.request_id().to_owned()),
        ip: facts.and_then(|f| f.client_ip()).map(|ip| ip.to_string()),
        user_agent: text(header::USER_AGENT.as_str()).map(|v| v.chars().take(500).collect()),
    };
    Ok(Caller { identity, context })
}
