//! Tokens: the access token a client carries (HS256) and the internal token the gateway vouches with (Ed25519).
//!
//! Only the gateway holds a signing key; services verify with public keys. Standards: RFC 7519 (JWT), RFC 8037 (EdDSA).

use crate::Identity;
use aisha_kernel::{clock, id::UserId};
use aws_lc_rs::{
    encoding::AsBigEndian as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const ISSUER: &str = "aisha-gateway";
const AUDIENCE: &str = "aisha";

/// Life of an access token, in seconds.
pub const ACCESS_TTL: i64 = 15 * 60;
/// Life of an internal token, in seconds. The gateway mints a new one every minute; the rest is clock skew.
pub const INTERNAL_TTL: i64 = 120;

/// A token cannot be used, or a key cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key material is not what it should be.
    #[error("{0}")]
    Key(&'static str),
    /// The token is malformed, expired, not for us or not signed by a known key.
    #[error("token refused")]
    Refused(#[from] jsonwebtoken::errors::Error),
}

/// Claims of an access token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The user.
    pub sub: UserId,
    /// The session; whether it still holds is decided on every request.
    pub sid: Uuid,
    /// The user's tenant, for clients; never trusted for access.
    pub tenant_id: Option<Uuid>,
    /// The user's role, for clients; never trusted for access.
    pub role: crate::Role,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// Expires at, seconds since the epoch.
    pub exp: i64,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
}

/// Signs and verifies access tokens with `JWT_SECRET`.
pub struct AccessKeys {
    sign: EncodingKey,
    /// The current secret first, then the one before it, so that a rotation signs nobody out.
    verify: Vec<DecodingKey>,
    validation: Validation,
}

impl AccessKeys {
    /// From the current secret and, during a rotation, the previous one.
    ///
    /// # Errors
    /// When a secret is shorter than 32 bytes.
    pub fn new(secret: &SecretString, previous: Option<&SecretString>) -> Result<Self, TokenError> {
        let all: Vec<&[u8]> = std::iter::once(secret).chain(previous).map(|s| s.expose_secret().as_bytes()).collect();
        if all.iter().any(|s| s.len() < 32) {
            return Err(TokenError::Key("JWT_SECRET must have at least 32 bytes"));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.leeway = 0;
        Ok(Self {
            sign: EncodingKey::from_secret(secret.expose_secret().as_bytes()),
            verify: all.into_iter().map(DecodingKey::from_secret).collect(),
            validation,
        })
    }

    /// Signs an access token for a session; returns the token.
    ///
    /// # Errors
    /// When signing fails.
    pub fn mint(&self, user: UserId, sid: Uuid, tenant: Option<Uuid>, role: crate::Role) -> Result<String, TokenError> {
        let iat = clock::now().unix_timestamp();
        let claims = AccessClaims {
            sub: user,
            sid,
            tenant_id: tenant,
            role,
            iat,
            exp: iat + ACCESS_TTL,
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
        };
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &self.sign)?)
    }

    /// Verifies signature, issuer, audience and expiry.
    ///
    /// # Errors
    /// [`TokenError::Refused`].
    pub fn verify(&self, token: &str) -> Result<AccessClaims, TokenError> {
        let mut refused = TokenError::Key("no key");
        for key in &self.verify {
            match decode::<AccessClaims>(token, key, &self.validation) {
                Ok(data) => return Ok(data.claims),
                Err(e) => refused = e.into(),
            }
        }
        Err(refused)
    }
}

#[derive(Serialize, Deserialize)]
struct InternalClaims<I> {
    #[serde(flatten)]
    identity: I,
    exp: i64,
    aud: String,
}

/// The gateway's half of the internal token.
pub struct InternalSigner {
    key: EncodingKey,
    public: String,
}

impl InternalSigner {
    /// A fresh key as the text for `INTERNAL_SIGNING_KEY`: base64 of a 32-byte Ed25519 seed (RFC 8032).
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<String, TokenError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| TokenError::Key("no randomness"))?;
        let seed = pair.seed().and_then(|s| s.as_be_bytes()).map_err(|_| TokenError::Key("no seed"))?;
        Ok(STANDARD.encode(seed.as_ref()))
    }

    /// From the text of `INTERNAL_SIGNING_KEY`.
    ///
    /// # Errors
    /// When the text is not base64 of 32 bytes.
    pub fn new(seed: &SecretString) -> Result<Self, TokenError> {
        const BAD: TokenError = TokenError::Key("INTERNAL_SIGNING_KEY must be base64 of 32 bytes");
        let seed = STANDARD.decode(seed.expose_secret()).map_err(|_| BAD)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| BAD)?;
        let der = pair.to_pkcs8().map_err(|_| BAD)?;
        Ok(Self { key: EncodingKey::from_ed_der(der.as_ref()), public: STANDARD.encode(pair.public_key().as_ref()) })
    }

    /// The text for `INTERNAL_PUBLIC_KEYS`.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// Vouches for `identity` towards the service named `audience`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn mint(&self, identity: &Identity, audience: &str) -> Result<String, TokenError> {
        let claims =
            InternalClaims { identity, exp: clock::now().unix_timestamp() + INTERNAL_TTL, aud: audience.to_owned() };
        Ok(encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)?)
    }
}

