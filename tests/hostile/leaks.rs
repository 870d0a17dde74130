//! Connections that are lost for good are counted, and the server stops at the limit.

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

/// The limit at which the server drains and stops.
const BOUND: usize = 1024;
/// Connections lost here. A test of `http` also covers the stop at the limit.
const LOST: Extent<usize> = Extent { short: 16, long: BOUND };
/// The longest time until the last of them is noticed, and until the server has stopped.
const PATIENCE: Duration = Duration::from_mins(3);

/// Bodies just beyond the length up to which the server lets tiny_http drop a request, from clients
/// that wait for their answer.
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
    // The server may notice only after a few more.
    let more = (0..BOUND).map_while(|_| lose_one().ok()).count();
    let ended = until(PATIENCE, || (!server.is_alive()).then_some(()));
    assert!(ended.is_some(), "the server goes on after {} were lost", few + more);
    println!("it stopped after {} were lost", few + more);
    let log = server.log();
    let (code, _) = server.wait();
    assert_eq!(code, Some(1), "{log}");
    // Everything acknowledged is there.
    let server = Server::start("sled", dir.path());
    let ann = Client::new(&server).with_token(ann.token());
    assert_eq!(ann.get("/api/messages").ids(), [said]);
}

/// The number of connections that the server reports as lost.
fn stranded(admin: SocketAddr) -> usize {
    figure(admin, "veche_connections_stranded")
}

/// A metric from the operator's listener.
pub(crate) fn figure(admin: SocketAddr, name: &str) -> usize {
    let request = "GET /metrics HTTP/1.0\r\nHost: veche\r\n\r\n";
    let answer = Line::open(admin).and_then(|mut line| line.ask(request)).expect("figures");
    let text = String::from_utf8(answer.body).expect("text");
    let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no figure: {text}"))
}
