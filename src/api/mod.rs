//! What a request means: from (state, request) to outcome.
//!
//! Handlers see no socket and no thread, and never wait: what blocks is handed back as a
//! [`Job`], what can be held until something comes is a [`Wait`], and what goes on for as long as
//! there is something to tell is a [`Subscription`]. A new endpoint is a row in [`routes::ROUTES`]
//! and a function in the file of its resource.

mod accounts;
mod blocks;
mod body;
pub mod client;
mod conditional;
mod content;
pub mod contract;
pub mod conversations;
pub mod cors;
mod events;
mod health;
pub mod idempotency;
pub mod limits;
mod live;
mod messages;
mod names;
pub mod openapi;
pub mod operators;
mod paging;
mod password;
mod problems;
mod reference;
mod registration;
mod revisions;
pub mod routes;
mod sessions;
mod settled;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod steps;
pub mod stream;
mod users;
pub mod wait;

use std::borrow::Cow;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;

use crate::auth::tokens::{Bearer, TokenError, Tokens};
use crate::model::{EventId, SessionId, Timestamp, UserId};
use crate::problem::{self, Problem};
use crate::store::{Backend, IdAllocator, IdKind, Lineage, Snapshot, StoreError, settled_at_start};
use crate::sys::{Clock, Entropy};

use client::Proxies;
use content::{Extent, Rendering};
use conversations::ReadMark;
use cors::Cors;
use idempotency::Strangers;
use limits::{Limiters, Limits};
use live::Live;
pub use live::Revoked;
use operators::Operators;
use paging::Query;
use routes::{Handler, Match, Route};
use settled::Sendings;
use stream::Subscription;
use wait::{Topic, Wait};

/// Longest request body that is looked at, in bytes.
pub const MAX_BODY_BYTES: usize = 32 * 1024;

/// The state of the server, owned by the loop.
pub struct App {
    store: Box<dyn Backend>,
    tokens: Tokens,
    clock: Box<dyn Clock>,
    entropy: Box<dyn Entropy>,
    settings: Settings,
    limiters: Limiters,
    live: Live,
    epochs: Lineage,
    sendings: Sendings,
    /// What happened since somebody last asked.
    happened: Vec<(Topic, EventId)>,
    /// What was marked as read since somebody last asked.
    read_marks: Vec<ReadMark>,
    /// What was sent under keys that cannot be compared any more.
    strangers: Strangers,
    failure: Option<StoreError>,
}

/// What the operator decides about the API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shortest password that can be registered, in characters.
    pub min_password_length: usize,
    /// Which pages of other origins may use the API.
    pub cors: Cors,
    /// How often things may be done.
    pub limits: Limits,
    /// Who may say for whom they ask.
    pub proxies: Proxies,
    /// Who keeps order.
    pub operators: Operators,
    /// Whether new accounts can be made, unless an operator has closed registration.
    pub registration_open: bool,
}

/// Passwords of three characters, registration for everybody, and no limits.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            min_password_length: 3,
            cors: Cors::default(),
            limits: Limits::default(),
            proxies: Proxies::default(),
            operators: Operators::default(),
            registration_open: true,
        }
    }
}

/// What a handler gets to see of an HTTP request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// As in the request line; case matters (RFC 9110, section 9.1).
    pub method: &'a str,
    /// The target's path, undecoded.
    pub path: &'a str,
    /// The target's query, undecoded; empty if there is none.
    pub query: &'a str,
    /// Who sent it, as far as it can be believed (see [`Proxies::client`]).
    pub client: IpAddr,
    /// The `Authorization` field.
    pub authorization: Option<&'a str>,
    /// The `ResponseContent-Type` field.
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

impl<'a> Request<'a> {
    /// How much of the content of its reply is wanted.
    fn extent(&self) -> Extent {
        if self.method == "HEAD" { Extent::Length } else { Extent::Whole }
    }

    /// One with neither fields nor content.
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
}

/// The content of a request, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// All of it.
    Bytes(&'a [u8]),
    /// More than [`MAX_BODY_BYTES`], and thrown away.
    TooLarge,
    /// It ended early or its framing was wrong.
    Broken,
}

/// What is sent back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code (RFC 9110, section 15).
    pub status: u16,
    /// The `ResponseContent-Type` field. Not sent with a status that has no content.
    pub content_type: &'static str,
    /// The `Cache-Control` field.
    pub cache_control: &'static str,
    /// Further fields. Values hold nothing that a client chose freely.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The content, as far as it was made.
    pub body: Cow<'static, [u8]>,
    /// How long the content is that was not made, because a `HEAD` asks for its length only.
    pub withheld: usize,
}

/// What is known of a request when it has been handled, for who counts and logs.
#[derive(Clone, Copy, Default)]
pub struct Trace {
    /// Where it was routed to.
    pub route: Option<&'static Route>,
    /// Who sent it, where that was asked.
    pub caller: Option<UserId>,
    /// From where, as far as that is believed.
    pub client: Option<IpAddr>,
}