/// A service's half of the internal token.
pub struct InternalVerifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
}

impl InternalVerifier {
    /// From `INTERNAL_PUBLIC_KEYS` (comma-separated, so that keys can be rotated) and the service's own name.
    ///
    /// # Errors
    /// When a key is not base64 of 32 bytes.
    pub fn new(public_keys: &str, audience: &str) -> Result<Self, TokenError> {
        const BAD: TokenError = TokenError::Key("INTERNAL_PUBLIC_KEYS must be a comma list of base64 of 32 bytes");
        let mut keys = Vec::new();
        for text in public_keys.split(',').map(str::trim).filter(|t| !t.is_empty()) {
            let raw = STANDARD.decode(text).ok().filter(|k| k.len() == 32).ok_or(BAD)?;
            keys.push(DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(raw))?);
        }
        if keys.is_empty() {
            return Err(BAD);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.leeway = 0;
        Ok(Self { keys, validation })
    }

    /// Verifies a token; returns who it is for and when it expires (seconds since the epoch).
    ///
    /// # Errors
    /// [`TokenError::Refused`].
    pub fn verify(&self, token: &str) -> Result<(Identity, i64), TokenError> {
        let mut refused = TokenError::Key("no key");
        for key in &self.keys {
            match decode::<InternalClaims<Identity>>(token, key, &self.validation) {
                Ok(data) => return Ok((data.claims.identity, data.claims.exp)),
                Err(e) => refused = e.into(),
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessLevel, Role, Scope};

    fn secret(s: &str) -> SecretString {
        SecretString::from(s.to_owned())
    }

    #[test]
    fn access_tokens_survive_one_rotation_and_no_other_key() {
        let (old, new) = (secret(&"a".repeat(32)), secret(&"b".repeat(32)));
        let token = AccessKeys::new(&old, None)
            .and_then(|k| k.mint(UserId(Uuid::nil()), Uuid::nil(), None, Role::Admin))
            .unwrap();
        assert!(AccessKeys::new(&new, Some(&old)).unwrap().verify(&token).is_ok());
        assert!(AccessKeys::new(&new, None).unwrap().verify(&token).is_err());
        assert!(AccessKeys::new(&secret("short"), None).is_err());
    }

    #[test]
    fn the_algorithm_is_not_the_tokens_choice() {
        let keys = AccessKeys::new(&secret(&"a".repeat(32)), None).unwrap();
        let token = keys.mint(UserId(Uuid::nil()), Uuid::nil(), None, Role::Admin).unwrap();
        let body = token.split('.').nth(1).unwrap();
        let none = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
        assert!(keys.verify(&none).is_err());
    }

    #[test]
    fn internal_tokens_are_for_one_service() {
        let signer = InternalSigner::new(&secret(&InternalSigner::generate().unwrap())).unwrap();
        let other = InternalSigner::new(&secret(&InternalSigner::generate().unwrap())).unwrap();
        let me = Identity {
            user_id: UserId(Uuid::from_u128(7)),
            tenant_id: None,
            employee_id: None,
            role: Role::Superadmin,
            access: AccessLevel::ReadWrite,
            scope: Scope::All,
            department: Some("Ventes".into()),
            grants: Some(vec!["read:contacts".parse().unwrap()]),
            extra: vec!["delete:*".parse().unwrap()],
            disabled_modules: vec!["cash_flow".into()],
            sid: Uuid::from_u128(8),
        };
        let token = signer.mint(&me, "crm-core").unwrap();
        let both = format!("{},{}", other.public_key(), signer.public_key());
        assert_eq!(InternalVerifier::new(&both, "crm-core").unwrap().verify(&token).unwrap().0, me);
        assert!(InternalVerifier::new(signer.public_key(), "call-flow").unwrap().verify(&token).is_err());
        assert!(InternalVerifier::new(other.public_key(), "crm-core").unwrap().verify(&token).is_err());
        assert!(InternalVerifier::new("", "crm-core").is_err());
    }
}
