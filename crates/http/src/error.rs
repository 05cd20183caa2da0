//! Errors as responses: one body for all of them, those that the framework makes itself included.

use crate::middleware::RequestFacts;
use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    error::{JsonPayloadError, PathError, QueryPayloadError},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    web::{self, ServiceConfig},
};
use aisha_kernel::{Error, ErrorCode, FieldError, error::Conflict};
use serde::Serialize;
use std::{borrow::Cow, fmt, time::Duration};

/// What handlers return.
pub type ApiResult<T = HttpResponse> = Result<T, ApiError>;

const RATE_LIMITED: &str = "Too many requests, please try again later.";
const INTERNAL: &str = "Something went wrong on our side.";

/// A [`kernel::Error`](Error) on its way to the client.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl From<Error> for ApiError {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The body of every error response.
#[derive(Debug, Serialize)]
struct Body<'a> {
    status: &'static str,
    code: &'static str,
    message: &'a str,
    details: &'a [FieldError],
    /// Records in the way, with 409 only.
    #[serde(skip_serializing_if = "<[Conflict]>::is_empty")]
    conflicts: &'a [Conflict],
    request_id: Cow<'a, str>,
    /// Seconds, with 429 only.
    #[serde(rename = "retryAfter", skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl ApiError {
    /// 429 with the time to wait.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        let mut e = Error::new(ErrorCode::RateLimited, RATE_LIMITED);
        e.retry_after = Some(retry_after);
        Self(e)
    }

    /// Whole seconds to wait, rounded up: whoever comes back then is not too early. Present with 429 and 503.
    fn retry_after_seconds(&self) -> Option<u64> {
        let e = &self.0;
        if !matches!(e.code, ErrorCode::RateLimited | ErrorCode::Unavailable) {
            return None;
        }
        let wait = e.retry_after.unwrap_or(Duration::from_secs(1));
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// The body as JSON. Takes the request id from the request that is being served on this task.
    pub(crate) fn body(&self) -> Vec<u8> {
        let e = &self.0;
        let facts = RequestFacts::current();
        let (message, details): (&str, &[FieldError]) = match e.code {
            // Whatever was put there, it was not meant for a client.
            ErrorCode::Internal => (INTERNAL, &[]),
            ErrorCode::RateLimited => (RATE_LIMITED, &e.details),
            _ => (&e.message, &e.details),
        };
        let body = Body {
            status: "error",
            code: e.code.as_str(),
            message,
            details,
            conflicts: if e.code.status() == 409 { &e.conflicts } else { &[] },
            request_id: facts.as_ref().map_or_else(
                || Cow::Owned(aisha_kernel::new_id().to_string()),
                |facts| Cow::Borrowed(facts.request_id()),
            ),
            retry_after: self.retry_after_seconds().filter(|_| e.code == ErrorCode::RateLimited),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The headers that come with it.
    pub(crate) fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.code.status() == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }

    /// Logs the cause, once, by the request middleware. What the client did wrong is no news for whoever is on call.
    pub(crate) fn log_cause(&self) {
        let e = &self.0;
        let Some(cause) = &e.cause else {
            if e.code == ErrorCode::Internal {
                tracing::error!(request_id = RequestFacts::current_id(), message = %e.message, "request failed");
            }
            return;
        };
        let (request_id, cause) = (RequestFacts::current_id(), Chain(cause.as_ref()));
        match e.code.status() {
            503 | 504 => tracing::warn!(request_id, code = e.code.as_str(), %cause, "request failed"),
            500.. => tracing::error!(request_id, code = e.code.as_str(), %cause, "request failed"),
            _ => tracing::debug!(request_id, code = e.code.as_str(), %cause, "request refused"),
        }
    }

    /// The framework's own error in our words. Its text is used only where it speaks about what the client sent.
    pub(crate) fn from_actix(e: &actix_web::Error, status: StatusCode) -> Self {
        if let Some(PathError::Deserialize(inner)) = e.as_error::<PathError>() {
            return Self(path_error(&inner.to_string()));
        }
        if let Some(QueryPayloadError::Deserialize(inner)) = e.as_error::<QueryPayloadError>() {
            return Self(query_error(&inner.to_string()));
        }
        if let Some(inner) = e.as_error::<JsonPayloadError>() {
            return Self(json_error(inner));
        }
        let error = Self::for_status(status).0;
        Self(if status.is_server_error() { error.because(e.to_string()) } else { error })
    }

    /// What to say when nothing but the status is known.
    pub(crate) fn for_status(status: StatusCode) -> Self {
        let status = status.as_u16();
        let code = ErrorCode::ALL.iter().copied().find(|code| code.status() == status).unwrap_or(match status {
            500.. => ErrorCode::Internal,
            _ => ErrorCode::InvalidParameter,
        });
        let message = match code {
            ErrorCode::Unauthenticated => "Authentication required.",
            ErrorCode::Forbidden => "Not allowed.",
            ErrorCode::NotFound => "Not found.",
            ErrorCode::MethodNotAllowed => "This method is not allowed here.",
            ErrorCode::PayloadTooLarge => "The body is too large.",
            ErrorCode::UnsupportedMediaType => "This content type is not accepted here.",
            ErrorCode::Unavailable => "Not available, try again shortly.",
            ErrorCode::Timeout => "No answer in time.",
            ErrorCode::Internal => INTERNAL,
            _ => "The request cannot be used.",
        };
        Self(Error::new(code, message))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        self.set_headers(response.headers_mut());
        response.set_body(actix_web::body::BoxBody::new(self.body()))
    }
}

/// An error with everything behind it on one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

/// Makes the framework's extractors and an unknown route answer like everything else; every service's app takes it.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.app_data(web::PathConfig::default().error_handler(|e, _| match &e {
        PathError::Deserialize(inner) => ApiError(path_error(&inner.to_string())).into(),
        other => ApiError(path_error(&other.to_string())).into(),
    }))
    .app_data(web::QueryConfig::default().error_handler(|e, _| match &e {
        QueryPayloadError::Deserialize(inner) => ApiError(query_error(&inner.to_string())).into(),
        other => ApiError(query_error(&other.to_string())).into(),
    }))
    .app_data(
        web::JsonConfig::default().limit(crate::body::MAX_BODY).error_handler(|e, _| ApiError(json_error(&e)).into()),
    )
    .app_data(web::PayloadConfig::new(crate::body::MAX_BODY))
    .default_service(web::to(unknown_route));
}

/// The answer for a path that no route takes.
pub async fn unknown_route(request: HttpRequest) -> ApiResult {
    Err(ApiError(Error::new(ErrorCode::NotFound, format!("There is no {} {}.", request.method(), request.path()))))
}

fn path_error(text: &str) -> Error {
    Error::new(ErrorCode::InvalidParameter, "A part of the path is not valid.").field("path", sentence(text))
}

fn query_error(text: &str) -> Error {
    Error::parameter(crate::body::quoted_name(text).unwrap_or("query"), sentence(text))
}

fn json_error(e: &JsonPayloadError) -> Error {
    match e {
        JsonPayloadError::OverflowKnownLength { limit, .. } | JsonPayloadError::Overflow { limit } => {
            crate::body::too_large(*limit)
        }
        JsonPayloadError::ContentType => crate::body::wrong_content_type(),
        JsonPayloadError::Deserialize(inner) => crate::body::explain(inner, ""),
        other => Error::new(ErrorCode::MalformedBody, "The body cannot be read.").because(other.to_string()),
    }
}

/// A library's lower-case fragment as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).chain(['.']).collect()).unwrap_or_default()
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
