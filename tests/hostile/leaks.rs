//! Connections that are lost for good are counted, and there is an end to it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Client;
use crate::extent::Extent;
use crate::idle::raise_limit;
use crate::line::Line;
use crate::server::{Server, until};
use crate::turnstile;
use crate::wire::BEYOND_DROPPED;

/// How many the server bears; at that it drains and stops.
const BOUND: usize = 1024;
/// How many are lost here. That a server stops whose count is at the bound is a test of `http` too.
const LOST: Extent<usize> = Extent { short: 16, long: BOUND };
/// How long it may take for the last of them to be noticed, and for the server to be done.
const PATIENCE: Duration = Duration::from_mins(3);

/// Bodies just beyond what the server lets tiny_http drop, from clients that wait for their answer.
#[test]
fn abandoned_connections_have_a_bound() {
    let _pass = turnstile::crowded();
    raise_limit();
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start_with("sled", dir.path(), &["--admin-listen", "127.0.0.1:0"]);
    let ann = Client::signed_up(&server, "ann");
    let said = ann.say("before");
    let admin = server.admin_addr();
    let addr = server.addr();
    let head = "POST /login HTTP/1.1\r\nHost: veche\r\n";
    let request = format!("{head}Content-Length: {BEYOND_DROPPED}\r\n\r\n");
    let lose_one = || -> io::Result<()> {
        let mut line = Line::open(addr)?;
        line.send(&request)?;
        // An interim answer comes first.
        while line.answer()?.status != 413 {}
        Ok(())
    };
    let few = LOST.now() / 2;
    for n in 0..few {
        lose_one().unwrap_or_else(|error| panic!("number {n}: {error}"));
    }
    let shown = until(PATIENCE, || (stranded(admin) == few).then_some(()));
    assert!(shown.is_some(), "{} are shown", stranded(admin));
    assert!(server.is_alive(), "{}", server.log());
    assert_eq!(ann.get("/api/users/me").status, 200);
    if LOST.now() < BOUND {
        server.stop();
        return;
    }
    // It may be a few more until it is noticed.
    let more = (0..BOUND).map_while(|_| lose_one().ok()).count();
    let ended = until(PATIENCE, || (!server.is_alive()).then_some(()));
    assert!(ended.is_some(), "the server goes on after {} were lost", few + more);
    println!("it stopped after {} were lost", few + more);
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
