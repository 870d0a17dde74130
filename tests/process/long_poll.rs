//! Long polls: nothing is missed, nothing comes twice, and no request waits without need.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use crate::admin::figure;
use crate::client::{Client, each, ids};
use crate::server::{PATIENCE, STORES, until};
use crate::stage::Stage;
use crate::wire::{Wire, get, post, request};

/// Requests of one user that may wait.
const MAX_PARKED_PER_USER: usize = 32;
/// Longer than the patience of any test: a client that is answered has not waited for so long.
const LONG: &str = "/api/messages?after=-1&wait=60";
/// The ids on an empty page.
const NOTHING: [u64; 0] = [];

impl Stage {
    fn parked(&self) -> Option<usize> {
        let parked = figure(self.admin, "veche_parked")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let parked = parked as usize;
        Some(parked)
    }

    /// Waits until this many requests wait.
    fn wait_for_parked(&self, count: usize) {
        self.wait_for("veche_parked", count);
    }
}

#[test]
fn a_message_ends_the_wait() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let bob = Client::signed_up(&stage.server, "bob");
        let mut general = stage.ask(&ann, LONG);
        let mut private = stage.ask(&ann, "/api/users/me/messages?after=-1&wait=60");
        let mut with_bob = stage.ask(&ann, "/api/users/me/messages?with=2&after=0&wait=60");
        // Only later messages are above the cursor.
        let mut later = stage.ask(&ann, "/api/messages?after=0&wait=60");
        stage.wait_for_parked(4);
        assert_eq!(bob.say("zero"), 0);
        assert_eq!(general.answer().ids(), [0], "{store}");
        stage.wait_for_parked(3);
        assert_eq!(bob.tell(1, "one"), 1);
        assert_eq!(private.answer().ids(), [1], "{store}");
        assert_eq!(with_bob.answer().ids(), [1], "{store}");
        stage.wait_for_parked(1);
        assert_eq!(bob.say("two"), 2);
        assert_eq!(later.answer().ids(), [2], "{store}");
        stage.wait_for_parked(0);
        // The connection goes on, and existing messages are not waited for.
        general.send(get(&ann, LONG));
        assert_eq!(general.answer().ids(), [0, 2], "{store}");
        stage.server.stop();
    }
}

/// A client that follows `next` sees every message once, in order, however many write meanwhile.
#[test]
fn nothing_is_skipped_and_nothing_comes_twice() {
    const WRITERS: usize = 20;
    const POSTS: usize = 12;
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let bob = Client::signed_up(&stage.server, "bob");
        let followed = each(2 * WRITERS, |n| {
            let writer = n / 2;
            if n % 2 == 0 {
                // Every third is for Bob only.
                let write = |m| {
                    if m % 3 == 0 { ann.tell(2, "private") } else { ann.say("general") }
                };
                return (0..POSTS).map(write).collect::<Vec<u64>>();
            }
            let (list, count) = match writer % 4 {
                0 => ("/api/users/me/messages", POSTS.div_ceil(3) * WRITERS),
                _ => ("/api/messages", (POSTS - POSTS.div_ceil(3)) * WRITERS),
            };
            let mut path = format!("{list}?after=-1&limit={}", writer + 1);
            let mut seen = Vec::new();
            while seen.len() < count {
                let page = bob.get(&format!("{path}&wait=20"));
                assert_eq!(page.status, 200, "{page:?}");
                path = page.link("next").expect("there is always a next page");
                seen.extend(ids(&page.items()));
            }
            assert_eq!(seen.len(), count, "{store}, {list}");
            assert!(seen.is_sorted_by(|a, b| a < b), "{store}, {list}: {seen:?}");
            seen
        });
        let written: BTreeSet<u64> = followed.iter().step_by(2).flatten().copied().collect();
        let read: BTreeSet<u64> = followed.iter().skip(1).step_by(2).flatten().copied().collect();
        assert_eq!(written.len(), WRITERS * POSTS, "{store}");
        assert_eq!(read, written, "{store}");
        assert_eq!(stage.parked(), Some(0));
        stage.server.stop();
    }
}

