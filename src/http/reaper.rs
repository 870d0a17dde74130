//! Finds connections that hold a thread and two descriptors for nothing.
//!
//! tiny_http waits for a request as long as its client likes, and reads a head of any length. What
//! it is doing it does not say, but the system says of each connection what came and went, and
//! when. The reaper names those that should end; the loop, which knows where a request is in
//! flight, ends them.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connections::{Census, Connections, Descriptor};

/// What a client may send before a request of its is shown to the loop: longer than any head that
/// an ordinary one sends. Looked at now and then: a fast sender gets further.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
/// How long a connection may last whose client has ended it, unless a request is in flight:
/// tiny_http ends it at once, if its thread is not stuck.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it must have been time to end a connection before it is ended: what it has sent may be
/// about to be read, as behind a process that was stopped for long.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection that has ended may keep its descriptors. Behind that its thread is taken
/// to be stuck for good. As long as it takes to hash the passwords that wait.
const STRANDED_AFTER: Duration = Duration::from_secs(5);
/// How often connections are looked at, at most.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// A look is followed by a rest of so many times its own length, so that with thousands of
/// connections it does not take more than 2 % of a processor.
const REST: u32 = 50;
/// In percent: when so many of the process's descriptors are open, connections are shed, until so
/// many are.
const SHED_FROM: usize = 90;
const SHED_TO: usize = 80;
/// One connection in so many is shed when no more can be accepted.
const SHED_FRACTION: usize = 2;

/// Looks at the connections of one server.
pub(super) struct Reaper {
    connections: Connections,
    idle_timeout: Duration,
    max_descriptors: usize,
    seen: HashMap<SocketAddr, Progress>,
    /// Connections that have ended, by inode, and since when.
    ended: HashMap<u64, Instant>,
    last: Instant,
    next: Instant,
}

/// How far a connection had got.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// What the client had acknowledged.
    acknowledged: u64,
    /// What it had sent by then.
    received: u64,
    /// Since when it has been time to end it.
    due: Option<Instant>,
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Connections that are open.
    pub(super) open: usize,
    /// Connections that have sent something and been given no thread: tiny_http has queued them
    /// behind others.
    pub(super) forgotten: usize,
    /// Connections whose threads are stuck for good.
    pub(super) stranded: usize,
    /// Those that should end, unless a request is in flight.
    pub(super) overdue: Vec<(Descriptor, Reason)>,
    /// How many connections are to give way to others, because descriptors or threads run short.
    pub(super) surplus: usize,
    /// Who gives way then, the first first. Empty if nobody has to.
    pub(super) idlest: Vec<Descriptor>,
    /// Connections whose clients will send no more, and may have gone.
    pub(super) half_closed: Vec<SocketAddr>,
    /// If a connection has ended since the last look: those that have not. Which one it was, the
    /// system does not say any more.
    pub(super) connected: Option<HashSet<SocketAddr>>,
    /// When this look began.
    pub(super) begun: Instant,
}

/// Why a connection should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    /// Nothing was answered on it for the idle timeout, and nothing complete was asked.
    Idle,
    /// A head of more than [`MAX_HEAD_BYTES`].
    EndlessHead,
}

impl Reason {
    /// As it is counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Reason::Idle => "idle",
            Reason::EndlessHead => "endless_head",
        }
    }
}

impl Sweep {
    /// How many connections give way to others.
    pub(super) fn shed(&self) -> usize {
        self.surplus.min(self.idlest.len())
    }
}

