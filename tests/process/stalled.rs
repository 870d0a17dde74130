//! Clients that ask for much and read little.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, PROMPT};
use crate::server::{STORES, Server};
use crate::transfer::{MADE_UP_TEXT_BYTES, make_up_export};
use crate::turnstile;
use crate::wire::{Wire, get};

/// Messages of the greatest length on a page of the greatest length: more than 4 MB.
const PAGE: usize = 1000;
/// More than that no server of ours may take, in KiB: what may be unsent, twice, and some.
const MAX_RESIDENT_KIB: u64 = 640 * 1024;

/// A server whose general chat holds one page of long messages, and a client of it.
fn filled(store: &str, dir: &Path) -> (Server, Client) {
    let file = dir.join("export");
    fs::write(&file, make_up_export(PAGE, MADE_UP_TEXT_BYTES)).expect("an export");
    let server = Server::start_with(store, dir, &["--import".as_ref(), file.as_os_str()]);
    let client = Client::signed_up(&server, "reader");
    (server, client)
}

/// `clients` of them ask for `requests` pages of `limit` each, and look at nothing.
fn stall(stores: &[&str], clients: usize, requests: usize, limit: usize) {
    for store in stores {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut server, reader) = filled(store, dir.path());
        let path = format!("/api/messages?before={PAGE}&limit={limit}");
        let begun = Instant::now();
        assert_eq!(reader.get(&path).ids().len(), limit);
        let a_page_takes = begun.elapsed();
        let request = get(&reader, &path).repeat(requests);
        let mut wires: Vec<Wire> =
            (0..clients).map(|_| Wire::connect_narrow(server.addr())).collect();
        for wire in &mut wires {
            wire.send(&request);
        }
        wires.iter().for_each(Wire::wait_until_read);
        let what = format!("{store}, {clients} clients that do not read {requests} pages");
        // Making that many pages keeps it busy, but not longer than if they were read.
        let begun = Instant::now();
        let all_pages_take = a_page_takes * u32::try_from(clients).expect("a few");
        reader.wait_until_idle(PROMPT + 2 * all_pages_take);
        println!("{what}: busy for {:?}, a page takes {a_page_takes:?}", begun.elapsed());
        reader.is_served_promptly(&what);
        let resident = server.status("VmHWM");
        println!("{what}: at most {} MiB were resident", resident / 1024);
        assert!(resident < MAX_RESIDENT_KIB, "{what}: {resident} KiB");
        assert!(server.is_alive(), "{what}");
        drop(wires);
        // Nobody waits for the other pages any more.
        reader.wait_until_idle(PROMPT + all_pages_take);
        reader.is_served_promptly(&format!("after {what}"));
    }
}

#[test]
fn thirty_that_never_read_forty_large_pages() {
    let _alone = turnstile::alone();
    stall(&STORES, 30, 40, PAGE);
}

/// More than there are writers.
#[test]
fn a_hundred_that_never_read_two_smaller_ones() {
    let _alone = turnstile::alone();
    stall(&["memory"], 100, 2, PAGE / 4);
}

/// A slow reader gets every byte, in order, and the next answer behind it.
#[test]
fn who_reads_slowly_gets_everything() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let (server, reader) = filled(store, dir.path());
        let path = format!("/api/messages?limit={PAGE}");
        let whole = reader.get(&path);
        assert!(whole.body.len() > PAGE * MADE_UP_TEXT_BYTES);
        let mut wire = Wire::connect_narrow(server.addr());
        wire.send(format!("{}{}", get(&reader, &path).repeat(2), get(&reader, "/api/users/me")));
        // With pauses that are longer than a write of the server's waits for room.
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
        assert_eq!(wire.answer().json()["username"], "reader");
    }
}
