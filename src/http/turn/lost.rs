//! A server with too many leaked connections stops, whatever leaked them. The tests set the counts.

use std::net::SocketAddr;

use super::*;
use crate::api::App;
use crate::http::replies::outbox::MAX_LEAKED;
use crate::http::{Server, ServerSettings};
use crate::model::StoreId;
use crate::store::MemoryStore;

fn server_loop() -> Loop {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), ServerSettings::default());
    Loop::new(server.unwrap(), App::for_tests(Box::new(MemoryStore::new(StoreId(1))))).unwrap()
}

#[test]
fn the_limit_on_leaked_connections_is_exact() {
    let mut server_loop = server_loop();
    server_loop.outbox.set_stuck(MAX_LEAKED - 1);
    server_loop.outbox.abandon_for_tests(MAX_LEAKED - 1);
    assert!(!server_loop.outbox.is_exhausted(), "abandoned connections are counted as stuck too");
    server_loop.outbox.set_stuck(MAX_LEAKED);
    assert!(server_loop.outbox.is_exhausted());
    server_loop.outbox.set_stuck(0);
    server_loop.outbox.abandon_for_tests(1);
    assert!(server_loop.outbox.is_exhausted());
}

/// The process then exits with 1.
#[test]
fn a_server_with_too_many_leaked_connections_stops() {
    let server_loop = server_loop();
    server_loop.outbox.abandon_for_tests(MAX_LEAKED);
    assert!(matches!(server_loop.run(), Err(ServeError::Abandoned)));
}
