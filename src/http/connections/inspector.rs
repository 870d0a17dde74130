//! A thread that looks at connections for the loop. With thousands of connections, a look at all
//! descriptors takes milliseconds, which the loop does not have.
//!
//! The loop asks about requests from a peer whose connection has ended a short time ago. Such a
//! request may have come on that connection, and then be left over from the body of its last
//! request; or it may have come on a new connection from the same port. While the request is
//! unanswered, its connection is among the descriptors. So if all connections with its peer are
//! open, its own is. The thread also ends connections that the loop has given up.
//!
//! Each look serves all questions that have come by then. A pause follows, so that the thread takes
//! only a share of one processor, whatever clients do.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::connections::descriptors::{Connections, Descriptor};
use crate::http::connections::tcp_info::TcpInfo;
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::requests::exchange::PipelineId;
use crate::http::requests::in_flight::{UnclearRequests, Verdict};

/// Pause after a look, in multiples of its duration.
const PAUSE_FACTOR: u32 = 4;
/// Shortest time from one look to the next.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Time for a connection that was ended to disappear before times decide. tiny_http lets go of it
/// within milliseconds, unless a request of it is in progress.
const SETTLING: Duration = Duration::from_millis(100);
/// Longest time for which a request may stay unclear.
const UNCLEAR_TIMEOUT: Duration = Duration::from_secs(1);
/// Precision of the kernel's times: a tick takes at most 10 ms.
const GRANULARITY: Duration = Duration::from_millis(10);

/// The loop's handle on the thread. At most one question per pipeline is pending, and a connection
/// has at most one pipeline.
pub(in crate::http) struct ConnectionInspector {
    tasks: mpsc::Sender<InspectorTask>,
}

enum InspectorTask {
    /// Ends the connection with this peer.
    End(SocketAddr),
    Settle(UnclearRequests),
}

/// Requests with the verdict on each.
struct SettledRequests<R = tiny_http::Request> {
    pipeline: PipelineId,
    requests: Vec<(Verdict, R)>,
}

/// The connections with one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PeerConnections {
    /// One entry for each open connection: `None` if it was answered already, else the earliest
    /// time at which a request can have come on it.
    open: Vec<Option<Instant>>,
    /// Number of connections that have ended and are still held.
    ended: usize,
}

impl PeerConnections {
    fn of(found: &[Descriptor]) -> PeerConnections {
        let now = Instant::now();
        let open = found.iter().filter_map(|descriptor| {
            let info = descriptor.info().filter(TcpInfo::is_open)?;
            let is_unanswered = info.acknowledged == 0 && info.written == 0;
            let is_unread = info.received <= descriptor.unread();
            let made = now.checked_sub(info.since_sent + GRANULARITY).unwrap_or(now);
            Some(is_unanswered.then_some(if is_unread { now } else { made }))
        });
        let open: Vec<_> = open.collect();
        let ended = found.len() - open.len();
        PeerConnections { open, ended }
    }

    /// The verdict on a request that arrived at `came` and has been unclear for `waited`; `None` to
    /// look again. Times can be wrong by the delay of tiny_http's thread for the connection that
    /// has ended: a request of that connection may be attributed to the open one, which has the
    /// same peer and was made before the request arrived.
    fn verdict(&self, came: Instant, waited: Duration) -> Option<Verdict> {
        if self.open.is_empty() {
            return Some(Verdict::Ended);
        } else if self.ended == 0 {
            return Some(Verdict::Open);
        } else if waited < SETTLING {
            return None;
        }
        let mut made = self.open.iter();
        if made.any(|made| made.is_some_and(|made| made <= came)) {
            Some(Verdict::Open)
        } else if self.open.iter().all(Option::is_some) {
            Some(Verdict::Ended)
        } else {
            (waited >= UNCLEAR_TIMEOUT).then_some(Verdict::Undecided)
        }
    }
}

