//! Watches over a server from the thread of its pulse: has overdue jobs and connections ended,
//! and sees to it that a server which cannot be reached any more is noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acceptor::Backlog;
use super::deadlines::Deadlines;
use super::events::{Event, Sender};
use super::metrics::Metrics;
use super::pulse::{Attendant, Need};
use super::reaper::Reaper;
use super::{DRAIN_DEADLINE, Keeper};

/// How long connections may wait to be accepted, while none is, before accepting is taken to have
/// stopped.
const STALLED_AFTER: Duration = Duration::from_millis(400);
/// And how many looks at the connections there have to be meanwhile.
const STALLED_SWEEPS: u32 = 3;
/// How long the server's own requests may go unanswered before it gives up. Longer than a disk should
/// ever take for a write.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// And in how many rounds at least, so that a process which was stopped for long is not blamed for it.
const SILENT_ROUNDS: u32 = 30;

/// How often an idle server is asked for a sign of life. tiny_http's threads end after 5 s without
/// work, and with every request one of them begins to wait anew.
const HEARTBEAT: Duration = Duration::from_secs(6);

/// The pulse's attendant.
pub(super) struct Warden {
    deadlines: Vec<Deadlines>,
    reaper: Reaper,
    backlog: Backlog,
    sender: Sender,
    keeper: Box<dyn Keeper>,
    last_answer: Instant,
    stall: Option<Stall>,
    silence: Option<Silence>,
}

/// For how long connections have waited while none was accepted.
struct Stall {
    since: Instant,
    sweeps: u32,
}

/// For how long nothing was answered.
struct Silence {
    since: Instant,
    rounds: u32,
    /// When the loop was told to give up.
    given_up: Option<Instant>,
}

impl Warden {
    pub(super) fn new(
        deadlines: Vec<Deadlines>,
        reaper: Reaper,
        backlog: Backlog,
        sender: Sender,
        keeper: Box<dyn Keeper>,
    ) -> Warden {
        let last_answer = Instant::now();
        Warden {
            deadlines,
            reaper,
            backlog,
            sender,
            keeper,
            last_answer,
            stall: None,
            silence: None,
        }
    }

    /// Whether connections were found that nobody serves.
    fn sweep(&mut self) -> bool {
        let Some(sweep) = self.reaper.sweep() else { return false };
        let (forgotten, fresh) = (sweep.forgotten > 0, sweep.fresh);
        self.sender.send(Event::Swept(sweep));
        if fresh > 0 || self.backlog.is_empty() {
            self.stall = None;
            return forgotten;
        }
        let now = Instant::now();
        let stall = self.stall.get_or_insert(Stall { since: now, sweeps: 0 });
        stall.sweeps += 1;
        if stall.sweeps >= STALLED_SWEEPS && now.duration_since(stall.since) >= STALLED_AFTER {
            self.stall = None;
            let sweep = self.reaper.shed();
            let shed = sweep.shed();
            self.sender.send(Event::Swept(sweep));
            self.sender.send(Event::Stalled { shed });
        }
        forgotten
    }
}

impl Attendant for Warden {
    fn tick(&mut self, busy: bool) -> Need {
        self.deadlines.iter().for_each(Deadlines::enforce);
        let forgotten = self.sweep();
        if self.stall.is_some() {
            Need::Beat
        } else if forgotten || busy {
            Need::Round
        } else if self.silence.is_some()
            || self.last_answer.elapsed() >= HEARTBEAT
            || !self.backlog.is_empty()
        {
            Need::Beat
        } else {
            Need::Nothing
        }
    }

    fn round_ends(&mut self, answered: bool) {
        let now = Instant::now();
        if answered {
            self.silence = None;
            self.last_answer = now;
            self.keeper.beat();
            return;
        }
        let silence = self.silence.get_or_insert(Silence { since: now, rounds: 0, given_up: None });
        silence.rounds += 1;
        match silence.given_up {
            None if silence.rounds >= SILENT_ROUNDS && silence.since.elapsed() >= SILENT_AFTER => {
                silence.given_up = Some(now);
                self.sender.send(Event::Silent);
            }
            // Nor did the loop hear it.
            Some(at) if at.elapsed() >= DRAIN_DEADLINE => self.keeper.give_up(),
            _ => {}
        }
    }
}

/// A keeper whose server's answers to itself are counted.
pub(super) struct Counted(pub(super) Arc<Metrics>, pub(super) Box<dyn Keeper>);

impl Keeper for Counted {
    fn beat(&mut self) {
        self.0.beat();
        self.1.beat();
    }

    fn give_up(&mut self) {
        self.1.give_up();
    }
}
