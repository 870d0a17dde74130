//! Decides which connections hold a thread and two descriptors for nothing.
//!
//! tiny_http waits for a request without a limit on time, and reads a head of any length. It does
//! not show what it does, but the kernel counts what each connection sends and receives, and when.
//! The reaper names the connections that should end. The loop ends them, as it knows where a
//! request is in flight.
//!
//! A loop that is behind has not seen the requests in its queue, and their connections look idle.
//! So a connection is judged only after the server has answered a probe that was sent later.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::http::connections::descriptors::{Connections, Descriptor, DescriptorScan};
use crate::http::connections::tcp_info::TcpInfo;

/// Bytes that a client may send before the loop is shown a request: more than the head of any
/// ordinary client. It is checked now and then; a fast sender gets further.
pub(in crate::http) const MAX_HEAD_BYTES: u64 = 64 * 1024;
/// Time after which a half-closed connection ends, unless a request is in flight. tiny_http ends it
/// at once, if its thread is not stuck.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for which a connection must have been due before it ends. Its bytes may be about to be
/// read, as in a process that was stopped for long.
const GRACE: Duration = Duration::from_secs(1);
/// Time for which a connection that has ended may keep its descriptors. After it, its thread is
/// taken to be stuck for good. It allows for the hashing of the passwords that wait.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// Shortest time from one look to the next.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after a look, in multiples of its duration: with thousands of connections, looks take at
/// most 2 % of a processor.
const PAUSE_FACTOR: u32 = 50;
/// In percent of the descriptors that the process may open: from `SHED_FROM` on, connections are
/// closed to make room, down to `SHED_TO`.
const SHED_FROM: usize = 90;
const SHED_TO: usize = 80;
/// The share of connections that are closed when none can be accepted: one in so many.
const SHED_FRACTION: usize = 2;

/// Judges the connections of one server.
pub(in crate::http) struct Reaper {
    connections: Connections,
    idle_timeout: Duration,
    max_descriptors: usize,
    /// By inode.
    seen: HashMap<u64, ConnectionProgress>,
    /// Connections that have ended: inode, and time of discovery.
    ended: HashMap<u64, Instant>,
    /// The loop has taken in all requests from before this.
    caught_up: Instant,
    last: Instant,
    next: Instant,
}

/// State of a connection when data was last sent on it.
#[derive(Debug, Clone, Copy, Default)]
struct ConnectionProgress {
    /// Bytes that the client had acknowledged.
    acknowledged: u64,
    /// Bytes that the client had sent.
    received: u64,
    /// Time at which it became due.
    due: Option<Instant>,
}

impl ConnectionProgress {
    /// The current state, derived from that of the last look.
    fn at(self, info: &TcpInfo, since_last: Duration) -> ConnectionProgress {
        let TcpInfo { acknowledged, received, .. } = *info;
        // Sent data may not be acknowledged yet.
        let has_progressed = self.acknowledged != acknowledged || info.since_sent <= since_last;
        if has_progressed { ConnectionProgress { acknowledged, received, due: None } } else { self }
    }

    /// Returns whether the client sends a head of more than [`MAX_HEAD_BYTES`].
    fn is_endless_head(self, received: u64, unread: impl FnOnce() -> u64) -> bool {
        let since = received.saturating_sub(self.received);
        since > MAX_HEAD_BYTES
            // Unread bytes may be a body: tiny_http reads no further than a head.
            && since.saturating_sub(unread()) > MAX_HEAD_BYTES
    }
}

/// Result of a look.
#[derive(Debug)]
pub(in crate::http) struct Sweep {
    /// Open connections.
    pub(in crate::http) open: usize,
    /// Connections that have sent data and have no thread: tiny_http has queued them after others.
    pub(in crate::http) forgotten: usize,
    /// Connections that have ended and whose threads are stuck for good.
    pub(in crate::http) stuck: usize,
    /// Connections that should end, unless a request is in flight.
    pub(in crate::http) overdue: Vec<(Descriptor, Reason)>,
    /// Connections that should be closed to make room, because descriptors or threads run short.
    pub(in crate::http) surplus: usize,
    /// Candidates for that, best first. Empty if `surplus` is 0.
    pub(in crate::http) idlest: Vec<Descriptor>,
    /// Peers of connections whose clients will send no more, and may have disconnected.
    pub(in crate::http) half_closed: Vec<SocketAddr>,
    /// If a connection has ended since the last look: the peers of all others. The kernel no longer
    /// says which one it was.
    pub(in crate::http) connected: Option<HashSet<SocketAddr>>,
    /// Peers that several connections have.
    pub(in crate::http) shared: HashSet<SocketAddr>,
    /// Start of this look.
    pub(in crate::http) begun: Instant,
}