impl ConnectionInspector {
    pub(in crate::http) fn start(
        connections: Connections,
        to_loop: Sender,
    ) -> io::Result<ConnectionInspector> {
        let (tasks, queue) = mpsc::channel();
        let look = move |peers: &HashSet<SocketAddr>, ending: &HashSet<SocketAddr>| {
            look(connections, peers, ending)
        };
        let settle = move |settled: SettledRequests| {
            to_loop.send(LoopMessage::Settled(settled.pipeline, settled.requests));
        };
        thread::Builder::new()
            .name("inspector".to_owned())
            .spawn(move || Inspections::new().run(&queue, look, settle))?;
        Ok(ConnectionInspector { tasks })
    }

    /// Ends the connection with a peer.
    pub(in crate::http) fn end(&self, peer: SocketAddr) {
        // The thread runs as long as the loop does.
        let _ = self.tasks.send(InspectorTask::End(peer));
    }

    /// Asks about requests. The answer is a [`LoopMessage::Settled`].
    pub(in crate::http) fn inspect(&self, unclear: UnclearRequests) {
        if let Err(mpsc::SendError(InspectorTask::Settle(unclear))) =
            self.tasks.send(InspectorTask::Settle(unclear))
        {
            // Dropping a request would have tiny_http block on its client.
            mem::forget(unclear);
        }
    }
}

/// Ends the connections in `ending`, and returns the state of all.
fn look(
    connections: Connections,
    peers: &HashSet<SocketAddr>,
    ending: &HashSet<SocketAddr>,
) -> HashMap<SocketAddr, PeerConnections> {
    let all = peers.union(ending).copied().collect();
    let mut states = HashMap::new();
    for (peer, found) in connections.with(&all) {
        if ending.contains(&peer) {
            // If it is ambiguous, the one whose client does not read is ended; if there is none,
            // all are.
            let is_pending = |it: &&Descriptor| it.info().is_some_and(|info| info.is_pending);
            let pending: Vec<_> = found.iter().filter(is_pending).collect();
            let those = if pending.is_empty() { found.iter().collect() } else { pending };
            for descriptor in those {
                descriptor.shut_down();
            }
        }
        states.insert(peer, PeerConnections::of(&found));
    }
    states
}

/// Open questions, each with its time.
struct Inspections<R> {
    pending: Vec<(Instant, UnclearRequests<R>)>,
    ending: HashSet<SocketAddr>,
    next_look: Instant,
}

impl<R> Inspections<R> {
    fn new() -> Inspections<R> {
        Inspections { pending: Vec::new(), ending: HashSet::new(), next_look: Instant::now() }
    }
}

impl Inspections<tiny_http::Request> {
    /// Serves the queue until the loop has ended.
    fn run(
        mut self,
        queue: &Receiver<InspectorTask>,
        mut look: impl FnMut(
            &HashSet<SocketAddr>,
            &HashSet<SocketAddr>,
        ) -> HashMap<SocketAddr, PeerConnections>,
        settle: impl Fn(SettledRequests),
    ) {
        loop {
            let task = if self.is_empty() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(self.next_look.saturating_duration_since(Instant::now()))
            };
            match task {
                Ok(InspectorTask::End(peer)) => {
                    self.ending.insert(peer);
                }
                Ok(InspectorTask::Settle(unclear)) => self.pending.push((Instant::now(), unclear)),
                Err(RecvTimeoutError::Timeout) => {
                    self.look(Instant::now(), &mut look).into_iter().for_each(&settle);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // The requests are leaked: dropping them would have tiny_http answer them.
                    return mem::forget(self.pending);
                }
            }
        }
    }
}

