//! What workers tell the loop, and how they wake it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use super::exchange::Exchange;
use crate::api::Resume;

/// Something that a worker has finished.
pub(super) enum Event {
    /// A body is read, or could not be.
    Received(Exchange),
    /// A job is done.
    Done(Exchange, Resume),
    /// A reply is out.
    Sent(SocketAddr),
    /// A reply is out, as far as that was possible, and the connection has ended.
    Closed(SocketAddr),
}

/// The workers' end of the loop's queue: an event and a nudge.
#[derive(Clone)]
pub(super) struct Sender {
    events: mpsc::Sender<Event>,
    server: Arc<tiny_http::Server>,
}

impl Sender {
    pub(super) fn send(&self, event: Event) {
        // When the loop is gone, so is everybody who waits for the event.
        if self.events.send(event).is_ok() {
            self.server.unblock();
        }
    }
}

/// The two ends of the loop's queue for events. There are never more in it than the pools have
/// jobs.
pub(super) fn channel(server: &Arc<tiny_http::Server>) -> (Sender, Receiver<Event>) {
    let (events, receiver) = mpsc::channel();
    (Sender { events, server: Arc::clone(server) }, receiver)
}
