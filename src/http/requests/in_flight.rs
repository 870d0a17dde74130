//! One request in flight per connection.
//!
//! tiny_http shows the pipelined requests of a connection all at once, and makes who answers a
//! later one wait for the earlier one's reply: the loop would wait for its own worker. So a
//! connection's next request is kept back until its last reply is out; this also bounds what one
//! connection can have the server hold ready.
//!
//! A connection is known here by its peer. Where there are several with one peer, they share a pipeline,
//! so that one waits for the other; each request is answered on its own connection all the same.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::exchange::{Exchange, PipelineId, peer};

/// Requests of one connection that may be kept back.
const MAX_WAITING: usize = 64;

/// How long a connection that has ended is remembered. What tiny_http had read of it by then may
/// still be taken for requests, and must not be: it was the body of the last one. So what comes from
/// there meanwhile is [in unclear](Admission::Unclear).
const CLOSED_MEMORY: Duration = Duration::from_secs(2);

/// The connections that have a request in flight, and what they have sent behind it.
#[derive(Default)]
pub(in crate::http) struct InFlight {
    busy: HashMap<SocketAddr, Pipeline>,
    /// How many there have been.
    opened: u64,
    /// Connections that have ended, and in what order.
    closed: HashMap<SocketAddr, Instant>,
    closed_at: VecDeque<(Instant, SocketAddr)>,
}

/// A connection with a request in flight, or with some in unclear.
struct Pipeline {
    number: u64,
    /// Whether it is not known of its requests if they came on a connection that has ended.
    is_unclear: bool,
    /// What is next, and how it is about it.
    settled: VecDeque<(Verdict, tiny_http::Request)>,
    /// What was kept back behind that, and when.
    waiting: VecDeque<(Instant, tiny_http::Request)>,
}

/// Requests that came from where a connection has ended, and when. They hold the pipeline until it is
/// [known](InFlight::settle) on which connection they came.
pub(in crate::http) struct UnclearRequests<R = tiny_http::Request> {
    pub(in crate::http) pipeline: PipelineId,
    pub(in crate::http) requests: Vec<(Instant, R)>,
}

/// On which connection a request in unclear came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Verdict {
    /// On one that is open.
    Open,
    /// On the one that has ended.
    Ended,
    /// There are such and such, and it stayed like that.
    Undecided,
}

/// What becomes of a request at its arrival.
pub(in crate::http) enum Admission {
    /// It is its connection's only one, and in flight from now on.
    Begin(Exchange),
    /// It waits for the ones before it, on the connection with this peer.
    Queued(SocketAddr),
    /// Its connection has sent too many.
    TooMany(tiny_http::Request),
    /// It came from where a connection was that has ended not long ago.
    Unclear(UnclearRequests),
}

/// What comes next on a pipeline.
pub(in crate::http) enum Next {
    /// It is in flight from now on.
    Begin(Exchange),
    /// The same, but it is not known on which connection it came.
    Undecided(Exchange),
    /// That is to be found out.
    Unclear(UnclearRequests),
}

impl Pipeline {
    /// How many wait behind the one in flight.
    fn len(&self) -> usize {
        self.settled.len() + self.waiting.len()
    }
}

impl InFlight {
    pub(in crate::http) fn admit(&mut self, request: tiny_http::Request) -> Admission {
        let (peer, now) = (peer(&request), Instant::now());
        let is_unclear = self.has_ended(peer);
        match self.busy.entry(peer) {
            Entry::Vacant(pipeline) => {
                self.opened += 1;
                let number = self.opened;
                let (settled, waiting) = (VecDeque::new(), VecDeque::new());
                pipeline.insert(Pipeline { number, is_unclear, settled, waiting });
                if is_unclear {
                    let (pipeline, requests) = (PipelineId { peer, number }, vec![(now, request)]);
                    Admission::Unclear(UnclearRequests { pipeline, requests })
                } else {
                    Admission::Begin(Exchange::new(request, number))
                }
            }
            Entry::Occupied(mut pipeline) if pipeline.get().len() < MAX_WAITING => {
                pipeline.get_mut().waiting.push_back((now, request));
                Admission::Queued(peer)
            }
            Entry::Occupied(_) => Admission::TooMany(request),
        }
    }

