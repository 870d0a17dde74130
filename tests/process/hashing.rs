//! The queue for hashing passwords, which clients share.

use crate::admin::figure;
use crate::client::{Client, PASSWORD, credentials};
use crate::server::{PATIENCE, until};
use crate::stage::Stage;
use crate::wire::{Wire, request};

/// Connections of the client that asks for more than there are places for.
const MANY: usize = 80;
/// Requests of each of them.
const TIMES: usize = 60;
/// Logins of the others meanwhile.
const LOGINS: usize = 5;

/// A login or a registration from an address that the proxy has seen.
fn from(address: &str, path: &str, username: &str) -> String {
    let body = credentials(username, PASSWORD).to_string();
    let fields = format!("X-Forwarded-For: {address}\r\nContent-Length: {}\r\n", body.len());
    request(&nobody(), &format!("POST {path} HTTP/1.1"), &fields, &body)
}

fn nobody() -> Client {
    Client::at(([127, 0, 0, 1], 0).into())
}

/// Keeps the queue full from one network, and returns the answers to logins of others.
fn others_beside(flood: impl Fn(usize) -> String) -> Vec<u16> {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--trust-proxy", "127.0.0.1", "--login-limit", "off"];
    let stage = Stage::set_with("memory", dir.path(), &args);
    Client::signed_up(&stage.server, "ann");
    let addr = stage.server.addr();
    let mut wires: Vec<Wire> = (0..MANY).map(|_| Wire::connect(addr)).collect();
    for (n, wire) in wires.iter_mut().enumerate() {
        wire.send(flood(n).repeat(TIMES));
    }
    // A request is refused because there is no place.
    let refused = || figure(stage.admin, r#"veche_refused_total{queue="hashes"}"#);
    let is_full = until(PATIENCE, || refused().filter(|count| *count > 0.0));
    assert!(is_full.is_some(), "{:?}", refused());
    let statuses = (0..LOGINS).map(|n| {
        let mut wire = Wire::connect(addr);
        wire.send(from(&format!("203.0.113.{n}"), "/login", "ann"));
        wire.answer().status
    });
    let statuses = statuses.collect();
    stage.server.kill();
    statuses
}

#[test]
fn many_logins_do_not_block_others() {
    let statuses = others_beside(|_| from("198.51.100.1", "/login", "ann"));
    assert_eq!(statuses, [200; LOGINS]);
}

/// An IPv6 subscriber counts as one, whatever addresses they use.
#[test]
fn many_registrations_do_not_block_logins() {
    let statuses =
        others_beside(|n| from(&format!("2001:db8:1:2::{n:x}"), "/register", &format!("user{n}")));
    assert_eq!(statuses, [200; LOGINS]);
}
