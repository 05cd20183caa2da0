//! The envelope of success: `{"status":"success","data":…}`.

use crate::ApiError;
use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use aisha_kernel::Error;
use serde::Serialize;

/// The body of a success. Serialized once, straight from the data.
#[derive(Debug, Serialize)]
pub struct Envelope<T> {
    status: &'static str,
    /// The answer.
    pub data: T,
}

impl<T> Envelope<T> {
    /// Wraps an answer.
    pub const fn new(data: T) -> Self {
        Self { status: "success", data }
    }
}

/// 200 with an answer.
pub fn ok<T: Serialize>(data: T) -> HttpResponse {
    success(StatusCode::OK, data)
}

/// 201 with the new record and where it is (a path such as `/api/contacts/<id>`).
pub fn created<T: Serialize>(data: T, location: &str) -> HttpResponse {
    let mut response = success(StatusCode::CREATED, data);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Any status of success with an answer.
pub fn success<T: Serialize>(status: StatusCode, data: T) -> HttpResponse {
    match serde_json::to_vec(&Envelope::new(data)) {
        Ok(body) => json(status, body),
        Err(e) => ApiError(Error::internal(e)).error_response(),
    }
}

/// A response from bytes that are JSON already.
pub fn json(status: StatusCode, body: Vec<u8>) -> HttpResponse {
    let mut response = HttpResponse::new(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.set_body(actix_web::body::BoxBody::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    #[actix_web::test]
    async fn envelopes() {
        let response = ok(serde_json::json!({"id": 1}));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().get("content-type").expect("header"), "application/json");
        assert_eq!(to_bytes(response.into_body()).await.expect("body"), r#"{"status":"success","data":{"id":1}}"#);
        let response = created([1], "/api/contacts/1");
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers().get("location").expect("header"), "/api/contacts/1");
    }

    #[actix_web::test]
    async fn what_cannot_be_serialized_is_our_fault() {
        let response = ok(std::collections::HashMap::from([((1, 2), 3)]));
        assert_eq!(response.status(), 500);
        let body = to_bytes(response.into_body()).await.expect("body");
        assert!(!String::from_utf8_lossy(&body).contains("key must be"));
    }
}
