//! Access tokens: JWTs (RFC 7519) signed with HS256, and nothing else.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, decode, encode,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::request_key::RequestKey;
use crate::model::{SessionId, StoreId, Timestamp, UserId};

/// Length of a random secret, and the least of a given one, in bytes: as long as the hash (RFC
/// 7518, section 3.2).
pub const SECRET_BYTES: usize = 32;
/// Longest token that is read, in bytes. This server's have about 250.
const MAX_TOKEN_BYTES: usize = 1024;
/// Most verified tokens in memory. They take about 6 MB. With more, all are forgotten.
const MAX_VERIFIED: usize = 16 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Claims<'a> {
    #[serde(rename = "UserID")]
    user_id: UserId,
    iat: u64,
    exp: u64,
    sid: SessionId,
    /// User ids are valid in one store only, but a secret may serve several.
    epoch: &'a str,
}

/// The [`Claims`] of a token to be verified: all of them, each once. Times are whole numbers of
/// seconds, as issued. Fractions are refused, although RFC 7519, section 2, allows them.
#[derive(Debug, Deserialize)]
struct VerifiedClaims {
    #[serde(rename = "UserID")]
    user_id: u64,
    /// It decides nothing, because the clock may have been set back since.
    #[serde(rename = "iat")]
    _iat: u64,
    exp: u64,
    /// This server issues none. Anyone who adds it has the secret, and it is respected.
    #[serde(default, deserialize_with = "number")]
    nbf: Option<f64>,
    epoch: String,
    sid: SessionId,
}

/// Reads a number. `null` is refused, as is any other type.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

/// A reason to refuse a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// Its `exp` has passed.
    Expired,
    /// Its `nbf` is to come.
    Early,
    /// It is forged, of another store, or no token.
    Invalid,
}

/// The user and the session of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The user.
    pub user: UserId,
    /// The session. The token is valid while it is live.
    pub session: SessionId,
}

/// Issues and verifies the tokens of one store.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl_seconds: u64,
    epoch: StoreId,
    requests: RequestKey,
    /// Tokens whose signature was verified. Verifying one takes longer than most requests do.
    verified: HashMap<Box<str>, Admitted>,
}

#[derive(Debug, Clone, Copy)]
struct Admitted {
    bearer: Bearer,
    exp: u64,
    /// Rounded up to whole seconds; 0 without one.
    nbf: u64,
}

