//! What tiny_http loses for good is counted, and there is an end to it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Client;
use crate::idle::raise_limit;
use crate::line::Line;
use crate::server::{Server, until};
use crate::turnstile;

/// How many the server bears; at that it drains and stops.
const BOUND: usize = 1024;
/// How long it may take for the last of them to be noticed, and for the server to be done.
const PATIENCE: Duration = Duration::from_mins(1);

/// Bodies that are longer than there is memory for.
#[test]
fn abandoned_bodies_have_a_bound() {
    lose("POST /login HTTP/1.1\r\nHost: veche\r\nContent-Length: 1000000000000\r\n\r\n", 413);
}

/// tiny_http waits for itself with the answer to a version that it does not know.
#[test]
fn unknown_versions_have_a_bound() {
    lose("GET /api/users/me HTTP/2.0\r\nHost: veche\r\n\r\n", 0);
}

/// Sends `request` on one connection after another, each of which is answered `status`, or not at
/// all if that is 0.
fn lose(request: &str, status: u16) {
    let _alone = turnstile::alone();
    raise_limit();
    let dir = tempfile::tempdir().unwrap();
    // Without an answer they are noticed once they were shut down.
    let args = ["--admin-listen", "127.0.0.1:0", "--idle-timeout", "2"];
    let mut server = Server::start_with("sled", dir.path(), &args);
    let ann = Client::signed_up(&server, "ann");
    let said = ann.say("before");
    let admin = server.admin_addr();
    let addr = server.addr();
    let lose_one = || -> io::Result<Line> {
        let mut line = Line::open(addr)?;
        line.send(request)?;
        if status != 0 {
            // An interim answer comes first.
            while line.answer()?.status != status {}
        }
        Ok(line)
    };
    let mut lost = Vec::new();
    for n in 0..BOUND / 2 {
        lost.push(lose_one().unwrap_or_else(|error| panic!("number {n}: {error}")));
    }
    let shown = until(PATIENCE, || (stranded(admin) >= BOUND / 2).then_some(()));
    assert!(shown.is_some(), "{} are shown", stranded(admin));
    assert!(server.is_alive(), "{}", server.log());
    assert_eq!(ann.get("/api/users/me").status, 200);
    // It may be a few more until it is noticed.
    lost.extend((0..BOUND).map_while(|_| lose_one().ok()));
    let ended = until(PATIENCE, || (!server.is_alive()).then_some(()));
    assert!(ended.is_some(), "the server goes on after {} were lost", lost.len());
    println!("it stopped after {} were lost", lost.len());
    let log = server.log();
    let (code, _) = server.wait();
    assert_eq!(code, Some(1), "{log}");
    // What was acknowledged is there.
    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).with_token(ann.token());
    assert_eq!(ann.get("/api/messages").ids(), [said]);
}

/// How many the server says it has lost.
fn stranded(admin: SocketAddr) -> usize {
    figure(admin, "veche_connections_stranded")
}

/// A figure that the server gives its operator.
pub(crate) fn figure(admin: SocketAddr, name: &str) -> usize {
    let request = "GET /metrics HTTP/1.0\r\nHost: veche\r\n\r\n";
    let answer = Line::open(admin).and_then(|mut line| line.ask(request)).expect("figures");
    let text = String::from_utf8(answer.body).expect("text");
    let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no figure: {text}"))
}
