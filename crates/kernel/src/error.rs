//! The one error type that a client may see.
//!
//! What is sent ([`Error::message`], [`Error::details`]) and what is logged ([`Error::cause`]) are different fields, so
//! that a cause can never reach a response by accident. Codes are stable: clients branch on them.

use serde::Serialize;
use std::{borrow::Cow, error::Error as StdError, time::Duration};

/// A result whose error a client may see.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal),* $(,)?) => {
        /// Stable machine-readable error codes with the HTTP status each maps to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode { $($(#[$doc])* $name),* }

        impl ErrorCode {
            /// Every code, for the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The value of `code` in an error body.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $code),* } }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status),* } }
        }
    };
}

codes! {
    /// The body is not JSON, or not the JSON that the route takes.
    MalformedBody = 400 "malformed_body",
    /// A query or path parameter cannot be used.
    InvalidParameter = 400 "invalid_parameter",
    /// No valid credential.
    Unauthenticated = 401 "unauthenticated",
    /// E-mail and password do not match an active user. One answer for every reason.
    InvalidCredentials = 401 "invalid_credentials",
    /// The password is right; `otp` must come with it, since the user has a second factor.
    OtpRequired = 401 "otp_required",
    /// The code of the second factor is wrong, too old or used already.
    InvalidOtp = 401 "invalid_otp",
    /// A valid credential that does not allow this.
    Forbidden = 403 "forbidden",
    /// The named tenant is not the caller's.
    InvalidTenant = 403 "invalid_tenant",
    /// The tenant has switched this module off.
    ModuleDisabled = 403 "module_disabled",
    /// The tenant asks for a second factor: the session may set one up and nothing else.
    TotpEnrolmentRequired = 403 "totp_enrolment_required",
    /// `PRODUCTION_READONLY` is on.
    ProductionReadonly = 403 "production_readonly",
    /// Nothing here that the caller may see.
    NotFound = 404 "not_found",
    /// The link of an e-mail does not work: unknown, used, withdrawn or expired. One answer for every reason.
    InvalidLink = 404 "invalid_link",
    /// The path exists, the method does not.
    MethodNotAllowed = 405 "method_not_allowed",
    /// Something in the way: a duplicate, or a state that forbids it.
    Conflict = 409 "conflict",
    /// The lead has been converted already.
    AlreadyConverted = 409 "already_converted",
    /// The source has been promoted already.
    AlreadyPromoted = 409 "already_promoted",
    /// What is to be taken back was changed or built upon since; `conflicts` lists the records.
    ConversionChanged = 409 "conversion_changed",
    /// `If-Match` does not match: somebody changed the record first.
    PreconditionFailed = 412 "precondition_failed",
    /// The body is larger than the route takes.
    PayloadTooLarge = 413 "payload_too_large",
    /// The `Content-Type` is not one that the route takes.
    UnsupportedMediaType = 415 "unsupported_media_type",
    /// The request is well-formed, its content is not acceptable; `details` names the fields.
    ValidationFailed = 422 "validation_failed",
    /// This `Idempotency-Key` was used with another request.
    IdempotencyKeyReused = 422 "idempotency_key_reused",
    /// Too many requests; `retryAfter` says when to come back.
    RateLimited = 429 "rate_limited",
    /// Our fault. The cause is in the log under the request id.
    Internal = 500 "internal",
    /// Something we depend on is away; try again.
    Unavailable = 503 "unavailable",
    /// Something behind the gateway did not answer in time.
    Timeout = 504 "timeout",
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Name of the field as the client sent it; dotted for nested ones (`custom_fields.tier`).
    pub field: String,
    /// A sentence for a person, without the value.
    pub message: String,
}

impl FieldError {
    /// A field error.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A record that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Its type, singular (`contact`).
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id; absent when the caller may not see it.
    pub id: Option<uuid::Uuid>,
    /// Its name; absent when the caller may not see it.
    pub name: Option<String>,
    /// What happened to it, as the end of a sentence (`was changed`).
    pub what: String,
}

/// An error that a client may see, with the cause that only the log may see.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Error {
    /// Machine-readable code; decides the status.
    pub code: ErrorCode,
    /// A sentence for a person.
    pub message: Cow<'static, str>,
    /// Field-level messages.
    pub details: Vec<FieldError>,
    /// Records that are in the way, with 409.
    pub conflicts: Vec<Conflict>,
    /// When to try again, for 429 and 503.
    pub retry_after: Option<Duration>,
    /// Why it happened; logged, never sent.
    #[source]
    pub cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            conflicts: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// Adds the cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds a field-level message.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.details.push(FieldError::new(field, message));
        self
    }

    /// 422 for one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::validation(vec![FieldError::new(field, message)])
    }

    /// 422 with all that is wrong.
    #[must_use]
    pub fn validation(details: Vec<FieldError>) -> Self {
        Self { details, ..Self::new(ErrorCode::ValidationFailed, "Some fields are not valid.") }
    }

    /// 400 for one query or path parameter.
    pub fn parameter(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParameter, "A parameter is not valid.").field(name, message)
    }

    /// 404. Also the answer for what exists but may not be seen.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "Not found.")
    }

    /// 403 for what may be seen but not done.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// 401.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(ErrorCode::Unauthenticated, "Authentication required.")
    }

    /// 409.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// 500 with a cause for the log.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorCode::Internal, "Something went wrong on our side.").because(cause)
    }

    /// 503 naming the dependency in general terms, with a cause for the log.
    pub fn unavailable(what: &'static str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut e = Self::new(ErrorCode::Unavailable, format!("The {what} is not available, try again shortly."));
        e.retry_after = Some(Duration::from_secs(1));
        e.because(cause)
    }
}
