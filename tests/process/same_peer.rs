//! Two connections from the same address and port, to two addresses of one server: neither gets
//! what was for the other, and neither ends because of the other.

use std::net::SocketAddr;

use serde_json::json;

use crate::client::Client;
use crate::server::{Server, veche};
use crate::wire::{Wire, get, request};

/// Attempts to open two connections from one port: another program may have taken it.
const TIMES: usize = 10;

/// A server on all addresses, and two users.
struct Scene {
    server: Server,
    ann: Client,
    bob: Client,
}

impl Scene {
    fn set(dir: &std::path::Path) -> Scene {
        let mut command = veche();
        command.args(["--listen", "0.0.0.0:0", "--store", "memory"]);
        let server = Server::spawn(&mut command, dir);
        let ann = Client::signed_up(&server, "ann");
        let bob = Client::signed_up(&server, "bob");
        Scene { server, ann, bob }
    }

    /// Two connections from one port, on which something was answered already.
    fn twins(&self) -> [Wire; 2] {
        let port = self.server.addr().port();
        for _ in 0..TIMES {
            let from = SocketAddr::from(([127, 0, 0, 1], 0));
            let [one, other] = [1, 2].map(|host| SocketAddr::from(([127, 0, 0, host], port)));
            let Some(one) = Wire::connect_from(from, one) else { continue };
            let Some(other) = Wire::connect_from(one.local_addr(), other) else { continue };
            let mut twins = [one, other];
            for wire in &mut twins {
                self.is_served(wire);
            }
            return twins;
        }
        panic!("no port can be had twice");
    }

    /// Bob's own answer is the next one.
    fn is_served(&self, wire: &mut Wire) {
        wire.send(get(&self.bob, "/api/users/me"));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.json()["username"].as_str()), (200, Some("bob")));
    }

    /// The same, and returns true; or the connection ends with a 503, because the server could not
    /// tell in time on which one a request came.
    fn goes_on(&self, wire: &mut Wire) -> bool {
        wire.send(get(&self.bob, "/api/users/me"));
        let answer = wire.answer();
        if answer.status == 503 {
            assert!(wire.is_closed());
            return false;
        }
        assert_eq!((answer.status, answer.json()["username"].as_str()), (200, Some("bob")));
        true
    }

    /// Does something on one of two connections, once on each, and returns the other, on which
    /// nothing else must happen.
    fn for_each_of_two(&self, act: impl Fn(&mut Wire, &mut Wire)) {
        self.while_it_goes_on(|one, other| {
            act(one, other);
            true
        });
    }

    /// The same if `act` may end the other: it returns whether the other goes on.
    fn while_it_goes_on(&self, act: impl Fn(&mut Wire, &mut Wire) -> bool) {
        for which in [1, 0] {
            let mut twins = self.twins();
            twins.rotate_left(which);
            let [one, other] = &mut twins;
            if act(one, other) {
                self.goes_on(other);
            }
        }
    }
}

#[test]
fn a_stream_is_not_told_to_another_connection_with_the_same_peer() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::set(dir.path());
    scene.for_each_of_two(|one, other| {
        let accept = "Accept: text/event-stream\r\n";
        one.send(request(&scene.ann, "GET /api/events HTTP/1.1", accept, ""));
        one.wait_until_read();
        scene.is_served(other);
        let answer = one.answer();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        // Its connection goes on.
        scene.is_served(one);
    });
    scene.server.stop();
}

/// A body in chunks that is cut short affects only the connection on which it came.
#[test]
fn a_body_that_was_cut_short_is_not_taken_as_complete() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::set(dir.path());
    scene.for_each_of_two(|one, _| {
        let text = json!({ "text": "cut short" }).to_string();
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        let coding = "Transfer-Encoding: chunked\r\n";
        one.send(request(&scene.ann, "POST /api/messages HTTP/1.1", coding, &chunk));
        one.finish();
        let status = one.try_answer().map(|answer| answer.status);
        assert!(!matches!(status, Ok(201)), "{status:?}");
    });
    assert!(scene.ann.get("/api/messages").items().is_empty());
    scene.server.stop();
}

#[test]
fn a_connection_that_is_ended_is_not_another_with_the_same_peer() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::set(dir.path());
    scene.while_it_goes_on(|one, other| {
        // It is not clear where the body ends.
        one.send("POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n");
        assert_eq!(one.answer().status, 400);
        assert!(one.is_closed(), "it cannot go on");
        scene.goes_on(other)
    });
    scene.server.stop();
}

/// The same with a request after it.
#[test]
fn requests_of_the_other_connection_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::set(dir.path());
    scene.while_it_goes_on(|one, other| {
        let refused = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n";
        one.send(refused.to_owned() + &get(&scene.ann, "/api/users/me"));
        let goes_on = (0..5).all(|_| scene.goes_on(other));
        assert_eq!(one.answer().status, 400);
        assert!(one.is_closed(), "nothing is answered behind that");
        goes_on
    });
    scene.server.stop();
}

/// Both wait in turn, and each has its own answer.
#[test]
fn each_has_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let scene = Scene::set(dir.path());
    scene.for_each_of_two(|one, other| {
        one.send(get(&scene.ann, "/api/messages?after=-1&wait=60"));
        one.wait_until_read();
        scene.is_served(other);
        let answer = one.answer();
        assert_eq!((answer.status, answer.items().len()), (200, 0));
        one.send(get(&scene.ann, "/api/users/me"));
        assert_eq!(one.answer().json()["username"], "ann");
    });
    scene.server.stop();
}
