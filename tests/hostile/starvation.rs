//! tiny_http forgets connections that are opened at the same instant. All clients are served all
//! the same, also through the front.

use std::net::SocketAddr;
use std::sync::Barrier;

use crate::client::each;
use crate::extent::Extent;
use crate::idle::raise_limit;
use crate::line::Line;
use crate::server::STORES;
use crate::stage::{Stage, Way};
use crate::turnstile;
use crate::wire::get;

/// Connections that each of fifty clients opens.
const EACH_OPENS: Extent<usize> = Extent { short: 4, long: 20 };

/// Opens `threads * each_opens` connections at once and sends a request on each. Returns the
/// connections, still open, which hold the threads that forgotten connections would need.
fn burst(addr: SocketAddr, request: &str, threads: usize, each_opens: usize) -> Vec<Line> {
    let start = Barrier::new(threads);
    let bursts = each(threads, |_| {
        let mut lines = Vec::with_capacity(each_opens);
        start.wait();
        for _ in 0..each_opens {
            let mut line = Line::open(addr).expect("it takes connections");
            line.send(request).expect("it takes a request");
            lines.push(line);
        }
        for line in &mut lines {
            assert_eq!(line.answer().expect("an answer").status, 200);
        }
        lines
    });
    bursts.into_iter().flatten().collect()
}

#[test]
fn fifty_at_once_are_served() {
    let _pass = turnstile::crowded();
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(Way::Direct, store, dir.path()).expect("it needs no nginx");
        let request = get(&stage.ann, "/api/users/me");
        let mut open = Vec::new();
        // Threads come and go, so the rounds differ; the last rounds leave the others' connections
        // open.
        for round in 0..8 {
            let lines = burst(stage.addr(), &request, 50, 1);
            if round >= 4 {
                open.extend(lines);
            }
        }
        // A client that has been served once is served again.
        for line in &mut open {
            assert_eq!(line.ask(&request).unwrap().status, 200);
        }
    }
}

#[test]
fn a_crowd_at_once_is_served() {
    for store in STORES {
        crowd(Way::Direct, store);
    }
}

#[test]
fn a_crowd_at_once_is_served_behind_nginx() {
    crowd(Way::Nginx, "sled");
}

fn crowd(way: Way, store: &str) {
    let _pass = turnstile::crowded();
    raise_limit();
    let dir = tempfile::tempdir().unwrap();
    let Some(stage) = Stage::set(way, store, dir.path()) else { return };
    let request = get(&stage.ann, "/api/users/me");
    for round in 0..2 {
        let what = format!("{way:?}, {store}, round {round}");
        let mut lines = burst(stage.addr(), &request, 50, EACH_OPENS.now());
        for line in &mut lines {
            line.send(&request).expect("it takes a request");
        }
        for line in &mut lines {
            assert_eq!(line.answer().expect("an answer").status, 200);
        }
        stage.serves(40, &format!("{what}, beside {} idle connections", lines.len()));
    }
    stage.has_recovered(0, "after a crowd");
}
