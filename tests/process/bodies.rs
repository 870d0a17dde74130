//! Bodies that are slow, endless, too large or never sent: only their senders wait.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::extent::Extent;
use crate::server::{PATIENCE, STORES, Server};
use crate::wire::{BEYOND_DROPPED, Wire, get, post, request};

/// The number of requests that tiny_http must never drop, sent to end the server.
const AGAIN: Extent<usize> = Extent { short: 40, long: 400 };
const POST: &str = "POST /api/messages HTTP/1.1";

/// Opens `count` connections that begin a request and then send `drip` on each, again and again,
/// while a well-behaved client is served.
fn drip(store: &str, what: &str, count: usize, fields: &str, begin: &str, drip: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(store, dir.path());
    let ann = Client::signed_up(&server, "ann");
    let begin =
        if fields.is_empty() { begin.to_owned() } else { request(&ann, POST, fields, begin) };
    let mut wires: Vec<Wire> = (0..count).map(|_| Wire::connect(server.addr())).collect();
    for wire in &mut wires {
        wire.send(&begin);
    }
    wires.iter().for_each(Wire::wait_until_read);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for wire in &mut wires {
                    let _ = wire.try_send(drip);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let _done = SetWhenDropped(&done);
        ann.is_served(&format!("{store}, {what}"));
    });
    assert!(server.is_alive(), "{what}");
}

/// Ends the dripping, even if an assertion fails.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn slow_bodies_of_a_declared_length() {
    for store in STORES {
        drip(store, "dripped bodies", 40, "Content-Length: 30000\r\n", "{", "x");
    }
}

#[test]
fn slow_chunked_bodies() {
    let fields = "Transfer-Encoding: chunked\r\n";
    drip("memory", "dripped chunks", 40, fields, "1\r\n{\r\n", "1\r\nx\r\n");
    drip("memory", "no chunk at all", 40, fields, "", "");
    drip("memory", "half a chunk's size", 40, fields, "1", "");
}

#[test]
fn bodies_that_wait_for_a_100_and_never_come() {
    let fields = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    drip("memory", "small, after 100-continue", 40, fields, "", "");
    let fields = "Content-Length: 30000\r\nExpect: 100-continue\r\n";
    drip("memory", "large, after 100-continue", 40, fields, "", "");
    let fields = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
    drip("memory", "chunked, after 100-continue", 40, fields, "", "");
}

#[test]
fn large_bodies_that_never_come() {
    drip("memory", "2 MiB, silent", 40, "Content-Length: 2097152\r\n", "", "");
    drip("memory", "2 MiB, dripped", 40, "Content-Length: 2097152\r\n", "{", "x");
    let beyond = format!("Content-Length: {BEYOND_DROPPED}\r\n");
    drip("memory", "beyond what is dropped, silent", 40, &beyond, "", "");
}

#[test]
fn requests_that_never_become_one() {
    drip("memory", "silence", 40, "", "", "");
    drip("memory", "half a request line", 40, "", "GET /api", "");
    drip("memory", "header fields", 40, "", "GET / HTTP/1.1\r\n", "x: y\r\n");
    drip("memory", "half a small body", 40, "Content-Length: 1000\r\n", "{", "x");
}

/// The first length whose request is never dropped. The client gets the error.
#[test]
fn lengths_beyond_what_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let fields = format!("Content-Length: {BEYOND_DROPPED}\r\n");
    for (what, more, body) in [
        ("nothing sent", "", ""),
        ("something sent", "", "{\"text\":"),
        ("with Expect", "Expect: 100-continue\r\n", ""),
        ("and closed", "Connection: close\r\n", ""),
    ] {
        let mut wire = Wire::connect(server.addr());
        wire.send(request(&ann, POST, &format!("{fields}{more}"), body));
        wire.finish();
        let answer = wire.answer();
        assert!(server.is_alive(), "{what}: {}", server.log());
        let problem = (answer.status, answer.problem());
        assert_eq!(problem, (413, "body-too-large".to_owned()), "{what}");
        assert!(wire.is_closed(), "{what}");
    }
    ann.is_served("after lengths beyond what is dropped");
}

/// Some of these requests cannot end the server.
#[test]
fn lengths_beyond_what_is_dropped_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let fields = format!("Content-Length: {BEYOND_DROPPED}\r\nExpect: 100-continue\r\n");
    for n in 0..AGAIN.now() {
        let mut wire = Wire::connect(server.addr());
        wire.send(request(&Client::new(&server), "POST /login HTTP/1.1", &fields, ""));
        assert_eq!(wire.answer().status, 413);
        assert!(server.is_alive(), "after {n} requests: {}", server.log());
    }
    ann.is_served("after many lengths beyond what is dropped");
}

