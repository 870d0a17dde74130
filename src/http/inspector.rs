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

use super::connections::{Connections, Descriptor};
use super::in_flight::{PipelineId, UnclearRequests, Verdict};
use super::loop_message::{LoopMessage, Sender};
use super::tcp_info::TcpInfo;

/// A look is followed by a rest of so many times its own length.
const REST: u32 = 4;
/// How often it looks at most.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// How long a connection that was ended may go on being there before times decide: tiny_http lets
/// go of it within milliseconds, unless a request of it is still under way.
const SETTLING: Duration = Duration::from_millis(100);
/// How long it may be unclear on which connection a request came.
const PATIENCE: Duration = Duration::from_secs(1);
/// How exactly the system knows times: a tick takes 10 ms at most.
const GRANULARITY: Duration = Duration::from_millis(10);

/// The loop's hold on the thread. There are never more questions under way than lanes, of which
/// there is one a connection at most.
pub(super) struct ConnectionInspector {
    tasks: mpsc::Sender<LookoutTask>,
}

enum LookoutTask {
    /// The connection with this peer is to end.
    End(SocketAddr),
    Doubt(UnclearRequests),
}

/// Requests of which it is known how it is about each.
struct Settled<R = tiny_http::Request> {
    lane: PipelineId,
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

    /// How it is about a request that came then and has been in doubt for so long; `None` if that is
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
            (waited >= PATIENCE).then_some(Verdict::Unclear)
        }
    }
}

impl ConnectionInspector {
    pub(super) fn start(
        connections: Connections,
        events: Sender,
    ) -> io::Result<ConnectionInspector> {
        let (tasks, queue) = mpsc::channel();
        let look = move |peers: &HashSet<SocketAddr>, ending: &HashSet<SocketAddr>| {
            look(connections, peers, ending)
        };
        let settle = move |settled: Settled| {
            events.send(LoopMessage::Settled(settled.lane, settled.requests));
        };
        thread::Builder::new()
            .name("lookout".to_owned())
            .spawn(move || Questions::new().answer(&queue, look, settle))?;
        Ok(ConnectionInspector { tasks })
    }

    /// Has the connection with a peer ended.
    pub(super) fn end(&self, peer: SocketAddr) {
        // The thread is there as long as the loop is.
        let _ = self.tasks.send(LookoutTask::End(peer));
    }

    /// Asks about requests. What is found comes as [`LoopMessage::Settled`].
    pub(super) fn ask(&self, doubt: UnclearRequests) {
        if let Err(mpsc::SendError(LookoutTask::Doubt(doubt))) =
            self.tasks.send(LookoutTask::Doubt(doubt))
        {
            // To drop it would have tiny_http wait for its client.
            mem::forget(doubt);
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
    let mut standings = HashMap::new();
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
        standings.insert(peer, PeerConnections::of(&found));
    }
    standings
}

/// What is not answered yet, and since when it is asked.
struct Questions<R> {
    pending: Vec<(Instant, UnclearRequests<R>)>,
    ending: HashSet<SocketAddr>,
    next_look: Instant,
}

impl<R> Questions<R> {
    fn new() -> Questions<R> {
        Questions { pending: Vec::new(), ending: HashSet::new(), next_look: Instant::now() }
    }
}

impl Questions<tiny_http::Request> {
    /// Answers until nobody asks any more.
    fn answer(
        mut self,
        queue: &Receiver<LookoutTask>,
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
                Ok(LookoutTask::End(peer)) => {
                    self.ending.insert(peer);
                }
                Ok(LookoutTask::Doubt(doubt)) => self.pending.push((Instant::now(), doubt)),
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

impl<R> Questions<R> {
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
        let peers = self.pending.iter().map(|(_, doubt)| doubt.lane.peer).collect();
        let standings = look(&peers, &mem::take(&mut self.ending));
        let mut settled = Vec::new();
        for (since, doubt) in mem::take(&mut self.pending) {
            let waited = now.saturating_duration_since(since);
            let standing = standings.get(&doubt.lane.peer);
            let verdict_on = |(came, _): &(Instant, R)| {
                // One of which nothing is to be seen has ended.
                standing.map_or(Some(Verdict::Ended), |it| it.verdict(*came, waited))
            };
            let verdicts: Option<Vec<_>> = doubt.requests.iter().map(verdict_on).collect();
            let Some(verdicts) = verdicts else {
                self.pending.push((since, doubt));
                continue;
            };
            let requests = doubt.requests.into_iter().map(|(_, request)| request);
            let requests = verdicts.into_iter().zip(requests).collect();
            settled.push(Settled { lane: doubt.lane, requests });
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

    fn doubt(port: u16, came: Instant) -> UnclearRequests<()> {
        let lane = PipelineId { peer: peer(port), number: 1 };
        UnclearRequests { lane, requests: vec![(came, ())] }
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
            (&[None], 1, None, None, Some(Verdict::Unclear)),
            (&[Some(later), None], 1, None, None, Some(Verdict::Unclear)),
        ] {
            let standing = PeerConnections { open: open.to_vec(), ended };
            let verdicts =
                [Duration::ZERO, SETTLING, PATIENCE].map(|waited| standing.verdict(came, waited));
            assert_eq!(verdicts, [at_once, then, at_last], "{standing:?}");
        }
    }

    #[test]
    fn one_look_is_for_all_who_ask() {
        let now = Instant::now();
        let mut questions = Questions::new();
        questions.pending = (1..=1000).map(|port| (now, doubt(port, now))).collect();
        questions.ending.insert(peer(2000));
        let mut looks = 0;
        let settled = questions.look(now, |peers, ending| {
            looks += 1;
            assert_eq!((peers.len(), ending.len()), (1000, 1));
            peers
                .iter()
                .map(|peer| (*peer, PeerConnections { open: vec![None], ended: 0 }))
                .collect()
        });
        assert_eq!((looks, settled.len()), (1, 1000));
        assert!(questions.is_empty());
        assert!(questions.next_look > now, "it rests");
    }

    #[test]
    fn a_connection_that_has_ended_is_given_time_to_go() {
        let now = Instant::now();
        let mut questions = Questions::new();
        questions.pending.push((now, doubt(1, now)));
        let with = |ended| {
            move |_: &HashSet<_>, _: &HashSet<_>| {
                HashMap::from([(peer(1), PeerConnections { open: vec![None], ended })])
            }
        };
        assert!(questions.look(now, with(1)).is_empty());
        let settled = questions.look(now, with(0));
        assert_eq!(settled[0].requests, [(Verdict::Open, ())]);
        assert!(questions.is_empty());
    }
}
