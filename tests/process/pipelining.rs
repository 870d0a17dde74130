//! Several requests on one connection without waiting for answers (RFC 9112, section 9.3.2).

use serde_json::json;

use crate::client::{Client, PASSWORD, credentials};
use crate::server::{STORES, Server};
use crate::wire::{Wire, get, post, request};

/// Requests that may wait behind the one in flight.
const MAX_WAITING: usize = 64;

/// The slowest request goes first, and is answered first.
#[test]
fn answers_come_in_the_order_of_the_requests() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let long = json!({ "text": "long ".repeat(600) }).to_string();
        let sent = [
            post(&ann, "/login", &credentials("ann", PASSWORD).to_string()),
            get(&ann, "/api/users/me"),
            post(&ann, "/api/messages", &long),
            get(&ann, "/api/messages/0"),
            post(&ann, "/login", &credentials("ann", "wrong").to_string()),
            post(&ann, "/register", &credentials("bob", PASSWORD).to_string()),
            get(&ann, "/api/users?username=BOB"),
            request(&ann, "HEAD /api/messages HTTP/1.1", "", ""),
            post(&ann, "/api/users/2/messages", r#"{"text":"hello bob"}"#),
            get(&ann, "/nowhere"),
            get(&ann, "/api/users/me/messages"),
        ];
        let mut wire = Wire::connect(server.addr());
        wire.send(sent.concat());
        let login = wire.answer();
        assert!(login.json()["token"].is_string(), "{login:?}");
        assert_eq!(wire.answer().json(), json!({"id": 1, "username": "ann"}));
        assert_eq!(wire.answer().created(), 0);
        assert_eq!(wire.answer().json()["text"], "long ".repeat(600));
        assert_eq!(wire.answer().problem(), "wrong-credentials");
        assert_eq!(wire.answer().json(), json!({"id": 2}));
        assert_eq!(wire.answer().json(), json!([{"id": 2, "username": "bob"}]));
        assert_eq!(wire.head_answer().status, 200);
        assert_eq!(wire.answer().created(), 1);
        assert_eq!(wire.answer().problem(), "not-found");
        assert_eq!(wire.answer().ids(), [1]);
    }
}

#[test]
fn as_many_as_may_wait_are_all_answered() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let mut wire = Wire::connect(server.addr());
        for round in 0..3 {
            let posts = (0..MAX_WAITING).map(|n| {
                post(&ann, "/api/messages", &json!({ "text": format!("{n}") }).to_string())
            });
            wire.send(posts.collect::<String>());
            for n in 0..MAX_WAITING {
                assert_eq!(wire.answer().created(), (round * MAX_WAITING + n) as u64);
            }
        }
        let messages = ann.follow("/api/messages", 1000).0;
        let texts: Vec<&str> = messages.iter().map(|item| item["text"].as_str().unwrap()).collect();
        let expected: Vec<String> =
            (0..3 * MAX_WAITING).map(|n| (n % MAX_WAITING).to_string()).collect();
        assert_eq!(texts, expected, "{store}");
    }
}

/// All are answered, or the connection ends; in both cases in order and without gaps.
#[test]
fn too_many_end_the_connection_at_most() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let login = post(&ann, "/login", &credentials("ann", PASSWORD).to_string());
        let requests: String = (0..200).map(|_| get(&ann, "/api/messages/0")).collect();
        ann.say("zero");
        for (what, first) in [("200 at once", ""), ("200 behind a login", &*login)] {
            let mut wire = Wire::connect(server.addr());
            wire.send(format!("{first}{requests}"));
            let mut answered = 0;
            while let Ok(answer) = wire.try_answer() {
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                let is_login = answered == 0 && !first.is_empty();
                assert_eq!(answer.json()["token"].is_string(), is_login, "{what}, {answered}");
                assert_eq!(answer.json()["text"] == "zero", !is_login, "{what}, {answered}");
                answered += 1;
                if answered == 200 + usize::from(!first.is_empty()) {
                    break;
                }
            }
            println!("{store}, {what}: {answered} were answered");
            assert!(answered >= 200 || wire.is_closed(), "{what}: neither answered nor ended");
            assert!(server.is_alive());
            ann.is_served(what);
        }
    }
}

#[test]
fn requests_after_connection_close_are_not_handled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let say = |text: &str| post(&ann, "/api/messages", &json!({ "text": text }).to_string());
    let close = request(&ann, "GET /api/users/me HTTP/1.1", "Connection: close\r\n", "");
    let mut wire = Wire::connect(server.addr());
    wire.send([say("before"), close, say("behind")].concat());
    assert_eq!(wire.answer().status, 201);
    assert_eq!(wire.answer().status, 200);
    assert!(wire.is_closed());
    server.stop();
    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).with_token(ann.token());
    assert_eq!(ann.get("/api/messages").ids(), [0]);
}
