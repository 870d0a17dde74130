//! Looks at connections for the loop, which has no time for it: with thousands of them, to go
//! through the descriptors takes milliseconds.
//!
//! It is asked about requests that came from where a connection has ended not long ago: they may
//! have come on that one, and then be part of what its last request left behind, or on another one
//! from the same port. As long as such a request is unanswered its connection is among the
//! descriptors; so if all with its peer are open, so is its own. And it ends connections that
//! the loop has given up.
//!
//! Each look is for all that are asked about by then, and is followed by a rest, so that whatever
//! clients do it takes no more than a share of one processor.

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

/// A look is followed by a rest of so many times its own length.
const REST: u32 = 4;
/// How often it looks at most.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// How long a connection that was ended may go on being there before times decide: tiny_http lets
/// go of it within milliseconds, unless a request of it is still under way.
const SETTLING: Duration = Duration::from_millis(100);
/// How long it may be unclear on which connection a request came.
const MAX_UNCLEAR: Duration = Duration::from_secs(1);
/// How exactly the system knows times: a tick takes 10 ms at most.
const GRANULARITY: Duration = Duration::from_millis(10);

/// The loop's hold on the thread. There are never more inspections under way than pipelines, of which
/// there is one a connection at most.
pub(in crate::http) struct ConnectionInspector {
    tasks: mpsc::Sender<InspectorTask>,
}

enum InspectorTask {
    /// The connection with this peer is to end.
    End(SocketAddr),
    Inspect(UnclearRequests),
}

/// Requests of which it is known how it is about each.
struct Settled<R = tiny_http::Request> {
    pipeline: PipelineId,
    requests: Vec<(Verdict, R)>,
}

/// The connections with one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PeerConnections {
    /// Of each that is open, since when it may have asked for something, if it was not answered
    /// anything so far.
    open: Vec<Option<Instant>>,
    /// How many have ended and are still held.
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

    /// How it is about a request that came then and has been in unclear for so long; `None` if that is
    /// to be seen. Times can be wrong by what tiny_http's thread for the connection that has ended
    /// was kept waiting: what came on that one may be taken to be of the other, which has the same
    /// peer and was made before.
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
            (waited >= MAX_UNCLEAR).then_some(Verdict::Undecided)
        }
    }
}

impl ConnectionInspector {
    pub(in crate::http) fn start(
        connections: Connections,
        events: Sender,
    ) -> io::Result<ConnectionInspector> {
        let (tasks, queue) = mpsc::channel();
        let look = move |peers: &HashSet<SocketAddr>, ending: &HashSet<SocketAddr>| {
            look(connections, peers, ending)
        };
        let settle = move |settled: Settled| {
            events.send(LoopMessage::Settled(settled.pipeline, settled.requests));
        };
        thread::Builder::new()
            .name("inspector".to_owned())
            .spawn(move || Inspections::new().answer(&queue, look, settle))?;
        Ok(ConnectionInspector { tasks })
    }

    /// Has the connection with a peer ended.
    pub(in crate::http) fn end(&self, peer: SocketAddr) {
        // The thread is there as long as the loop is.
        let _ = self.tasks.send(InspectorTask::End(peer));
    }

    /// Asks about requests. What is found comes as [`LoopMessage::Settled`].
    pub(in crate::http) fn inspect(&self, unclear: UnclearRequests) {
        if let Err(mpsc::SendError(InspectorTask::Inspect(unclear))) =
            self.tasks.send(InspectorTask::Inspect(unclear))
        {
            // To drop it would have tiny_http wait for its client.
            mem::forget(unclear);
        }
    }
}

