//! The secret of a subscription: how one is made, and how it is stored.
//!
//! Belongs here: making, sealing, opening. Does not belong here: what it signs (`signature`), who may see it (nobody, but
//! once, when it is made).

use aisha_auth::sealing::Sealer;
use aisha_kernel::Error;
use aws_lc_rs::rand;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

/// What secrets begin with from which Standard Webhooks signatures can be made; the rest is base64.
pub const PREFIX: &str = "whsec_";
/// Random bytes in a secret that is made here.
const BYTES: usize = 32;

/// A new secret, as it is shown: `whsec_` and the base64 of a key. The key is 32 random bytes, themselves written as text: there
/// are receivers, n8n among them, that can keep nothing else as a key. 43 letters are within the 24 to 64 bytes of Standard
/// Webhooks.
///
/// # Errors
/// 500 when the system has no randomness.
pub fn generate_secret() -> Result<SecretString, Error> {
    let mut bytes = [0u8; BYTES];
    rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(URL_SAFE_NO_PAD.encode(bytes))).into())
}

/// What the sealed secrets of a subscription are bound to. The same for the current and the previous one, so that a
/// rotation moves the sealed bytes from column to column.
fn context(webhook: Uuid) -> String {
    format!("webhook.secret_sealed {webhook}")
}

/// Seals a secret for the subscription with this id.
///
/// # Errors
/// 500 when that fails.
pub fn seal_secret(sealer: &Sealer, webhook: Uuid, secret: &SecretString) -> Result<Vec<u8>, Error> {
    sealer.seal(&context(webhook), secret.expose_secret().as_bytes()).map_err(Error::internal)
}

/// Opens what [`seal_secret`] made for the same subscription.
///
/// # Errors
/// 500 when it was sealed for another one or with another `CREDENTIALS_KEY`.
pub fn open_secret(sealer: &Sealer, webhook: Uuid, sealed: &[u8]) -> Result<SecretString, Error> {
    let plain = sealer.open(&context(webhook), sealed).map_err(Error::internal)?;
    Ok(String::from_utf8(plain).map_err(Error::internal)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_own_subscription_only() {
        let sealer = Sealer::new(&"k".repeat(32).into(), None).unwrap();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let secret = generate_secret().unwrap();
        let sealed = seal_secret(&sealer, one, &secret).unwrap();
        assert_eq!(open_secret(&sealer, one, &sealed).unwrap().expose_secret(), secret.expose_secret());
        assert!(open_secret(&sealer, other, &sealed).is_err());
    }

    #[test]
    fn secrets_differ_and_are_keys_of_the_length_that_is_asked_for_in_letters() {
        let (a, b) = (generate_secret().unwrap(), generate_secret().unwrap());
        assert_ne!(a.expose_secret(), b.expose_secret());
        let bytes = STANDARD.decode(a.expose_secret().strip_prefix(PREFIX).unwrap()).unwrap();
        assert!((24..=64).contains(&bytes.len()));
        assert!(bytes.iter().all(u8::is_ascii_graphic));
    }
}
