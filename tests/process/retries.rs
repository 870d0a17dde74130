//! Messages that are sent again under their keys.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::client::{Answer, Client, each};
use crate::server::{STORES, Server, run, veche};
use crate::wire::{Wire, request};

const GENERAL: &str = "/api/messages";
/// The number of simultaneous requests.
const AT_ONCE: usize = 50;

fn text(text: &str) -> Value {
    json!({ "text": text })
}

/// The message's id, and whether it was replayed.
fn sent(answer: &Answer) -> (u64, bool) {
    let id = answer.created();
    let location = format!("/api/messages/{id}");
    assert_eq!(answer.header("Location"), Some(&*location), "{answer:?}");
    (id, answer.header("Idempotency-Replayed") == Some("true"))
}

fn say(client: &Client, key: &str, what: &str) -> (u64, bool) {
    sent(&client.post_under(key, GENERAL, &text(what)))
}

#[test]
fn a_message_that_is_sent_again_is_posted_once() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let [ann, bob, carol] =
            ["ann", "bob", "carol"].map(|name| Client::signed_up(&server, name));
        let to_bob = format!("/api/users/{}/messages", bob.id());
        let to_carol = format!("/api/users/{}/messages", carol.id());
        assert_eq!(say(&ann, "\"k\"", "hello"), (0, false), "{store}");
        assert_eq!(say(&ann, "\"k\"", "hello"), (0, true));
        assert_eq!(say(&ann, "k", "hello"), (0, true), "the quotes are no part of it");
        assert_eq!(say(&bob, "\"k\"", "hello"), (1, false), "another user's");
        assert_eq!(ann.say("hello"), 2, "without a key");
        assert_eq!(say(&ann, "\"K\"", "hello"), (3, false), "case matters");

        // Another text, another receiver, and requests that only look different.
        for (path, what) in [(GENERAL, "hello!"), (&*to_bob, "hello"), (&*to_carol, "hello")] {
            let refused = ann.post_under("\"k\"", path, &text(what));
            assert_eq!((refused.status, &*refused.problem()), (422, "idempotency-key-reused"));
        }
        assert_eq!(sent(&ann.post_under("p", &to_bob, &text("psst"))), (4, false));
        let also_to = json!({ "to_user": bob.id(), "text": "psst", "more": 1 });
        assert_eq!(sent(&ann.post_under("p", &to_bob, &also_to)), (4, true));
        assert_eq!(
            ann.post_under("p", &to_carol, &text("psst")).problem(),
            "idempotency-key-reused"
        );
        assert_eq!(sent(&bob.post_under("n", "/api/users/me/messages", &text("note"))), (5, false));
        assert_eq!(sent(&bob.post_under("n", &to_bob, &text("note"))), (5, true));

        // A refused message is not remembered.
        let nobody = ann.post_under("q", "/api/users/99/messages", &text("hello"));
        assert_eq!(nobody.problem(), "not-found");
        assert_eq!(ann.post_under("q", GENERAL, &text(" ")).problem(), "invalid-field");
        assert_eq!(say(&ann, "q", "hello"), (6, false));
        assert_eq!(carol.get(GENERAL).ids(), [0, 1, 2, 3, 6]);
        assert_eq!(bob.get("/api/users/me/messages").ids(), [4, 5]);
    }
}

#[test]
fn a_malformed_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let body = text("hello").to_string();
    let post = |fields: &str| {
        let fields = format!("Content-Length: {}\r\n{fields}", body.len());
        let mut wire = Wire::connect(server.addr());
        wire.send(request(&ann, "POST /api/messages HTTP/1.1", &fields, &body));
        wire.answer()
    };
    let long = "x".repeat(256);
    for key in ["", "\"\"", "\"k", "a b", "a,b", "\"k\";v=1", "k;v=1", &long] {
        let refused = post(&format!("Idempotency-Key: {key}\r\n"));
        let problem = (refused.status, &*refused.problem());
        assert_eq!(problem, (400, "malformed-idempotency-key"), "{key}");
    }
    // Several lines, in any case of the name, also of the same key, and even if they make one
    // string.
    for lines in [["k", "k"], ["\"k\"", "\"k\""], ["\"k", "k\""], ["k", ""], ["", "k"]] {
        let [first, second] = lines;
        let refused = post(&format!("Idempotency-Key: {first}\r\nidempotency-key: {second}\r\n"));
        assert_eq!(refused.problem(), "malformed-idempotency-key", "{lines:?}");
    }
    assert_eq!(ann.get(GENERAL).ids(), [0; 0]);
    assert_eq!(sent(&post(&format!("IDEMPOTENCY-KEY: {}\r\n", &long[1..]))), (0, false));
    assert_eq!(sent(&post(&format!("idempotency-key: {}\r\n", &long[1..]))), (0, true));
}