/// Up to 1 MiB is read and discarded, so that the client sees the answer, and the connection goes
/// on.
#[test]
fn too_large_bodies_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let object = |length: usize| {
        let empty = json!({ "text": "x", "more": "" }).to_string();
        json!({ "text": "x", "more": "y".repeat(length - empty.len()) }).to_string()
    };
    for (length, status) in [(32768, 201), (32769, 413), (100_000, 413), (1 << 20, 413)] {
        let body = object(length);
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let fields = "Transfer-Encoding: chunked\r\n";
        for sent in [post(&ann, "/api/messages", &body), request(&ann, POST, fields, &chunked)] {
            let mut wire = Wire::connect(server.addr());
            wire.send(&sent);
            let answer = wire.answer();
            assert_eq!(answer.status, status, "{length}: {answer:?}");
            if status == 413 {
                assert_eq!(answer.problem(), "body-too-large");
            }
            // The remaining length of a chunked body is unknown.
            if sent.contains("Content-Length") || length < 1 << 20 {
                wire.send(get(&ann, "/api/users/me"));
                assert_eq!(wire.answer().status, 200, "{length}");
            }
        }
        let answer = ann.post_as("/api/messages", "application/json", body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{length}");
    }
}

/// A body without an end is given up, however fast it comes.
#[test]
fn endless_bodies_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let addr = server.addr();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let beyond = format!("Content-Length: {BEYOND_DROPPED}\r\n");
    let flood = |fields: &str, piece: &str| {
        let mut wire = Wire::connect(addr);
        wire.send(request(&ann, POST, fields, ""));
        let deadline = Instant::now() + PATIENCE;
        let mut sent = 0;
        while wire.try_send(piece).is_ok() {
            sent += piece.len();
            assert!(sent < 256 << 20 && Instant::now() < deadline, "{fields}: {sent} bytes");
        }
    };
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| flood("Transfer-Encoding: chunked\r\n", &chunk)),
            scope.spawn(|| flood("Content-Length: 2000000\r\n", &chunk)),
            scope.spawn(|| flood(&beyond, &chunk)),
            scope.spawn(|| flood("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &chunk)),
        ];
        ann.is_served("endless bodies");
        for thread in threads {
            thread.join().expect("a flood ends");
        }
    });
    assert!(server.is_alive());
    ann.is_served("after endless bodies");
}

/// Chunks, as a client may cut them.
#[test]
fn chunked_bodies_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    for (what, body) in [
        ("one chunk", "10\r\n{\"text\":\"chunk\"}\r\n0\r\n\r\n"),
        ("several", "1\r\n{\r\nE\r\n\"text\":\"chunk\"\r\n1\r\n}\r\n0\r\n\r\n"),
        ("upper case and leading zeros", "0010\r\n{\"text\":\"chunk\"}\r\n000\r\n\r\n"),
        ("an extension", "10;name=value\r\n{\"text\":\"chunk\"}\r\n0\r\n\r\n"),
    ] {
        let answer = chunked(&ann, server.addr(), body);
        assert_eq!(answer.status, 201, "{what}: {answer:?}");
    }
    for (what, body) in [
        ("no number", "x\r\n{\"text\":\"chunk\"}\r\n0\r\n\r\n"),
        ("a sign", "-10\r\n{\"text\":\"chunk\"}\r\n0\r\n\r\n"),
        ("too large a number", "10000000000000010\r\n{\"text\":\"chunk\"}\r\n0\r\n\r\n"),
        ("too short", "f\r\n{\"text\":\"chunk\"}\r\n0\r\n\r\n"),
    ] {
        let answer = chunked(&ann, server.addr(), body);
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "malformed-request".to_owned()),
            "{what}"
        );
    }
    for (what, body) in [
        ("cut in a chunk", "10\r\n{\"text\""),
        ("cut behind a chunk", "10\r\n{\"text\":\"chunk\"}\r\n"),
        ("cut in the last chunk", "10\r\n{\"text\":\"chunk\"}\r\n0\r\n"),
    ] {
        let mut wire = Wire::connect(server.addr());
        wire.send(request(&ann, POST, "Transfer-Encoding: chunked\r\n", body));
        wire.finish();
        // RFC 9112, section 8: the body was incomplete.
        let answer = wire.answer();
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "malformed-request".to_owned()),
            "{what}"
        );
    }
    assert_eq!(ann.get("/api/messages").ids(), [0, 1, 2, 3]);
}

fn chunked(client: &Client, addr: SocketAddr, body: &str) -> crate::client::Answer {
    let mut wire = Wire::connect(addr);
    wire.send(request(client, POST, "Transfer-Encoding: chunked\r\n", body));
    wire.answer()
}

/// RFC 9110, section 10.1.1.
#[test]
fn a_client_that_waits_for_a_100_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let mut wire = Wire::connect(server.addr());
    let body = r#"{"text":"patient"}"#;
    for (fields, body) in [
        ("Content-Length: 18\r\n", body.to_owned()),
        ("Transfer-Encoding: chunked\r\n", format!("12\r\n{body}\r\n0\r\n\r\n")),
    ] {
        wire.send(request(&ann, POST, &format!("{fields}Expect: 100-continue\r\n"), ""));
        assert_eq!(wire.interim_answer().status, 100, "{fields}");
        wire.send(body);
        assert_eq!(wire.answer().status, 201, "{fields}");
    }
    // This client need not send its body.
    let fields = "Content-Length: 32769\r\nExpect: 100-continue\r\n";
    wire.send(request(&ann, POST, fields, ""));
    assert_eq!(wire.interim_answer().status, 413);
    assert!(wire.is_closed());
}
