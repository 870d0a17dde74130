//! Connections that are reset at every stage of a request.

use serde_json::json;

use crate::client::{Client, PASSWORD, credentials};
use crate::server::{PATIENCE, Server, until};
use crate::wire::{Wire, get, post};

/// Attempts at each stage.
const TIMES: usize = 10;

#[test]
fn a_reset_at_any_stage_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    for n in 0..100 {
        ann.say(&format!("{n} {}", "x".repeat(4000)));
    }
    let before = server.descriptors();
    let login = post(&ann, "/login", &credentials("ann", PASSWORD).to_string());
    let small = post(&ann, "/api/messages", r#"{"text":"small"}"#);
    let large = post(&ann, "/api/messages", &json!({ "text": "y".repeat(4000) }).to_string());
    let page = get(&ann, "/api/messages?limit=1000");
    let half = |request: &str| request[..request.len() / 2].to_owned();
    let stages = [
        ("before anything", String::new()),
        ("in the request line", "GET /api/mess".to_owned()),
        ("in the header", half(&page)),
        ("before a small body", small[..small.len() - 16].to_owned()),
        ("in a small body", small[..small.len() - 8].to_owned()),
        ("in a large body", large[..large.len() - 2000].to_owned()),
        ("behind a small post", small),
        ("behind a large post", large),
        ("behind a login", login.clone()),
        ("behind two logins", login.repeat(2)),
        ("behind a page", page.clone()),
        ("behind several pages", page.repeat(3)),
    ];
    for (what, sent) in stages {
        for reset in [true, false] {
            let mut wires: Vec<Wire> = (0..TIMES).map(|_| Wire::connect(server.addr())).collect();
            for (n, wire) in wires.iter_mut().enumerate() {
                let _ = wire.try_send(&sent);
                // Half of a head may be gone before the server has looked at the connection.
                if n % 2 == 0 || sent.contains("\r\n\r\n") {
                    wire.wait_until_read();
                }
            }
            if reset {
                wires.into_iter().for_each(Wire::reset);
            } else {
                drop(wires);
            }
        }
        assert!(server.is_alive(), "{what}: {}", server.log());
    }
    ann.is_served("after resets");
    // Its connection threads live on for some seconds, but hold nothing.
    let left = || (server.descriptors() < before + 10).then_some(());
    let left = until(PATIENCE, left);
    assert!(left.is_some(), "{} descriptors, {before} before", server.descriptors());
}

/// A client with thousands of connections soon reuses a port. Its new requests have nothing to do
/// with those of the earlier connection from that port.
#[test]
fn a_reused_port_is_another_client() {
    let dir = tempfile::tempdir().unwrap();
    // Attempts that failed leave logins that are still in progress.
    let server = Server::start_with("memory", dir.path(), &["--login-limit", "off"]);
    let ann = Client::signed_up(&server, "ann");
    let login = post(&ann, "/login", &credentials("ann", PASSWORD).to_string());
    let goes_on = |mut new: Wire| {
        for _ in 0..2 {
            new.send(get(&ann, "/api/users/me"));
            assert_eq!(new.answer().status, 200);
        }
    };
    for_a_port_that_is_used_again(&server, &ann, &login, |old| old.wait_until_read(), goes_on);
    server.stop();
}

/// The same if the earlier connection was cut off with a request in progress: its outcome is not
/// taken for that of the new one.
#[test]
fn a_reused_port_after_a_cut_connection_is_another_client() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--login-limit", "off"]);
    let ann = Client::signed_up(&server, "ann");
    let login = post(&ann, "/login", &credentials("ann", PASSWORD).to_string());
    let page = get(&ann, "/api/users/me");
    let too_many = login.clone() + &page.repeat(70);
    let goes_on = |mut new: Wire| {
        new.send(login.clone() + &page);
        ann.is_served("behind two logins from one port");
        for _ in 0..2 {
            assert_eq!(new.answer().status, 200);
        }
    };
    let is_cut_off = |old: &mut Wire| assert!(old.is_closed());
    for_a_port_that_is_used_again(&server, &ann, &too_many, is_cut_off, goes_on);
    server.stop();
}

/// Sends something after the logins of others, waits for its outcome, and connects again from the
/// same port.
fn for_a_port_that_is_used_again(
    server: &Server,
    ann: &Client,
    sent: &str,
    wait: impl Fn(&mut Wire),
    go_on: impl Fn(Wire),
) {
    let login = post(ann, "/login", &credentials("ann", PASSWORD).to_string());
    for _ in 0..TIMES {
        let mut first: Vec<Wire> = (0..8).map(|_| Wire::connect(server.addr())).collect();
        for wire in &mut first {
            wire.send(&login);
        }
        let mut old = Wire::connect(server.addr());
        let port = old.local_addr();
        old.send(sent);
        wait(&mut old);
        // The server has it in flight before it answers this later request.
        ann.get("/problems");
        old.reset();
        // Another program may have taken the port.
        let Some(new) = Wire::connect_from(port, server.addr()) else { continue };
        go_on(new);
        for wire in &mut first {
            assert_eq!(wire.answer().status, 200);
        }
        return;
    }
    panic!("no port can be had again");
}
