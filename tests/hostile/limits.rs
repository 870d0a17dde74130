//! The share of the front for one address, with the shipped limits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::client::{Client, each};
use crate::front::{Front, Limits, Nginx};
use crate::line::Line;
use crate::server::{PATIENCE, Server, until};
use crate::turnstile;
use crate::wire::{get, post, request};

/// Attempts at a password at once: more than the front lets through.
const GUESSES: usize = 40;
/// Attempts let through at once: the burst and the one that is always free. Then one a second.
const BURST_OF_GUESSES: u64 = 21;
/// Clients that send requests at once, and requests of each: more than the limit for the time they
/// take.
const CLIENTS: usize = 8;
const REQUESTS: usize = 250;
/// Requests in progress at once: more than one address may have.
const UNDER_WAY: usize = 200;
const MAX_UNDER_WAY: usize = 128;

/// A front with the shipped limits, before a server with an account.
fn set(dir: &std::path::Path) -> Option<(Front, Server, Client)> {
    let nginx = Nginx::find()?;
    let server = Server::start_with("memory", dir, &["--login-limit", "off"]);
    let ann = Client::signed_up(&server, "ann");
    let front = Front::start(&nginx, server.addr(), dir, Limits::Shipped);
    Some((front, server, ann))
}

/// Counts the answers by status.
fn ask_each(addr: SocketAddr, requests: &[String]) -> BTreeMap<u16, usize> {
    let mut line = Line::open_patiently(addr).expect("a connection");
    let mut statuses = BTreeMap::new();
    for request in requests {
        let answer = line.ask(request).expect("an answer");
        if answer.status == 429 {
            assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
            assert_eq!(answer.header("Retry-After"), Some("2"), "{answer:?}");
            assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{answer:?}");
            assert_eq!(answer.json()["status"], 429);
        }
        *statuses.entry(answer.status).or_insert(0) += 1;
    }
    statuses
}

#[test]
fn attempts_at_passwords_are_limited() {
    let _pass = turnstile::crowded();
    let dir = tempfile::tempdir().unwrap();
    let Some((front, server, ann)) = set(dir.path()) else { return };
    let nobody = Client::new(&server);
    let paths = ["/login", "/users/login"];
    // The front counts requests, not their contents. Passwords would be hashed, and on a busy
    // machine that takes longer than the front's limit lasts.
    let guess = |n: usize| post(&nobody, paths[n % paths.len()], r#"{"username":"ann"}"#);
    let guesses: Vec<String> = (0..GUESSES).map(guess).collect();
    let begun = Instant::now();
    let statuses = each(GUESSES, |n| ask_each(front.plain(), &guesses[n..=n]));
    let let_through = BURST_OF_GUESSES + begun.elapsed().as_secs() + 1;
    let of = |status: u16| statuses.iter().filter_map(|it| it.get(&status)).sum::<usize>();
    assert!(of(422) as u64 <= let_through && of(429) > 0, "{statuses:?}, not {let_through}");
    assert_eq!(of(422) + of(429), GUESSES, "{statuses:?}");
    // Other requests from the same address go on.
    let reads = vec![get(&ann, "/api/users/me"); 20];
    assert_eq!(ask_each(front.plain(), &reads), BTreeMap::from([(200, 20)]));
}

#[test]
fn requests_of_one_address_are_limited() {
    let _pass = turnstile::crowded();
    let dir = tempfile::tempdir().unwrap();
    let Some((front, _server, ann)) = set(dir.path()) else { return };
    let reads = vec![get(&ann, "/api/users/me"); REQUESTS];
    let statuses = each(CLIENTS, |_| ask_each(front.plain(), &reads));
    let of = |status: u16| statuses.iter().filter_map(|it| it.get(&status)).sum::<usize>();
    assert!(of(200) >= 200, "the burst is served: {statuses:?}");
    assert!(of(429) > 0, "{statuses:?}");
    // The limit passes.
    let served = until(PATIENCE, || {
        let answer = Line::open(front.plain()).and_then(|mut line| line.ask(&reads[0]));
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    });
    assert!(served.is_some());
}

#[test]
fn requests_in_progress_of_one_address_are_limited() {
    let _pass = turnstile::crowded();
    let dir = tempfile::tempdir().unwrap();
    let Some((front, _server, ann)) = set(dir.path()) else { return };
    let fields = "Content-Length: 1000\r\n";
    let begun = request(&ann, "POST /api/messages HTTP/1.1", fields, "{");
    let mut lines: Vec<Line> = (0..UNDER_WAY)
        .map(|_| {
            let mut line = Line::open(front.plain()).expect("a connection");
            line.send(&begun).expect("it is taken");
            line
        })
        .collect();
    // A refused client is answered at once; the others wait for the rest of their bodies.
    let mut refused =
        || lines.iter_mut().map(|line| usize::from(line.has_something())).sum::<usize>();
    let enough = UNDER_WAY - MAX_UNDER_WAY;
    assert!(until(PATIENCE, || (refused() >= enough).then_some(())).is_some(), "{}", refused());
    let refused = refused();
    println!("{refused} of {UNDER_WAY} requests under way at once were refused");
    assert_eq!(refused, enough);
}