impl Tokens {
    /// `secret` should have at least [`SECRET_BYTES`] of randomness.
    #[must_use]
    pub fn new(secret: &[u8], ttl_seconds: u64, epoch: StoreId) -> Tokens {
        let mut validation = Validation::new(Algorithm::HS256);
        // The library uses the wall clock and allows a leeway. `verify` uses neither.
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

    /// The key for idempotency keys, derived from the secret.
    #[must_use]
    pub fn requests(&self) -> &RequestKey {
        &self.requests
    }

    /// `exp - iat` of every token.
    #[must_use]
    pub fn ttl_seconds(&self) -> u64 {
        self.ttl_seconds
    }

    /// A token for `user`, of a session that begins now. The session's id must be random, so that
    /// no two tokens are equal.
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

    /// Verifies a token. It has expired from the second of its `exp` on, and is not valid before
    /// its `nbf` (RFC 7519, sections 4.1.4 and 4.1.5); both are compared on each call. The caller
    /// checks that its session is live.
    pub fn verify(&mut self, token: &str, now: Timestamp) -> Result<Bearer, TokenError> {
        let admitted = match self.verified.get(token) {
            Some(admitted) => *admitted,
            None => self.check(token)?,
        };
        let Admitted { bearer, exp, nbf } = admitted;
        if exp <= now.seconds() {
            self.verified.remove(token);
            return Err(TokenError::Expired);
        }
        if now.seconds() < nbf {
            return Err(TokenError::Early);
        }
        Ok(bearer)
    }

    /// The time at which a token expires that was [verified](Tokens::verify) just now.
    #[must_use]
    pub fn expiry(&self, token: &str) -> Option<Timestamp> {
        let Admitted { exp, .. } = *self.verified.get(token)?;
        Some(Timestamp::from_millis(exp.saturating_mul(1000)))
    }

    /// Verifies all but the times, and remembers a token that is valid.
    fn check(&mut self, token: &str) -> Result<Admitted, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let TokenData { header, claims, .. } =
            decode::<VerifiedClaims>(token, &self.decoding, &self.validation)
                .map_err(|_| TokenError::Invalid)?;
        // Extensions that must be understood are not supported (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        if StoreId::parse(&claims.epoch) != Some(self.epoch) {
            return Err(TokenError::Invalid);
        }
        let user = UserId::new(claims.user_id).ok_or(TokenError::Invalid)?;
        let bearer = Bearer { user, session: claims.sid };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time before 1970 has come, and one that does not fit never will"
        )]
        let nbf = claims.nbf.unwrap_or(0.0).ceil() as u64;
        let admitted = Admitted { bearer, exp: claims.exp, nbf };
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert(token.into(), admitted);
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use serde::Serializer;
    use serde_json::{Value, json};

    use super::*;

    fn tokens(secret: u8, epoch: u64) -> Tokens {
        Tokens::new(&[secret; 32], 3600, StoreId(epoch))
    }

    const SESSION: SessionId = SessionId([7; 16]);

    const BEARER: Bearer = Bearer { user: UserId::FIRST, session: SESSION };

    /// Claims, of which one may be there twice.
    struct Members(Vec<(&'static str, Value)>);

    impl Serialize for Members {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
        }
    }

    impl Members {
        fn new() -> Members {
            Members(vec![
                ("UserID", json!(1)),
                ("iat", json!(1000)),
                ("exp", json!(4600)),
                ("sid", json!(SESSION)),
                ("epoch", json!(StoreId(1).to_string())),
            ])
        }

        fn without(mut self, name: &str) -> Members {
            self.0.retain(|(it, _)| *it != name);
            self
        }

        fn with(mut self, name: &'static str, value: Value) -> Members {
            self.0.push((name, value));
            self
        }

        /// With the right key.
        fn signed(&self) -> String {
            let key = EncodingKey::from_secret(&[1; 32]);
            encode(&Header::new(Algorithm::HS256), self, &key).unwrap()
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn good_until_the_second_of_exp() {
        let mut tokens = tokens(1, 1);
        let token = tokens.issue(UserId::FIRST, at(1000), SESSION).unwrap();
        assert_eq!(tokens.verify(&token, at(1000)), Ok(BEARER));
        assert_eq!(tokens.verify(&token, at(4599)), Ok(BEARER));
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
        let issued = tokens(1, 1).issue(UserId::FIRST, at(0), SESSION).unwrap();
        assert_eq!(tokens(1, 1).verify(&issued, at(0)), Ok(BEARER));
        let key = EncodingKey::from_secret(&[1; 32]);
        let claims = json!({
            "UserID": 1, "iat": 0, "exp": 3600, "sid": SESSION, "epoch": StoreId(1).to_string()
        });
        let hs256 = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        assert_eq!(tokens(1, 1).verify(&hs256, at(0)), Ok(BEARER));
        let hs512 = encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        assert_eq!(tokens(1, 1).verify(&hs512, at(0)), Err(TokenError::Invalid));
        let crit = Some(vec!["exp".to_owned()]);
        let critical = Header { crit, ..Header::new(Algorithm::HS256) };
        let critical = encode(&critical, &claims, &key).unwrap();
        assert_eq!(tokens(1, 1).verify(&critical, at(0)), Err(TokenError::Invalid));
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

    /// Each claim has one form, and is there once.
    #[test]
    fn claims_are_what_is_issued_and_nothing_else() {
        let verify = |claims: &Members| tokens(1, 1).verify(&claims.signed(), at(1000));
        assert_eq!(verify(&Members::new()), Ok(BEARER));
        for (name, value) in Members::new().0 {
            assert_eq!(
                verify(&Members::new().without(name)),
                Err(TokenError::Invalid),
                "no {name}"
            );
            let twice = Members::new().with(name, value);
            assert_eq!(verify(&twice), Err(TokenError::Invalid), "{name} twice");
            let wrong = r#"[null, true, [], {}, "", -1, 1.5, 4600.0, 1e300, "1", "4600", [1]]"#;
            for wrong in serde_json::from_str::<Vec<Value>>(wrong).unwrap() {
                let changed = Members::new().without(name).with(name, wrong.clone());
                assert_eq!(verify(&changed), Err(TokenError::Invalid), "{name}: {wrong}");
            }
        }
        // It is asked for its time each time, also while it is remembered.
        let early = Members::new().with("nbf", json!(1001)).signed();
        let mut tokens = tokens(1, 1);
        for (now, expected) in [
            (1000, Err(TokenError::Early)),
            (1001, Ok(BEARER)),
            (1000, Err(TokenError::Early)),
            (4600, Err(TokenError::Expired)),
            (1001, Ok(BEARER)),
        ] {
            assert_eq!(tokens.verify(&early, at(now)), expected, "{now}");
        }
        for (name, value, expected) in [
            ("nbf", json!(1000), Ok(BEARER)),
            ("nbf", json!(999.5), Ok(BEARER)),
            ("nbf", json!(-1), Ok(BEARER)),
            ("nbf", json!(1000.1), Err(TokenError::Early)),
            ("nbf", json!(1e300), Err(TokenError::Early)),
            ("nbf", json!(u64::MAX), Err(TokenError::Early)),
            ("nbf", json!(null), Err(TokenError::Invalid)),
            ("nbf", json!("1000"), Err(TokenError::Invalid)),
            ("nbf", json!([1000]), Err(TokenError::Invalid)),
            ("nbf", json!(false), Err(TokenError::Invalid)),
            // The clock may have been set back since it was issued.
            ("iat", json!(u64::MAX), Ok(BEARER)),
            ("exp", json!(1000), Err(TokenError::Expired)),
            ("exp", json!(u64::MAX), Ok(BEARER)),
            ("epoch", json!("0000000000000002"), Err(TokenError::Invalid)),
            ("sid", json!("07"), Err(TokenError::Invalid)),
            ("jti", json!("x"), Ok(BEARER)),
            ("aud", json!("somebody else"), Err(TokenError::Invalid)),
        ] {
            let token = Members::new().without(name).with(name, value.clone()).signed();
            assert_eq!(tokens.verify(&token, at(1000)), expected, "{name}: {value}");
        }
        let twice = Members::new().with("nbf", json!(1)).with("nbf", json!(1));
        assert_eq!(verify(&twice), Err(TokenError::Invalid));
    }
}