/// Reason for ending a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::http) enum Reason {
    /// Nothing was answered on it for the idle timeout, and no complete request arrived.
    Idle,
    /// A head of more than [`MAX_HEAD_BYTES`].
    EndlessHead,
}

impl Reason {
    /// Value of the metric's label `reason`.
    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            Reason::Idle => "idle",
            Reason::EndlessHead => "endless_head",
        }
    }
}

impl Sweep {
    /// Number of connections that are closed to make room.
    pub(in crate::http) fn shed(&self) -> usize {
        self.surplus.min(self.idlest.len())
    }
}

impl Reaper {
    /// `max_descriptors` is the process's limit, if these connections are closed when it is nearly
    /// reached.
    pub(in crate::http) fn new(
        connections: Connections,
        idle_timeout: Duration,
        max_descriptors: Option<usize>,
    ) -> Reaper {
        Reaper {
            connections,
            idle_timeout,
            max_descriptors: max_descriptors.unwrap_or(usize::MAX),
            seen: HashMap::new(),
            ended: HashMap::new(),
            caught_up: Instant::now(),
            last: Instant::now(),
            next: Instant::now(),
        }
    }

    /// Looks, unless the last look was a short time ago.
    pub(in crate::http) fn sweep(&mut self) -> Option<Sweep> {
        (Instant::now() >= self.next).then(|| self.look(0))
    }

    /// Looks, and marks a share of the connections to be closed to make room.
    pub(in crate::http) fn shed(&mut self) -> Sweep {
        self.look(self.seen.len().div_ceil(SHED_FRACTION))
    }

    /// The loop has taken in all requests from before `then`.
    pub(in crate::http) fn has_caught_up(&mut self, then: Instant) {
        self.caught_up = self.caught_up.max(then);
    }

    /// Returns whether a connection waits to be judged until a probe is answered.
    pub(in crate::http) fn awaits_probe(&self) -> bool {
        let due = self.seen.values().filter_map(|progress| progress.due);
        let ended = self.ended.values().map(|since| *since + STUCK_AFTER);
        let now = Instant::now();
        due.chain(ended).any(|time| self.caught_up < time && time <= now)
    }

    fn look(&mut self, min_shed: usize) -> Sweep {
        let begun = Instant::now();
        let sweep = self.examine(&self.connections.scan(), begun, min_shed);
        self.next = begun + MIN_INTERVAL.max(begun.elapsed() * PAUSE_FACTOR);
        sweep
    }

    fn examine(&mut self, scan: &DescriptorScan, now: Instant, min_shed: usize) -> Sweep {
        let since_last = now.duration_since(self.last);
        self.last = now;
        let mut before = mem::take(&mut self.seen);
        let mut ended: HashSet<u64> = scan.ended.iter().copied().collect();
        let (mut overdue, mut idlest, mut half_closed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut connected, mut shared) = (HashSet::new(), HashSet::new());
        let mut forgotten = 0;
        for &descriptor in &scan.connected {
            let Descriptor { inode, peer, .. } = descriptor;
            // The other descriptors of a connection add nothing.
            if self.seen.contains_key(&inode) {
                continue;
            }
            let Some(info) = descriptor.info() else { continue };
            if !info.is_open() {
                ended.insert(inode);
                continue;
            }
            if !connected.insert(peer) {
                shared.insert(peer);
            }
            let last = before.remove(&inode).filter(|last| last.received <= info.received);
            let mut progress = last.unwrap_or_default().at(&info, since_last);
            progress.due = if self.is_due(&info) { progress.due.or(Some(now)) } else { None };
            if info.is_half_closed() {
                half_closed.push(peer);
            }
            self.seen.insert(inode, progress);
            let unanswered = info.acknowledged == 0;
            if unanswered && info.received > 0 && descriptor.unread() == info.received {
                forgotten += 1;
            }
            let caught_up = self.caught_up;
            if progress.due.is_some_and(|due| due < caught_up && now.duration_since(due) >= GRACE) {
                overdue.push((descriptor, Reason::Idle));
            } else if progress.is_endless_head(info.received, || descriptor.unread()) {
                overdue.push((descriptor, Reason::EndlessHead));
            } else {
                // Connections that were never answered come first, then those that have been silent
                // for longest.
                idlest.push((!unanswered, Reverse(info.since_received), descriptor));
            }
        }
        let surplus = self.surplus(scan.open).max(min_shed);
        if surplus == 0 {
            idlest.clear();
        }
        idlest.sort_by_key(|(answered, silent, _)| (*answered, *silent));
        let idlest = idlest.into_iter().map(|(_, _, descriptor)| descriptor).collect();
        let has_ended = ended.iter().any(|inode| !self.ended.contains_key(inode));
        let connected = has_ended.then_some(connected);
        Sweep {
            open: self.seen.len(),
            forgotten,
            stuck: self.stuck(&ended, now),
            overdue,
            surplus,
            idlest,
            half_closed,
            connected,
            shared,
            begun: now,
        }
    }

