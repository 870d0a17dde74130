//! The end of a request whose framing is ambiguous, and the end of connections.

use crate::client::Client;
use crate::server::Server;
use crate::wire::{Wire, get, post, request};

const POST: &str = "POST /api/messages HTTP/1.1";

/// RFC 9112, section 6.3: refused, and nothing after it is taken for a request.
#[test]
fn contradictory_lengths_are_refused() {
    let both = "Content-Length: 17\r\nTransfer-Encoding: chunked\r\n";
    let cases = [
        ("a length and chunks", both, "0\r\n\r\n"),
        (
            "chunks and a length",
            "Transfer-Encoding: chunked\r\nContent-Length: 17\r\n",
            "0\r\n\r\n",
        ),
        ("a length and chunks that go on", both, "11\r\n{\"text\":\"hidden\"}\r\n0\r\n\r\n"),
        ("two lengths", "Content-Length: 17\r\nContent-Length: 5\r\n", "{\"text\":\"hidden\"}"),
        ("two lengths, the first 0", "Content-Length: 0\r\nContent-Length: 17\r\n", ""),
        (
            "the same length twice",
            "Content-Length: 17\r\nContent-Length: 17\r\n",
            "{\"text\":\"hidden\"}",
        ),
        ("a list of lengths", "Content-Length: 17, 17\r\n", "{\"text\":\"hidden\"}"),
        ("a sign", "Content-Length: +17\r\n", "{\"text\":\"hidden\"}"),
        ("another sign", "Content-Length: -1\r\n", "{\"text\":\"hidden\"}"),
        ("hexadecimal", "Content-Length: 0x11\r\n", "{\"text\":\"hidden\"}"),
        ("a fraction", "Content-Length: 17.0\r\n", "{\"text\":\"hidden\"}"),
        ("no number", "Content-Length: many\r\n", "{\"text\":\"hidden\"}"),
        ("nothing", "Content-Length:\r\n", "{\"text\":\"hidden\"}"),
        ("more than a number can be", "Content-Length: 99999999999999999999\r\n", ""),
        ("compression", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("no chunks", "Transfer-Encoding: identity\r\n", ""),
        ("chunks of chunks", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        (
            "chunks twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        ("something like chunks", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("a bad chunk", "Transfer-Encoding: chunked\r\n", "z\r\n"),
        ("an upgrade with a body", "Connection: upgrade\r\nContent-Length: 17\r\n", ""),
    ];
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let mut wrong = Vec::new();
    for (what, fields, body) in cases {
        let smuggled = post(&ann, "/api/messages", &format!(r#"{{"text":"after {what}"}}"#));
        let mut wire = Wire::connect(server.addr());
        wire.send(format!("{}{smuggled}{smuggled}", request(&ann, POST, fields, body)));
        match wire.try_answer() {
            Ok(answer) if answer.status == 400 => {
                assert_eq!(answer.problem(), "malformed-request", "{what}");
                assert_eq!(answer.header("Connection"), Some("close"), "{what}");
            }
            answer => wrong.push(format!("{what}: {answer:?}")),
        }
        // tiny_http's own answer to the rest of the body may follow.
        let rest = wire.rest();
        if rest.lines().any(|line| line.starts_with("HTTP/") && !line.starts_with("HTTP/1.1 400")) {
            wrong.push(format!("{what}: the connection goes on: {rest}"));
        }
    }
    // A stop finishes everything that the server took for requests.
    server.stop();
    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).with_token(ann.token());
    let messages = ann.get("/api/messages").items();
    wrong.extend(messages.iter().map(|message| format!("said: {}", message["text"])));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The simplest case: a field that tiny_http itself cannot read.
#[test]
fn nonsense_is_refused_by_closing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let fields = "field: value\r\n".repeat(1000);
    let many = request(&ann, "GET /api/users/me HTTP/1.1", &fields, "");
    for (what, sent, statuses) in [
        ("no request", "nonsense\r\n\r\n", &[400][..]),
        ("no version", "GET /api/messages\r\n\r\n", &[400]),
        ("no colon", "GET /api/messages HTTP/1.1\r\nnonsense\r\n\r\n", &[400]),
        ("a space before the colon", "GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\nhello", &[400]),
        ("an unknown expectation", "GET / HTTP/1.1\r\nExpect: a miracle\r\n\r\n", &[417]),
        ("an unknown version", "GET / HTTP/7.7\r\n\r\n", &[400]),
        ("not ASCII", "GET /é HTTP/1.1\r\n\r\n", &[]),
        ("line feeds only", "GET / HTTP/1.1\nHost: x\n\n", &[]),
        ("a very long path", &long, &[404]),
        ("very many fields", &many, &[200]),
    ] {
        let mut wire = Wire::connect(server.addr());
        wire.send(sent);
        wire.finish();
        match wire.try_answer() {
            Ok(answer) => assert!(statuses.contains(&answer.status), "{what}: {answer:?}"),
            Err(error) => assert!(statuses.is_empty(), "{what}: {error}"),
        }
        assert!(wire.is_closed(), "{what}");
    }
    assert!(server.is_alive());
    assert_eq!(ann.get("/api/users/me").status, 200);
}

/// RFC 9112, section 9.3.
#[test]
fn connections_are_kept_when_both_sides_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    for (version, connection, kept, said) in [
        ("1.1", "", true, None),
        ("1.1", "Connection: keep-alive\r\n", true, None),
        ("1.1", "Connection: close\r\n", false, Some("close")),
        ("1.1", "Connection: Close\r\n", false, Some("close")),
        ("1.0", "", false, Some("close")),
        ("1.0", "Connection: keep-alive\r\n", true, Some("keep-alive")),
        ("1.0", "Connection: Keep-Alive\r\n", true, Some("keep-alive")),
        ("1.0", "Connection: close\r\n", false, Some("close")),
    ] {
        let what = format!("HTTP/{version} {connection:?}");
        let line = format!("GET /api/users/me HTTP/{version}");
        let asked = request(&ann, &line, connection, "");
        let mut wire = Wire::connect(server.addr());
        wire.send(&asked);
        let answer = wire.answer();
        assert_eq!(answer.status, 200, "{what}");
        // A server that closes should say so (section 9.6).
        assert_eq!(answer.header("Connection").map(str::to_lowercase).as_deref(), said, "{what}");
        if kept {
            wire.send(&asked);
            assert_eq!(wire.answer().status, 200, "{what}");
        } else {
            assert!(wire.is_closed(), "{what}");
        }
    }
}

/// A `HEAD` is a `GET` without its body; the next answer on the connection is found all the same.
#[test]
fn head_works_wherever_get_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    for n in 0..5 {
        ann.say(&format!("message {n}"));
    }
    let mut wire = Wire::connect(server.addr());
    for path in [
        "/api/messages",
        "/api/messages?limit=2",
        "/api/messages?limit=0",
        "/api/messages/3",
        "/api/messages/99",
        "/api/users",
        "/api/users?username=ann",
        "/api/users/me",
        "/api/users/me/messages",
        "/api/users/7/messages",
        "/nowhere",
    ] {
        wire.send(request(&ann, &format!("HEAD {path} HTTP/1.1"), "", ""));
        let head = wire.head_answer();
        wire.send(get(&ann, path));
        let get = wire.answer();
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.lasting_headers(), get.lasting_headers(), "{path}");
        assert!(!get.body.is_empty(), "{path}");
    }
    wire.send(request(&Client::new(&server), "HEAD /api/messages HTTP/1.1", "", ""));
    assert_eq!(wire.head_answer().status, 401);
    wire.send(request(&ann, "HEAD /login HTTP/1.1", "", ""));
    let refused = wire.head_answer();
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("POST")));
}

