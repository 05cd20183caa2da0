//! Secrets that must be read again (provider keys, second factors), sealed with `CREDENTIALS_KEY` before they are stored.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random nonce. A sealed value is one format byte, the nonce, the ciphertext and
//! its tag. Does not belong here: what is only compared (passwords, API keys), which is hashed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};

/// The format: says how to read what follows, so that it can change one day.
const FORMAT: u8 = 1;

/// A key cannot be used, or a sealed value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is not base64 of 32 bytes.
    #[error("must be base64 of 32 bytes (openssl rand -base64 32)")]
    Key,
    /// There is no randomness.
    #[error("the value cannot be sealed")]
    Seal,
    /// Sealed with another key, or damaged.
    #[error("the sealed value cannot be opened with this key")]
    Open,
}

/// Seals and opens secrets with one key.
pub struct Sealer(RandomizedNonceKey);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// From the text of `CREDENTIALS_KEY`: base64 of 32 bytes.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn new(key: &SecretString) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(key.expose_secret().trim()).map_err(|_| SealError::Key)?;
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Key)?))
    }

    /// Seals; twice the same secret gives two different values.
    ///
    /// # Errors
    /// [`SealError::Seal`].
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut text = secret.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from([FORMAT]), &mut text).map_err(|_| SealError::Seal)?;
        Ok([&[FORMAT], nonce.as_ref().as_slice(), &text].concat())
    }

    /// Opens what [`Sealer::seal`] made with the same key.
    ///
    /// # Errors
    /// [`SealError::Open`].
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (format, rest) = sealed.split_first().ok_or(SealError::Open)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Open)?;
        let mut text = text.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from([*format]), &mut text).map_err(|_| SealError::Open)?;
        if *format == FORMAT { Ok(plain.to_vec()) } else { Err(SealError::Open) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&SecretString::from(STANDARD.encode([byte; 32]))).unwrap()
    }

    #[test]
    fn only_the_same_key_opens_and_nothing_may_be_changed() {
        let sealed = sealer(1).seal(b"sk-secret").unwrap();
        assert_eq!(sealer(1).open(&sealed).unwrap(), b"sk-secret");
        assert_eq!(sealer(2).open(&sealed), Err(SealError::Open));
        assert_ne!(sealer(1).seal(b"sk-secret").unwrap(), sealed);
        assert!(!sealed.windows(9).any(|w| w == b"sk-secret"));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(sealer(1).open(&damaged), Err(SealError::Open), "byte {at}");
        }
        for cut in [0, 1, 12, sealed.len() - 1] {
            assert_eq!(sealer(1).open(&sealed[..cut]), Err(SealError::Open), "cut to {cut}");
        }
        assert_eq!(sealer(1).open(&sealer(1).seal(b"").unwrap()).unwrap(), b"");
    }

    #[test]
    fn a_key_is_base64_of_32_bytes() {
        for bad in ["", "short", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33]), &"z".repeat(45)] {
            assert!(Sealer::new(&SecretString::from((*bad).to_owned())).is_err(), "{bad}");
        }
    }
}
