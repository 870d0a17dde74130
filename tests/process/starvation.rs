//! tiny_http forgets connections that are opened at the same instant. Everybody is served all
//! the same, within the time that was promised.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::client::{Client, each};
use crate::server::{STORES, Server};
use crate::turnstile;
use crate::wire::{Wire, get};

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
) -> (Duration, Vec<Wire>) {
    let start = Barrier::new(threads);
    let bursts = each(threads, |_| {
        let mut wires = Vec::with_capacity(each_opens);
        start.wait();
        let begun = Instant::now();
        for _ in 0..each_opens {
            let mut wire = Wire::connect(addr);
            wire.send(request);
            wires.push(wire);
        }
        for wire in &mut wires {
            assert_eq!(wire.answer().status, 200);
        }
        (begun, Instant::now(), wires)
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
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let request = get(&ann, "/api/users/me");
        let mut open = Vec::new();
        // Its threads come and go, so the rounds differ; the last ones leave the others open.
        for round in 0..8 {
            let (taken, wires) = burst(server.addr(), &request, 50, 1);
            println!("{store}, round {round}: 50 connections were served in {taken:?}");
            assert!(taken < FIFTY_WITHIN, "{store}, round {round}: {taken:?}");
            if round >= 4 {
                open.extend(wires);
            }
        }
        // Who has been served once is served again.
        for wire in &mut open {
            wire.send(&request);
            assert_eq!(wire.answer().status, 200);
        }
    }
}

#[test]
fn a_thousand_at_once_are_served_within_three_seconds() {
    let _alone = turnstile::alone();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("more descriptors can be had");
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let request = get(&ann, "/api/users/me");
        for round in 0..2 {
            let (taken, mut wires) = burst(server.addr(), &request, 50, 20);
            println!("{store}, round {round}: 1,000 connections were served in {taken:?}");
            assert!(taken < THOUSAND_WITHIN, "{store}, round {round}: {taken:?}");
            ann.is_served_promptly("beside 1,000 idle connections");
            let begun = Instant::now();
            for wire in &mut wires {
                wire.send(&request);
            }
            for wire in &mut wires {
                assert_eq!(wire.answer().status, 200);
            }
            let taken = begun.elapsed();
            println!("{store}, round {round}: and again in {taken:?}");
            assert!(taken < THOUSAND_WITHIN, "{store}, round {round}: again {taken:?}");
        }
    }
}
