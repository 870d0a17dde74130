//! Access tokens: JWTs (RFC 7519) signed with HS256, and nothing else.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use super::request_key::RequestKey;
use crate::model::{Epoch, SessionId, Timestamp, UserId};

/// Length of a random secret, and the least a given one must have, in bytes: as long as the hash
/// (RFC 7518, section 3.2).
pub const SECRET_BYTES: usize = 32;
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
    sid: SessionId,
    /// User ids mean something in one store only, but a secret may serve several.
    epoch: &'a str,
}

/// What is read back of [`Claims`].
#[derive(Debug, Deserialize)]
struct VerifiedClaims {
    #[serde(rename = "UserID")]
    user_id: u64,
    exp: u64,
    epoch: String,
    /// Tokens of versions that had no sessions have a `jti` instead.
    sid: Option<SessionId>,
}

/// Why a token does not admit anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It was good until its `exp`.
    Expired,
    /// Not ours, not for this store, or not a token at all.
    Invalid,
}

/// Whose a token is, and of which session; of none if it was issued before there were any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: UserId,
    /// What has to be there for the token to be good.
    pub session: Option<SessionId>,
}

/// Issues and verifies the tokens of one store.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl_seconds: u64,
    epoch: Epoch,
    requests: RequestKey,
    /// Tokens whose signature was good, so that it need not be checked with every request of a
    /// client: that would take longer than most requests do.
    verified: HashMap<Box<str>, Admitted>,
}

#[derive(Debug, Clone, Copy)]
struct Admitted {
    bearer: Bearer,
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
            requests: RequestKey::of(secret),
            verified: HashMap::new(),
        }
    }

    /// Hashes requests with a key made of the secret.
    #[must_use]
    pub fn requests(&self) -> &RequestKey {
        &self.requests
    }

    /// `exp - iat` of every token.
    #[must_use]
    pub fn ttl_seconds(&self) -> u64 {
        self.ttl_seconds
    }

    /// A token for `user`, of a session that begins now. Its id must be random, so that no two
    /// tokens are the same.
    pub fn issue(
        &self,
        user: UserId,
        now: Timestamp,
        session: SessionId,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims {
            user_id: user,
            iat: now.seconds(),
            exp: now.seconds() + self.ttl_seconds,
            sid: session,
            epoch: &self.epoch.to_string(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
    }

    /// Whose token it is. At the second of its `exp` it has expired (RFC 7519, section 4.1.4).
    /// Whether its session is still there is not known here.
    pub fn verify(&mut self, token: &str, now: Timestamp) -> Result<Bearer, TokenError> {
        let admitted = match self.verified.get(token) {
            Some(admitted) => *admitted,
            None => self.check(token)?,
        };
        if admitted.exp <= now.seconds() {
            self.verified.remove(token);
            return Err(TokenError::Expired);
        }
        Ok(admitted.bearer)
    }

    /// From when on a token is not good any more that was [verified](Tokens::verify) just now.
    #[must_use]
    pub fn expiry(&self, token: &str) -> Option<Timestamp> {
        let Admitted { exp, .. } = *self.verified.get(token)?;
        Some(Timestamp::from_millis(exp.saturating_mul(1000)))
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
        let bearer = Bearer { user, session: claims.sid };
        let admitted = Admitted { bearer, exp: claims.exp };
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert(token.into(), admitted);
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: u8, epoch: u64) -> Tokens {
        Tokens::new(&[secret; 32], 3600, Epoch(epoch))
    }

    const SESSION: SessionId = SessionId([7; 16]);

    fn bearer(session: Option<SessionId>) -> Bearer {
        Bearer { user: UserId::FIRST, session }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn good_until_the_second_of_exp() {
        let mut tokens = tokens(1, 1);
        let token = tokens.issue(UserId::FIRST, at(1000), SESSION).unwrap();
        assert_eq!(tokens.verify(&token, at(1000)), Ok(bearer(Some(SESSION))));
        assert_eq!(tokens.verify(&token, at(4599)), Ok(bearer(Some(SESSION))));
        assert_eq!(tokens.verify(&token, at(4600)), Err(TokenError::Expired));
        assert_eq!(tokens.verify(&token, Timestamp::MAX), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_says_until_when_it_is_good() {
        let mut tokens = tokens(1, 1);
        let token = tokens.issue(UserId::FIRST, at(1000), SESSION).unwrap();
        assert_eq!(tokens.expiry(&token), None, "nobody has verified it");
        tokens.verify(&token, at(1000)).unwrap();
        assert_eq!(tokens.expiry(&token), Some(at(4600)));
    }

    #[test]
    fn another_secret_or_store_is_refused() {
        let token = tokens(1, 1).issue(UserId::FIRST, at(1000), SESSION).unwrap();
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
        assert_eq!(tokens(1, 1).verify(&hs256, at(0)), Ok(bearer(None)));
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

    #[test]
    fn a_session_is_read_in_one_form_only() {
        let key = EncodingKey::from_secret(&[1; 32]);
        for (sid, expected) in [
            (serde_json::json!("07".repeat(16)), Ok(bearer(Some(SESSION)))),
            (serde_json::json!(null), Ok(bearer(None))),
            (serde_json::json!("07"), Err(TokenError::Invalid)),
            (serde_json::json!(7), Err(TokenError::Invalid)),
        ] {
            let epoch = Epoch(1).to_string();
            let claims =
                serde_json::json!({ "UserID": 1, "exp": 9_999, "epoch": epoch, "sid": sid });
            let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
            assert_eq!(tokens(1, 1).verify(&token, at(0)), expected, "{sid}");
        }
    }
}
