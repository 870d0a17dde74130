//! Clients that ask for much and read little.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::export::make_up_export;
use crate::extent::Extent;
use crate::server::STORES;
use crate::stage::{Stage, Way};
use crate::turnstile;
use crate::wire::{Wire, get};

/// Messages of the greatest length on a page of the greatest length: more than 4 MB.
const PAGE: usize = 1000;
const TEXT_BYTES: usize = 4096;
/// The largest resident size of a server, in KiB: twice what may be unsent, and some.
const MAX_RESIDENT_KIB: u64 = 640 * 1024;
/// Requests of a neighbour meanwhile.
const REQUESTS: Extent<usize> = Extent { short: 40, long: 300 };
/// Clients that ask for large pages.
const CLIENTS: Extent<usize> = Extent { short: 12, long: 50 };
/// The longest time until all the unread pages are made.
const MADE_WITHIN: Duration = Duration::from_mins(5);

/// A server whose general chat holds one page of long messages.
fn filled(way: Way, store: &str, dir: &Path) -> Option<Stage> {
    let file = dir.join("export");
    fs::write(&file, make_up_export(PAGE, TEXT_BYTES)).expect("an export");
    let file = file.to_str().expect("a path of letters");
    // The clients here keep connections on which they send nothing for a while.
    Stage::set_with(way, store, dir, &["--import", file, "--idle-timeout", "60"])
}

/// Lets `clients` of them ask for `requests` pages of `limit` each, and read nothing.
fn stall(way: Way, store: &str, clients: usize, requests: usize, limit: usize) {
    let _pass = turnstile::crowded();
    let dir = tempfile::tempdir().expect("a directory");
    let Some(mut stage) = filled(way, store, dir.path()) else { return };
    let path = format!("/api/messages?before={PAGE}&limit={limit}");
    assert_eq!(stage.ann.get(&path).ids().len(), limit);
    let request = get(&stage.ann, &path).repeat(requests);
    let mut wires: Vec<Wire> = (0..clients).map(|_| Wire::connect_narrow(stage.addr())).collect();
    for wire in &mut wires {
        wire.send(&request);
    }
    if way == Way::Direct {
        // nginx reads no further than the request it serves.
        wires.iter().for_each(Wire::wait_until_read);
    }
    let what = format!("{way:?}, {store}, {clients} clients that do not read {requests} pages");
    // Making that many pages keeps the server busy.
    stage.is_served_within(MADE_WITHIN, &what);
    stage.serves(REQUESTS.now(), &what);
    let resident = stage.server.status("VmHWM");
    println!("{what}: at most {} MiB were resident", resident / 1024);
    assert!(resident < MAX_RESIDENT_KIB, "{what}: {resident} KiB");
    assert!(stage.server.is_alive(), "{what}");
    drop(wires);
    let what = format!("after {what}");
    stage.is_served_within(MADE_WITHIN, &what);
    stage.serves(REQUESTS.now(), &what);
    stage.has_recovered(0, &what);
}

#[test]
fn clients_that_never_read_forty_large_pages() {
    for store in STORES {
        stall(Way::Direct, store, CLIENTS.now(), 40, PAGE);
    }
}

#[test]
fn clients_that_never_read_behind_nginx() {
    stall(Way::Nginx, "sled", CLIENTS.now(), 40, PAGE);
}

/// More than there are writers.
#[test]
fn a_hundred_that_never_read_two_smaller_ones() {
    stall(Way::Direct, "memory", 100, 2, PAGE / 4);
}

/// A slow reader gets every byte, in order, and then the next answer.
#[test]
fn a_slow_reader_gets_everything() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = filled(Way::Direct, store, dir.path()).expect("it needs no nginx");
        let path = format!("/api/messages?limit={PAGE}");
        let whole = stage.ann.get(&path);
        assert!(whole.body.len() > PAGE * TEXT_BYTES);
        let mut wire = Wire::connect_narrow(stage.addr());
        wire.send(format!(
            "{}{}",
            get(&stage.ann, &path).repeat(2),
            get(&stage.ann, "/api/users/me")
        ));
        // With pauses that are longer than a write of the server waits for room.
        let mut received = vec![0; whole.body.len() / 2];
        for piece in received.chunks_mut(128 * 1024) {
            wire.read_exact(piece).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        let head = received.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let so_far = received.len();
        received.resize(head + whole.body.len(), 0);
        wire.read_exact(&mut received[so_far..]).unwrap();
        assert!(received[head..] == whole.body, "{store}: the first page is whole");
        assert!(wire.answer().body == whole.body, "{store}: the second page is whole");
        assert_eq!(wire.answer().json()["username"], "ann");
    }
}