/// Stopped, killed, with its index lost, moved by an export, a backup's bytes, and compacted.
#[test]
fn a_first_answer_outlives_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("sled", dir.path());
    let mut ann = Client::signed_up(&server, "ann");
    let data = dir.path().join("data");
    let first = say(&ann, "first", "hello");
    for round in 0..6 {
        let before = say(&ann, &format!("round {round}").replace(' ', "-"), "hello");
        assert!(!before.1);
        match round {
            0 => server.stop(),
            2 => {
                server.kill();
                fs::remove_dir_all(data.join("index")).unwrap();
            }
            3 => {
                server.stop();
                let compacted = run(veche().arg("compact").arg("--data-dir").arg(&data));
                assert!(compacted.status.success(), "{compacted:?}");
            }
            4 => {
                server.stop();
                let file = dir.path().join("chat.jsonl");
                let exported = run(veche().args(["export", "--data-dir"]).arg(&data).arg(&file));
                assert!(exported.status.success(), "{exported:?}");
                for part in ["log", "index"] {
                    fs::remove_dir_all(data.join(part)).unwrap();
                }
                let imported = run(veche().args(["import", "--data-dir"]).arg(&data).arg(&file));
                assert!(imported.status.success(), "{imported:?}");
            }
            _ => server.kill(),
        }
        let checked = run(veche().arg("check").arg("--data-dir").arg(&data));
        assert!(checked.status.success(), "{checked:?}");
        server = Server::start("sled", dir.path());
        ann = Client::new(&server).with_token(ann.token());
        assert_eq!(say(&ann, "first", "hello"), (first.0, true), "round {round}");
        assert_eq!(say(&ann, &format!("round-{round}"), "hello"), (before.0, true));
        let other = ann.post_under("first", GENERAL, &text("other"));
        assert_eq!(other.problem(), "idempotency-key-reused");
    }
    assert_eq!(ann.get(GENERAL).ids(), [0, 1, 2, 3, 4, 5, 6]);
}

/// With another secret an earlier key cannot be found: no message is silently posted twice. With
/// the old secret again all is as before.
#[test]
fn another_secret_posts_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("data/jwt-secret");
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    assert_eq!(say(&ann, "before", "hello"), (0, false));
    server.stop();
    let kept = fs::read(&secret).unwrap();
    fs::remove_file(&secret).unwrap();

    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).log_in("ann");
    for key in ["before", "another"] {
        let refused = ann.post_under(key, GENERAL, &text("hello"));
        assert_eq!((refused.status, &*refused.problem()), (422, "idempotency-key-reused"));
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains("cannot be compared"), "{detail}");
    }
    assert_eq!(say(&ann, "before", "something else"), (1, false));
    assert_eq!(ann.say("hello"), 2, "without a key");
    server.stop();
    fs::write(&secret, kept).unwrap();

    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).log_in("ann");
    assert_eq!(say(&ann, "before", "hello"), (0, true));
    assert_eq!(ann.get(GENERAL).ids(), [0, 1, 2]);
}

#[test]
fn of_many_at_once_one_is_posted() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let addr = server.addr();
        for round in 0..5 {
            let key = format!("\"round-{round}\"");
            let answers = each(AT_ONCE, |_| {
                let client = Client::at(addr).with_token(ann.token());
                say(&client, &key, "hello")
            });
            let mut told: BTreeMap<_, usize> = BTreeMap::new();
            for answer in answers {
                *told.entry(answer).or_default() += 1;
            }
            let expected = BTreeMap::from([((round, false), 1), ((round, true), AT_ONCE - 1)]);
            assert_eq!(told, expected, "{store}");
        }
        assert_eq!(ann.get(GENERAL).ids(), [0, 1, 2, 3, 4], "{store}");
    }
}
