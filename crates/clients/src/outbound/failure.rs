//! Why a request had no answer, in words that the owner of the receiver can act on.

use super::guard::Refusal;
use std::{error::Error as StdError, io};

/// What kind of failure it was; `as_str` is what logs and the list of attempts say first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The URL, or an address that its host has, is not allowed.
    Refused,
    /// The host name has no address.
    Dns,
    /// Nobody answers at that address and port.
    Connect,
    /// No secure connection: a certificate that is not valid, or a server that does not speak TLS.
    Tls,
    /// No answer in time.
    Timeout,
    /// The connection ended before there was an answer.
    Reset,
    /// The answer was not HTTP.
    Protocol,
}

impl FailureKind {
    /// A stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
        }
    }
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.as_str())]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// A sentence for a person.
    pub message: String,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = if refusal == Refusal::Dns { FailureKind::Dns } else { FailureKind::Refused };
        Self::new(kind, refusal.to_string())
    }
}

/// An error with everything that caused it; what an I/O error wraps is not among its sources, so it is looked into.
fn chain<'e>(error: &'e (dyn StdError + 'static)) -> Vec<&'e (dyn StdError + 'static)> {
    let mut all: Vec<&'e (dyn StdError + 'static)> = Vec::new();
    let mut next = Some(error);
    while let Some(e) = next.take() {
        all.push(e);
        let inner = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    all
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let all = chain(&error);
        if let Some(refusal) = all.iter().find_map(|e| e.downcast_ref::<Refusal>()) {
            return refusal.clone().into();
        }
        if let Some(tls) = all.iter().find_map(|e| e.downcast_ref::<rustls::Error>()) {
            return Self::new(FailureKind::Tls, format!("no secure connection: {tls}"));
        }
        if error.is_timeout() {
            return Self::new(FailureKind::Timeout, "no connection in time");
        }
        let io = all.iter().find_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
        if error.is_connect() {
            return match io {
                Some(io::ErrorKind::ConnectionRefused) => Self::new(FailureKind::Connect, "connection refused"),
                Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                    Self::new(FailureKind::Connect, "the host cannot be reached")
                }
                Some(io::ErrorKind::TimedOut) => Self::new(FailureKind::Timeout, "no connection in time"),
                Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                    Self::new(FailureKind::Reset, "the connection ended before it was secure")
                }
                _ => Self::new(FailureKind::Connect, "no connection"),
            };
        }
        if all.iter().any(|e| e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)) {
            return Self::new(FailureKind::Protocol, "the answer was not HTTP");
        }
        Self::new(FailureKind::Reset, "the connection ended before there was an answer")
    }
}
