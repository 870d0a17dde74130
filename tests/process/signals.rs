//! Stopping: requests in progress are finished, nothing new is begun, nothing acknowledged is lost.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Client, PASSWORD, credentials};
use crate::server::{NOT_FINISHED, PATIENCE, Server, until};
use crate::wire::{Wire, post};

#[test]
fn requests_in_progress_are_finished() {
    let cases = [
        ("memory", Signal::TERM),
        ("sled", Signal::TERM),
        ("sled", Signal::INT),
        ("memory", Signal::INT),
    ];
    for (store, signal) in cases {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let addr = server.addr();
        let nobody = Client::new(&server);
        let ann = Client::signed_up(&server, "ann");

        // Hashed one after the other, so most of them wait when the signal comes.
        let login = post(&nobody, "/login", &credentials("ann", PASSWORD).to_string());
        let register = post(&nobody, "/register", &credentials("bob", PASSWORD).to_string());
        let text = "under way ".repeat(300);
        let upload = post(&ann, "/api/messages", &json!({ "text": text }).to_string());
        let (sent_before, sent_after) = upload.split_at(upload.len() - 1000);
        let send = |bytes: &str| {
            let mut wire = Wire::connect(addr);
            wire.send(bytes);
            wire
        };
        let mut registering = send(&register);
        let mut logins: Vec<Wire> = (0..4).map(|_| send(&login)).collect();
        let mut uploading = send(sent_before);
        let mut idle = Wire::connect(addr);
        for wire in logins.iter().chain([&registering, &uploading]) {
            wire.wait_until_read();
        }
        server.signal(signal);
        let refused = until(PATIENCE, || Wire::try_connect(addr).is_err().then_some(()));
        refused.expect("new connections are refused");

        uploading.send(sent_after);
        let uploaded = uploading.answer().created();
        assert_eq!(registering.answer().status, 201);
        let mut token = String::new();
        for login in &mut logins {
            let answer = login.answer();
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()["token"].as_str().unwrap().clone_into(&mut token);
        }
        assert_eq!(server.wait(), (Some(0), String::new()), "{store} {signal:?}");
        assert!(idle.is_closed());

        if store == "sled" {
            let server = Server::start(store, dir.path());
            let ann = Client::new(&server).with_token(token);
            let message = ann.get(&format!("/api/messages/{uploaded}")).json();
            assert_eq!(message["text"], text);
            Client::new(&server).log_in("bob");
        }
    }
}

#[test]
fn idle_connections_hold_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let mut idle: Vec<Wire> = (0..20).map(|_| Wire::connect(server.addr())).collect();
    for wire in &mut idle {
        wire.send(crate::wire::get(&ann, "/api/messages"));
        assert_eq!(wire.answer().status, 200);
    }
    // More than one signal has the same effect as one.
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    server.stop_at_once();
    assert!(idle.iter_mut().all(Wire::is_closed));
}

/// Slow clients have ten seconds.
#[test]
fn a_request_that_never_ends_is_not_waited_for_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let said = ann.say("before");
    let mut stuck = Wire::connect(server.addr());
    stuck.send(post(&ann, "/api/messages", &"x".repeat(3000)).split_at(1500).0);
    stuck.wait_until_read();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0, Some(0));
    let log = fs::read_to_string(dir.path().join("stderr")).unwrap();
    assert!(log.contains(NOT_FINISHED), "{log}");
    assert!(stuck.is_closed());
    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).with_token(ann.token());
    assert_eq!(ann.get("/api/messages").ids(), [said]);
}
