//! The share of a server that a few busy users may take.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::admin::figure;
use crate::client::Client;
use crate::export::make_up_export;
use crate::server::{PATIENCE, until};
use crate::stage::Stage;
use crate::wire::{Wire, get, request};

/// A page of the greatest length, with messages of the greatest length: more than 4 MB.
const PAGE: &str = "/api/messages?limit=1000";
const MESSAGES: usize = 1000;
const TEXT_BYTES: usize = 4096;
/// The bytes that a user, and an address, may leave unread.
const SHARE_OF_USER: usize = 32 * 1024 * 1024;
const SHARE_OF_NETWORK: usize = 64 * 1024 * 1024;

impl Wire {
    /// Reads the status of the next answer, and nothing more of it.
    fn status(&mut self) -> u16 {
        let mut line = [0; "HTTP/1.1 200".len()];
        self.read_exact(&mut line).unwrap();
        str::from_utf8(&line[9..]).unwrap().parse().unwrap()
    }
}

/// A server whose general chat holds this many messages.
fn filled(dir: &Path, messages: usize, text_bytes: usize) -> Stage {
    let file = dir.join("export");
    fs::write(&file, make_up_export(messages, text_bytes)).unwrap();
    Stage::set_with("memory", dir, &["--import", file.to_str().unwrap()])
}

/// However many pages are requested in ways that bypass the loop's queue of requests, they are not
/// all made at once; for requests of the head alone, none is made.
#[test]
fn requests_with_a_body_are_held_to_a_turns_bytes() {
    /// The number of connections. Their pages would take 250 MB.
    const REQUESTS: usize = 60;
    /// In KiB: the unread replies of a user, the replies of a turn, a page more, and some.
    const MOST: u64 = 100 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let stage = filled(dir.path(), MESSAGES, TEXT_BYTES);
    let ann = Client::signed_up(&stage.server, "ann");
    assert_eq!(ann.get(PAGE).ids().len(), MESSAGES);
    let before = stage.server.status("VmHWM");
    // More than tiny_http reads by itself, so that a worker reads it.
    let body = "x".repeat(1100);
    for method in ["HEAD", "GET"] {
        let line = format!("{method} {PAGE} HTTP/1.1");
        let length = format!("Content-Length: {}\r\n", body.len());
        let asked = request(&ann, &line, &length, &body);
        let mut wires: Vec<Wire> =
            (0..REQUESTS).map(|_| Wire::connect_narrow(stage.server.addr())).collect();
        for wire in &mut wires {
            wire.send(&asked);
        }
        for wire in &mut wires {
            let status = wire.status();
            assert!(status == 200 || method == "GET" && status == 503, "{method}: {status}");
        }
        let grown = stage.server.status("VmHWM") - before;
        assert!(grown < MOST, "{method}: {grown} KiB more");
    }
}

/// A client that reads nothing fills its share, and others have space for theirs.
#[test]
fn a_client_that_does_not_read_has_a_share() {
    let dir = tempfile::tempdir().unwrap();
    let stage = filled(dir.path(), MESSAGES, TEXT_BYTES);
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| Client::signed_up(&stage.server, name));
    let page_bytes = ann.get(PAGE).body.len();
    let (of_user, of_network) = (SHARE_OF_USER / page_bytes, SHARE_OF_NETWORK / page_bytes);
    assert!((2 * of_user..3 * of_user).contains(&of_network), "the network's comes first");
    let elsewhere = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let mut unread = Vec::new();
    // The first status that is not 200, and the number of those before it.
    let mut leave_unread = |client: &Client| {
        let mut taken = 0;
        loop {
            let mut wire = Wire::connect_narrow_from(elsewhere, stage.server.addr());
            wire.send(get(client, PAGE));
            match wire.status() {
                200 => taken += 1,
                status => return (taken, status),
            }
            unread.push(wire);
        }
    };
    assert_eq!(leave_unread(&ann), (of_user, 503));
    assert_eq!(leave_unread(&bob), (of_user, 503));
    assert_eq!(leave_unread(&eve), (of_network - 2 * of_user, 503), "she has room, but not there");
    assert_eq!(figure(stage.admin, "veche_refused_total{queue=\"unread\"}"), Some(3.0));
    assert!(figure(stage.admin, "veche_unread_bytes") >= Some(32e6));
    let refused = ann.get(PAGE);
    assert_eq!((refused.status, refused.problem().as_str()), (503, "overloaded"), "nor here");
    assert_eq!(eve.get(PAGE).ids().len(), MESSAGES, "here there is room");
    assert_eq!(ann.get("/api/messages?limit=1").status, 200, "what is short needs none");
    drop(unread);
    let again = until(PATIENCE, || (ann.get(PAGE).status == 200).then_some(()));
    assert!(again.is_some(), "there is room again");
}

/// Streams that catch up take turns with all other requests.
#[test]
fn streams_that_catch_up_leave_room_for_others() {
    const STREAMS: usize = 16;
    const OF: [&str; 3] = ["ann", "bob", "eve"];
    const EVENTS: usize = 4000;
    /// A quarter of those that there is time for. When each page sent a nudge before the requests,
    /// there were three or four.
    const ANSWERS: usize = 30;
    let dir = tempfile::tempdir().unwrap();
    let stage = filled(dir.path(), EVENTS, 50);
    let listeners = OF.map(|name| Client::signed_up(&stage.server, name));
    let other = Client::signed_up(&stage.server, "other");
    let last = format!("id: {}\n", EVENTS - 1);
    let (behind, has_failed) = (AtomicUsize::new(OF.len() * STREAMS), AtomicBool::new(false));
    let mut answers = 0;
    thread::scope(|scope| {
        for client in listeners.iter().flat_map(|client| [client; STREAMS]) {
            let accept = "Accept: text/event-stream\r\n";
            let asked = request(client, "GET /api/events?after=-1 HTTP/1.1", accept, "");
            let mut stream = TcpStream::connect(stage.server.addr()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(asked.as_bytes()).unwrap();
            let (behind, has_failed, last) = (&behind, &has_failed, &last);
            scope.spawn(move || {
                let mut lines = BufReader::new(stream);
                let mut line = Vec::new();
                while line != last.as_bytes() {
                    line.clear();
                    if !matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
                        has_failed.store(true, Ordering::SeqCst);
                        break;
                    }
                }
                behind.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while behind.load(Ordering::SeqCst) > 0 {
            assert_eq!(other.get("/api/messages?limit=1").status, 200);
            answers += 1;
        }
    });
    println!("{answers} answers until all had caught up");
    assert!(!has_failed.load(Ordering::SeqCst), "every stream has come to the end");
    assert!(answers >= ANSWERS, "{answers} answers, until all had caught up");
    // And the server's own requests were taken in meanwhile, and the metrics show how long they
    // waited.
    for figures in ["probe_wait_seconds_count", "turn_duration_seconds_count", "idle_seconds_total"]
    {
        let figure = figure(stage.admin, &format!("veche_{figures}"));
        assert!(figure > Some(0.0), "{figures}: {figure:?}");
    }
}
