//! One request in flight per connection.
//!
//! tiny_http shows the pipelined requests of a connection all at once, and makes who answers a
//! later one wait for the earlier one's reply: the loop would wait for its own worker. So a
//! connection's next request is kept back until its last reply is out; this also bounds what one
//! connection can have the server hold ready.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

use super::exchange::{Exchange, peer};

/// Requests of one connection that may be kept back.
const MAX_WAITING: usize = 64;

/// The connections that have a request in flight, and what they have sent behind it.
#[derive(Default)]
pub(super) struct Lanes {
    busy: HashMap<SocketAddr, VecDeque<tiny_http::Request>>,
}

/// What becomes of a request at its arrival.
pub(super) enum Admission {
    /// It is its connection's only one, and in flight from now on.
    Now(Exchange),
    /// It waits for the ones before it.
    Later,
    /// Its connection has sent too many.
    Refused(tiny_http::Request),
}

impl Lanes {
    pub(super) fn admit(&mut self, request: tiny_http::Request) -> Admission {
        use std::collections::hash_map::Entry;
        match self.busy.entry(peer(&request)) {
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                Admission::Now(Exchange::new(request))
            }
            Entry::Occupied(mut lane) if lane.get().len() < MAX_WAITING => {
                lane.get_mut().push_back(request);
                Admission::Later
            }
            Entry::Occupied(_) => Admission::Refused(request),
        }
    }

    /// A connection's reply is out: its next request, if it sent one, is in flight.
    pub(super) fn release(&mut self, peer: SocketAddr) -> Option<Exchange> {
        let next = self.busy.get_mut(&peer)?.pop_front();
        if next.is_none() {
            self.busy.remove(&peer);
        }
        next.map(Exchange::new)
    }

    /// Whether no request is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }
}
