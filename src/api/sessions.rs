//! Sessions: their list, and how they end.

use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::contract::{Operation, PathSegment, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::outcome::Outcome;
use super::rendering::to_json;
use super::reply::Reply;
use super::request::Call;
use crate::model::{MAX_SESSIONS, Session, SessionId, Timestamp, UserId};
use crate::problem::{self, Problem};
use crate::store::StoreError;
use crate::sys::random;

/// An access token.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccessToken)]
pub(super) struct LoggedIn<'a> {
    /// A JSON Web Token (RFC 7519), to be sent as `Authorization: Bearer TOKEN`.
    #[schema(pattern = "^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$")]
    token: &'a str,
    #[schema(pattern = "^Bearer$")]
    token_type: &'a str,
    /// The lifetime of the token in seconds, unless its session ends before.
    #[schema(minimum = 1, maximum = 31_536_000)]
    expires_in: u64,
}

/// A login with a valid token.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Session)]
struct SessionBody<'a> {
    /// The session's id, which is the claim `sid` of its token.
    sid: SessionId,
    created_at: Timestamp,
    /// Rounded down to the minute. After a restart of the server it is the time of the login, until
    /// the token is used again.
    last_used_at: Timestamp,
    expires_at: Timestamp,
    /// The shortened `User-Agent` of the client that logged in; empty if it sent none.
    #[schema(max_length = 80, pattern = "^[ -~]*$")]
    user_agent: &'a str,
    /// `true` for the session of this request.
    current: bool,
}

pub(super) const LOGOUT: Operation = Operation {
    answers: &[ResponseSpec::NO_CONTENT],
    problems: ENDING,
    ..Operation::new("logout", Tag::Accounts, "Log out: end this session")
};

pub(super) const LOGOUT_ALL: Operation =
    Operation { id: "logoutAll", summary: "Log out everywhere: end all your sessions", ..LOGOUT };

pub(super) const LIST: Operation = Operation {
    max_limit: MAX_SESSIONS,
    answers: &[ResponseSpec::list(
        "The sessions, oldest first",
        SchemaRef::of::<SessionBody<'static>>(),
    )],
    problems: &[problem::TOKEN_MISSING, problem::TOKEN_INVALID],
    ..Operation::new("listSessions", Tag::Accounts, "List your sessions")
};

pub(super) const END: Operation = Operation {
    segment: Some(PathSegment::Session),
    answers: &[ResponseSpec::NO_CONTENT],
    problems: &[
        problem::TOKEN_MISSING,
        problem::TOKEN_INVALID,
        problem::NOT_FOUND,
        problem::INSUFFICIENT_STORAGE,
    ],
    ..Operation::new("endSession", Tag::Accounts, "End one of your sessions")
};

const ENDING: &[&problem::ProblemType] =
    &[problem::TOKEN_MISSING, problem::TOKEN_INVALID, problem::INSUFFICIENT_STORAGE];

impl App {
    /// A new session of a user, which has not begun yet.
    pub(super) fn new_session(&mut self, user: UserId, user_agent: Box<str>) -> Session {
        let created_at = self.clock.now();
        let expiry = created_at.seconds().saturating_add(self.tokens.ttl_seconds());
        let expires_at = Timestamp::from_millis(expiry.saturating_mul(1000));
        let id = SessionId(random(&mut *self.entropy));
        Session { user, id, created_at, expires_at, user_agent }
    }

    /// The reply with the token of a session that has begun.
    pub(super) fn token_of(&mut self, session: &Session) -> Result<Reply, Failure> {
        let Session { user, id, created_at, .. } = *session;
        let token = self.tokens.issue(user, created_at, id).map_err(|error| {
            log::error!("signing a token failed: {error}");
            Problem::internal()
        })?;
        let expires_in = self.tokens.ttl_seconds();
        let body = LoggedIn { token: &token, token_type: "Bearer", expires_in };
        Ok(Reply::json(200, to_json(&body)))
    }

    /// Ends the sessions of a user that have certainly expired, so that they do not accumulate.
    pub(super) fn end_expired_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        let at = self.clock.read();
        for session in self.store.sessions(user)? {
            if self.sessions.has_expired(&session, at) {
                self.store.end_session(user, session.id)?;
                self.sessions.end(user, session.id);
            }
        }
        Ok(())
    }
}

/// `POST /logout`
pub(super) fn logout(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.store.end_session(call.caller, call.session)?;
    app.sessions.end(call.caller, call.session);
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `POST /logout/all`
pub(super) fn logout_all(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    app.store.end_sessions(call.caller)?;
    app.sessions.end_all(call.caller);
    Ok(Outcome::Reply(Reply::empty(204)))
}

/// `GET /api/users/me/sessions`
pub(super) fn list(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let at = app.clock.read();
    let sessions = app.store.sessions(call.caller)?;
    let is_good = |it: &&Session| it.expires_at > at.now && !app.sessions.has_expired(it, at);
    let good = sessions.iter().filter(is_good);
    let bodies: Vec<_> = good
        .map(|session| SessionBody {
            sid: session.id,
            created_at: session.created_at,
            last_used_at: app.sessions.used_at(session.id).unwrap_or(session.created_at),
            expires_at: session.expires_at,
            user_agent: &session.user_agent,
            current: call.session == session.id,
        })
        .collect();
    Ok(Outcome::Reply(Reply::json(200, call.request.render_mode().json(&bodies))))
}

/// `DELETE /api/users/me/sessions/{sid}`
pub(super) fn end(app: &mut App, call: &Call<'_>) -> Result<Outcome, Failure> {
    let not_found = || Problem::not_found("you have no session with this id");
    let id = SessionId::parse(call.segment).ok_or_else(not_found)?;
    if !app.store.end_session(call.caller, id)? {
        return Err(not_found().into());
    }
    app.sessions.end(call.caller, id);
    Ok(Outcome::Reply(Reply::empty(204)))
}
