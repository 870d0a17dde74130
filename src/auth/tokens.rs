//! Access tokens: JWTs (RFC 7519) signed with HS256, and nothing else.

use std::collections::HashMap;
use std::fmt::Write as _;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::model::{Epoch, Timestamp, UserId};

/// Length of a random secret, and the least a given one must have, in bytes: as long as the hash
/// (RFC 7518, section 3.2).
pub const SECRET_BYTES: usize = 32;
/// Bytes of randomness in a token's `jti`.
pub const TOKEN_ID_BYTES: usize = 16;
/// Longest token that is looked at. Ours have about 250 bytes.
const MAX_TOKEN_BYTES: usize = 1024;
/// Tokens remembered as good: about 6 MB of them. With more the memory is begun anew.
const MAX_VERIFIED: usize = 16 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Claims<'a> {
    #[serde(rename = "UserID")]
    user_id: UserId,
    iat: u64,
    exp: u64,
    jti: &'a str,
    /// User ids mean something in one store only, but a secret may serve several.
    epoch: &'a str,
}

/// The `jti` of a token.
pub type TokenId = [u8; TOKEN_ID_BYTES];

/// What a token that was admitted says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its `jti`, if that is one of ours.
    pub id: Option<TokenId>,
    /// Its `exp`: from then on it is not good any more.
    pub expires: Timestamp,
}

/// What is read back of [`Claims`].
#[derive(Debug, Deserialize)]
struct VerifiedClaims {
    #[serde(rename = "UserID")]
    user_id: u64,
    exp: u64,
    #[serde(default)]
    jti: String,
    epoch: String,
}

/// Why a token does not admit anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It was good until its `exp`.
    Expired,
    /// Not ours, not for this store, or not a token at all.
    Invalid,
}

/// Issues and verifies the tokens of one store.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl_seconds: u64,
    epoch: Epoch,
    /// Tokens whose signature was good, so that it need not be checked with every request of a
    /// client: that would take longer than most requests do.
    verified: HashMap<Box<str>, Admitted>,
}

#[derive(Debug, Clone, Copy)]
struct Admitted {
    user: UserId,
    id: Option<TokenId>,
    exp: u64,
}

impl Tokens {
    /// `secret` should have at least [`SECRET_BYTES`] of randomness.
    #[must_use]
    pub fn new(secret: &[u8], ttl_seconds: u64, epoch: Epoch) -> Tokens {
        let mut validation = Validation::new(Algorithm::HS256);
        // The library compares with the wall clock and allows a leeway; `verify` does neither.
        validation.validate_exp = false;
        validation.leeway = 0;
        Tokens {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            ttl_seconds,
            epoch,
            verified: HashMap::new(),
        }
    }

    /// `exp - iat` of every token.
    #[must_use]
    pub fn ttl_seconds(&self) -> u64 {
        self.ttl_seconds
    }

    /// A token for `user`. `id` must be random, so that no two tokens are the same.
    pub fn issue(
        &self,
        user: UserId,
        now: Timestamp,
        id: [u8; TOKEN_ID_BYTES],
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let jti = id.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let claims = Claims {
            user_id: user,
            iat: now.seconds(),
            exp: now.seconds() + self.ttl_seconds,
            jti: &jti,
            epoch: &self.epoch.to_string(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
    }

    /// Whose token it is. At the second of its `exp` it has expired (RFC 7519, section 4.1.4).
    pub fn verify(&mut self, token: &str, now: Timestamp) -> Result<UserId, TokenError> {
        let admitted = match self.verified.get(token) {
            Some(admitted) => *admitted,
            None => self.check(token)?,
        };
        if admitted.exp <= now.seconds() {
            self.verified.remove(token);
            return Err(TokenError::Expired);
        }
        Ok(admitted.user)
    }

    /// What a token says of itself that was [verified](Tokens::verify) just now.
    #[must_use]
    pub fn lease(&self, token: &str) -> Option<Lease> {
        let Admitted { id, exp, .. } = *self.verified.get(token)?;
        Some(Lease { id, expires: Timestamp::from_millis(exp.saturating_mul(1000)) })
    }

    /// Checks all but the time, and remembers what was good.
    fn check(&mut self, token: &str) -> Result<Admitted, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let claims = decode::<VerifiedClaims>(token, &self.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        if Epoch::parse(&claims.epoch) != Some(self.epoch) {
            return Err(TokenError::Invalid);
        }
        let user = UserId::new(claims.user_id).ok_or(TokenError::Invalid)?;
        let admitted = Admitted { user, id: token_id(&claims.jti), exp: claims.exp };
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert(token.into(), admitted);
        Ok(admitted)
    }
}

/// The bytes that are written as so many hexadecimal digits.
fn token_id(jti: &str) -> Option<TokenId> {
    let mut id = TokenId::default();
    if jti.len() != 2 * id.len() {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(jti.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: u8, epoch: u64) -> Tokens {
        Tokens::new(&[secret; 32], 3600, Epoch(epoch))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn good_until_the_second_of_exp() {
        let mut tokens = tokens(1, 1);
        let token = tokens.issue(UserId::FIRST, at(1000), [7; 16]).unwrap();
        assert_eq!(tokens.verify(&token, at(1000)), Ok(UserId::FIRST));
        assert_eq!(tokens.verify(&token, at(4599)), Ok(UserId::FIRST));
        assert_eq!(tokens.verify(&token, at(4600)), Err(TokenError::Expired));
        assert_eq!(tokens.verify(&token, Timestamp::MAX), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_says_until_when_it_is_good() {
        let mut tokens = tokens(1, 1);
        let id = [0xa7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xff];
        let token = tokens.issue(UserId::FIRST, at(1000), id).unwrap();
        assert_eq!(tokens.lease(&token), None, "nobody has verified it");
        tokens.verify(&token, at(1000)).unwrap();
        assert_eq!(tokens.lease(&token), Some(Lease { id: Some(id), expires: at(4600) }));
        assert_eq!(token_id("no id of ours"), None);
        assert_eq!(token_id(&"ж".repeat(16)), None);
    }

    #[test]
    fn another_secret_or_store_is_refused() {
        let token = tokens(1, 1).issue(UserId::FIRST, at(1000), [7; 16]).unwrap();
        assert_eq!(tokens(2, 1).verify(&token, at(1000)), Err(TokenError::Invalid));
        assert_eq!(tokens(1, 2).verify(&token, at(1000)), Err(TokenError::Invalid));
    }

    #[test]
    fn other_algorithms_are_refused() {
        let claims = serde_json::json!({
            "UserID": 1, "iat": 0, "exp": 9_999_999_999_u64, "jti": "", "epoch": Epoch(1).to_string()
        });
        let key = EncodingKey::from_secret(&[1; 32]);
        let hs512 = encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        assert_eq!(tokens(1, 1).verify(&hs512, at(0)), Err(TokenError::Invalid));
        let hs256 = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        assert_eq!(tokens(1, 1).verify(&hs256, at(0)), Ok(UserId::FIRST));
        // {"typ":"JWT","alg":"none"}
        let payload = hs256.split('.').nth(1).unwrap();
        for unsigned in [
            format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{payload}."),
            format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{payload}"),
        ] {
            assert_eq!(tokens(1, 1).verify(&unsigned, at(0)), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in ["", ".", "..", "a.b.c", "ключ", &"x".repeat(5000)] {
            assert_eq!(tokens(1, 1).verify(nonsense, at(0)), Err(TokenError::Invalid));
        }
    }
}
