//! Crowds of idle connections.

use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::extent::Extent;
use crate::levels::Levels;
use crate::line::Line;
use crate::server::{STORES, until};
use crate::stage::{Stage, Way};
use crate::turnstile;

/// The number of connections.
const CONNECTIONS: Extent<usize> = Extent { short: 500, long: 5000 };
/// The idle timeout in seconds; longer than it takes to open all connections.
const IDLE_TIMEOUT: Extent<&str> = Extent { short: "8", long: "30" };
/// The stores on which they come directly.
const DIRECTLY_ON: Extent<&[&str]> = Extent { short: &["memory"], long: &STORES };
/// Connections opened at once: beyond the backlog they would have to be tried again.
const STEP: usize = 500;
/// The longest time that the server may take to accept them all.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(20);
/// Requests of a neighbour meanwhile.
const REQUESTS: Extent<usize> = Extent { short: 60, long: 600 };
/// The longest time until the server, or nginx, has ended the connections.
const ENDED_WITHIN: Duration = Duration::from_mins(3);

/// Raises the limit on descriptors as far as allowed.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("more descriptors can be had");
}

#[test]
fn a_crowd_directly() {
    for store in DIRECTLY_ON.now() {
        be_idle(Way::Direct, store);
    }
}

#[test]
fn a_crowd_behind_nginx() {
    be_idle(Way::Nginx, "memory");
}

fn be_idle(way: Way, store: &str) {
    let _pass = turnstile::crowded();
    raise_limit();
    let dir = tempfile::tempdir().unwrap();
    let connections = CONNECTIONS.now();
    let args = ["--idle-timeout", IDLE_TIMEOUT.now()];
    let Some(mut stage) = Stage::set_with(way, store, dir.path(), &args) else { return };
    let what = format!("{way:?}, {store}, {connections} idle connections");
    let begun = Instant::now();
    let mut lines = Vec::with_capacity(connections);
    while lines.len() < connections {
        for _ in 0..STEP {
            lines.push(Line::open(stage.addr()).expect("it takes connections"));
        }
        // As fast as the server can accept them, and no faster.
        assert_eq!(stage.ann.get("/api/users/me").status, 200);
    }
    if way == Way::Direct {
        // A connection without a request need not have a thread yet.
        let most = Levels { threads: 0, descriptors: 2 * connections };
        let grown = stage.levels.grow(&stage.server, most, ACCEPTED_WITHIN);
        println!("{what}: {}", Levels::of(&stage.server));
        assert!(grown, "{what}: {}", Levels::of(&stage.server));
    }
    println!("{what}: open after {:?}", begun.elapsed());
    stage.serves(REQUESTS.now(), &what);
    // The server ends all of them within the deadline.
    let ended = until(ENDED_WITHIN, || lines.iter_mut().all(Line::has_ended).then_some(()));
    assert!(ended.is_some(), "{what}: some are still open");
    println!("{what}: ended after {:?}", begun.elapsed());
    stage.has_recovered(0, &what);
    assert!(stage.server.is_alive());
}
