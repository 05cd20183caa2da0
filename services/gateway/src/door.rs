//! What every request passes before a handler sees it: the client's address, the read-only guard, the credential, the
//! limits. Nobody gets in without a credential, except where [`access`] says so.

use crate::state::Worker;
use actix_web::{
    Error, HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web::Data,
};
use aisha_http::{ApiError, RequestFacts};
use aisha_kernel::{Error as Refusal, ErrorCode};

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Nothing at all: probes and scrapers.
    Open,
    /// No credential; counted by address.
    Public,
    /// No credential, and a limit of its own in the handler.
    OwnLimit,
    /// A credential; counted by caller.
    Caller,
}

/// The one list of what may be called without a credential.
fn access(method: &Method, path: &str) -> Access {
    match (method.as_str(), path) {
        ("GET" | "HEAD", "/health" | "/ready" | "/metrics") => Access::Open,
        ("GET" | "HEAD", "/api/status" | "/api-docs" | "/api-docs.json") => Access::Public,
        ("GET" | "HEAD", path) if path.starts_with("/api-docs/") => Access::Public,
        ("POST", "/api/auth/login" | "/api/auth/forgot-password") => Access::OwnLimit,
        // Their credential is the token of a link.
        ("POST", "/api/auth/accept-invitation" | "/api/auth/reset-password") => Access::OwnLimit,
        ("GET" | "HEAD", "/api/auth/invitation") => Access::OwnLimit,
        // Their credential is the refresh token, in the body or a cookie.
        ("POST", "/api/auth/refresh" | "/api/auth/logout") => Access::Public,
        _ => Access::Caller,
    }
}

/// What a session may do that must first set up a second factor.
fn sets_up_totp(method: &Method, path: &str) -> bool {
    matches!(
        (method.as_str(), path),
        ("GET" | "HEAD", "/api/auth/totp") | ("POST", "/api/auth/totp/enrol" | "/api/auth/totp/verify")
    )
}

/// Whether a request may go ahead while the platform is read-only.
fn passes_readonly(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || matches!(path, "/api/auth/login" | "/api/auth/refresh" | "/api/auth/logout")
        // It looks and writes nothing.
        || path == "/api/system/diagnostics"
}

/// The middleware. Refusals are responses, not errors, so that the CORS headers outside reach them.
///
/// # Errors
/// What the handler behind it returns.
pub async fn door<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let quota = match enter(&request).await {
        Ok(quota) => quota,
        Err(refusal) => return Ok(request.error_response(refusal).map_into_right_body()),
    };
    let mut response = next.call(request).await?.map_into_left_body();
    if let Some(quota) = quota {
        quota.set_headers(response.headers_mut());
    }
    Ok(response)
}

async fn enter(request: &ServiceRequest) -> Result<Option<crate::limits::Quota>, ApiError> {
    let missing = || ApiError(Refusal::internal("the app is not put together"));
    let worker = request.app_data::<Data<Worker>>().ok_or_else(missing)?;
    let config = &worker.shared.config;
    let peer = request.peer_addr().map(|a| a.ip()).ok_or_else(missing)?;
    let address = crate::client::address(peer, request.headers(), &config.trusted_proxies);
    let facts = RequestFacts::of(request).ok_or_else(missing)?;
    facts.set_client_ip(address);
    let (method, path) = (request.method(), request.path());
    if config.readonly && !passes_readonly(method, path) {
        let message = "The platform is read-only at the moment.";
        return Err(Refusal::new(ErrorCode::ProductionReadonly, message).into());
    }
    match access(method, path) {
        Access::Open | Access::OwnLimit => Ok(None),
        Access::Public => worker.limits.check_address(address).await,
        Access::Caller => {
            let caller = match worker.shared.auth.authenticate(&worker.db, request.headers()).await {
                Ok(caller) => caller,
                Err(e) => {
                    // Whoever tries credentials is counted like anybody unknown.
                    worker.limits.check_address(address).await?;
                    return Err(e.into());
                }
            };
            let me = caller.identity();
            facts.set_user_id(me.user_id);
            if let Some(tenant) = me.tenant_id {
                facts.set_tenant_id(tenant);
            }
            let quota = worker.limits.check_caller(&caller).await?;
            if caller.must_enrol() && !sets_up_totp(method, path) {
                let message = "Your organisation asks for two-step sign-in: set it up first.";
                return Err(Refusal::new(ErrorCode::TotpEnrolmentRequired, message).into());
            }
            request.extensions_mut().insert(caller);
            Ok(quota)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_list_is_public() {
        assert_eq!(access(&Method::GET, "/health"), Access::Open);
        assert_eq!(access(&Method::POST, "/api/auth/login"), Access::OwnLimit);
        assert_eq!(access(&Method::GET, "/api-docs/index.html"), Access::Public);
        for (method, path) in [
            (Method::POST, "/health"),
            (Method::GET, "/api/auth/login"),
            (Method::POST, "/api/auth/invitation"),
            (Method::GET, "/api/auth/reset-password"),
            (Method::POST, "/api/auth/totp/verify"),
            (Method::GET, "/api/invitations"),
            (Method::GET, "/api/auth/me"),
            (Method::GET, "/api/users"),
            (Method::GET, "/api/contacts"),
            (Method::GET, "/api/status/"),
            (Method::GET, "//api/status"),
            (Method::GET, "/api-docs.json/x"),
            (Method::GET, "/nonsense"),
        ] {
            assert_eq!(access(&method, path), Access::Caller, "{method} {path}");
        }
    }

    #[test]
    fn who_must_enrol_can_do_that_and_nothing_else() {
        assert!(sets_up_totp(&Method::POST, "/api/auth/totp/enrol") && sets_up_totp(&Method::GET, "/api/auth/totp"));
        for (method, path) in [
            (Method::GET, "/api/contacts"),
            (Method::GET, "/api/auth/me"),
            (Method::POST, "/api/auth/totp/disable"),
            (Method::POST, "/api/apikeys"),
            (Method::PUT, "/api/auth/password"),
        ] {
            assert!(!sets_up_totp(&method, path), "{method} {path}");
        }
    }

    #[test]
    fn reads_and_signing_in_pass_the_readonly_guard() {
        assert!(passes_readonly(&Method::GET, "/api/contacts"));
        assert!(passes_readonly(&Method::POST, "/api/auth/login"));
        assert!(passes_readonly(&Method::POST, "/api/system/diagnostics"));
        assert!(!passes_readonly(&Method::POST, "/api/contacts"));
        assert!(!passes_readonly(&Method::DELETE, "/api/auth/sessions"));
    }
}
