//! What a client says of a subscription: which fields there are, and what may stand in them.
//!
//! Belongs here: reading and checking. Does not belong here: whether an address may be reached from here (the service asks
//! the outbound client), writing (`subscription`).

use crate::{pattern::read_patterns, secret::PREFIX};
use aisha_db::record::{
    Changes,
    changes::Mode,
    field::{Field, flag, integer, json, text},
};
use aisha_kernel::{Error, FieldError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

/// Characters of `metadata`, as JSON.
const LONGEST_METADATA: usize = 16_384;

/// What a client may set; `event_types` and `secret` are read apart.
pub static FIELDS: [Field; 7] = [
    text(2_000).required().aliases(&["target_url"]).named("url", "Where deliveries go: http or https."),
    text(500).named("description", "What it is for."),
    flag().default("true").aliases(&["active"]).named("is_active", "Whether events are taken on and delivered."),
    flag().default("true").named("retries", "Whether an attempt that failed is repeated, for eight days."),
    integer(1, 100).default("8").named("max_concurrency", "Requests at the same time."),
    integer(1, 10_000).named("rate_limit", "Requests per second; none is no limit."),
    json().default("'{}'").named("metadata", "Anything of yours."),
];

/// The names under which events may be given.
const EVENT_NAMES: [&str; 3] = ["event_types", "event_name", "event"];

/// Shown, but not to be set.
const READ_ONLY: [&str; 15] = [
    "id",
    "tenant_id",
    "paused_at",
    "disabled_reason",
    "disabled_at",
    "has_secret",
    "previous_secret_until",
    "failing_since",
    "last_success_at",
    "last_failure_at",
    "version",
    "created_by",
    "created_at",
    "updated_at",
    "warnings",
];

/// The address, if a subscription may have it: http or https, a host, no user information.
///
/// # Errors
/// What is wrong with it.
pub fn read_url(text: &str) -> Result<Url, &'static str> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("must not contain blanks");
    }
    let url = Url::parse(text).map_err(|_| "must be an address such as https://example.com/hook")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must have a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    Ok(url)
}

/// What is wrong with a secret that somebody brings along.
fn secret_problem(text: &str) -> Option<&'static str> {
    let fits = match text.strip_prefix(PREFIX) {
        Some(base64) => STANDARD.decode(base64).is_ok_and(|bytes| (24..=64).contains(&bytes.len())),
        None => (16..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
    };
    (!fits).then_some(
        "must be whsec_ and the base64 of 24 to 64 bytes, or 16 to 200 letters, digits and signs of ASCII without blanks",
    )
}

/// A body, checked.
#[derive(Debug)]
pub struct WebhookInput {
    pub(crate) changes: Changes,
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) secret: Option<SecretString>,
    url: Option<Url>,
}

impl WebhookInput {
    /// Reads a JSON object. `records` are the record types, singular, which events are named after.
    ///
    /// # Errors
    /// 422 with a message for every field that does not fit.
    pub fn read(mut body: Map<String, Value>, mode: Mode, records: &[&str]) -> Result<Self, Error> {
        body.retain(|key, _| !READ_ONLY.contains(&key.as_str()));
        let mut problems = Vec::new();
        let mut event_types = None;
        for name in EVENT_NAMES {
            let Some(value) = body.remove(name) else { continue };
            if event_types.is_some() {
                problems.push(FieldError::new(name, "is given twice, also as event_types"));
                continue;
            }
            let read = read_patterns(name, &value, records);
            event_types = Some(read.unwrap_or_else(|found| {
                problems.extend(found);
                Vec::new()
            }));
        }
        let secret = match body.remove("secret") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) if s.is_empty() => None,
            Some(Value::String(s)) => {
                problems.extend(secret_problem(&s).map(|what| FieldError::new("secret", what)));
                Some(SecretString::from(s))
            }
            Some(_) => {
                problems.push(FieldError::new("secret", "must be a text"));
                None
            }
        };
        let mut url = None;
        let changes = match Changes::read_fields(&FIELDS, &body, mode) {
            Ok(changes) => {
                if let Some(text) = changes.text("url") {
                    match read_url(text) {
                        Ok(read) => url = Some(read),
                        Err(what) => problems.push(FieldError::new(url_name(&body), what)),
                    }
                }
                changes
            }
            Err(mut e) => {
                e.details.extend(problems);
                return Err(e);
            }
        };
        if body.get("metadata").is_some_and(|v| v.to_string().len() > LONGEST_METADATA) {
            problems.push(FieldError::new("metadata", format!("must have at most {LONGEST_METADATA} characters")));
        }
        if problems.is_empty() {
            Ok(Self { changes, event_types, secret, url })
        } else {
            Err(Error::validation(problems))
        }
    }

    /// The address, if one is given, for the deeper look at where it leads.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    pub(crate) fn has(&self, column: &str, value: &str) -> bool {
        self.changes.text(column) == Some(value)
    }
}

