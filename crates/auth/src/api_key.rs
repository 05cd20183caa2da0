//! API keys: `aisha_` followed by 64 hex digits, shown once, stored as a prefix for the look-up and a hash.
//!
//! A key has 256 bits of randomness, so a plain SHA-256 is enough; a slow password hash would only slow every request.

use aws_lc_rs::rand;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Characters of a key that are stored in the clear to find it again.
pub const PREFIX_LEN: usize = 18;

/// A freshly made secret with what is stored of it.
pub struct NewSecret {
    /// What the caller is shown, once.
    pub shown: String,
    /// SHA-256 of it.
    pub hash: Vec<u8>,
}

fn random_hex() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0u8; 32];
    rand::fill(&mut bytes)?;
    Ok(bytes.iter().fold(String::with_capacity(64), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    }))
}

/// A new API key.
///
/// # Errors
/// When the system has no randomness.
pub fn generate() -> Result<NewSecret, aws_lc_rs::error::Unspecified> {
    let shown = format!("aisha_{}", random_hex()?);
    Ok(NewSecret { hash: hash(&shown), shown })
}

/// A new opaque token (refresh tokens), 64 hex digits.
///
/// # Errors
/// When the system has no randomness.
pub fn generate_opaque() -> Result<NewSecret, aws_lc_rs::error::Unspecified> {
    let shown = random_hex()?;
    Ok(NewSecret { hash: hash(&shown), shown })
}

/// SHA-256 of a key or token.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// The part of a key that is stored in the clear; `None` when it is not shaped like one of ours.
#[must_use]
pub fn prefix(key: &str) -> Option<&str> {
    let shaped = key.len() == 70 && key.strip_prefix("aisha_")?.bytes().all(|b| b.is_ascii_hexdigit());
    shaped.then(|| key.get(..PREFIX_LEN)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shaped_and_hashed() {
        let k = generate().unwrap();
        assert_eq!(prefix(&k.shown), Some(&k.shown[..PREFIX_LEN]));
        assert_eq!(hash(&k.shown), k.hash);
        assert_ne!(generate().unwrap().shown, k.shown);
        for bad in ["", "aisha_", "aisha_zz", &"a".repeat(70)] {
            assert_eq!(prefix(bad), None);
        }
    }
}
