//! Sealing secrets at rest: AES-256-GCM with a key made of `CREDENTIALS_KEY` by HKDF-SHA-256 (RFC 5869).
//!
//! What is sealed says neither what it is nor whose: the context (the name of the column and the id of the row) is
//! authenticated with it, so that a value cannot be moved to another row.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;

/// The shortest `CREDENTIALS_KEY`, in bytes.
pub const SHORTEST_KEY: usize = 32;

/// A secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The key material is not what it should be.
    #[error("a sealing key must have at least {SHORTEST_KEY} bytes")]
    Key,
    /// The system has no randomness, or the text is too long.
    #[error("cannot seal")]
    Seal,
    /// Sealed with another key, in another context, or changed since.
    #[error("cannot open what was sealed")]
    Open,
}

/// Seals and opens.
pub struct Sealer {
    /// The current key first, then the one before it.
    keys: Vec<(String, RandomizedNonceKey)>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl Sealer {
    /// From the current secret and, during a rotation, the previous one, which only opens.
    ///
    /// # Errors
    /// [`SealingError::Key`].
    pub fn new(secret: &SecretString, previous: Option<&SecretString>) -> Result<Self, SealingError> {
        let keys = std::iter::once(secret).chain(previous).map(derive).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// What tells the keys apart without telling anything about them; the current one first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(id, _)| id.as_str())
    }

    /// Seals with the current key. A nonce comes first, then the text with its tag.
    ///
    /// # Errors
    /// [`SealingError::Seal`].
    pub fn seal(&self, context: &str, text: &[u8]) -> Result<Vec<u8>, SealingError> {
        let (_, key) = self.keys.first().ok_or(SealingError::Key)?;
        let mut sealed = text.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(context), &mut sealed).map_err(|_| SealingError::Seal)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what [`Sealer::seal`] made in the same context, with either key.
    ///
    /// # Errors
    /// [`SealingError::Open`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealingError> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(SealingError::Open)?;
        self.keys
            .iter()
            .find_map(|(_, key)| {
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let mut text = text.to_vec();
                let plain = key.open_in_place(nonce, Aad::from(context), &mut text).ok()?;
                Some(plain.to_vec())
            })
            .ok_or(SealingError::Open)
    }
}

fn derive(secret: &SecretString) -> Result<(String, RandomizedNonceKey), SealingError> {
    let secret = secret.expose_secret().as_bytes();
    if secret.len() < SHORTEST_KEY {
        return Err(SealingError::Key);
    }
    let source = hkdf::Salt::new(hkdf::HKDF_SHA256, b"aisha credentials").extract(secret);
    let expand = |purpose: &[u8]| {
        let mut out = [0u8; 32];
        let expanded = source.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        expanded.map(|()| out).map_err(|_| SealingError::Key)
    };
    let id = expand(b"key id")?.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let key = RandomizedNonceKey::new(&AES_256_GCM, &expand(b"aes-256-gcm")?).map_err(|_| SealingError::Key)?;
    Ok((id, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(c: char) -> SecretString {
        c.to_string().repeat(SHORTEST_KEY).into()
    }

    #[test]
    fn only_the_same_key_and_context_open() {
        let a = Sealer::new(&secret('a'), None).unwrap();
        let b = Sealer::new(&secret('b'), None).unwrap();
        let sealed = a.seal("totp 1", b"JBSWY3DPEHPK3PXP").unwrap();
        assert_eq!(a.open("totp 1", &sealed).unwrap(), b"JBSWY3DPEHPK3PXP");
        assert!(a.open("totp 2", &sealed).is_err() && b.open("totp 1", &sealed).is_err());
        assert_ne!(sealed, a.seal("totp 1", b"JBSWY3DPEHPK3PXP").unwrap());
        let mut changed = sealed.clone();
        changed[20] ^= 1;
        assert!(a.open("totp 1", &changed).is_err() && a.open("totp 1", &sealed[..5]).is_err());
    }

    #[test]
    fn a_rotation_still_opens_the_old() {
        let old = Sealer::new(&secret('a'), None).unwrap();
        let both = Sealer::new(&secret('b'), Some(&secret('a'))).unwrap();
        assert_eq!(both.open("x", &old.seal("x", b"old").unwrap()).unwrap(), b"old");
        assert!(old.open("x", &both.seal("x", b"new").unwrap()).is_err());
        assert_eq!(both.key_ids().nth(1), old.key_ids().next());
        assert!(Sealer::new(&"short".to_owned().into(), None).is_err());
    }
}
