//! Refresh tokens: a [`crate::token`] of the session's id.
//!
//! A token that was replaced long ago can be told from nonsense: it names a live session whose secret it no longer has.

use aisha_kernel::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use sha2::{Digest as _, Sha256};

/// The key that only the holder of the token can make. Not the plain hash of the token: that one is in the database.
fn key(token: &str) -> Result<RandomizedNonceKey, Error> {
    let digest = Sha256::new().chain_update(b"successor of ").chain_update(token.as_bytes()).finalize();
    RandomizedNonceKey::new(&AES_256_GCM, &digest).map_err(|_| Error::internal("no cipher"))
}

/// Seals the successor of a token with a key made of that token.
pub(crate) fn seal(token: &str, successor: &str) -> Result<Vec<u8>, Error> {
    let mut text = successor.as_bytes().to_vec();
    let nonce = key(token)?
        .seal_in_place_append_tag(Aad::empty(), &mut text)
        .map_err(|_| Error::internal("cannot seal a token"))?;
    Ok([nonce.as_ref().as_slice(), &text].concat())
}

/// Opens what [`seal`] made for the same token.
pub(crate) fn open(token: &str, sealed: &[u8]) -> Option<String> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    let plain = key(token).ok()?.open_in_place(nonce, Aad::empty(), &mut text).ok()?;
    String::from_utf8(plain.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::generate;

    #[test]
    fn only_the_old_token_opens_its_successor() {
        let sid = aisha_kernel::new_id();
        let (old, new, other) = (generate(sid).unwrap().0, generate(sid).unwrap().0, generate(sid).unwrap().0);
        let sealed = seal(&old, &new).unwrap();
        assert_eq!(open(&old, &sealed), Some(new.clone()));
        assert_eq!(open(&other, &sealed), None);
        assert_eq!(open(&old, &sealed[1..]), None);
        assert_eq!(open(&old, &[]), None);
        assert!(!sealed.windows(8).any(|w| new.as_bytes().windows(8).any(|n| n == w)));
    }
}
