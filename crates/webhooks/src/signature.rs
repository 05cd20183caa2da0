//! What proves to a receiver that a request is ours and unchanged.
//!
//! Two forms, side by side:
//! - `X-Webhook-Signature`: HMAC-SHA256 of the body in lower-case hex, keyed with the secret exactly as it was shown. While
//!   a rotation lasts it is the new secret's: one header holds one signature, so a receiver of this form changes its
//!   secret at the moment of the rotation, or tries both.
//! - Standard Webhooks 1.0 (`webhook-id`, `webhook-timestamp`, `webhook-signature`): a list of `v1,<base64>` over
//!   `id.timestamp.body`, keyed with the bytes behind `whsec_`. While a rotation lasts, the new secret's signature comes
//!   first and the old one's after it; a library that knows either accepts the request.
//!
//! Secrets of another shape than `whsec_` and base64, which people may choose themselves, have the first form only.

use crate::secret::PREFIX;
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt::{self, Write as _};
use uuid::Uuid;

/// Name of the header with the signature in hex.
pub const HEX_HEADER: &str = "x-webhook-signature";
/// Name of the header with the event's id, the same at every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// Name of the header with the time of the attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Name of the header with the list of Standard Webhooks signatures.
pub const LIST_HEADER: &str = "webhook-signature";

/// Signs for one subscription. Keys are prepared once, for many requests.
#[derive(Clone)]
pub struct Signer {
    hex: Key,
    list: Vec<Key>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("list", &self.list.len()).finish_non_exhaustive()
    }
}

/// The signatures of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// For [`HEX_HEADER`].
    pub hex: String,
    /// For [`LIST_HEADER`], where a secret has that form.
    pub list: Option<String>,
}

fn standard_key(secret: &SecretString) -> Option<Key> {
    let bytes = STANDARD.decode(secret.expose_secret().strip_prefix(PREFIX)?).ok()?;
    Some(Key::new(HMAC_SHA256, &bytes))
}

impl Signer {
    /// With the current secret and, while a rotation lasts, the one before it.
    #[must_use]
    pub fn new(current: &SecretString, previous: Option<&SecretString>) -> Self {
        let hex = Key::new(HMAC_SHA256, current.expose_secret().as_bytes());
        Self { hex, list: std::iter::once(current).chain(previous).filter_map(standard_key).collect() }
    }

    /// Signs a body that is sent as event `id` at `timestamp`.
    #[must_use]
    pub fn sign(&self, id: Uuid, timestamp: i64, body: &[u8]) -> Signatures {
        self.sign_text(&id.to_string(), timestamp, body)
    }

    fn sign_text(&self, id: &str, timestamp: i64, body: &[u8]) -> Signatures {
        let hex = hmac::sign(&self.hex, body).as_ref().iter().fold(String::with_capacity(64), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        });
        let start = format!("{id}.{timestamp}.");
        let signed = self.list.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(start.as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        let list: Vec<String> = signed.collect();
        Signatures { hex, list: (!list.is_empty()).then(|| list.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[test]
    fn hex_is_over_the_body_with_the_secret_as_it_was_shown() {
        let body = br#"{"event":"aicampaign.progress","tenant_id":"550e8400-e29b-41d4-a716-446655440000","payload":{"id":"abc-123","status":"running","progress":{"total":100,"processed":10,"success":9,"failed":1}},"emitted_at":"2025-11-16T20:00:00.000Z"}"#;
        let signed = Signer::new(&secret("topsecret"), None).sign(Uuid::nil(), 0, body);
        assert_eq!(signed.hex, "58f5643cabe101af66532d25e6635fe7e9ccab5854dbe1c05921974072c2ff5b");
        assert_eq!(signed.list, None, "a secret of another shape has no Standard Webhooks key");
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_vector_of_standard_webhooks() {
        let signed = Signer::new(&secret(SECRET), None).sign_text(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.list.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn during_a_rotation_both_sign_and_the_new_one_comes_first() {
        let (old, new) = (secret(SECRET), secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
        let sign = |signer: Signer| signer.sign(Uuid::from_u128(1), 7, b"{}");
        let (only_old, only_new) = (sign(Signer::new(&old, None)), sign(Signer::new(&new, None)));
        let both = sign(Signer::new(&new, Some(&old)));
        assert_eq!(both.hex, only_new.hex);
        assert_eq!(both.list.unwrap(), format!("{} {}", only_new.list.unwrap(), only_old.list.unwrap()));
        let mixed = sign(Signer::new(&secret("chosen by somebody"), Some(&old)));
        assert_eq!(mixed.list, sign(Signer::new(&old, None)).list);
    }
}