#[test]
fn the_time_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let preferring = |preference: &str| {
        let line = "GET /api/messages?after=-1 HTTP/1.1";
        request(&ann, line, &format!("Prefer: {preference}\r\n"), "")
    };
    let asked = [
        (get(&ann, "/api/messages?after=-1&wait=1"), None),
        (preferring("wait=1"), Some("wait=1")),
        (preferring("respond-async\r\nPREFER: Wait=\"1\"; x, wait=60"), Some("wait=1")),
    ];
    for (asked, applied) in asked {
        let begun = Instant::now();
        let mut wire = Wire::connect(stage.server.addr());
        wire.send(asked);
        let answer = wire.answer();
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}: {answer:?}", begun.elapsed());
        assert_eq!((answer.status, answer.ids()), (200, vec![]));
        assert_eq!(answer.header("Preference-Applied"), applied);
        assert_eq!(answer.link("next").as_deref().map(|it| it.contains("after=-1&")), Some(true));
    }
    // The query takes precedence over the field; and a wait of 0 seconds does not wait.
    for asked in [
        request(&ann, "GET /api/messages?after=-1&wait=0 HTTP/1.1", "Prefer: wait=60\r\n", ""),
        preferring("wait=0"),
        preferring("wait=61"),
        preferring("wait=61, wait=60"),
        request(&ann, "GET /api/messages HTTP/1.1", "Prefer: wait=60\r\n", ""),
        request(&ann, "GET /api/users?after=1 HTTP/1.1", "Prefer: wait=60\r\n", ""),
        get(&ann, "/api/users?after=1&wait=60"),
    ] {
        let mut wire = Wire::connect(stage.server.addr());
        wire.send(&asked);
        assert_eq!(wire.answer().ids(), NOTHING, "{asked}");
    }
    let mut wire = Wire::connect(stage.server.addr());
    wire.send(request(&ann, &format!("HEAD {LONG} HTTP/1.1"), "Prefer: wait=60\r\n", ""));
    let head = wire.head_answer();
    assert_eq!((head.status, head.header("Preference-Applied")), (200, None));
    stage.server.stop();
}

/// A token that expires meanwhile is not valid for later messages.
#[test]
fn a_wait_ends_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set_with("memory", dir.path(), &["--token-ttl", "2"]);
    let ann = Client::signed_up(&stage.server, "ann");
    let answer = stage.ask(&ann, LONG).answer();
    assert_eq!((answer.status, answer.problem().as_str()), (401, "token-invalid"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("expired"), "{answer:?}");
    assert_eq!(stage.parked(), Some(0));
    stage.server.stop();
}

/// Neither other users' private messages nor those of another list end a wait.
#[test]
fn an_invisible_message_wakes_nobody() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let bob = Client::signed_up(&stage.server, "bob");
        let carol = Client::signed_up(&stage.server, "carol");
        let mut waiting = [
            stage.ask(&carol, "/api/users/me/messages?after=-1&wait=60"),
            stage.ask(&carol, "/api/users/me/messages?with=1&after=-1&wait=60"),
            stage.ask(&bob, "/api/users/me/messages?with=3&after=-1&wait=60"),
            stage.ask(&carol, LONG),
        ];
        stage.wait_for_parked(4);
        for _ in 0..5 {
            ann.tell(2, "for Bob only");
            bob.tell(1, "for Ann only");
            bob.tell(2, "to himself");
        }
        assert_eq!(stage.parked(), Some(4), "{store}");
        let id = ann.tell(3, "for Carol");
        assert_eq!(waiting[0].answer().ids(), [id], "{store}");
        assert_eq!(waiting[1].answer().ids(), [id], "{store}");
        let id = bob.tell(3, "from Bob");
        assert_eq!(waiting[2].answer().ids(), [id], "{store}");
        let id = ann.say("for all");
        assert_eq!(waiting[3].answer().ids(), [id], "{store}");
        stage.server.stop();
    }
}

/// A client that sends another request on the same connection is answered at once, in order.
#[test]
fn a_second_request_ends_the_wait() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let mut wire = stage.ask(&ann, LONG);
        stage.wait_for_parked(1);
        wire.send(get(&ann, "/api/users/me"));
        assert_eq!(wire.answer().ids(), NOTHING, "{store}");
        assert_eq!(wire.answer().json()["username"], "ann", "{store}");
        // All at once: each ends the wait before it, and a later post is not on an earlier page.
        let say = post(&ann, "/api/messages", r#"{"text":"zero"}"#);
        wire.send([get(&ann, LONG), get(&ann, LONG), say, get(&ann, LONG)].concat());
        assert_eq!(wire.answer().ids(), NOTHING, "{store}");
        assert_eq!(wire.answer().ids(), NOTHING, "{store}");
        assert_eq!(wire.answer().created(), 0, "{store}");
        assert_eq!(wire.answer().ids(), [0], "{store}");
        // The connection can wait again.
        wire.send(get(&ann, "/api/messages?after=0&wait=60"));
        stage.wait_for_parked(1);
        ann.say("one");
        assert_eq!(wire.answer().ids(), [1], "{store}");
        stage.server.stop();
    }
}

