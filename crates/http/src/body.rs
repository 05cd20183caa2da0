//! Reading request bodies: bounded, and with answers that say what is wrong and where.

use crate::ApiError;
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
};
use aisha_kernel::{Error, ErrorCode};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, future::LocalBoxFuture};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};
use tokio::time::timeout;

/// The largest body that is read into memory: 10 MiB.
pub const MAX_BODY: usize = 10 * 1024 * 1024;
/// How long a client may pause in the middle of a body.
const STALL: Duration = Duration::from_secs(30);

/// A JSON body of at most [`MAX_BODY`] as `T` (or `serde_json::Value`).
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let checked = require_json(request.headers()).and_then(|()| declared_length(request.headers(), MAX_BODY));
        let mut payload = payload.take();
        Box::pin(async move {
            let length = checked?;
            Ok(Self(parse(&collect(&mut payload, length, MAX_BODY).await?)?))
        })
    }
}

/// A JSON object with each key once: which of two values a client meant is not ours to guess.
#[derive(Debug)]
pub struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Keys).map(Self)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = access.next_entry::<String, Value>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Reads a body of at most `limit` bytes. A larger one is refused by its `Content-Length` before anything is read, and
/// without one as soon as it grows too large.
pub async fn read(headers: &HeaderMap, payload: &mut Payload, limit: usize) -> Result<Bytes, Error> {
    let length = declared_length(headers, limit)?;
    collect(payload, length, limit).await
}

/// Refuses (415) what does not call itself JSON.
pub fn require_json(headers: &HeaderMap) -> Result<(), Error> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json { Ok(()) } else { Err(wrong_content_type()) }
}

/// Parses JSON. Broken JSON is 400 with line and column, JSON of another shape 422 with the field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.is_empty() {
        return Err(Error::new(ErrorCode::MalformedBody, "The body is empty, JSON is expected."));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        explain(e.inner(), &path)
    })?;
    json.end().map_err(|e| explain(&e, ""))?;
    Ok(value)
}

fn declared_length(headers: &HeaderMap, limit: usize) -> Result<usize, Error> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(0) };
    match value.to_str().ok().and_then(|v| v.trim().parse::<u64>().ok()) {
        Some(length) => usize::try_from(length).ok().filter(|n| *n <= limit).ok_or_else(|| too_large(limit)),
        None => Err(Error::new(ErrorCode::MalformedBody, "The Content-Length is not a number.")),
    }
}

async fn collect(payload: &mut Payload, length: usize, limit: usize) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let chunk = match timeout(STALL, payload.next()).await {
            Err(_) => return Err(Error::new(ErrorCode::MalformedBody, "The body did not arrive in time.")),
            Ok(None) => break,
            Ok(Some(Err(e))) => {
                return Err(Error::new(ErrorCode::MalformedBody, "The body did not arrive whole.").because(e));
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        if first.len() + all.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            // The declared length is a client's word: it saves growing, it does not reserve 10 MiB for every liar.
            all.reserve(length.clamp(first.len() + chunk.len(), 256 * 1024 + chunk.len() + first.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

pub(crate) fn too_large(limit: usize) -> Error {
    let size = match limit {
        n if n % (1024 * 1024) == 0 => format!("{} MB", n / (1024 * 1024)),
        n if n % 1024 == 0 => format!("{} KB", n / 1024),
        n => format!("{n} bytes"),
    };
    Error::new(ErrorCode::PayloadTooLarge, format!("The body is larger than the {size} that are accepted here."))
}

pub(crate) fn wrong_content_type() -> Error {
    Error::new(ErrorCode::UnsupportedMediaType, "The Content-Type must be application/json.")
}

/// A JSON error in our words. `path` is where the parser was, `.` or empty for the top.
pub(crate) fn explain(e: &serde_json::Error, path: &str) -> Error {
    let text = e.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    if !e.is_data() {
        let message = format!("The body is not valid JSON: {what} at line {} column {}.", e.line(), e.column());
        return Error::new(ErrorCode::MalformedBody, message);
    }
    let path = if path == "." { "" } else { path };
    // A missing field is reported by the object that lacks it, an unknown one by itself.
    let (field, message) = match (quoted_name(what), what) {
        (Some(name), w) if w.starts_with("missing field") => (join(path, name), "This field is required.".to_owned()),
        (Some(name), w) if w.starts_with("duplicate field") => (join(path, name), "This field comes twice.".to_owned()),
        (Some(name), w) if w.starts_with("unknown field") => {
            let field = if path.is_empty() || last(path) != name { join(path, name) } else { path.to_owned() };
            (field, "There is no such field.".to_owned())
        }
        // The text before "expected" quotes the value, which may be long or private.
        (_, w) if w.starts_with("invalid ") || w.starts_with("unknown variant") => {
            let expected = w.split_once("expected ").map_or("something else", |(_, expected)| expected);
            (path.to_owned(), format!("Expected {}.", plain_type(expected)))
        }
        (_, w) => (path.to_owned(), w.to_owned()),
    };
    Error::invalid(if field.is_empty() { "body".to_owned() } else { field }, message)
}

/// The name of a type for somebody who does not know ours.
fn plain_type(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a map" => "an object",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("enum ") => "one of the allowed values",
        other => other,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The first name in back-ticks.
pub(crate) fn quoted_name(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
