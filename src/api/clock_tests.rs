//! Steps of the clock, in either direction, and what they may not do: see [`sys`](crate::sys).

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
/// What a token is good for.
const TTL: u64 = HOUR;

/// A server and its clock, whose store outlives it.
struct Stage {
    app: App,
    clock: SteppedClock,
}

impl Stage {
    fn new() -> Stage {
        let clock = SteppedClock::at(Timestamp::from_millis(BEGUN));
        let mut stage = Stage { app: app(Box::new(MemoryStore::new(StoreId(1))), &clock), clock };
        for name in ["ann", "bob"] {
            assert_eq!(stage.ask("POST", "/register", "", &credentials(name)).0, 201);
        }
        stage
    }

    /// Time passes.
    fn pass(&self, millis: u64) {
        self.clock.pass(Duration::from_millis(millis));
    }

    /// The time of day is so many milliseconds behind the beginning from now on.
    fn set(&self, millis: u64) {
        self.clock.set(Timestamp::from_millis(BEGUN + millis));
    }

    /// The server is started anew, by a process that has seen no time pass.
    fn restart(mut self) -> Stage {
        let now = self.app.clock.now();
        let store = std::mem::replace(&mut self.app.store, Box::new(MemoryStore::new(StoreId(1))));
        let clock = SteppedClock::at(now);
        Stage { app: app(store, &clock), clock }
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

    /// The status of a request with a token, and its words.
    fn is_let_in(&mut self, token: &str) -> bool {
        let (status, body) = self.ask("GET", "/api/users/me", token, "");
        assert!(matches!(status, 200 | 401), "{status} {body}");
        status == 200
    }

    /// How many sessions the one of a token is told of.
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
    let mut stage = Stage::new();
    let token = stage.log_in("ann");
    stage.set(2 * TTL);
    let mut stage = stage.restart();
    assert!(!stage.is_let_in(&token), "it has expired, as far as anybody can tell");
    stage.set(MINUTE);
    assert!(stage.is_let_in(&token));
    assert_eq!(stage.sessions(&token), 1);
    // Also who logged out since is known.
    assert_eq!(stage.ask("POST", "/logout", &token, "").0, 204);
    assert!(!stage.is_let_in(&token));
}

#[test]
fn a_login_while_the_clock_is_ahead_ends_nobodys_session() {
    let mut stage = Stage::new();
    let (ann, bob) = (stage.log_in("ann"), stage.log_in("bob"));
    stage.pass(MINUTE);
    stage.set(YEAR);
    let of_the_future = stage.log_in("ann");
    assert!(stage.is_let_in(&of_the_future));
    stage.set(2 * MINUTE);
    assert!(stage.is_let_in(&ann), "her own");
    assert!(stage.is_let_in(&bob), "somebody else's");
    // Not after a restart either: it is no different in the store.
    let mut stage = stage.restart();
    assert!(stage.is_let_in(&ann) && stage.is_let_in(&bob));
}

#[test]
fn a_token_of_the_future_is_good_for_an_hour() {
    let mut stage = Stage::new();
    stage.set(YEAR);
    let token = stage.log_in("ann");
    stage.set(0);
    stage.pass(TTL - MINUTE);
    assert!(stage.is_let_in(&token));
    assert_eq!(stage.sessions(&token), 1);
    stage.pass(MINUTE);
    assert!(!stage.is_let_in(&token), "and not for a year");
    let fresh = stage.log_in("ann");
    assert_eq!(stage.sessions(&fresh), 1, "the list agrees");
}

#[test]
fn a_token_expires_by_the_time_of_day() {
    let mut stage = Stage::new();
    let token = stage.log_in("ann");
    assert!(stage.is_let_in(&token), "it is remembered as good");
    // The machine slept.
    stage.set(TTL);
    assert!(!stage.is_let_in(&token));
    // Somebody sets the clock back: it is 59 minutes old, or a minute.
    stage.set(TTL - MINUTE);
    assert!(stage.is_let_in(&token));
    stage.set(0);
    stage.pass(TTL - MINUTE);
    assert!(stage.is_let_in(&token));
}

#[test]
fn a_clock_far_behind_keeps_nobody_out() {
    let mut stage = Stage::new();
    let token = stage.log_in("ann");
    stage.clock.set(Timestamp::from_millis(0));
    assert!(stage.is_let_in(&token));
    let early = stage.log_in("ann");
    assert!(stage.is_let_in(&early));
    assert_eq!(stage.sessions(&early), 2);
    stage.set(MINUTE);
    assert!(stage.is_let_in(&token));
    assert!(!stage.is_let_in(&early), "by the right time it expired long ago");
}

#[test]
fn sessions_that_are_over_do_not_pile_up() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        stage.log_in("ann");
        stage.log_in("bob");
        stage.pass(TTL);
    }
    stage.log_in("ann");
    assert_eq!(stage.app.store.sessions(UserId::FIRST).unwrap().len(), 1);
    // With a clock that is ahead all look expired, and only those give way that have to.
    stage.set(YEAR);
    let bob = UserId::new(2).unwrap();
    let seen = stage.app.store.user(bob).unwrap().unwrap().password_hash.clone();
    for _ in 0..=MAX_SESSIONS {
        let session = stage.app.new_session(bob, "".into());
        stage.app.end_expired_sessions(bob).unwrap();
        assert!(stage.app.store.begin_session(session.clone(), &seen).unwrap().is_some());
        stage.app.sessions.begin(&session, stage.app.clock.read());
    }
    assert_eq!(stage.app.store.sessions(bob).unwrap().len(), MAX_SESSIONS);
}

#[test]
fn the_last_use_is_told_by_the_clock_that_is_right() {
    let mut stage = Stage::new();
    let token = stage.log_in("ann");
    stage.set(30 * MINUTE);
    assert!(stage.is_let_in(&token));
    stage.set(10 * MINUTE);
    let (_, sessions) = stage.ask("GET", "/api/users/me/sessions", &token, "");
    let expected = Timestamp::from_millis((BEGUN + 10 * MINUTE) / MINUTE * MINUTE);
    assert_eq!(sessions[0]["last_used_at"], expected.to_string());
}

#[test]
fn what_was_sent_is_known_again_whatever_the_clock_says() {
    const DAY: u64 = 24 * HOUR;
    for ahead in [2 * DAY, YEAR] {
        let mut stage = Stage::new();
        let say = |stage: &mut Stage, key: &str| {
            let token = stage.log_in("ann");
            let body = r#"{"text":"hello"}"#;
            let (_, said) = stage.ask_under(Some(key), "POST", "/api/messages", &token, body);
            said["id"].as_u64().expect("a message")
        };
        assert_eq!(say(&mut stage, "a"), 0);
        stage.set(ahead);
        assert_eq!(say(&mut stage, "a"), 0, "it was sent a moment ago");
        for key in ["b", "c", "d"] {
            say(&mut stage, key);
        }
        stage.set(MINUTE);
        assert_eq!(say(&mut stage, "a"), 0);
        let mut stage = stage.restart();
        stage.set(ahead);
        assert_eq!(say(&mut stage, "a"), 0, "also after a restart");
        // It is over when a day has passed by both clocks.
        stage.set(DAY);
        stage.pass(DAY + 2 * HOUR);
        assert_eq!(say(&mut stage, "a"), 4);
    }
}