#[test]
fn waiting_requests_of_a_user_are_limited_and_ended_ones_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let bob = Client::signed_up(&stage.server, "bob");
    let mut waiting: Vec<Wire> = (0..MAX_PARKED_PER_USER).map(|_| stage.ask(&ann, LONG)).collect();
    stage.wait_for_parked(MAX_PARKED_PER_USER);
    let one_more = || {
        let answer = stage.ask(&ann, LONG).answer();
        (answer.status == 429).then(|| {
            assert_eq!(answer.problem(), "too-many-requests");
            assert_eq!(answer.header("Retry-After"), Some("1"));
        })
    };
    one_more().expect("one too many");
    assert_eq!(figure(stage.admin, "veche_refused_total{queue=\"parked\"}"), Some(1.0));
    let mut other = stage.ask(&bob, LONG);
    stage.wait_for_parked(MAX_PARKED_PER_USER + 1);
    // Requests that do not wait are not limited.
    assert_eq!(ann.get("/api/messages?after=-1").status, 200);

    // Clients that close without notice, or with a reset.
    drop(waiting.pop());
    waiting.pop().expect("another").reset();
    stage.wait_for_parked(MAX_PARKED_PER_USER - 1);
    // A client that half-closes still gets its answer.
    let mut half_closed = waiting.pop().expect("another");
    half_closed.finish();
    assert_eq!(half_closed.answer().ids(), NOTHING);
    stage.wait_for_parked(MAX_PARKED_PER_USER - 2);
    for _ in 0..3 {
        waiting.push(stage.ask(&ann, LONG));
    }
    stage.wait_for_parked(MAX_PARKED_PER_USER + 1);
    one_more().expect("one too many again");
    // There is something for it, so that it need not wait.
    ann.say("zero");
    for wire in waiting.iter_mut().chain([&mut other]) {
        assert_eq!(wire.answer().ids(), [0]);
    }
    assert_eq!(stage.parked(), Some(0));
    stage.server.stop();
}

/// More than are examined in a turn, from more clients than one user may have.
#[test]
fn a_crowd_is_told() {
    const USERS: usize = 10;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("sled", dir.path());
    let users: Vec<Client> =
        (0..USERS).map(|n| Client::signed_up(&stage.server, &format!("user{n}"))).collect();
    let mut waiting = Vec::new();
    for user in &users {
        waiting.extend((0..MAX_PARKED_PER_USER).map(|_| stage.ask(user, LONG)));
    }
    stage.wait_for_parked(USERS * MAX_PARKED_PER_USER);
    users[0].say("zero");
    for wire in &mut waiting {
        assert_eq!(wire.answer().ids(), [0]);
    }
    assert_eq!(stage.parked(), Some(0));
    stage.server.stop();
}

#[test]
fn waiting_clients_are_answered_at_a_stop() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let mut waiting: Vec<Wire> =
            (0..MAX_PARKED_PER_USER).map(|_| stage.ask(&ann, LONG)).collect();
        stage.wait_for_parked(MAX_PARKED_PER_USER);
        stage.server.signal(Signal::TERM);
        for wire in &mut waiting {
            let answer = wire.answer();
            assert_eq!(answer.ids(), NOTHING, "{store}");
            assert_eq!(answer.header("Connection"), Some("close"), "{store}");
            assert!(wire.is_closed(), "{store}");
        }
        stage.server.stop_at_once();
    }
}

/// An endless request after a wait is not read for ever: the wait ends, too.
#[test]
fn an_endless_head_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut wire = stage.ask(&ann, LONG);
    let mut other = stage.ask(&ann, LONG);
    stage.wait_for_parked(2);
    wire.send_head_until_cut("X: y\r\n");
    stage.wait_for_parked(1);
    let closed = "veche_connections_closed_total{reason=\"endless_head\"}";
    assert_eq!(figure(stage.admin, closed), Some(1.0));
    ann.say("zero");
    assert_eq!(other.answer().ids(), [0]);
    stage.server.stop();
}

