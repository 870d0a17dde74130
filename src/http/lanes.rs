//! One request in flight per connection.
//!
//! tiny_http shows the pipelined requests of a connection all at once, and makes who answers a
//! later one wait for the earlier one's reply: the loop would wait for its own worker. So a
//! connection's next request is kept back until its last reply is out; this also bounds what one
//! connection can have the server hold ready.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::exchange::{Exchange, peer};

/// Requests of one connection that may be kept back.
const MAX_WAITING: usize = 64;

/// How long a connection that we ended is remembered. What tiny_http had read of it by then may
/// still be taken for requests, and must not be: it was the body of the last one.
const CLOSED_MEMORY: Duration = Duration::from_secs(2);

/// The connections that have a request in flight, and what they have sent behind it.
#[derive(Default)]
pub(super) struct Lanes {
    busy: HashMap<SocketAddr, Lane>,
    /// Connections that we ended, and in what order.
    closed: HashMap<SocketAddr, Instant>,
    closed_at: VecDeque<(Instant, SocketAddr)>,
}

/// A connection with a request in flight.
struct Lane {
    /// Since when that one is.
    begun: Instant,
    /// What was kept back, and when.
    waiting: VecDeque<(Instant, tiny_http::Request)>,
}

/// How it is known that a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The system writes to it no more: what is open with its peer is another one.
    Gone,
    /// We have closed it.
    Closed,
}

/// What was kept back of a connection that has ended.
#[derive(Default)]
pub(super) struct Leftover {
    begun: Option<Instant>,
    waiting: VecDeque<(Instant, tiny_http::Request)>,
}

/// What becomes of a request at its arrival.
pub(super) enum Admission {
    /// It is its connection's only one, and in flight from now on.
    Now(Exchange),
    /// It waits for the ones before it, on the connection with this peer.
    Later(SocketAddr),
    /// Its connection has sent too many.
    Refused(tiny_http::Request),
    /// It came from where a connection was that we ended not long ago.
    Ended(tiny_http::Request),
}

impl Leftover {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Parts what came before a connection from the same port was `made` from what came on that
    /// one. Of one that we closed it is not certain that it is: it is another one only if it was made
    /// while the last request was in flight. That may be missed, since the system knows times no
    /// more exactly.
    pub(super) fn part(
        self,
        made: Option<Instant>,
        ending: Ending,
    ) -> (Vec<tiny_http::Request>, Vec<tiny_http::Request>) {
        let is_another = |made: &Instant| self.begun.is_some_and(|begun| begun < *made);
        let made = made.filter(|made| ending == Ending::Gone || is_another(made));
        let (old, new): (Vec<_>, Vec<_>) =
            self.waiting.into_iter().partition(|(came, _)| made.is_none_or(|made| *came < made));
        let requests = |of: Vec<(Instant, _)>| of.into_iter().map(|(_, request)| request).collect();
        (requests(old), requests(new))
    }
}

impl Lanes {
    pub(super) fn admit(&mut self, request: tiny_http::Request) -> Admission {
        let peer = peer(&request);
        if self.has_ended(peer) {
            return Admission::Ended(request);
        }
        match self.busy.entry(peer) {
            Entry::Vacant(lane) => {
                lane.insert(Lane { begun: Instant::now(), waiting: VecDeque::new() });
                Admission::Now(Exchange::new(request))
            }
            Entry::Occupied(mut lane) if lane.get().waiting.len() < MAX_WAITING => {
                lane.get_mut().waiting.push_back((Instant::now(), request));
                Admission::Later(peer)
            }
            Entry::Occupied(_) => Admission::Refused(request),
        }
    }

    /// A connection's reply is out: its next request, if it sent one, is in flight.
    pub(super) fn release(&mut self, peer: SocketAddr) -> Option<Exchange> {
        let lane = self.busy.get_mut(&peer)?;
        let Some((_, next)) = lane.waiting.pop_front() else {
            self.busy.remove(&peer);
            return None;
        };
        lane.begun = Instant::now();
        Some(Exchange::new(next))
    }

    /// Whether a request waits behind the one in flight.
    pub(super) fn has_next(&self, peer: SocketAddr) -> bool {
        self.busy.get(&peer).is_some_and(|lane| !lane.waiting.is_empty())
    }

    /// We have ended a connection: what it sent behind its last request is nobody's.
    pub(super) fn end(&mut self, peer: SocketAddr) -> Leftover {
        let now = Instant::now();
        self.closed.insert(peer, now);
        self.closed_at.push_back((now, peer));
        let lane = self.busy.remove(&peer);
        lane.map_or_else(Leftover::default, |Lane { begun, waiting }| Leftover {
            begun: Some(begun),
            waiting,
        })
    }

    /// There is a new connection where one was that we ended.
    pub(super) fn reopen(&mut self, peer: SocketAddr) {
        self.closed.remove(&peer);
    }

    fn has_ended(&mut self, peer: SocketAddr) -> bool {
        while let Some((at, old)) =
            self.closed_at.pop_front_if(|(at, _)| at.elapsed() > CLOSED_MEMORY)
        {
            // It may have ended again since.
            if self.closed.get(&old) == Some(&at) {
                self.closed.remove(&old);
            }
        }
        self.closed.contains_key(&peer)
    }

    /// Whether a request of the connection is in flight.
    pub(super) fn is_busy(&self, peer: SocketAddr) -> bool {
        self.busy.contains_key(&peer)
    }

    /// How many requests are in flight.
    pub(super) fn len(&self) -> usize {
        self.busy.len()
    }

    /// Whether no request is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }
}
