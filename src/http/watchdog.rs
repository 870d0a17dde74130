//! Watches over a server from the thread of its pulse: has overdue jobs and connections ended,
//! and sees to it that a server which cannot be reached any more is noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acceptor::ListenState;
use super::deadlines::Deadlines;
use super::loop_message::{LoopMessage, Sender};
use super::metrics::Metrics;
use super::reaper::Reaper;
use super::self_probe::{ProbeObserver, ProbeOutcome, ProbePlan};
use super::{DRAIN_DEADLINE, Keeper};

/// How long it takes at least from one attempt to accept connections anew to the next.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(400);
/// How long the server's own requests may go unanswered before it gives up. Longer than a disk should
/// ever take for a write.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// The same where they cannot even be sent, because there is no descriptor or no room to wait in,
/// or where those of others are taken in, so that they only wait their turn: that passes when clients
/// go, and those that are connected are served meanwhile.
const UNREACHABLE_AFTER: Duration = Duration::from_mins(5);
/// And in how many rounds at least, so that a process which was stopped for long is not blamed for it.
const SILENT_ROUNDS: u32 = 30;

/// How often an idle server is asked for a sign of life. tiny_http's threads end after 5 s without
/// work, and with every request one of them begins to wait anew.
const HEARTBEAT: Duration = Duration::from_secs(6);

/// The pulse's attendant.
pub(super) struct Watchdog {
    deadlines: Vec<Deadlines>,
    reaper: Reaper,
    door: ListenState,
    sender: Sender,
    keeper: Box<dyn Keeper>,
    last_answer: Instant,
    /// When requests of others were taken in last.
    last_busy: Option<Instant>,
    last_renewal: Option<Instant>,
    silence: Option<Silence>,
}

/// For how long nothing was answered.
struct Silence {
    since: Instant,
    rounds: u32,
    /// How often there was nobody to ask.
    unreachable: u32,
    /// When the loop was told to give up.
    given_up: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new(
        deadlines: Vec<Deadlines>,
        reaper: Reaper,
        door: ListenState,
        sender: Sender,
        keeper: Box<dyn Keeper>,
    ) -> Watchdog {
        let last_answer = Instant::now();
        Watchdog {
            deadlines,
            reaper,
            door,
            sender,
            keeper,
            last_answer,
            last_busy: None,
            last_renewal: None,
            silence: None,
        }
    }

    /// Whether connections were found that nobody serves.
    fn sweep(&mut self) -> bool {
        let Some(sweep) = self.reaper.sweep() else { return false };
        let forgotten = sweep.forgotten > 0;
        self.sender.send(LoopMessage::Swept(sweep));
        forgotten
    }

    /// Has connections accepted anew, and others give way to them.
    fn renew(&mut self) {
        if self.last_renewal.is_some_and(|last| last.elapsed() < RENEWAL_INTERVAL) {
            return;
        }
        self.last_renewal = Some(Instant::now());
        let sweep = self.reaper.shed();
        let shed = sweep.shed();
        self.sender.send(LoopMessage::Swept(sweep));
        self.sender.send(LoopMessage::Unattended { shed });
    }
}

impl ProbeObserver for Watchdog {
    fn tick(&mut self, busy: bool) -> ProbePlan {
        if busy {
            self.last_busy = Some(Instant::now());
        }
        self.deadlines.iter().for_each(Deadlines::enforce);
        let forgotten = self.sweep();
        if !self.door.is_attended() {
            self.renew();
            ProbePlan::Beat
        } else if forgotten || (busy && self.silence.is_none()) {
            ProbePlan::Round
        } else if self.silence.is_some()
            || self.reaper.is_in_doubt()
            || self.last_answer.elapsed() >= HEARTBEAT
        {
            ProbePlan::Beat
        } else {
            ProbePlan::Nothing
        }
    }

    fn round_ends(&mut self, heard: ProbeOutcome) {
        let now = Instant::now();
        if let ProbeOutcome::Answer { asked } = heard {
            self.reaper.has_caught_up(asked);
            self.silence = None;
            self.last_answer = now;
            self.keeper.beat();
            return;
        }
        let new = Silence { since: now, rounds: 0, unreachable: 0, given_up: None };
        let silence = self.silence.get_or_insert(new);
        silence.rounds += 1;
        if heard == ProbeOutcome::Nothing {
            silence.unreachable += 1;
            // Connections have to end for that to change.
            self.reaper.has_caught_up(now);
        }
        let mostly_unreachable = silence.unreachable > silence.rounds / 2;
        let only_behind = self.last_busy.is_some_and(|last| last.elapsed() < SILENT_AFTER);
        let is_patient = mostly_unreachable || only_behind;
        let limit = if is_patient { UNREACHABLE_AFTER } else { SILENT_AFTER };
        match silence.given_up {
            None if silence.rounds >= SILENT_ROUNDS && silence.since.elapsed() >= limit => {
                silence.given_up = Some(now);
                self.sender.send(LoopMessage::Silent);
            }
            // Nor did the loop hear it.
            Some(at) if at.elapsed() >= DRAIN_DEADLINE => self.keeper.give_up(),
            _ => {}
        }
    }
}

/// A keeper whose server's answers to itself are counted.
pub(super) struct CountingKeeper(pub(super) Arc<Metrics>, pub(super) Box<dyn Keeper>);

impl Keeper for CountingKeeper {
    fn beat(&mut self) {
        self.0.beat();
        self.1.beat();
    }

    fn give_up(&mut self) {
        self.1.give_up();
    }
}
