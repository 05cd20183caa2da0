//! Refresh tokens: 32 hexadecimal digits of the session's id, then 64 random ones.
//!
//! The id in front finds the session by its primary key and lets a token that was replaced long ago be told from
//! nonsense: it names a live session whose secret it no longer has.

use aisha_auth::api_key::{generate_opaque, hash};
use aisha_kernel::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A new token of a session, with the hash that is stored.
pub(crate) fn generate(session: Uuid) -> Result<(String, Vec<u8>), Error> {
    let secret = generate_opaque().map_err(|_| Error::internal("no randomness"))?;
    let token = format!("{}{}", session.simple(), secret.shown);
    Ok((token.clone(), hash(&token)))
}

/// The session that a token names, if it is shaped like one of ours.
pub(crate) fn session_of(token: &str) -> Option<Uuid> {
    let shaped = token.len() == 96 && token.bytes().all(|b| b.is_ascii_hexdigit());
    shaped.then(|| token.get(..32)).flatten().and_then(|id| Uuid::try_parse(id).ok())
}

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

    #[test]
    fn tokens_name_their_session() {
        let sid = aisha_kernel::new_id();
        let (token, hashed) = generate(sid).unwrap();
        assert_eq!(session_of(&token), Some(sid));
        assert_eq!(hashed, hash(&token));
        assert_eq!(session_of(&token[1..]), None);
        assert_eq!(session_of(&"z".repeat(96)), None);
        assert_ne!(generate(sid).unwrap().0, token);
    }

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
