//! Access tokens: only issued tokens are accepted, for the user they were issued to and until they
//! expire.
//!
//! An input is a token as it is sent; or `{`, the claims of one that is signed with our own key; or
//! `^` and pairs of a place and a byte, which are put into a good token.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};
use veche::auth::tokens::{Bearer, TokenError, Tokens};
use veche::model::{Timestamp, UserId};

use super::stage::{self, EPOCH, ISSUED, SECRET, TTL_SECONDS};

/// Verifies the token, or the tokens, that `input` describes.
///
/// # Panics
///
/// Where one is accepted that must not be, or refused that was issued.
pub fn check(input: &[u8]) {
    match input {
        [b'{', ..] => claims(input),
        [b'^', edits @ ..] => {
            for token in &*ISSUED {
                let mut token = token.clone().into_bytes();
                for edit in edits.chunks_exact(2) {
                    let at = usize::from(edit[0]) % token.len();
                    token[at] = edit[1];
                }
                sent(&token);
            }
        }
        _ => sent(input),
    }
}

/// A token that a client sends.
fn sent(token: &[u8]) {
    let Ok(token) = str::from_utf8(token) else { return };
    let mut tokens = stage::tokens();
    let issued = (1..).zip(&*ISSUED).find(|(_, issued)| *issued == token);
    let bearer = |id| Bearer { user: UserId::new(id).unwrap(), session: stage::session(id) };
    let user = issued.map(|(id, _)| bearer(id)).ok_or(TokenError::Invalid);
    let exp = stage::now().seconds() + TTL_SECONDS;
    // Unknown, remembered, and expired while it is remembered.
    assert_eq!(tokens.verify(token, stage::now()), user);
    assert_eq!(tokens.verify(token, at(exp - 1)), user);
    assert_eq!(tokens.verify(token, at(exp)), user.and(Err(TokenError::Expired)));
    assert_eq!(stage::tokens().verify(token, at(exp)), user.and(Err(TokenError::Expired)));
}

/// Claims that only this server could sign.
fn claims(json: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(json) else { return };
    let sign = |algorithm, secret| {
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let now = stage::now();
    let verify = |mut tokens: Tokens, token: &str| {
        let verified = tokens.verify(token, now);
        assert_eq!(tokens.verify(token, now), verified, "it is remembered as something else");
        verified
    };
    let ours = sign(Algorithm::HS256, SECRET);
    if let Ok(bearer) = verify(stage::tokens(), &ours) {
        assert_eq!(claims["UserID"].as_u64(), Some(bearer.user.get()));
        assert_eq!(claims["sid"].as_str(), Some(&*bearer.session.to_string()));
        assert!(claims["iat"].is_u64());
        let nbf = claims.get("nbf").map_or(Some(0.0), Value::as_f64);
        assert!(nbf.unwrap() <= f64::from(u32::try_from(now.seconds()).unwrap()));
        assert_eq!(claims["epoch"].as_str(), Some(&*EPOCH.to_string()));
        assert!(claims["exp"].as_u64().unwrap() > now.seconds());
    }
    let another_key = sign(Algorithm::HS256, &[0; 32]);
    let another_algorithm = sign(Algorithm::HS384, SECRET);
    for forged in [another_key, another_algorithm] {
        assert_eq!(verify(stage::tokens(), &forged), Err(TokenError::Invalid));
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}
