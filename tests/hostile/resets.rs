//! Clients that connect and reset at once.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::extent::Extent;
use crate::leaks::figure;
use crate::server::{STORES, Server};
use crate::wire::Wire;

/// Connections of each client, and the number of clients.
const FLOOD: Extent<usize> = Extent { short: 2_000, long: 30_000 };
const FLOODERS: usize = 4;
const NEIGHBOURS: usize = 20;

/// Connections that are reset before the server looks at them are no sign that accepting has
/// stopped: no other client is cut off for them, and accepting is not restarted.
#[test]
fn a_flood_of_resets_cuts_nobody_else() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(store, dir.path(), &["--admin-listen", "127.0.0.1:0"]);
        let (addr, admin) = (server.addr(), server.admin_addr());
        let ask = |wire: &mut Wire| {
            wire.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(wire.answer().status, 200, "{store}");
        };
        let mut neighbours: Vec<Wire> = (0..NEIGHBOURS).map(|_| Wire::connect(addr)).collect();
        neighbours.iter_mut().for_each(ask);
        let floods = thread::scope(|scope| {
            let floods = [(); FLOODERS].map(|()| {
                scope.spawn(|| {
                    let mut count = 0;
                    for _ in 0..FLOOD.now() {
                        let Ok(stream) = TcpStream::connect(addr) else { continue };
                        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        count += 1;
                    }
                    count
                })
            });
            floods.map(|flood| flood.join().unwrap())
        });
        assert!(floods.iter().sum::<usize>() > FLOOD.now(), "{store}: {floods:?}");
        neighbours.iter_mut().for_each(ask);
        (0..NEIGHBOURS).for_each(|_| ask(&mut Wire::connect(addr)));
        assert_eq!(figure(admin, "veche_accept_restarts_total"), 0, "{store}");
        server.stop();
    }
}
