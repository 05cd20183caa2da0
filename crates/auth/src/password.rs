//! Passwords: the rule, and argon2id hashes (RFC 9106) in PHC string format.
//!
//! Hashing takes tens of milliseconds of one core on purpose: call it from a blocking thread.

use aisha_kernel::FieldError;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use std::{collections::HashSet, sync::LazyLock};

/// The ten thousand commonest passwords, one per line, by frequency. From the password list of zxcvbn 4.4.2 (MIT).
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// OWASP's second choice for argon2id: 19 MiB, two passes, one lane.
fn hasher() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Checks the rule: 8 to 128 characters with an upper-case and a lower-case letter, a digit and a special character,
/// and not one of the commonest. Returns every problem at once.
#[must_use]
pub fn check(field: &str, password: &str) -> Vec<FieldError> {
    let has = |f: fn(char) -> bool| password.chars().any(f);
    let rules = [
        (password.chars().count() >= 8, "must have at least 8 characters"),
        (password.len() <= 128, "must have at most 128 bytes"),
        (has(char::is_uppercase), "must contain an upper-case letter"),
        (has(char::is_lowercase), "must contain a lower-case letter"),
        (has(|c| c.is_ascii_digit()), "must contain a digit"),
        (has(|c| !c.is_alphanumeric()), "must contain a special character"),
        (!COMMON.contains(password), "is one of the most common passwords"),
    ];
    rules.into_iter().filter(|(ok, _)| !ok).map(|(_, message)| FieldError::new(field, message)).collect()
}

/// Hashes with a fresh salt.
///
/// # Errors
/// When the system has no randomness.
pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(hasher().hash_password(password.as_bytes())?.to_string())
}

/// Verifies in the same time whether or not there is a hash to compare with, so that an unknown e-mail address cannot
/// be told from a wrong password.
#[must_use]
pub fn verify(password: &str, hash: Option<&str>) -> bool {
    static DUMMY: LazyLock<String> = LazyLock::new(|| self::hash("no such user").unwrap_or_default());
    let verified = hasher().verify_password(password.as_bytes(), hash.unwrap_or(DUMMY.as_str())).is_ok();
    verified && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_every_problem() {
        assert!(check("password", "Correct-Horse-7").is_empty());
        assert_eq!(check("password", "").len(), 5);
        assert_eq!(check("password", "aaaaaaaa").len(), 3);
        assert_eq!(check("password", &"Aa1!".repeat(40)).len(), 1);
        assert!(check("password", "password").iter().any(|e| e.message.contains("common")));
    }

    #[test]
    fn hashes_verify_and_unknown_users_do_not() {
        let h = hash("Correct-Horse-7").unwrap();
        assert!(h.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify("Correct-Horse-7", Some(&h)));
        assert!(!verify("correct-horse-7", Some(&h)));
        assert!(!verify("no such user", None));
    }
}