/// Ends what is to end, and says how it is about the others.
fn look(
    connections: Connections,
    peers: &HashSet<SocketAddr>,
    ending: &HashSet<SocketAddr>,
) -> HashMap<SocketAddr, PeerConnections> {
    let all = peers.union(ending).copied().collect();
    let mut states = HashMap::new();
    for (peer, found) in connections.with(&all) {
        if ending.contains(&peer) {
            // If it is not known which, it is the one whose client does not read; and if there is
            // none, all of them.
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

/// What is not answered yet, and since when it is asked.
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
    /// Answers until nobody asks any more.
    fn answer(
        mut self,
        queue: &Receiver<InspectorTask>,
        mut look: impl FnMut(
            &HashSet<SocketAddr>,
            &HashSet<SocketAddr>,
        ) -> HashMap<SocketAddr, PeerConnections>,
        settle: impl Fn(Settled),
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
                Ok(InspectorTask::Inspect(unclear)) => self.pending.push((Instant::now(), unclear)),
                Err(RecvTimeoutError::Timeout) => {
                    self.look(Instant::now(), &mut look).into_iter().for_each(&settle);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // Nobody answers them any more: to drop them would have tiny_http do so.
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

    /// Looks once for all, and gives what is known then.
    fn look(
        &mut self,
        now: Instant,
        look: impl FnOnce(
            &HashSet<SocketAddr>,
            &HashSet<SocketAddr>,
        ) -> HashMap<SocketAddr, PeerConnections>,
    ) -> Vec<Settled<R>> {
        let begun = Instant::now();
        let peers = self.pending.iter().map(|(_, unclear)| unclear.pipeline.peer).collect();
        let states = look(&peers, &mem::take(&mut self.ending));
        let mut settled = Vec::new();
        for (since, unclear) in mem::take(&mut self.pending) {
            let waited = now.saturating_duration_since(since);
            let state = states.get(&unclear.pipeline.peer);
            let verdict_on = |(came, _): &(Instant, R)| {
                // One of which nothing is to be seen has ended.
                state.map_or(Some(Verdict::Ended), |it| it.verdict(*came, waited))
            };
            let verdicts: Option<Vec<_>> = unclear.requests.iter().map(verdict_on).collect();
            let Some(verdicts) = verdicts else {
                self.pending.push((since, unclear));
                continue;
            };
            let requests = unclear.requests.into_iter().map(|(_, request)| request);
            let requests = verdicts.into_iter().zip(requests).collect();
            settled.push(Settled { pipeline: unclear.pipeline, requests });
        }
        self.next_look = Instant::now() + MIN_INTERVAL.max(begun.elapsed() * REST);
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
    fn on_which_connection_it_came_is_known_by_all_with_its_peer() {
        let earlier = Instant::now();
        let came = earlier + GRANULARITY;
        let later = came + GRANULARITY;
        for (open, ended, at_once, then, at_last) in [
            (&[][..], 0, Some(Verdict::Ended), Some(Verdict::Ended), Some(Verdict::Ended)),
            (&[], 1, Some(Verdict::Ended), Some(Verdict::Ended), Some(Verdict::Ended)),
            (&[None], 0, Some(Verdict::Open), Some(Verdict::Open), Some(Verdict::Open)),
            (&[None, None], 0, Some(Verdict::Open), Some(Verdict::Open), Some(Verdict::Open)),
            // The one that has ended goes, or times decide.
            (&[Some(earlier)], 1, None, Some(Verdict::Open), Some(Verdict::Open)),
            (&[Some(later)], 1, None, Some(Verdict::Ended), Some(Verdict::Ended)),
            // One that was there all the time.
            (&[None], 1, None, None, Some(Verdict::Undecided)),
            (&[Some(later), None], 1, None, None, Some(Verdict::Undecided)),
        ] {
            let state = PeerConnections { open: open.to_vec(), ended };
            let verdicts =
                [Duration::ZERO, SETTLING, MAX_UNCLEAR].map(|waited| state.verdict(came, waited));
            assert_eq!(verdicts, [at_once, then, at_last], "{state:?}");
        }
    }

    #[test]
    fn one_look_is_for_all_who_ask() {
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
        assert!(inspections.next_look > now, "it rests");
    }

    #[test]
    fn a_connection_that_has_ended_is_given_time_to_go() {
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
