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

/// How long a connection that has ended is remembered. What tiny_http had read of it by then may
/// still be taken for requests, and must not be: it was the body of the last one.
const CLOSED_MEMORY: Duration = Duration::from_secs(2);

/// The connections that have a request in flight, and what they have sent behind it.
#[derive(Default)]
pub(super) struct Lanes {
    busy: HashMap<SocketAddr, Lane>,
    /// How many there have been.
    opened: u64,
    /// Connections that have ended, and in what order.
    closed: HashMap<SocketAddr, Instant>,
    closed_at: VecDeque<(Instant, SocketAddr)>,
}

/// Which lane a request is on. A connection from a port that is used again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneId {
    pub(super) peer: SocketAddr,
    pub(super) number: u64,
}

/// A connection with a request in flight.
struct Lane {
    number: u64,
    /// Since when that one is.
    begun: Instant,
    /// What was kept back, and when.
    waiting: VecDeque<(Instant, tiny_http::Request)>,
}

/// How it is known that a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The system takes nothing for it any more, and so does not have it among those that are open:
    /// what is open with its peer is another one.
    Gone,
    /// We have closed it, if we found it.
    Closed,
}

/// What was kept back of a connection that has ended.
pub(super) struct Leftover {
    begun: Instant,
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
    /// It came from where a connection was that has ended not long ago.
    Ended(tiny_http::Request),
}

impl Leftover {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Parts what came before a connection from the same port was `made` from what came on that
    /// one. The one found may still be the one that we closed, so it counts as another only if it
    /// was made while the last request was in flight; that is missed if it was made too soon behind
    /// its beginning to tell. Where the last one is gone, there is no doubt that it is another; what
    /// had come on the last at nearly that time may then be taken to be of it, and is handled as if
    /// it had come a little earlier.
    pub(super) fn part(
        self,
        made: Option<Instant>,
        ending: Ending,
    ) -> (Vec<tiny_http::Request>, Vec<tiny_http::Request>) {
        let made = made.filter(|made| ending == Ending::Gone || self.begun < *made);
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
                self.opened += 1;
                let number = self.opened;
                lane.insert(Lane { number, begun: Instant::now(), waiting: VecDeque::new() });
                Admission::Now(Exchange::new(request, number))
            }
            Entry::Occupied(mut lane) if lane.get().waiting.len() < MAX_WAITING => {
                lane.get_mut().waiting.push_back((Instant::now(), request));
                Admission::Later(peer)
            }
            Entry::Occupied(_) => Admission::Refused(request),
        }
    }

    /// A connection's reply is out: its next request, if it sent one, is in flight.
    pub(super) fn release(&mut self, LaneId { peer, number }: LaneId) -> Option<Exchange> {
        let lane = self.busy.get_mut(&peer).filter(|lane| lane.number == number)?;
        let Some((_, next)) = lane.waiting.pop_front() else {
            self.busy.remove(&peer);
            return None;
        };
        lane.begun = Instant::now();
        Some(Exchange::new(next, number))
    }

    /// Whether a request waits behind the one in flight.
    pub(super) fn has_next(&self, peer: SocketAddr) -> bool {
        self.busy.get(&peer).is_some_and(|lane| !lane.waiting.is_empty())
    }

    /// The lane of a connection that has a request in flight.
    pub(super) fn of(&self, peer: SocketAddr) -> Option<LaneId> {
        self.busy.get(&peer).map(|lane| LaneId { peer, number: lane.number })
    }

    /// A connection has ended: what it sent behind its last request is nobody's. `None` if that was
    /// known.
    pub(super) fn end(&mut self, LaneId { peer, number }: LaneId) -> Option<Leftover> {
        let Entry::Occupied(lane) = self.busy.entry(peer) else { return None };
        if lane.get().number != number {
            return None;
        }
        let Lane { begun, waiting, .. } = lane.remove();
        let now = Instant::now();
        self.closed.insert(peer, now);
        self.closed_at.push_back((now, peer));
        Some(Leftover { begun, waiting })
    }

    /// There is a new connection where one was that has ended.
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

#[cfg(test)]
mod tests {
    use tiny_http::TestRequest;

    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    fn request(path: &str) -> tiny_http::Request {
        TestRequest::new().with_path(path).into()
    }

    /// What came in the second and in the fourth millisecond behind a request.
    fn leftover(begun: Instant) -> Leftover {
        let waiting = [(2, "/a"), (4, "/b")].map(|(at, path)| (begun + at * STEP, request(path)));
        Leftover { begun, waiting: waiting.into() }
    }

    fn parted(leftover: Leftover, made: Option<Instant>, ending: Ending) -> [Vec<String>; 2] {
        let (old, new) = leftover.part(made, ending);
        [old, new].map(|part| part.iter().map(|request| request.url().to_owned()).collect())
    }

    #[test]
    fn what_came_on_another_connection_is_known_by_its_time() {
        let made_early = Instant::now();
        let begun = made_early + STEP;
        for ending in [Ending::Gone, Ending::Closed] {
            let made = Some(begun + 3 * STEP);
            assert_eq!(parted(leftover(begun), made, ending), [["/a"], ["/b"]]);
            assert_eq!(parted(leftover(begun), None, ending)[0], ["/a", "/b"]);
        }
        // As early as this the system may say that a connection was made which was made later.
        let made = Some(made_early);
        assert_eq!(parted(leftover(begun), made, Ending::Gone)[1], ["/a", "/b"]);
        assert_eq!(parted(leftover(begun), made, Ending::Closed)[0], ["/a", "/b"]);
    }

    #[test]
    fn a_lane_that_has_ended_is_not_the_next_ones() {
        let mut lanes = Lanes::default();
        let Admission::Now(first) = lanes.admit(request("/first")) else { panic!("it is free") };
        let peer = first.peer();
        assert_eq!(lanes.of(peer), Some(first.lane()));
        assert!(lanes.end(first.lane()).is_some());
        assert!(matches!(lanes.admit(request("/first")), Admission::Ended(_)));
        lanes.reopen(peer);
        let Admission::Now(second) = lanes.admit(request("/second")) else { panic!("it is free") };
        assert!(matches!(lanes.admit(request("/third")), Admission::Later(_)));
        assert!(lanes.release(first.lane()).is_none());
        assert!(lanes.end(first.lane()).is_none());
        let third = lanes.release(second.lane()).expect("it waits");
        assert_eq!((third.request.url(), third.lane()), ("/third", second.lane()));
    }
}
