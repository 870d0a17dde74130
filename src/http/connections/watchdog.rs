//! Watches over a server from the thread of its self-probe: has overdue jobs and connections ended,
//! and sees to it that a server which cannot be reached any more is noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::connections::acceptor::ListenState;
use crate::http::connections::deadlines::Deadlines;
use crate::http::connections::reaper::Reaper;
use crate::http::connections::self_probe::{ProbeObserver, ProbeOutcome, ProbePlan};
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::monitoring::metrics::Metrics;
use crate::http::supervisor::{DRAIN_DEADLINE, Supervisor};

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

/// The self-probe's attendant.
pub(in crate::http) struct Watchdog {
    deadlines: Vec<Deadlines>,
    reaper: Reaper,
    listen_state: ListenState,
    sender: Sender,
    supervisor: Box<dyn Supervisor>,
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
    pub(in crate::http) fn new(
        deadlines: Vec<Deadlines>,
        reaper: Reaper,
        listen_state: ListenState,
        sender: Sender,
        supervisor: Box<dyn Supervisor>,
    ) -> Watchdog {
        let last_answer = Instant::now();
        Watchdog {
            deadlines,
            reaper,
            listen_state,
            sender,
            supervisor,
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
        self.sender.send(LoopMessage::NotAccepting { shed });
    }
}

impl ProbeObserver for Watchdog {
    fn tick(&mut self, busy: bool) -> ProbePlan {
        if busy {
            self.last_busy = Some(Instant::now());
        }
        self.deadlines.iter().for_each(Deadlines::enforce);
        let forgotten = self.sweep();
        if !self.listen_state.is_accepting() {
            self.renew();
            ProbePlan::Single
        } else if forgotten || (busy && self.silence.is_none()) {
            ProbePlan::Round
        } else if self.silence.is_some()
            || self.reaper.awaits_probe()
            || self.last_answer.elapsed() >= HEARTBEAT
        {
            ProbePlan::Single
        } else {
            ProbePlan::Nothing
        }
    }

    fn round_ends(&mut self, outcome: ProbeOutcome) {
        let now = Instant::now();
        if let ProbeOutcome::Answer { sent } = outcome {
            self.reaper.has_caught_up(sent);
            self.silence = None;
            self.last_answer = now;
            self.supervisor.report_alive();
            return;
        }
        let new = Silence { since: now, rounds: 0, unreachable: 0, given_up: None };
        let silence = self.silence.get_or_insert(new);
        silence.rounds += 1;
        if outcome == ProbeOutcome::Nothing {
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
            Some(at) if at.elapsed() >= DRAIN_DEADLINE => self.supervisor.abort(),
            _ => {}
        }
    }
}

/// A supervisor whose server's answers to itself are counted.
pub(in crate::http) struct CountingSupervisor(
    pub(in crate::http) Arc<Metrics>,
    pub(in crate::http) Box<dyn Supervisor>,
);

impl Supervisor for CountingSupervisor {
    fn report_alive(&mut self) {
        self.0.report_alive();
        self.1.report_alive();
    }

    fn abort(&mut self) {
        self.1.abort();
    }
}