    /// A connection's reply is out, or its requests were [settled](InFlight::settle): its next request,
    /// if it sent one, follows.
    pub(in crate::http) fn release(&mut self, id: PipelineId) -> Option<Next> {
        let PipelineId { peer, number } = id;
        let pipeline = self.busy.get_mut(&peer).filter(|pipeline| pipeline.number == number)?;
        match pipeline.settled.pop_front() {
            Some((Verdict::Open, next)) => return Some(Next::Begin(Exchange::new(next, number))),
            Some((_, next)) => return Some(Next::Undecided(Exchange::new(next, number))),
            None => {}
        }
        if pipeline.is_unclear && !pipeline.waiting.is_empty() {
            let requests = mem::take(&mut pipeline.waiting).into();
            return Some(Next::Unclear(UnclearRequests { pipeline: id, requests }));
        }
        let Some((_, next)) = pipeline.waiting.pop_front() else {
            self.busy.remove(&peer);
            return None;
        };
        Some(Next::Begin(Exchange::new(next, number)))
    }

    /// It is known, as far as it can be, on which connections the requests in unclear came. Gives those
    /// that are nobody's. The others are next; what comes behind one on a connection that is open
    /// does so too.
    pub(in crate::http) fn settle(
        &mut self,
        PipelineId { peer, number }: PipelineId,
        requests: Vec<(Verdict, tiny_http::Request)>,
    ) -> Vec<tiny_http::Request> {
        let pipeline = self.busy.get_mut(&peer).filter(|pipeline| pipeline.number == number);
        let Some(pipeline) = pipeline else {
            return requests.into_iter().map(|(_, request)| request).collect();
        };
        let (old, new): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|(verdict, _)| *verdict == Verdict::Ended);
        if new.iter().any(|(verdict, _)| *verdict == Verdict::Open) {
            self.closed.remove(&peer);
            pipeline.is_unclear = false;
        }
        pipeline.settled.extend(new);
        old.into_iter().map(|(_, request)| request).collect()
    }

    /// Whether a request waits behind the one in flight.
    pub(in crate::http) fn has_next(&self, peer: SocketAddr) -> bool {
        self.busy.get(&peer).is_some_and(|pipeline| pipeline.len() > 0)
    }

    /// The pipeline of a connection that has a request in flight.
    pub(in crate::http) fn of(&self, peer: SocketAddr) -> Option<PipelineId> {
        self.busy.get(&peer).map(|pipeline| PipelineId { peer, number: pipeline.number })
    }

    /// A connection has ended: what it sent behind its last request is nobody's. What came on
    /// another one from the same port since is on another pipeline. Whether that was not known.
    pub(in crate::http) fn end(
        &mut self,
        PipelineId { peer, number }: PipelineId,
    ) -> Option<PipelineId> {
        let pipeline = self.busy.get_mut(&peer).filter(|pipeline| pipeline.number == number)?;
        self.opened += 1;
        (pipeline.number, pipeline.is_unclear) = (self.opened, true);
        let (number, now) = (pipeline.number, Instant::now());
        // When they came is not known any more, but it was before this.
        let settled = mem::take(&mut pipeline.settled).into_iter();
        settled.rev().for_each(|(_, request)| pipeline.waiting.push_front((now, request)));
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
    pub(in crate::http) fn is_busy(&self, peer: SocketAddr) -> bool {
        self.busy.contains_key(&peer)
    }

    /// How many requests are in flight.
    pub(in crate::http) fn len(&self) -> usize {
        self.busy.len()
    }

    /// Whether no request is in flight.
    pub(in crate::http) fn is_empty(&self) -> bool {
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

    fn first(in_flight: &mut InFlight) -> Exchange {
        let Admission::Begin(first) = in_flight.admit(request("/first")) else {
            panic!("it is free")
        };
        first
    }

    fn urls(unclear: &UnclearRequests) -> Vec<&str> {
        unclear.requests.iter().map(|(_, request)| request.url()).collect()
    }

    fn judged(
        unclear: UnclearRequests,
        verdicts: &[Verdict],
    ) -> Vec<(Verdict, tiny_http::Request)> {
        let requests = unclear.requests.into_iter().map(|(_, request)| request);
        verdicts.iter().copied().zip(requests).collect()
    }

    #[test]
    fn a_lane_that_has_ended_is_not_the_next_ones() {
        let mut in_flight = InFlight::default();
        let first = first(&mut in_flight);
        assert_eq!(in_flight.of(first.peer()), Some(first.pipeline()));
        let ended = in_flight.end(first.pipeline()).expect("it was not known");
        assert!(in_flight.end(first.pipeline()).is_none());
        assert!(in_flight.release(ended).is_none());
        let Admission::Unclear(unclear) = in_flight.admit(request("/second")) else {
            panic!("it may have come on either");
        };
        let pipeline = unclear.pipeline;
        assert!(matches!(in_flight.admit(request("/third")), Admission::Queued(_)));
        assert!(in_flight.settle(pipeline, judged(unclear, &[Verdict::Open])).is_empty());
        assert!(in_flight.release(first.pipeline()).is_none());
        assert!(in_flight.end(first.pipeline()).is_none());
        for path in ["/second", "/third"] {
            let Some(Next::Begin(next)) = in_flight.release(pipeline) else { panic!("it waits") };
            assert_eq!((next.request.url(), next.pipeline()), (path, pipeline));
        }
        assert!(in_flight.release(pipeline).is_none());
        assert!(matches!(in_flight.admit(request("/fourth")), Admission::Begin(_)), "it is known");
    }

    #[test]
    fn what_waits_on_a_lane_that_ends_is_in_doubt() {
        let mut in_flight = InFlight::default();
        let first = first(&mut in_flight);
        for path in ["/old", "/unclear", "/new"] {
            assert!(matches!(in_flight.admit(request(path)), Admission::Queued(_)));
        }
        let ended = in_flight.end(first.pipeline()).expect("it was not known");
        let Some(Next::Unclear(unclear)) = in_flight.release(ended) else { panic!("they wait") };
        assert_eq!((unclear.pipeline, urls(&unclear)), (ended, vec!["/old", "/unclear", "/new"]));
        assert!(matches!(in_flight.admit(request("/newest")), Admission::Queued(_)));
        let requests = judged(unclear, &[Verdict::Ended, Verdict::Undecided, Verdict::Open]);
        let discarded = in_flight.settle(ended, requests);
        assert_eq!(discarded.iter().map(tiny_http::Request::url).collect::<Vec<_>>(), ["/old"]);
        let Some(Next::Undecided(next)) = in_flight.release(ended) else { panic!("it waits") };
        assert_eq!(next.request.url(), "/unclear");
        for path in ["/new", "/newest"] {
            let Some(Next::Begin(next)) = in_flight.release(ended) else { panic!("it waits") };
            assert_eq!(next.request.url(), path);
        }
    }

    /// What a connection left behind that ends again is in unclear again, and so is what is not known.
    #[test]
    fn what_is_not_clear_stays_in_doubt() {
        let mut in_flight = InFlight::default();
        let first = first(&mut in_flight);
        assert!(matches!(in_flight.admit(request("/a")), Admission::Queued(_)));
        assert!(matches!(in_flight.admit(request("/b")), Admission::Queued(_)));
        let mut pipeline = in_flight.end(first.pipeline()).expect("it was not known");
        let Some(Next::Unclear(unclear)) = in_flight.release(pipeline) else { panic!("they wait") };
        let stale = PipelineId { number: 99, ..pipeline };
        assert_eq!(in_flight.settle(stale, judged(unclear, &[Verdict::Open; 2])).len(), 2);
        assert!(matches!(in_flight.admit(request("/c")), Admission::Queued(_)));
        for _ in 0..2 {
            let Some(Next::Unclear(unclear)) = in_flight.release(pipeline) else {
                panic!("it waits")
            };
            assert_eq!(urls(&unclear), ["/c"]);
            assert!(in_flight.settle(pipeline, judged(unclear, &[Verdict::Undecided])).is_empty());
            pipeline = in_flight.end(pipeline).expect("it was not known");
        }
    }
}
