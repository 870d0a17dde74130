//! tiny_http forgets connections that are opened at the same instant. Everybody is served all
//! the same, within the time that was promised; also through the front.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::client::each;
use crate::idle::raise_limit;
use crate::line::Line;
use crate::server::STORES;
use crate::stage::{Stage, Way};
use crate::turnstile;
use crate::wire::get;

/// What is promised to 50 clients, and to 1,000.
const FIFTY_WITHIN: Duration = Duration::from_secs(1);
const THOUSAND_WITHIN: Duration = Duration::from_secs(3);

/// Opens `threads * each_opens` connections at once and sends a request on each. Gives the time
/// until the last was answered, and the connections, still open.
fn burst(
    addr: SocketAddr,
    request: &str,
    threads: usize,
    each_opens: usize,
) -> (Duration, Vec<Line>) {
    let start = Barrier::new(threads);
    let bursts = each(threads, |_| {
        let mut lines = Vec::with_capacity(each_opens);
        start.wait();
        let begun = Instant::now();
        for _ in 0..each_opens {
            let mut line = Line::open(addr).expect("it takes connections");
            line.send(request).expect("it takes a request");
            lines.push(line);
        }
        for line in &mut lines {
            assert_eq!(line.answer().expect("an answer").status, 200);
        }
        (begun, Instant::now(), lines)
    });
    let begun = bursts.iter().map(|burst| burst.0).min().expect("a thread");
    let ended = bursts.iter().map(|burst| burst.1).max().expect("a thread");
    (ended - begun, bursts.into_iter().flat_map(|burst| burst.2).collect())
}

#[test]
fn fifty_at_once_are_served_within_a_second() {
    let _alone = turnstile::alone();
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(Way::Direct, store, dir.path()).expect("it needs no nginx");
        let request = get(&stage.ann, "/api/users/me");
        let mut open = Vec::new();
        // Its threads come and go, so the rounds differ; the last ones leave the others open.
        for round in 0..8 {
            let (taken, lines) = burst(stage.addr(), &request, 50, 1);
            println!("{store}, round {round}: 50 connections were served in {taken:?}");
            assert!(taken < FIFTY_WITHIN, "{store}, round {round}: {taken:?}");
            if round >= 4 {
                open.extend(lines);
            }
        }
        // Who has been served once is served again.
        for line in &mut open {
            assert_eq!(line.ask(&request).unwrap().status, 200);
        }
    }
}

#[test]
fn a_thousand_at_once_are_served_within_three_seconds() {
    for store in STORES {
        thousand(Way::Direct, store);
    }
}

#[test]
fn a_thousand_at_once_are_served_behind_nginx() {
    thousand(Way::Nginx, "sled");
}

fn thousand(way: Way, store: &str) {
    let _alone = turnstile::alone();
    raise_limit();
    let dir = tempfile::tempdir().unwrap();
    let Some(stage) = Stage::set(way, store, dir.path()) else { return };
    let request = get(&stage.ann, "/api/users/me");
    for round in 0..2 {
        let what = format!("{way:?}, {store}, round {round}");
        let (taken, mut lines) = burst(stage.addr(), &request, 50, 20);
        println!("{what}: 1,000 connections were served in {taken:?}");
        assert!(taken < THOUSAND_WITHIN, "{what}: {taken:?}");
        let begun = Instant::now();
        for line in &mut lines {
            line.send(&request).expect("it takes a request");
        }
        for line in &mut lines {
            assert_eq!(line.answer().expect("an answer").status, 200);
        }
        let taken = begun.elapsed();
        println!("{what}: and again in {taken:?}");
        assert!(taken < THOUSAND_WITHIN, "{what}: again {taken:?}");
        stage.serves(200, &format!("{what}, beside 1,000 idle connections"));
    }
    stage.has_recovered(0, "after 1,000 connections");
}
