//! One request in flight per connection.
//!
//! tiny_http shows the pipelined requests of a connection all at once, and makes who answers a
//! later one wait for the earlier one's reply: the loop would wait for its own worker. So a
//! connection's next request is kept back until its last reply is out; this also bounds what one
//! connection can have the server hold ready.
//!
//! A connection is known here by its peer. Where there are several with one peer, they share a lane,
//! so that one waits for the other; each request is answered on its own connection all the same.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::exchange::{Exchange, peer};

/// Requests of one connection that may be kept back.
const MAX_WAITING: usize = 64;

/// How long a connection that has ended is remembered. What tiny_http had read of it by then may
/// still be taken for requests, and must not be: it was the body of the last one. So what comes from
/// there meanwhile is [in doubt](Admission::Doubtful).
const CLOSED_MEMORY: Duration = Duration::from_secs(2);

/// The connections that have a request in flight, and what they have sent behind it.
#[derive(Default)]
pub(super) struct InFlight {
    busy: HashMap<SocketAddr, Pipeline>,
    /// How many there have been.
    opened: u64,
    /// Connections that have ended, and in what order.
    closed: HashMap<SocketAddr, Instant>,
    closed_at: VecDeque<(Instant, SocketAddr)>,
}

/// Which lane a request is on. A connection from a port that is used again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PipelineId {
    pub(super) peer: SocketAddr,
    pub(super) number: u64,
}

/// A connection with a request in flight, or with some in doubt.
struct Pipeline {
    number: u64,
    /// Whether it is not known of its requests if they came on a connection that has ended.
    in_doubt: bool,
    /// What is next, and how it is about it.
    settled: VecDeque<(Verdict, tiny_http::Request)>,
    /// What was kept back behind that, and when.
    waiting: VecDeque<(Instant, tiny_http::Request)>,
}

/// Requests that came from where a connection has ended, and when. They hold the lane until it is
/// [known](Lanes::settle) on which connection they came.
pub(super) struct UnclearRequests<R = tiny_http::Request> {
    pub(super) lane: PipelineId,
    pub(super) requests: Vec<(Instant, R)>,
}

/// On which connection a request in doubt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// On one that is open.
    Open,
    /// On the one that has ended.
    Ended,
    /// There are such and such, and it stayed like that.
    Unclear,
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
    Doubtful(UnclearRequests),
}

/// What comes next on a lane.
pub(super) enum Next {
    /// It is in flight from now on.
    Now(Exchange),
    /// The same, but it is not known on which connection it came.
    Unclear(Exchange),
    /// That is to be found out.
    Doubtful(UnclearRequests),
}

impl Pipeline {
    /// How many wait behind the one in flight.
    fn len(&self) -> usize {
        self.settled.len() + self.waiting.len()
    }
}

impl InFlight {
    pub(super) fn admit(&mut self, request: tiny_http::Request) -> Admission {
        let (peer, now) = (peer(&request), Instant::now());
        let in_doubt = self.has_ended(peer);
        match self.busy.entry(peer) {
            Entry::Vacant(lane) => {
                self.opened += 1;
                let number = self.opened;
                let (settled, waiting) = (VecDeque::new(), VecDeque::new());
                lane.insert(Pipeline { number, in_doubt, settled, waiting });
                if in_doubt {
                    let (lane, requests) = (PipelineId { peer, number }, vec![(now, request)]);
                    Admission::Doubtful(UnclearRequests { lane, requests })
                } else {
                    Admission::Now(Exchange::new(request, number))
                }
            }
            Entry::Occupied(mut lane) if lane.get().len() < MAX_WAITING => {
                lane.get_mut().waiting.push_back((now, request));
                Admission::Later(peer)
            }
            Entry::Occupied(_) => Admission::Refused(request),
        }
    }

    /// A connection's reply is out, or its requests were [settled](Lanes::settle): its next request,
    /// if it sent one, follows.
    pub(super) fn release(&mut self, id: PipelineId) -> Option<Next> {
        let PipelineId { peer, number } = id;
        let lane = self.busy.get_mut(&peer).filter(|lane| lane.number == number)?;
        match lane.settled.pop_front() {
            Some((Verdict::Open, next)) => return Some(Next::Now(Exchange::new(next, number))),
            Some((_, next)) => return Some(Next::Unclear(Exchange::new(next, number))),
            None => {}
        }
        if lane.in_doubt && !lane.waiting.is_empty() {
            let requests = mem::take(&mut lane.waiting).into();
            return Some(Next::Doubtful(UnclearRequests { lane: id, requests }));
        }
        let Some((_, next)) = lane.waiting.pop_front() else {
            self.busy.remove(&peer);
            return None;
        };
        Some(Next::Now(Exchange::new(next, number)))
    }