impl<R> Inspections<R> {
    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.ending.is_empty()
    }

    /// Looks once for all questions, and returns those that are settled.
    fn look(
        &mut self,
        now: Instant,
        look: impl FnOnce(
            &HashSet<SocketAddr>,
            &HashSet<SocketAddr>,
        ) -> HashMap<SocketAddr, PeerConnections>,
    ) -> Vec<SettledRequests<R>> {
        let begun = Instant::now();
        let peers = self.pending.iter().map(|(_, unclear)| unclear.pipeline.peer).collect();
        let states = look(&peers, &mem::take(&mut self.ending));
        let mut settled = Vec::new();
        for (since, unclear) in mem::take(&mut self.pending) {
            let waited = now.saturating_duration_since(since);
            let state = states.get(&unclear.pipeline.peer);
            let verdict_on = |(came, _): &(Instant, R)| {
                // A peer without connections has ended.
                state.map_or(Some(Verdict::Ended), |it| it.verdict(*came, waited))
            };
            let verdicts: Option<Vec<_>> = unclear.requests.iter().map(verdict_on).collect();
            let Some(verdicts) = verdicts else {
                self.pending.push((since, unclear));
                continue;
            };
            let requests = unclear.requests.into_iter().map(|(_, request)| request);
            let requests = verdicts.into_iter().zip(requests).collect();
            settled.push(SettledRequests { pipeline: unclear.pipeline, requests });
        }
        self.next_look = Instant::now() + MIN_INTERVAL.max(begun.elapsed() * PAUSE_FACTOR);
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn unclear(port: u16, came: Instant) -> UnclearRequests<()> {
        let pipeline = PipelineId { peer: peer(port), number: 1 };
        UnclearRequests { pipeline, requests: vec![(came, ())] }
    }

    #[test]
    fn the_connections_with_its_peer_decide_on_a_request() {
        let earlier = Instant::now();
        let came = earlier + GRANULARITY;
        let later = came + GRANULARITY;
        for (open, ended, at_once, then, at_last) in [
            (&[][..], 0, Some(Verdict::Ended), Some(Verdict::Ended), Some(Verdict::Ended)),
            (&[], 1, Some(Verdict::Ended), Some(Verdict::Ended), Some(Verdict::Ended)),
            (&[None], 0, Some(Verdict::Open), Some(Verdict::Open), Some(Verdict::Open)),
            (&[None, None], 0, Some(Verdict::Open), Some(Verdict::Open), Some(Verdict::Open)),
            // The ended connection goes away, or times decide.
            (&[Some(earlier)], 1, None, Some(Verdict::Open), Some(Verdict::Open)),
            (&[Some(later)], 1, None, Some(Verdict::Ended), Some(Verdict::Ended)),
            // An open connection that was answered already.
            (&[None], 1, None, None, Some(Verdict::Undecided)),
            (&[Some(later), None], 1, None, None, Some(Verdict::Undecided)),
        ] {
            let state = PeerConnections { open: open.to_vec(), ended };
            let verdicts = [Duration::ZERO, SETTLING, UNCLEAR_TIMEOUT]
                .map(|waited| state.verdict(came, waited));
            assert_eq!(verdicts, [at_once, then, at_last], "{state:?}");
        }
    }

    #[test]
    fn one_look_serves_all_questions() {
        let now = Instant::now();
        let mut inspections = Inspections::new();
        inspections.pending = (1..=1000).map(|port| (now, unclear(port, now))).collect();
        inspections.ending.insert(peer(2000));
        let mut looks = 0;
        let settled = inspections.look(now, |peers, ending| {
            looks += 1;
            assert_eq!((peers.len(), ending.len()), (1000, 1));
            peers
                .iter()
                .map(|peer| (*peer, PeerConnections { open: vec![None], ended: 0 }))
                .collect()
        });
        assert_eq!((looks, settled.len()), (1, 1000));
        assert!(inspections.is_empty());
        assert!(inspections.next_look > now, "a pause follows");
    }

    #[test]
    fn an_ended_connection_has_time_to_disappear() {
        let now = Instant::now();
        let mut inspections = Inspections::new();
        inspections.pending.push((now, unclear(1, now)));
        let with = |ended| {
            move |_: &HashSet<_>, _: &HashSet<_>| {
                HashMap::from([(peer(1), PeerConnections { open: vec![None], ended })])
            }
        };
        assert!(inspections.look(now, with(1)).is_empty());
        let settled = inspections.look(now, with(0));
        assert_eq!(settled[0].requests, [(Verdict::Open, ())]);
        assert!(inspections.is_empty());
    }
}