/// What becomes of a request.
pub enum Outcome {
    /// It is answered, once what it wrote is durable.
    Reply(Reply),
    /// It goes on after a job that blocks.
    Offload(Job),
    /// It is answered when something has come, or when its time is over.
    Park(Wait),
    /// It is answered with what happens from now on, as it happens.
    Stream(Box<Subscription>),
}

/// Work that blocks, for a worker; what it returns is run by the loop and answers the request.
pub struct Job {
    /// What the worker does.
    pub work: Box<dyn FnOnce() -> Resume + Send>,
    /// What the loop does instead if no worker can be had.
    pub declined: Resume,
}
/// The rest of a handler after its job.
pub type Resume = Box<dyn FnOnce(&mut App) -> Result<Reply, Failure> + Send>;

/// Why a handler has no reply.
#[derive(Debug)]
pub enum Failure {
    /// The client is to blame, and told.
    Problem(Problem),
    /// The store is to blame; the client sees a 500, or a 507 where there is no room.
    Store(StoreError),
}

impl Job {
    fn new(work: impl FnOnce() -> Resume + Send + 'static) -> Job {
        Job { work: Box::new(work), declined: Box::new(|_| Err(Problem::overloaded().into())) }
    }

    /// One that takes back what was done for it, if no worker can be had.
    fn or_else(self, undo: impl FnOnce(&mut App) + Send + 'static) -> Job {
        let declined = |app: &mut App| {
            undo(app);
            Err(Problem::overloaded().into())
        };
        Job { declined: Box::new(declined), ..self }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure::Problem(problem)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

const NO_SUCH_PATH: &str = "no such path; /docs shows those there are";
/// What the API answers is true now, and for who asked (RFC 9111, section 5.2.2.5).
const NOT_FOR_CACHES: &str = "no-store";

impl Reply {
    /// A JSON reply. `content` is the JSON.
    fn json(status: u16, content: impl Into<Rendering>) -> Reply {
        match content.into() {
            Rendering::Bytes(body) => Reply::new(status, "application/json", body),
            Rendering::Length(withheld) => {
                Reply { withheld, ..Reply::new(status, "application/json", &[][..]) }
            }
        }
    }

    fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Reply {
        let (cache_control, headers) = (NOT_FOR_CACHES, Vec::new());
        let (body, withheld) = (body.into(), 0);
        Reply { status, content_type, cache_control, headers, body, withheld }
    }

    /// How long the content is, made or not.
    #[must_use]
    pub fn content_length(&self) -> usize {
        self.withheld + self.body.len()
    }

    /// Lets go of the content, of which only the length is wanted.
    pub fn withhold(&mut self) {
        self.withheld = self.content_length();
        self.body = Cow::Borrowed(&[]);
    }

    /// One without content.
    fn empty(status: u16) -> Reply {
        Reply::new(status, "", &[][..])
    }

    fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        let body = problem.to_json();
        let reply = Reply::new(problem.kind.status, "application/problem+json", body);
        Reply { headers: problem.headers, ..reply }
    }
}

impl App {
    /// The state around a store, whose sessions and epochs are read. Should that fail, the first
    /// sync does.
    #[must_use]
    pub fn new(
        mut store: Box<dyn Backend>,
        tokens: Tokens,
        clock: Box<dyn Clock>,
        entropy: Box<dyn Entropy>,
        settings: Settings,
    ) -> App {
        let limiters = Limiters::new(settings.limits);
        let begun = clock.read();
        let mut load = || {
            let live = Live::load(&mut *store, begun)?;
            let settled = settled_at_start(&mut *store, begun.now)?;
            Ok((live, Lineage::of(&mut *store)?, settled))
        };
        let (live, epochs, settled, failure) = match load() {
            Ok((live, epochs, settled)) => (live, epochs, settled, None),
            Err(error) => (Live::default(), Lineage::default(), None, Some(error)),
        };
        App {
            store,
            tokens,
            clock,
            entropy,
            settings,
            limiters,
            live,
            epochs,
            sendings: Sendings::new(begun, settled),
            happened: Vec::new(),
            read_marks: Vec::new(),
            strangers: Strangers::default(),
            failure,
        }
    }

    /// Routes and handles one request. What it wrote is not durable before [`App::sync`].
    pub fn handle(&mut self, request: &Request<'_>) -> (Trace, Outcome) {
        let mut trace = Trace { client: Some(request.client), ..Trace::default() };
        let handled = catch_unwind(AssertUnwindSafe(|| self.dispatch(request, &mut trace)));
        let outcome = match handled {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => Outcome::Reply(self.reply_to(failure)),
            Err(_) => Outcome::Reply(Problem::internal().into()),
        };
        (trace, outcome)
    }

    /// Goes on with a request whose job is done.
    pub fn resume(&mut self, resume: Resume) -> Reply {
        match catch_unwind(AssertUnwindSafe(|| resume(self))) {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => self.reply_to(failure),
            Err(_) => Problem::internal().into(),
        }
    }

