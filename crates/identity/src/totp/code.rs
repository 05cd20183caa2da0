//! Codes: of a device (RFC 6238: SHA-1, six digits, thirty seconds, one step of tolerance, as every authenticator app
//! does it) and for its loss.

use aisha_kernel::Error;
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fast_qr::{QRBuilder, convert::svg::SvgBuilder};
use sha2::{Digest as _, Sha256};
use totp_rs::{Builder, Secret, Totp};
use uuid::Uuid;

/// Bytes of a secret, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// Recovery codes of a set.
pub(super) const RECOVERY_CODES: usize = 10;
/// Bytes of a recovery code. With 80 bits a plain hash cannot be searched.
const RECOVERY_BYTES: usize = 10;
/// What an authenticator app shows above the code.
const ISSUER: &str = "Aisha CRM";

/// What somebody typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Six digits.
    Device(String),
    /// The hash of a recovery code.
    Recovery(Vec<u8>),
    /// Neither.
    Nothing,
}

/// Reads a code; blanks and hyphens are for people.
pub(super) fn typed(user: Uuid, otp: &str) -> Typed {
    let plain: String = otp.chars().filter(|c| !c.is_whitespace() && *c != '-').take(65).collect();
    if plain.len() == 6 && plain.bytes().all(|b| b.is_ascii_digit()) {
        return Typed::Device(plain);
    }
    let plain = plain.to_ascii_uppercase();
    let base32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
    if plain.len() == RECOVERY_BYTES * 8 / 5 && plain.bytes().all(base32) {
        return Typed::Recovery(recovery_hash(user, &plain));
    }
    Typed::Nothing
}

fn recovery_hash(user: Uuid, plain: &str) -> Vec<u8> {
    Sha256::new().chain_update(user.as_bytes()).chain_update(plain.as_bytes()).finalize().to_vec()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0u8; N];
    rand::fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(bytes)
}

/// A new secret.
pub(super) fn new_secret() -> Result<[u8; SECRET_BYTES], Error> {
    random()
}

/// A set of recovery codes as they are shown, with their hashes.
pub(super) fn new_recovery_codes(user: Uuid) -> Result<Vec<(String, Vec<u8>)>, Error> {
    (0..RECOVERY_CODES)
        .map(|_| {
            let plain = Secret::from(random::<RECOVERY_BYTES>()?.to_vec()).to_base32();
            let groups: Vec<&str> = plain.as_bytes().chunks(4).filter_map(|c| std::str::from_utf8(c).ok()).collect();
            Ok((groups.join("-").to_lowercase(), recovery_hash(user, &plain)))
        })
        .collect()
}

/// The generator of a secret for an account.
pub(super) fn device(secret: &[u8], email: &str) -> Result<Totp, Error> {
    // The label separates issuer and account with a colon.
    let account = email.replace(':', "_");
    Builder::new()
        .with_secret(secret.to_vec())
        .with_issuer(Some(ISSUER))
        .with_account_name(account)
        .build()
        .map_err(|e| Error::internal(e.to_string()))
}

/// The step that a code belongs to, if it is right at this time.
pub(super) fn step(secret: &[u8], code: &str, unix_seconds: i64) -> Result<Option<i64>, Error> {
    let now = u64::try_from(unix_seconds).map_err(Error::internal)?;
    Ok(device(secret, "")?.check(code, now).and_then(|step| i64::try_from(step).ok()))
}

/// A QR code of a text as a `data:` URL of an SVG image.
pub(super) fn qr(text: &str) -> Result<String, Error> {
    let code = QRBuilder::new(text).build().map_err(|e| Error::internal(format!("{e:?}")))?;
    Ok(format!("data:image/svg+xml;base64,{}", STANDARD.encode(SvgBuilder::default().to_str(&code))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard() {
        // RFC 6238, appendix B, cut to six digits.
        let secret = b"12345678901234567890";
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")] {
            assert_eq!(step(secret, code, time).unwrap(), Some(time / 30), "{time}");
            assert_eq!(step(secret, code, time + 30).unwrap(), Some(time / 30), "one step late");
            assert_eq!(step(secret, code, time + 90).unwrap(), None, "three steps late");
        }
        assert_eq!(step(secret, "28708२", 59).unwrap(), None);
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        let (ada, grace) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(typed(ada, " 287 082 "), Typed::Device("287082".into()));
        for nothing in ["", "28708", "2870822", "28708a", &"a".repeat(1000)] {
            assert_eq!(typed(ada, nothing), Typed::Nothing, "{nothing}");
        }
        let codes = new_recovery_codes(ada).unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        for (shown, hash) in &codes {
            assert_eq!(shown.len(), 19, "{shown}");
            for way in [shown.clone(), shown.to_uppercase(), shown.replace('-', " ")] {
                assert_eq!(typed(ada, &way), Typed::Recovery(hash.clone()));
            }
            assert_ne!(typed(grace, shown), Typed::Recovery(hash.clone()));
        }
    }

    #[test]
    fn an_app_can_read_it() {
        let url = device(&[7; 20], "ada:x@example.test").unwrap().to_url().unwrap();
        assert!(url.starts_with("otpauth://totp/Aisha%20CRM:ada_x"), "{url}");
        assert!(url.contains("secret=A4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYH"), "{url}");
        assert!(qr(&url).unwrap().starts_with("data:image/svg+xml;base64,"));
    }
}