impl Reaper {
    /// `max_descriptors` is how many the process may have open, if these connections are to give
    /// way when there are nearly as many.
    pub(super) fn new(
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
            last: Instant::now(),
            next: Instant::now(),
        }
    }

    /// Looks, unless it did not long ago.
    pub(super) fn sweep(&mut self) -> Option<Sweep> {
        (Instant::now() >= self.next).then(|| self.look(0))
    }

    /// Looks, and has a share of the connections give way to others.
    pub(super) fn shed(&mut self) -> Sweep {
        self.look(self.seen.len().div_ceil(SHED_FRACTION))
    }

    fn look(&mut self, min_shed: usize) -> Sweep {
        let begun = Instant::now();
        let sweep = self.examine(&self.connections.census(), begun, min_shed);
        self.next = begun + MIN_INTERVAL.max(begun.elapsed() * REST);
        sweep
    }

    fn examine(&mut self, census: &Census, now: Instant, min_shed: usize) -> Sweep {
        let since_last = now.duration_since(self.last);
        self.last = now;
        let mut before = std::mem::take(&mut self.seen);
        let mut ended: HashSet<u64> = census.ended.iter().copied().collect();
        let mut overdue = Vec::new();
        let mut idlest = Vec::new();
        let mut half_closed = Vec::new();
        let mut forgotten = 0;
        for &descriptor in &census.connected {
            let peer = descriptor.peer;
            // The first of its descriptors has said it all.
            if self.seen.contains_key(&peer) {
                continue;
            }
            let Some(info) = descriptor.info() else { continue };
            if !info.is_open() {
                ended.extend(descriptor.inode());
                continue;
            }
            let (acknowledged, received) = (info.acknowledged, info.received);
            let new = Progress { acknowledged: 0, received: 0, due: None };
            let last = before.remove(&peer).filter(|last| last.received <= received);
            let last = last.unwrap_or(new);
            // What was sent may not be acknowledged yet.
            let has_progressed = last.acknowledged != acknowledged || info.since_sent <= since_last;
            let mut progress =
                if has_progressed { Progress { acknowledged, received, due: None } } else { last };
            if info.is_half_closed() {
                half_closed.push(peer);
            }
            let has_left = info.is_half_closed() && info.since_received >= HALF_CLOSED_TIMEOUT;
            let is_due = has_left || info.since_sent >= self.idle_timeout;
            progress.due = if is_due { progress.due.or(Some(now)) } else { None };
            self.seen.insert(peer, progress);
            if acknowledged == 0 && received > 0 && descriptor.unread() == received {
                forgotten += 1;
            }
            if progress.due.is_some_and(|due| now.duration_since(due) >= GRACE) {
                overdue.push((descriptor, Reason::Idle));
            } else if received - progress.received > MAX_HEAD_BYTES
                // What lies in the socket may be a body; tiny_http reads no further than a head.
                && received.saturating_sub(descriptor.unread() + progress.received) > MAX_HEAD_BYTES
            {
                overdue.push((descriptor, Reason::EndlessHead));
            } else {
                // Who was never answered goes first, then who has been silent for longest.
                idlest.push((acknowledged > 0, Reverse(info.since_received), descriptor));
            }
        }
        let surplus = self.surplus(census.open).max(min_shed);
        if surplus == 0 {
            idlest.clear();
        }
        idlest.sort_by_key(|(answered, silent, _)| (*answered, *silent));
        let idlest = idlest.into_iter().map(|(_, _, descriptor)| descriptor).collect();
        let has_ended = ended.iter().any(|inode| !self.ended.contains_key(inode));
        let connected = has_ended.then(|| self.seen.keys().copied().collect());
        Sweep {
            open: self.seen.len(),
            forgotten,
            stranded: self.stranded(&ended, now),
            overdue,
            surplus,
            idlest,
            half_closed,
            connected,
            begun: now,
        }
    }

    /// How many connections are too many.
    fn surplus(&self, open_descriptors: usize) -> usize {
        let share = |percent| {
            self.max_descriptors / 100 * percent + self.max_descriptors % 100 * percent / 100
        };
        let crowded = open_descriptors >= share(SHED_FROM);
        if crowded { open_descriptors.saturating_sub(share(SHED_TO)).div_ceil(2) } else { 0 }
    }

    /// How many of the connections that have ended should have let go of their descriptors.
    fn stranded(&mut self, ended: &HashSet<u64>, now: Instant) -> usize {
        self.ended.retain(|inode, _| ended.contains(inode));
        for &inode in ended {
            self.ended.entry(inode).or_insert(now);
        }
        self.ended.values().filter(|since| now.duration_since(**since) >= STRANDED_AFTER).count()
    }
}
