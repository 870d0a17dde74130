//! The observer of the probes: it ends overdue jobs, has connections judged, restarts accepting,
//! and detects a server that no longer answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::connections::acceptor::ListenState;
use crate::http::connections::deadlines::Deadlines;
use crate::http::connections::reaper::Reaper;
use crate::http::connections::self_probe::{ProbeObserver, ProbeOutcome, ProbePlan};
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::monitoring::metrics::Metrics;
use crate::http::supervisor::{DRAIN_DEADLINE, Supervisor};

/// Shortest time between two attempts to restart accepting.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(400);
/// Time without an answered probe after which the server stops. It is longer than a disk should
/// take for a write.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// The same time if probes cannot be sent, for lack of descriptors or because the backlog is full,
/// or if requests of clients are still taken in, so that probes only wait their turn. Both pass
/// when clients disconnect, and connected clients are served meanwhile.
const UNREACHABLE_AFTER: Duration = Duration::from_mins(5);
/// Rounds without an answer before the server stops, so that a process which was suspended does not
/// stop.
const SILENT_ROUNDS: u32 = 30;

/// Time between probes of an idle server. tiny_http's threads end after 5 s without work, and each
/// request restarts that time for one of them.
const HEARTBEAT: Duration = Duration::from_secs(6);

/// The observer.
pub(in crate::http) struct Watchdog {
    deadlines: Vec<Deadlines>,
    reaper: Reaper,
    listen_state: ListenState,
    sender: Sender,
    supervisor: Box<dyn Supervisor>,
    last_answer: Instant,
    /// Time at which a client's request was last taken in.
    last_busy: Option<Instant>,
    last_renewal: Option<Instant>,
    silence: Option<Silence>,
}

/// Time without an answer.
struct Silence {
    since: Instant,
    rounds: u32,
    /// Rounds in which no connection could be made.
    unreachable: u32,
    /// Time at which the loop was told to stop.
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

    /// Has connections judged. Returns whether some were forgotten.
    fn sweep(&mut self) -> bool {
        let Some(sweep) = self.reaper.sweep() else { return false };
        let forgotten = sweep.forgotten > 0;
        self.sender.send(LoopMessage::Swept(sweep));
        forgotten
    }

    /// Has accepting restarted, and connections closed to make room.
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
        if let ProbeOutcome::Answered { sent } = outcome {
            self.reaper.has_caught_up(sent);
            self.silence = None;
            self.last_answer = now;
            self.supervisor.report_alive();
            return;
        }
        let new = Silence { since: now, rounds: 0, unreachable: 0, given_up: None };
        let silence = self.silence.get_or_insert(new);
        silence.rounds += 1;
        if outcome == ProbeOutcome::Unreachable {
            silence.unreachable += 1;
            // This changes only when connections end, so they must be judged.
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
            // The loop has not stopped.
            Some(at) if at.elapsed() >= DRAIN_DEADLINE => self.supervisor.abort(),
            _ => {}
        }
    }
}

/// A supervisor whose reports are counted too.
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
