//! One request in flight per connection.
//!
//! tiny_http shows the pipelined requests of a connection all at once, and blocks the writer of a
//! later reply until the earlier one is written. The loop would wait for its own worker. So the
//! next request of a connection is queued until the last reply is sent. This also bounds the number
//! of replies that one connection can have the server hold.
//!
//! A connection is identified by its peer. Several connections with the same peer share a pipeline,
//! so that one waits for the other; each request is answered on its own connection all the same.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::exchange::{Exchange, PipelineId, peer};

/// Queued requests per connection.
const MAX_WAITING: usize = 64;

/// Time for which a connection that has ended is remembered. tiny_http may still show bytes that it
/// had read as requests, although they were the body of the last one. So requests from this peer
/// are [unclear](Admission::Unclear) meanwhile.
const CLOSED_MEMORY: Duration = Duration::from_secs(2);

/// The connections that have a request in flight, with the requests queued after it.
#[derive(Default)]
pub(in crate::http) struct InFlight {
    busy: HashMap<SocketAddr, Pipeline>,
    /// Number of pipelines ever begun.
    opened: u64,
    /// Connections that have ended: by peer, and in order of time.
    closed: HashMap<SocketAddr, Instant>,
    closed_at: VecDeque<(Instant, SocketAddr)>,
}

/// A connection with a request in flight, or with unclear requests.
struct Pipeline {
    number: u64,
    /// True if its requests may have come on a connection that has ended.
    is_unclear: bool,
    /// The next requests, with the verdict on each.
    settled: VecDeque<(Verdict, tiny_http::Request)>,
    /// Requests queued after those, with their times of arrival.
    waiting: VecDeque<(Instant, tiny_http::Request)>,
}

/// Requests from a peer whose connection has ended, with their times of arrival. They hold the
/// pipeline until they are [settled](InFlight::settle).
pub(in crate::http) struct UnclearRequests<R = tiny_http::Request> {
    pub(in crate::http) pipeline: PipelineId,
    pub(in crate::http) requests: Vec<(Instant, R)>,
}

/// The connection on which an unclear request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Verdict {
    /// An open one.
    Open,
    /// The one that has ended.
    Ended,
    /// Unknown: open and ended connections have its peer, and this did not change.
    Undecided,
}

/// Treatment of a request at its arrival.
pub(in crate::http) enum Admission {
    /// It is the connection's only request, and is in flight from now on.
    Begin(Exchange),
    /// It is queued after others on the connection with this peer.
    Queued(SocketAddr),
    /// Its connection has too many requests in the queue.
    TooMany(tiny_http::Request),
    /// The connection with its peer has ended a short time ago.
    Unclear(UnclearRequests),
}

/// Next step of a pipeline.
pub(in crate::http) enum Next {
    /// This request is in flight from now on.
    Begin(Exchange),
    /// This request is in flight from now on, but its connection is unknown.
    Undecided(Exchange),
    /// The connection of these requests has to be found out.
    Unclear(UnclearRequests),
}

impl Pipeline {
    /// Number of queued requests.
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

    /// Begins a connection's next request, if there is one: the last reply was sent, or the
    /// requests were [settled](InFlight::settle).
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

    /// Takes the verdicts on unclear requests. Returns those that came on the connection that has
    /// ended. The others are next; requests after one on an open connection came on that connection
    /// too.
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

    /// Returns whether a request is queued after the one in flight.
    pub(in crate::http) fn has_next(&self, peer: SocketAddr) -> bool {
        self.busy.get(&peer).is_some_and(|pipeline| pipeline.len() > 0)
    }

    /// The pipeline of a connection that has a request in flight.
    pub(in crate::http) fn of(&self, peer: SocketAddr) -> Option<PipelineId> {
        self.busy.get(&peer).map(|pipeline| PipelineId { peer, number: pipeline.number })
    }

    /// Forgets a connection that has ended. Its queued requests become unclear, and move to another
    /// pipeline, which is returned. Returns `None` if the end was known already.
    pub(in crate::http) fn end(
        &mut self,
        PipelineId { peer, number }: PipelineId,
    ) -> Option<PipelineId> {
        let pipeline = self.busy.get_mut(&peer).filter(|pipeline| pipeline.number == number)?;
        self.opened += 1;
        (pipeline.number, pipeline.is_unclear) = (self.opened, true);
        let (number, now) = (pipeline.number, Instant::now());
        // Their times of arrival are no longer known, but they are earlier.
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
            // The peer's next connection may have ended since.
            if self.closed.get(&old) == Some(&at) {
                self.closed.remove(&old);
            }
        }
        self.closed.contains_key(&peer)
    }

    /// Returns whether a request of the connection is in flight.
    pub(in crate::http) fn is_busy(&self, peer: SocketAddr) -> bool {
        self.busy.contains_key(&peer)
    }

    /// Number of requests in flight.
    pub(in crate::http) fn len(&self) -> usize {
        self.busy.len()
    }

    /// Returns whether no request is in flight.
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
            panic!("nothing is in flight")
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
    fn an_ended_pipeline_is_not_that_of_the_next_connection() {
        let mut in_flight = InFlight::default();
        let first = first(&mut in_flight);
        assert_eq!(in_flight.of(first.peer()), Some(first.pipeline()));
        let ended = in_flight.end(first.pipeline()).expect("the end was not known");
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
        assert!(
            matches!(in_flight.admit(request("/fourth")), Admission::Begin(_)),
            "it is settled"
        );
    }

    #[test]
    fn queued_requests_of_an_ended_connection_are_unclear() {
        let mut in_flight = InFlight::default();
        let first = first(&mut in_flight);
        for path in ["/old", "/unclear", "/new"] {
            assert!(matches!(in_flight.admit(request(path)), Admission::Queued(_)));
        }
        let ended = in_flight.end(first.pipeline()).expect("the end was not known");
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

    /// Requests are unclear again when their connection ends again, and when the verdict is
    /// `Undecided`.
    #[test]
    fn undecided_requests_stay_unclear() {
        let mut in_flight = InFlight::default();
        let first = first(&mut in_flight);
        assert!(matches!(in_flight.admit(request("/a")), Admission::Queued(_)));
        assert!(matches!(in_flight.admit(request("/b")), Admission::Queued(_)));
        let mut pipeline = in_flight.end(first.pipeline()).expect("the end was not known");
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
            pipeline = in_flight.end(pipeline).expect("the end was not known");
        }
    }
}
