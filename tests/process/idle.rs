//! Idle connections, each of which holds a thread and two descriptors.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::client::Client;
use crate::server::{PATIENCE, STORES, Server, until};
use crate::wire::Wire;

/// More than the descriptors that a store or a request opens for a moment.
const CONNECTIONS: usize = 64;
const TIMEOUT: [&str; 2] = ["--idle-timeout", "2"];
/// Longer than it takes to open this many.
const LONGER: [&str; 2] = ["--idle-timeout", "12"];

/// Neither a client that sends nothing nor one that never finishes its request keeps a connection.
#[test]
fn idle_connections_are_closed() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(store, dir.path(), &LONGER);
        // By the first answer, the server has opened its own descriptors.
        assert_eq!(Client::new(&server).get("/problems").status, 200);
        let before = server.descriptors();
        let mut wires: Vec<Wire> = (0..CONNECTIONS).map(|_| Wire::connect(server.addr())).collect();
        for (n, wire) in wires.iter_mut().enumerate() {
            match n % 3 {
                0 => {}
                1 => wire.send("GET /problems HTTP/1.1\r\nHost: "),
                _ => {
                    wire.send("GET /problems/forbidden HTTP/1.1\r\nHost: x\r\n\r\n");
                    assert_eq!(wire.answer().status, 200);
                }
            }
        }
        let most = || (server.descriptors() >= before + 2 * CONNECTIONS - 2).then_some(());
        assert!(until(PATIENCE, most).is_some(), "{store}: {}", server.descriptors());
        for wire in &mut wires {
            assert!(wire.is_closed(), "{store}");
        }
        let closed = until(PATIENCE, || (server.descriptors() <= before + 2).then_some(()));
        closed.unwrap_or_else(|| panic!("{store}: {} of {before}", server.descriptors()));
        server.stop();
    }
}

/// A connection with a request in progress is not idle, however long that takes.
#[test]
fn a_connection_with_a_slow_body_is_not_idle() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &TIMEOUT);
    let ann = Client::signed_up(&server, "ann");
    let mut wire = Wire::connect(server.addr());
    let token = ann.token();
    wire.send(format!(
        "POST /api/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let idle = Wire::connect(server.addr());
    // The idle connection shows when the time is over.
    assert!({ idle }.is_closed());
    wire.send("f\r\n{\"text\":\"late\"}\r\n0\r\n\r\n");
    assert_eq!(wire.answer().status, 201);
    server.stop();
}

/// A head beyond the limit is cut off long before the connection is idle.
#[test]
fn a_head_without_an_end_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--idle-timeout", "3600"]);
    for line in ["x", "A: b\r\n"] {
        let mut wire = Wire::connect(server.addr());
        wire.send_head_until_cut(line);
    }
    assert!(server.log().contains("its request head is too long"), "{}", server.log());
    server.stop();
}

/// A process that was stopped for longer than the timeout finds what its clients have sent
/// meanwhile, and answers it.
#[test]
fn a_stop_is_not_the_clients_idleness() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &TIMEOUT);
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(server.addr())).collect();
    let mut ask_all = || {
        for wire in &mut wires {
            wire.send("GET /problems/forbidden HTTP/1.1\r\nHost: x\r\n\r\n");
        }
    };
    ask_all();
    server.signal(Signal::STOP);
    ask_all();
    // Twice the timeout; there is no condition to wait for.
    sleep(Duration::from_secs(4));
    server.signal(Signal::CONT);
    for wire in &mut wires {
        assert_eq!([wire.answer().status, wire.answer().status], [200, 200]);
    }
    server.stop();
}