    /// Returns whether a connection is due to end.
    fn is_due(&self, info: &TcpInfo) -> bool {
        let half_closed = info.is_half_closed() && info.since_received >= HALF_CLOSED_TIMEOUT;
        half_closed || info.since_sent >= self.idle_timeout
    }

    /// Number of connections to close to make room.
    fn surplus(&self, open_descriptors: usize) -> usize {
        let share = |percent| {
            self.max_descriptors / 100 * percent + self.max_descriptors % 100 * percent / 100
        };
        let crowded = open_descriptors >= share(SHED_FROM);
        if crowded { open_descriptors.saturating_sub(share(SHED_TO)).div_ceil(2) } else { 0 }
    }

    /// Number of ended connections that should have let go of their descriptors.
    fn stuck(&mut self, ended: &HashSet<u64>, now: Instant) -> usize {
        self.ended.retain(|inode, _| ended.contains(inode));
        for &inode in ended {
            self.ended.entry(inode).or_insert(now);
        }
        let is_stuck = |since: &&Instant| **since + STUCK_AFTER <= self.caught_up;
        self.ended.values().filter(is_stuck).count()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;
    use std::thread;

    use super::*;
    use crate::http::connections::descriptors::{inode, tests::Twins};

    /// Time between looks.
    const STEP: Duration = Duration::from_millis(10);

    fn reaper(local_port: u16) -> Reaper {
        Reaper::new(Connections { local_port }, Duration::ZERO, None)
    }

    #[test]
    fn a_loop_that_is_behind_ends_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let _server = listener.accept().unwrap();
        let mut reaper = reaper(addr.port());
        let mut scan = reaper.connections.scan();
        scan.connected.retain(|found| found.peer == client.local_addr().unwrap());
        // It must be older than the last look.
        while scan.connected[0].info().unwrap().since_sent < 2 * STEP {
            thread::yield_now();
        }
        let due = Instant::now();
        let looks = (0..).map(|n| due + n * STEP).take_while(|now| *now < due + 2 * GRACE);
        for now in looks {
            assert!(
                reaper.examine(&scan, now, 0).overdue.is_empty(),
                "a request of it may be queued"
            );
        }
        assert!(reaper.awaits_probe());
        reaper.has_caught_up(due + 2 * STEP);
        assert!(!reaper.awaits_probe());
        assert_eq!(reaper.examine(&scan, due + 2 * GRACE, 0).overdue.len(), 1);
    }

    #[test]
    fn connections_with_the_same_peer_are_judged_separately() {
        let twins = Twins::connect();
        let mut reaper = reaper(twins.connections.local_port);
        let mut scan = reaper.connections.scan();
        scan.connected.retain(|found| found.peer == twins.peer);
        // They must be older than the last look.
        while scan.connected.iter().any(|it| it.info().unwrap().since_sent < 2 * STEP) {
            thread::yield_now();
        }
        let due = Instant::now();
        assert!(reaper.examine(&scan, due, 0).overdue.is_empty(), "it is the first look");
        reaper.has_caught_up(due + STEP);
        reaper.last = due + GRACE;
        let sweep = reaper.examine(&scan, due + GRACE, 0);
        assert_eq!((sweep.open, &sweep.shared), (2, &HashSet::from([twins.peer])));
        let overdue: HashSet<u64> = sweep.overdue.iter().map(|(it, _)| it.inode).collect();
        assert_eq!(overdue, twins.pairs.map(|(_, it)| inode(it.as_raw_fd()).unwrap()).into());
    }

    #[test]
    fn a_loop_that_is_behind_marks_no_connection_as_stuck() {
        let mut reaper = reaper(0);
        let ended = Instant::now();
        let scan = DescriptorScan { ended: vec![1, 2], ..DescriptorScan::default() };
        for seconds in [0, 60] {
            let sweep = reaper.examine(&scan, ended + Duration::from_secs(seconds), 0);
            assert_eq!(sweep.stuck, 0, "requests of theirs may be queued");
        }
        reaper.has_caught_up(ended + STUCK_AFTER);
        assert_eq!(reaper.examine(&scan, ended + STUCK_AFTER, 0).stuck, 2);
    }
}