/// The name under which a body gives the address.
fn url_name(body: &Map<String, Value>) -> &'static str {
    if body.contains_key("target_url") { "target_url" } else { "url" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(v: Value, mode: Mode) -> Result<WebhookInput, Error> {
        WebhookInput::read(v.as_object().cloned().unwrap_or_default(), mode, &["contact"])
    }

    #[test]
    fn older_names_are_understood() {
        let old = json!({ "event_name": "contact.created", "target_url": "https://example.com/a", "active": false });
        let input = read(old, Mode::Create).unwrap();
        assert_eq!(input.event_types.as_deref(), Some(&["contact.created".to_owned()][..]));
        assert_eq!(input.url().map(Url::as_str), Some("https://example.com/a"));
        assert!(input.has("is_active", "false"));
        assert!(read(json!({ "event": "*" }), Mode::Update).unwrap().event_types.is_some());
        let shown = json!({ "id": "x", "has_secret": true, "version": 3, "warnings": [], "secret": "" });
        assert!(read(shown, Mode::Update).is_ok(), "what was read can be sent back");
    }

    #[test]
    fn secrets_are_long_and_of_a_known_form() {
        for good in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "0123456789abcdef", "a-long/and=odd+one!!"] {
            assert_eq!(secret_problem(good), None, "{good}");
        }
        for bad in
            ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "with a blank in it", "sixteen\u{e9}letters.."]
        {
            assert!(secret_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn each_field_has_its_message() {
        for (bad, field) in [
            (json!({}), "url"),
            (json!({ "url": "example.com" }), "url"),
            (json!({ "url": "ftp://example.com" }), "url"),
            (json!({ "url": "https://user@example.com" }), "url"),
            (json!({ "url": "https://:pw@example.com" }), "url"),
            (json!({ "url": "https://exa mple.com" }), "url"),
            (json!({ "target_url": "https://" }), "target_url"),
            (json!({ "url": "https://e.com", "event_types": ["x.y"] }), "event_types.0"),
            (json!({ "url": "https://e.com", "event_types": [], "event": "*" }), "event"),
            (json!({ "url": "https://e.com", "secret": "short" }), "secret"),
            (json!({ "url": "https://e.com", "secret": 5 }), "secret"),
            (json!({ "url": "https://e.com", "max_concurrency": 0 }), "max_concurrency"),
            (json!({ "url": "https://e.com", "rate_limit": 10_001 }), "rate_limit"),
            (json!({ "url": "https://e.com", "metadata": [] }), "metadata"),
            (json!({ "url": "https://e.com", "metadata": { "a": "b".repeat(17_000) } }), "metadata"),
            (json!({ "url": "https://e.com", "colour": 1 }), "colour"),
        ] {
            let e = read(bad.clone(), Mode::Create).unwrap_err();
            assert_eq!(e.details.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), [field], "{bad}");
        }
    }
}