/// When the store fails, waiting clients get the error, and so does the writer.
#[test]
fn a_failure_is_told() {
    let dir = tempfile::tempdir().unwrap();
    // The signal sent with the error would end the process.
    let stage = Stage::set_behind("trap '' XFSZ", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut waiting: Vec<Wire> = (0..3).map(|_| stage.ask(&ann, LONG)).collect();
    stage.wait_for_parked(waiting.len());
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(stage.server.pid()), Resource::Fsize, nothing).expect("our own child");
    let refused = ann.post("/api/messages", &json!({ "text": "zero" }));
    assert_eq!((refused.status, refused.problem().as_str()), (500, "internal-error"));
    for wire in &mut waiting {
        assert_eq!(wire.answer().problem(), "internal-error");
    }
    // It cannot even log the reason: its log is a file, too.
    let (code, _) = stage.server.wait();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}

/// A connection with a waiting request is not idle, and is not closed for its silence after the
/// answer.
#[test]
fn a_waiting_connection_is_not_idle() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set_with("memory", dir.path(), &["--idle-timeout", "1"]);
    let ann = Client::signed_up(&stage.server, "ann");
    let mut waiting: Vec<Wire> = (0..8).map(|_| stage.ask(&ann, LONG)).collect();
    for round in 0..2 {
        stage.wait_for_parked(waiting.len());
        // The idle connection shows when the time is over.
        assert!(Wire::connect(stage.server.addr()).is_closed());
        let bob = Client::new(&stage.server).with_token(ann.token());
        let id = bob.say("hello");
        for wire in &mut waiting {
            assert_eq!(wire.answer().ids(), [id], "round {round}");
            wire.send(get(&ann, &format!("/api/messages?after={id}&wait=60")));
        }
    }
    stage.wait_for_parked(waiting.len());
    stage.server.stop();
}

/// When descriptors run short, waiting clients are the last to give way; and they never take all of
/// them.
#[test]
fn idle_connections_give_way_first() {
    const DESCRIPTORS: usize = 256;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set_behind(&format!("ulimit -n {DESCRIPTORS}"), dir.path());
    let users: Vec<Client> =
        (0..3).map(|n| Client::signed_up(&stage.server, &format!("user{n}"))).collect();
    let max = DESCRIPTORS / 3;
    let mut waiting: Vec<Wire> =
        (0..max).map(|n| stage.ask(&users[n / MAX_PARKED_PER_USER], LONG)).collect();
    stage.wait_for_parked(max);
    assert_eq!(stage.ask(&users[2], LONG).answer().problem(), "too-many-requests");
    let mut idle = Vec::new();
    while stage.server.descriptors() < DESCRIPTORS / 10 * 9 + 4 {
        assert!(idle.len() < DESCRIPTORS, "descriptors do not run short");
        let mut wire = Wire::connect(stage.server.addr());
        wire.send("GET /problems/forbidden HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(wire.answer().status, 200);
        idle.push(wire);
    }
    let shed = "veche_connections_closed_total{reason=\"shed\"}";
    let found = until(PATIENCE, || figure(stage.admin, shed).filter(|shed| *shed > 0.0));
    found.expect("somebody gives way");
    assert_eq!(stage.parked(), Some(max));
    Client::new(&stage.server).with_token(users[0].token()).say("zero");
    for wire in &mut waiting {
        assert_eq!(wire.answer().ids(), [0]);
    }
    stage.server.stop();
}

/// A killed server ends every connection; a client that comes back has missed nothing.
#[test]
fn a_kill_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("sled", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut wire = stage.ask(&ann, LONG);
    stage.wait_for_parked(1);
    ann.say("zero");
    let next = wire.answer().link("next").expect("a next page");
    wire.send(get(&ann, &format!("{next}&wait=60")));
    stage.wait_for_parked(1);
    stage.server.kill();
    assert!(wire.is_closed());
    let stage = Stage::set("sled", dir.path());
    let ann = Client::new(&stage.server).with_token(ann.token());
    let mut wire = stage.ask(&ann, &format!("{next}&wait=60"));
    stage.wait_for_parked(1);
    assert_eq!(ann.say("one"), 1);
    assert_eq!(wire.answer().ids(), [1]);
    stage.server.stop();
}
