//! A server that has lost too many connections stops, however it has lost them: the counts are
//! given to it here.

use std::net::SocketAddr;

use super::*;
use crate::api::App;
use crate::http::replies::outbox::MAX_LEAKED;
use crate::http::{Server, ServerSettings};
use crate::model::StoreId;
use crate::store::MemoryStore;

fn begun() -> Loop {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), ServerSettings::default());
    Loop::new(server.unwrap(), App::for_tests(Box::new(MemoryStore::new(StoreId(1))))).unwrap()
}

#[test]
fn as_many_as_may_be_lost_are_enough() {
    let mut begun = begun();
    begun.outbox.set_stuck(MAX_LEAKED - 1);
    begun.outbox.abandon_for_tests(MAX_LEAKED - 1);
    assert!(!begun.outbox.is_exhausted(), "those that were abandoned are among the stranded");
    begun.outbox.set_stuck(MAX_LEAKED);
    assert!(begun.outbox.is_exhausted());
    begun.outbox.set_stuck(0);
    begun.outbox.abandon_for_tests(1);
    assert!(begun.outbox.is_exhausted());
}

/// What it says when it has finished what was under way has the process exit with 1.
#[test]
fn a_server_that_has_lost_too_many_stops() {
    let begun = begun();
    begun.outbox.abandon_for_tests(MAX_LEAKED);
    assert!(matches!(begun.run(), Err(ServeError::Abandoned)));
}
