//! Tests of clocks that are set, forwards and back: see [`sys`](crate::sys).

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use super::app::{App, Settings};
use super::outcome::Outcome;
use super::request::{Body, Request};
use crate::auth::tokens::Tokens;
use crate::model::{MAX_SESSIONS, StoreId, Timestamp, UserId};
use crate::store::{Backend, MemoryStore};
use crate::sys::{SeededEntropy, SteppedClock};

const BEGUN: u64 = 1_767_323_045_678;
const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const YEAR: u64 = 365 * 24 * HOUR;
/// Lifetime of a token.
const TTL: u64 = HOUR;

/// A server and its clock, whose store outlives it.
struct TestServer {
    app: App,
    clock: SteppedClock,
}

impl TestServer {
    fn new() -> TestServer {
        let clock = SteppedClock::at(Timestamp::from_millis(BEGUN));
        let mut server =
            TestServer { app: app(Box::new(MemoryStore::new(StoreId(1))), &clock), clock };
        for name in ["ann", "bob"] {
            assert_eq!(server.ask("POST", "/register", "", &credentials(name)).0, 201);
        }
        server
    }

    /// Lets time pass, by both clocks.
    fn pass(&self, millis: u64) {
        self.clock.pass(Duration::from_millis(millis));
    }

    /// Sets the time of day, in milliseconds after the beginning.
    fn set(&self, millis: u64) {
        self.clock.set(Timestamp::from_millis(BEGUN + millis));
    }

    /// Restarts the server, in a process that has seen no time pass.
    fn restart(mut self) -> TestServer {
        let now = self.app.clock.now();
        let store = std::mem::replace(&mut self.app.store, Box::new(MemoryStore::new(StoreId(1))));
        let clock = SteppedClock::at(now);
        TestServer { app: app(store, &clock), clock }
    }

    fn ask(&mut self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        self.ask_under(None, method, path, token, body)
    }