/// The body of any request is not taken for the next request.
#[test]
fn a_body_that_is_not_used_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let mut wire = Wire::connect(server.addr());
    for (line, status) in [
        ("GET /api/users/me HTTP/1.1", 200),
        ("POST /nowhere HTTP/1.1", 404),
        ("PUT /api/messages HTTP/1.1", 405),
        ("PUT /api/messages/1 HTTP/1.1", 405),
        ("BREW /coffee HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 404),
    ] {
        for length in [1, 1024, 1025, 30_000] {
            let body = "GET / HTTP/1.1\r\n\r\n".repeat(length / 18 + 1);
            let fields = format!("Content-Length: {length}\r\n");
            wire.send(request(&ann, line, &fields, &body[..length]));
            let answer = wire.answer();
            assert_eq!(answer.status, status, "{line}, {length}: {answer:?}");
            let chunks = format!("{length:x}\r\n{}\r\n0\r\n\r\n", &body[..length]);
            wire.send(request(&ann, line, "Transfer-Encoding: chunked\r\n", &chunks));
            assert_eq!(wire.answer().status, status, "{line}, {length}, chunked");
        }
    }
}

/// A request in the form for a proxy (RFC 9112, section 3.2.2).
#[test]
fn targets_in_absolute_form_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let mut wire = Wire::connect(server.addr());
    for (target, status) in [
        ("http://veche/api/users/me", 200),
        ("http://veche:5000/api/users?username=ann", 200),
        ("http://veche", 404),
        ("http://", 404),
        ("ftp://veche/api/users/me", 404),
    ] {
        wire.send(get(&ann, target));
        assert_eq!(wire.answer().status, status, "{target}");
    }
}
