//! Requests, as handlers see them.

use std::borrow::Cow;
use std::net::IpAddr;

use super::contract::Operation;
use super::rendering::RenderMode;
use crate::auth::tokens::Bearer;
use crate::model::{SessionId, UserId, shortened};

/// Longest request body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 32 * 1024;

/// The parts of an HTTP request that handlers see.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The method, as in the request line; case matters (RFC 9110, section 9.1).
    pub method: &'a str,
    /// The target's path, undecoded.
    pub path: &'a str,
    /// The target's query, undecoded; empty if there is none.
    pub query: &'a str,
    /// The client's address, as far as it can be believed (see
    /// [`Proxies::client`](super::client::Proxies::client)).
    pub client: IpAddr,
    /// The `Authorization` field.
    pub authorization: Option<&'a str>,
    /// The `Content-Type` field.
    pub content_type: Option<&'a str>,
    /// The `Accept` field.
    pub accept: Option<Cow<'a, str>>,
    /// The `Accept-Encoding` field.
    pub accept_encoding: Option<Cow<'a, str>>,
    /// The `If-Match` field.
    pub if_match: Option<Cow<'a, str>>,
    /// The `If-None-Match` field.
    pub if_none_match: Option<Cow<'a, str>>,
    /// The `Idempotency-Key` field.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// The `Last-Event-ID` field.
    pub last_event_id: Option<Cow<'a, str>>,
    /// The `Prefer` field.
    pub prefer: Option<Cow<'a, str>>,
    /// The `Origin` field.
    pub origin: Option<&'a str>,
    /// The `Access-Control-Request-Method` field.
    pub requested_method: Option<&'a str>,
    /// The `User-Agent` field.
    pub user_agent: Option<&'a str>,
    /// The content.
    pub body: Body<'a>,
}

/// The content of a request, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// All of it.
    Bytes(&'a [u8]),
    /// More than [`MAX_BODY_BYTES`], and not kept.
    TooLarge,
    /// A body that ended early, or whose framing was wrong.
    Broken,
}

impl<'a> Request<'a> {
    /// A request with neither fields nor content.
    #[must_use]
    pub fn new(method: &'a str, target: &'a str, client: IpAddr) -> Request<'a> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method,
            path,
            query,
            client,
            authorization: None,
            content_type: None,
            accept: None,
            accept_encoding: None,
            if_match: None,
            if_none_match: None,
            idempotency_key: None,
            last_event_id: None,
            prefer: None,
            origin: None,
            requested_method: None,
            user_agent: None,
            body: Body::Bytes(&[]),
        }
    }

    /// The way to render the reply's content.
    pub(super) fn render_mode(&self) -> RenderMode {
        if self.method == "HEAD" { RenderMode::Length } else { RenderMode::Full }
    }
}

/// A request on a route.
pub(super) struct Call<'a, Caller = UserId, Session = SessionId> {
    pub(super) request: &'a Request<'a>,
    /// The operation of the route.
    pub(super) operation: &'static Operation,
    /// The user whose token the request has.
    pub(super) caller: Caller,
    /// The session of that token.
    pub(super) session: Session,
    /// The segment of the path in the place of the `{…}` in the route's path.
    pub(super) segment: &'a str,
}

/// A request on a route that needs no token.
pub(super) type OpenCall<'a> = Call<'a, (), ()>;

impl Call<'_> {
    /// The caller and their session.
    pub(super) fn bearer(&self) -> Bearer {
        Bearer { user: self.caller, session: self.session }
    }
}

impl<Caller, Session> Call<'_, Caller, Session> {
    /// The part of the `User-Agent` field that is kept.
    pub(super) fn user_agent(&self) -> Box<str> {
        shortened(self.request.user_agent.unwrap_or_default())
    }
}
