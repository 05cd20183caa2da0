//! Tokens that name a row and prove that whoever shows them was given them: 32 hexadecimal digits of the row's id, then
//! 64 random ones. Refresh tokens and the links of e-mails are such tokens; only their hash is stored.
//!
//! The id in front finds the row by its primary key, so that the secret part is compared here, in constant time.

use aisha_auth::api_key::{generate_opaque, hash};
use aisha_kernel::Error;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// A new token of a row, with the hash that is stored.
pub(crate) fn generate(row: Uuid) -> Result<(String, Vec<u8>), Error> {
    let secret = generate_opaque().map_err(|_| Error::internal("no randomness"))?;
    let token = format!("{}{}", row.simple(), secret.shown);
    Ok((token.clone(), hash(&token)))
}

/// The row that a token names, if it is shaped like one of ours.
pub(crate) fn row_of(token: &str) -> Option<Uuid> {
    let shaped = token.len() == 96 && token.bytes().all(|b| b.is_ascii_hexdigit());
    shaped.then(|| token.get(..32)).flatten().and_then(|id| Uuid::try_parse(id).ok())
}

/// Whether the stored hash is that of the token.
pub(crate) fn is_hash_of(stored: &[u8], token: &str) -> bool {
    bool::from(stored.ct_eq(&hash(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_row() {
        let row = aisha_kernel::new_id();
        let (token, hashed) = generate(row).unwrap();
        assert_eq!(row_of(&token), Some(row));
        assert!(is_hash_of(&hashed, &token) && !is_hash_of(&hashed, &token.to_uppercase()));
        assert_eq!(row_of(&token[1..]), None);
        assert_eq!(row_of(&"z".repeat(96)), None);
        assert_ne!(generate(row).unwrap().0, token);
    }
}