    /// Makes durable what was handled so far. After an error none of it may be answered.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.store.sync(),
        }
    }

    /// What was ended since this was last asked: requests of it that are under way, and do not end
    /// by themselves, are to be ended.
    pub fn revoked(&mut self) -> Vec<Revoked> {
        self.live.revoked()
    }

    /// Whether the next sync will fail, whatever happens until then.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The time of day, as handlers see it.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The store, for who counts.
    #[must_use]
    pub fn store(&self) -> &dyn Backend {
        &*self.store
    }

    /// The ids that are given out next, less those that were passed over: how many there are.
    #[must_use]
    pub fn counted(&self) -> IdAllocator {
        let IdAllocator { next_user, next_event } = self.store.next_ids();
        let dense = |next, sequence| self.epochs.dense(sequence, next);
        IdAllocator {
            next_user: dense(next_user, IdKind::Users),
            next_event: dense(next_event, IdKind::Events),
        }
    }

    /// Whether the store would take a message now.
    pub fn takes_writes(&mut self) -> bool {
        self.store.takes_writes()
    }

    /// A copy of what the last sync made durable; `None` if the store is not one that lasts.
    pub fn snapshot(&mut self) -> Result<Option<Snapshot>, StoreError> {
        self.store.snapshot()
    }

    /// Random bytes for who needs a name that nobody else has.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }

    /// Which pages of other origins may use the API. What they are told goes with every reply.
    #[must_use]
    pub fn cors(&self) -> &Cors {
        &self.settings.cors
    }

    /// Who may say for whom they ask.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        &self.settings.proxies
    }

    fn dispatch(&mut self, request: &Request<'_>, trace: &mut Trace) -> Result<Outcome, Failure> {
        let (route, segment) = match routes::find(request.method, request.path) {
            Match::Route(route, segment) => (route, segment),
            Match::OtherMethods(allow) => {
                let preflight = self.settings.cors.preflight(request, &allow);
                let refused = || Problem::method_not_allowed(allow).into();
                return preflight.map(Outcome::Reply).ok_or_else(refused);
            }
            Match::Nothing => return Err(Problem::not_found(NO_SUCH_PATH).into()),
        };
        trace.route = Some(route);
        match route.handler {
            Handler::Open(handle) => {
                handle(self, &Call { request, route, caller: (), session: (), segment })
            }
            Handler::Authenticated(handle) => {
                let Bearer { user: caller, session } = self.authenticate(request)?;
                trace.caller = Some(caller);
                handle(self, &Call { request, route, caller, session, segment })
            }
        }
    }

    /// The user whose token the request brings (RFC 6750, section 2.1).
    fn authenticate(&mut self, request: &Request<'_>) -> Result<Bearer, Failure> {
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
                Problem::new(problem::TOKEN_INVALID, "the access token is not good yet")
            }
            TokenError::Invalid => {
                let why = "the access token is malformed, forged or of another store";
                Problem::new(problem::TOKEN_INVALID, why)
            }
        })?;
        self.expect_live(bearer)?;
        self.live.note_use(bearer.session, now);
        Ok(bearer)
    }

    /// Until when the token that a request brought is good by the time of day, and for how long at
    /// most.
    fn expiry(&mut self, call: &Call<'_>) -> Result<(Timestamp, Duration), Failure> {
        let now = self.clock.now();
        let token = call.request.authorization.and_then(|field| field.split_once(' '));
        let expires = token.and_then(|(_, token)| self.tokens.expiry(token.trim())).unwrap_or(now);
        let left = Duration::from_millis(expires.millis().saturating_sub(now.millis()));
        Ok((expires, left.min(self.expect_live(call.bearer())?)))
    }

    fn reply_to(&mut self, failure: Failure) -> Reply {
        match failure {
            Failure::Problem(problem) => problem.into(),
            // The store has logged it, once for all that are refused.
            Failure::Store(StoreError::Full { .. }) => Problem::no_room().into(),
            Failure::Store(error) => {
                log::error!("{error}");
                if error.is_fatal() {
                    self.failure.get_or_insert(error);
                }
                Problem::internal().into()
            }
        }
    }
}

fn token_expired() -> Problem {
    Problem::new(problem::TOKEN_INVALID, "the access token has expired")
}

/// What the API's own types serialize to. They hold strings and numbers only, which cannot fail.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A request on a route.
struct Call<'a, Caller = UserId, Session = SessionId> {
    request: &'a Request<'a>,
    route: &'static Route,
    /// Who sent it, if that was asked.
    caller: Caller,
    /// With the token of which session, likewise.
    session: Session,
    /// What the `{…}` in the route's path stands for.
    segment: &'a str,
}

/// A request whose sender nobody asked for.
type OpenCall<'a> = Call<'a, (), ()>;

impl<'a, Caller, Session> Call<'a, Caller, Session> {
    /// The query parameters that the route knows.
    fn query(&self) -> Result<Query<'a>, Problem> {
        Query::parse(self.request.query, self.route.operation)
    }
}
