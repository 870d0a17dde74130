//! Authentication: the access token of a request, and the session that it belongs to.

use std::time::Duration;

use super::app::App;
use super::failure::Failure;
use super::request::{Call, Request};
use super::session_cache::SessionState;
use crate::auth::tokens::{Bearer, TokenError};
use crate::model::Timestamp;
use crate::problem::{self, Problem};

impl App {
    /// The user and session of the request's bearer token (RFC 6750, section 2.1). 401 if it has
    /// none that is good.
    pub(super) fn authenticate(&mut self, request: &Request<'_>) -> Result<Bearer, Failure> {
        let Some(authorization) = request.authorization else {
            let why = "there is no Authorization header";
            return Err(Problem::new(problem::TOKEN_MISSING, why).into());
        };
        let token = match authorization.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => {
                let why = "the Authorization header is not of the form 'Bearer TOKEN'";
                return Err(Problem::new(problem::TOKEN_MISSING, why).into());
            }
        };
        let now = self.clock.now();
        let bearer = self.tokens.verify(token, now).map_err(|error| match error {
            TokenError::Expired => token_expired(),
            TokenError::Early => {
                Problem::new(problem::TOKEN_INVALID, "the access token is not valid yet")
            }
            TokenError::Invalid => {
                let why = "the access token is malformed, forged or from another store";
                Problem::new(problem::TOKEN_INVALID, why)
            }
        })?;
        self.expect_live(bearer)?;
        self.sessions.record_use(bearer.session, now);
        Ok(bearer)
    }

    /// The time of day at which a request's token expires, and the most time that it is still
    /// valid.
    pub(super) fn expiry(&mut self, call: &Call<'_>) -> Result<(Timestamp, Duration), Failure> {
        let now = self.clock.now();
        let token = call.request.authorization.and_then(|field| field.split_once(' '));
        let expires = token.and_then(|(_, token)| self.tokens.expiry(token.trim())).unwrap_or(now);
        let left = Duration::from_millis(expires.millis().saturating_sub(now.millis()));
        Ok((expires, left.min(self.expect_live(call.bearer())?)))
    }

    /// The most time that the session of a token still lasts. 401 if it has expired or ended.
    pub(super) fn expect_live(&mut self, bearer: Bearer) -> Result<Duration, Failure> {
        let at = self.clock.read();
        let mut state = self.sessions.state(bearer, at);
        if state == SessionState::Unknown {
            let stored = self.store.sessions(bearer.user)?;
            if let Some(session) = stored.iter().find(|session| session.id == bearer.session) {
                self.sessions.recall(session, at);
                state = self.sessions.state(bearer, at);
            }
        }
        match state {
            SessionState::Live(left) => Ok(left),
            SessionState::Expired => Err(token_expired().into()),
            SessionState::Unknown => {
                let why = "the session of the access token has ended";
                Err(Problem::new(problem::TOKEN_INVALID, why).into())
            }
        }
    }
}

/// 401 for a token that was good.
pub(super) fn token_expired() -> Problem {
    Problem::new(problem::TOKEN_INVALID, "the access token has expired")
}