    /// The same under an `Idempotency-Key`.
    fn ask_under(
        &mut self,
        key: Option<&str>,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> (u16, Value) {
        let authorization = format!("Bearer {token}");
        let (_, outcome) = self.app.handle(&Request {
            authorization: (!token.is_empty()).then_some(&*authorization),
            idempotency_key: key.map(Into::into),
            body: Body::Bytes(body.as_bytes()),
            ..Request::new(method, path, Ipv4Addr::LOCALHOST.into())
        });
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Offload(job) => self.app.resume((job.work)()),
            Outcome::Park(_) | Outcome::Stream(_) => panic!("nobody waits here"),
        };
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    fn log_in(&mut self, name: &str) -> String {
        let (status, body) = self.ask("POST", "/login", "", &credentials(name));
        assert_eq!(status, 200, "{body}");
        body["token"].as_str().expect("a token").to_owned()
    }

    /// `true` if a request with a token is answered.
    fn is_let_in(&mut self, token: &str) -> bool {
        let (status, body) = self.ask("GET", "/api/users/me", token, "");
        assert!(matches!(status, 200 | 401), "{status} {body}");
        status == 200
    }

    /// The number of sessions in the list that a token's user gets.
    fn sessions(&mut self, token: &str) -> usize {
        let (status, body) = self.ask("GET", "/api/users/me/sessions", token, "");
        assert_eq!(status, 200, "{body}");
        body.as_array().expect("a list").len()
    }
}

fn app(store: Box<dyn Backend>, clock: &SteppedClock) -> App {
    let tokens = Tokens::new(&[7; 32], TTL / 1000, StoreId(1));
    let (clock, entropy) = (Box::new(clock.clone()), Box::new(SeededEntropy(1)));
    App::new(store, tokens, clock, entropy, Settings::default())
}

fn credentials(name: &str) -> String {
    format!("{{\"username\":\"{name}\",\"password\":\"password\"}}")
}

#[test]
fn a_server_that_was_started_ahead_lets_in_who_is_good_once_the_clock_is_right() {
    let mut server = TestServer::new();
    let token = server.log_in("ann");
    server.set(2 * TTL);
    let mut server = server.restart();
    assert!(!server.is_let_in(&token), "it has expired, as far as anybody can tell");
    server.set(MINUTE);
    assert!(server.is_let_in(&token));
    assert_eq!(server.sessions(&token), 1);
    // A logout since is respected too.
    assert_eq!(server.ask("POST", "/logout", &token, "").0, 204);
    assert!(!server.is_let_in(&token));
}

#[test]
fn a_login_while_the_clock_is_ahead_ends_nobodys_session() {
    let mut server = TestServer::new();
    let (ann, bob) = (server.log_in("ann"), server.log_in("bob"));
    server.pass(MINUTE);
    server.set(YEAR);
    let of_the_future = server.log_in("ann");
    assert!(server.is_let_in(&of_the_future));
    server.set(2 * MINUTE);
    assert!(server.is_let_in(&ann), "her own");
    assert!(server.is_let_in(&bob), "somebody else's");
    // Not after a restart either: it is no different in the store.
    let mut server = server.restart();
    assert!(server.is_let_in(&ann) && server.is_let_in(&bob));
}

#[test]
fn a_token_of_the_future_is_good_for_an_hour() {
    let mut server = TestServer::new();
    server.set(YEAR);
    let token = server.log_in("ann");
    server.set(0);
    server.pass(TTL - MINUTE);
    assert!(server.is_let_in(&token));
    assert_eq!(server.sessions(&token), 1);
    server.pass(MINUTE);
    assert!(!server.is_let_in(&token), "and not for a year");
    let fresh = server.log_in("ann");
    assert_eq!(server.sessions(&fresh), 1, "the list agrees");
}

#[test]
fn a_token_expires_by_the_time_of_day() {
    let mut server = TestServer::new();
    let token = server.log_in("ann");
    assert!(server.is_let_in(&token), "it is remembered as good");
    // The machine slept.
    server.set(TTL);
    assert!(!server.is_let_in(&token));
    // Somebody sets the clock back: it is 59 minutes old, or a minute.
    server.set(TTL - MINUTE);
    assert!(server.is_let_in(&token));
    server.set(0);
    server.pass(TTL - MINUTE);
    assert!(server.is_let_in(&token));
}

#[test]
fn a_clock_far_behind_keeps_nobody_out() {
    let mut server = TestServer::new();
    let token = server.log_in("ann");
    server.clock.set(Timestamp::from_millis(0));
    assert!(server.is_let_in(&token));
    let early = server.log_in("ann");
    assert!(server.is_let_in(&early));
    assert_eq!(server.sessions(&early), 2);
    server.set(MINUTE);
    assert!(server.is_let_in(&token));
    assert!(!server.is_let_in(&early), "by the right time it expired long ago");
}

#[test]
fn sessions_that_are_over_do_not_pile_up() {
    let mut server = TestServer::new();
    for _ in 0..3 {
        server.log_in("ann");
        server.log_in("bob");
        server.pass(TTL);
    }
    server.log_in("ann");
    assert_eq!(server.app.store.sessions(UserId::FIRST).unwrap().len(), 1);
    // With a clock that is ahead all look expired, and only those give way that have to.
    server.set(YEAR);
    let bob = UserId::new(2).unwrap();
    let seen = server.app.store.user(bob).unwrap().unwrap().password_hash.clone();
    for _ in 0..=MAX_SESSIONS {
        let session = server.app.new_session(bob, "".into());
        server.app.end_expired_sessions(bob).unwrap();
        assert!(server.app.store.begin_session(session.clone(), &seen).unwrap().is_some());
        server.app.sessions.begin(&session, server.app.clock.read());
    }
    assert_eq!(server.app.store.sessions(bob).unwrap().len(), MAX_SESSIONS);
}

#[test]
fn the_last_use_is_told_by_the_clock_that_is_right() {
    let mut server = TestServer::new();
    let token = server.log_in("ann");
    server.set(30 * MINUTE);
    assert!(server.is_let_in(&token));
    server.set(10 * MINUTE);
    let (_, sessions) = server.ask("GET", "/api/users/me/sessions", &token, "");
    let expected = Timestamp::from_millis((BEGUN + 10 * MINUTE) / MINUTE * MINUTE);
    assert_eq!(sessions[0]["last_used_at"], expected.to_string());
}

#[test]
fn what_was_sent_is_known_again_whatever_the_clock_says() {
    const DAY: u64 = 24 * HOUR;
    for ahead in [2 * DAY, YEAR] {
        let mut server = TestServer::new();
        let say = |server: &mut TestServer, key: &str| {
            let token = server.log_in("ann");
            let body = r#"{"text":"hello"}"#;
            let (_, said) = server.ask_under(Some(key), "POST", "/api/messages", &token, body);
            said["id"].as_u64().expect("a message")
        };
        assert_eq!(say(&mut server, "a"), 0);
        server.set(ahead);
        assert_eq!(say(&mut server, "a"), 0, "it was sent a moment ago");
        for key in ["b", "c", "d"] {
            say(&mut server, key);
        }
        server.set(MINUTE);
        assert_eq!(say(&mut server, "a"), 0);
        let mut server = server.restart();
        server.set(ahead);
        assert_eq!(say(&mut server, "a"), 0, "also after a restart");
        // It expires when a day has passed by both clocks.
        server.set(DAY);
        server.pass(DAY + 2 * HOUR);
        assert_eq!(say(&mut server, "a"), 4);
    }
}
