//! What is known about the request being served; handlers add to it, the log line and error bodies read it.

use actix_web::HttpMessage;
use aisha_kernel::{TenantId, UserId};
use aisha_telemetry::records::RequestContext;
use std::{
    cell::{Cell, Ref, RefCell},
    net::IpAddr,
    rc::Rc,
};

tokio::task_local! {
    pub(super) static CURRENT: Rc<RequestFacts>;
}

/// What a log record takes from the request that this task serves.
pub(super) fn for_log_records() -> Option<RequestContext> {
    let facts = RequestFacts::current()?;
    let trace_id = facts.trace_id().as_deref().map(str::to_owned);
    Some(RequestContext {
        request_id: facts.request_id.clone(),
        trace_id,
        tenant_id: facts.tenant_id(),
        user_id: facts.user_id(),
    })
}

/// Facts about one request. Stands in the request's extensions, and on the task that serves it.
#[derive(Debug)]
pub struct RequestFacts {
    request_id: String,
    trace_id: RefCell<Option<String>>,
    client_ip: Cell<Option<IpAddr>>,
    tenant_id: Cell<Option<TenantId>>,
    user_id: Cell<Option<UserId>>,
    notes: RefCell<Vec<(&'static str, String)>>,
}

impl RequestFacts {
    pub(super) fn new(request_id: String, client_ip: Option<IpAddr>) -> Self {
        Self {
            request_id,
            trace_id: RefCell::default(),
            client_ip: Cell::new(client_ip),
            tenant_id: Cell::default(),
            user_id: Cell::default(),
            notes: RefCell::default(),
        }
    }

    /// The facts of a request; `None` where the middleware is not installed.
    pub fn of(request: &impl HttpMessage) -> Option<Rc<Self>> {
        request.extensions().get::<Rc<Self>>().cloned()
    }

    /// The facts of the request that this task serves; `None` elsewhere, in spawned tasks too.
    #[must_use]
    pub fn current() -> Option<Rc<Self>> {
        CURRENT.try_with(Rc::clone).ok()
    }

    /// The id of the request that this task serves; empty elsewhere.
    #[must_use]
    pub fn current_id() -> String {
        CURRENT.try_with(|facts| facts.request_id.clone()).unwrap_or_default()
    }

    /// The request id, as in the response header.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The W3C trace id (32 hexadecimal digits) if the request belongs to a trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<Ref<'_, str>> {
        Ref::filter_map(self.trace_id.borrow(), Option::as_deref).ok()
    }

    pub(super) fn set_trace_id(&self, id: Option<String>) {
        *self.trace_id.borrow_mut() = id;
    }

    /// The client's address: the peer's, until somebody who knows the trusted proxies says better.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip.get()
    }

    /// Sets the client's address.
    pub fn set_client_ip(&self, ip: IpAddr) {
        self.client_ip.set(Some(ip));
    }

    /// The tenant, once known.
    pub fn tenant_id(&self) -> Option<TenantId> {
        self.tenant_id.get()
    }

    /// Sets the tenant.
    pub fn set_tenant_id(&self, id: TenantId) {
        self.tenant_id.set(Some(id));
    }

    /// The user, once known.
    pub fn user_id(&self) -> Option<UserId> {
        self.user_id.get()
    }

    /// Sets the user.
    pub fn set_user_id(&self, id: UserId) {
        self.user_id.set(Some(id));
    }

    /// Adds something else worth a place in the log line. Never a secret, never a record's content.
    pub fn note(&self, name: &'static str, value: impl Into<String>) {
        self.notes.borrow_mut().push((name, value.into()));
    }

    /// The notes as `name=value`, if there are any.
    pub(super) fn notes(&self) -> Option<String> {
        let notes = self.notes.borrow();
        if notes.is_empty() {
            return None;
        }
        Some(notes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }
}