    /// It is known, as far as it can be, on which connections the requests in doubt came. Gives those
    /// that are nobody's. The others are next; what comes behind one on a connection that is open
    /// does so too.
    pub(super) fn settle(
        &mut self,
        PipelineId { peer, number }: PipelineId,
        requests: Vec<(Verdict, tiny_http::Request)>,
    ) -> Vec<tiny_http::Request> {
        let lane = self.busy.get_mut(&peer).filter(|lane| lane.number == number);
        let Some(lane) = lane else {
            return requests.into_iter().map(|(_, request)| request).collect();
        };
        let (old, new): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|(verdict, _)| *verdict == Verdict::Ended);
        if new.iter().any(|(verdict, _)| *verdict == Verdict::Open) {
            self.closed.remove(&peer);
            lane.in_doubt = false;
        }
        lane.settled.extend(new);
        old.into_iter().map(|(_, request)| request).collect()
    }

    /// Whether a request waits behind the one in flight.
    pub(super) fn has_next(&self, peer: SocketAddr) -> bool {
        self.busy.get(&peer).is_some_and(|lane| lane.len() > 0)
    }

    /// The lane of a connection that has a request in flight.
    pub(super) fn of(&self, peer: SocketAddr) -> Option<PipelineId> {
        self.busy.get(&peer).map(|lane| PipelineId { peer, number: lane.number })
    }

    /// A connection has ended: what it sent behind its last request is nobody's. What came on
    /// another one from the same port since is on another lane. Whether that was not known.
    pub(super) fn end(&mut self, PipelineId { peer, number }: PipelineId) -> Option<PipelineId> {
        let lane = self.busy.get_mut(&peer).filter(|lane| lane.number == number)?;
        self.opened += 1;
        (lane.number, lane.in_doubt) = (self.opened, true);
        let (number, now) = (lane.number, Instant::now());
        // When they came is not known any more, but it was before this.
        let settled = mem::take(&mut lane.settled).into_iter();
        settled.rev().for_each(|(_, request)| lane.waiting.push_front((now, request)));
        self.closed.insert(peer, now);
        self.closed_at.push_back((now, peer));
        Some(PipelineId { peer, number })
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

    fn request(path: &str) -> tiny_http::Request {
        TestRequest::new().with_path(path).into()
    }

    fn first(lanes: &mut InFlight) -> Exchange {
        let Admission::Now(first) = lanes.admit(request("/first")) else { panic!("it is free") };
        first
    }

    fn urls(doubt: &UnclearRequests) -> Vec<&str> {
        doubt.requests.iter().map(|(_, request)| request.url()).collect()
    }

    fn judged(doubt: UnclearRequests, verdicts: &[Verdict]) -> Vec<(Verdict, tiny_http::Request)> {
        let requests = doubt.requests.into_iter().map(|(_, request)| request);
        verdicts.iter().copied().zip(requests).collect()
    }

    #[test]
    fn a_lane_that_has_ended_is_not_the_next_ones() {
        let mut lanes = InFlight::default();
        let first = first(&mut lanes);
        assert_eq!(lanes.of(first.peer()), Some(first.lane()));
        let ended = lanes.end(first.lane()).expect("it was not known");
        assert!(lanes.end(first.lane()).is_none());
        assert!(lanes.release(ended).is_none());
        let Admission::Doubtful(doubt) = lanes.admit(request("/second")) else {
            panic!("it may have come on either");
        };
        let lane = doubt.lane;
        assert!(matches!(lanes.admit(request("/third")), Admission::Later(_)));
        assert!(lanes.settle(lane, judged(doubt, &[Verdict::Open])).is_empty());
        assert!(lanes.release(first.lane()).is_none());
        assert!(lanes.end(first.lane()).is_none());
        for path in ["/second", "/third"] {
            let Some(Next::Now(next)) = lanes.release(lane) else { panic!("it waits") };
            assert_eq!((next.request.url(), next.lane()), (path, lane));
        }
        assert!(lanes.release(lane).is_none());
        assert!(matches!(lanes.admit(request("/fourth")), Admission::Now(_)), "it is known");
    }

    #[test]
    fn what_waits_on_a_lane_that_ends_is_in_doubt() {
        let mut lanes = InFlight::default();
        let first = first(&mut lanes);
        for path in ["/old", "/unclear", "/new"] {
            assert!(matches!(lanes.admit(request(path)), Admission::Later(_)));
        }
        let ended = lanes.end(first.lane()).expect("it was not known");
        let Some(Next::Doubtful(doubt)) = lanes.release(ended) else { panic!("they wait") };
        assert_eq!((doubt.lane, urls(&doubt)), (ended, vec!["/old", "/unclear", "/new"]));
        assert!(matches!(lanes.admit(request("/newest")), Admission::Later(_)));
        let requests = judged(doubt, &[Verdict::Ended, Verdict::Unclear, Verdict::Open]);
        let discarded = lanes.settle(ended, requests);
        assert_eq!(discarded.iter().map(tiny_http::Request::url).collect::<Vec<_>>(), ["/old"]);
        let Some(Next::Unclear(next)) = lanes.release(ended) else { panic!("it waits") };
        assert_eq!(next.request.url(), "/unclear");
        for path in ["/new", "/newest"] {
            let Some(Next::Now(next)) = lanes.release(ended) else { panic!("it waits") };
            assert_eq!(next.request.url(), path);
        }
    }

    /// What a connection left behind that ends again is in doubt again, and so is what is not known.
    #[test]
    fn what_is_not_clear_stays_in_doubt() {
        let mut lanes = InFlight::default();
        let first = first(&mut lanes);
        assert!(matches!(lanes.admit(request("/a")), Admission::Later(_)));
        assert!(matches!(lanes.admit(request("/b")), Admission::Later(_)));
        let mut lane = lanes.end(first.lane()).expect("it was not known");
        let Some(Next::Doubtful(doubt)) = lanes.release(lane) else { panic!("they wait") };
        let stale = PipelineId { number: 99, ..lane };
        assert_eq!(lanes.settle(stale, judged(doubt, &[Verdict::Open; 2])).len(), 2);
        assert!(matches!(lanes.admit(request("/c")), Admission::Later(_)));
        for _ in 0..2 {
            let Some(Next::Doubtful(doubt)) = lanes.release(lane) else { panic!("it waits") };
            assert_eq!(urls(&doubt), ["/c"]);
            assert!(lanes.settle(lane, judged(doubt, &[Verdict::Unclear])).is_empty());
            lane = lanes.end(lane).expect("it was not known");
        }
    }
}
