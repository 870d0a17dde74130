//! Timings of the loop: its turns, the time between them, and the wait of the server's own
//! requests. A client's request is timed only from when the loop has taken it in; the probes show
//! the time before that.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::http::connections::self_probe::ProbeWait;
use crate::http::monitoring::register::{SECONDS, register};

/// Upper bounds of the probes' buckets in seconds, up to the time after which the server stops.
const PROBE_SECONDS: [f64; 12] =
    [5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Timings of one loop.
pub(in crate::http) struct LoopTimings {
    turns: Histogram,
    replies: Histogram,
    syncs: Histogram,
    idle: Counter<f64, AtomicU64>,
    probes: Histogram,
    waiting: Gauge<f64, AtomicU64>,
    probe_wait: OnceLock<ProbeWait>,
}

impl LoopTimings {
    pub(in crate::http) fn new(all: &mut Registry) -> LoopTimings {
        LoopTimings {
            turns: register(
                all,
                "turn_duration_seconds",
                "Time of a turn of the loop, without the wait before it",
                Histogram::new(SECONDS),
            ),
            replies: register(
                all,
                "turn_requests",
                "Replies released by one turn of the loop",
                Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            ),
            syncs: register(
                all,
                "sync_duration_seconds",
                "Time to sync the writes of a turn",
                Histogram::new(SECONDS),
            ),
            idle: register(
                all,
                "idle_seconds",
                "Time for which the loop was idle",
                Counter::default(),
            ),
            probes: register(
                all,
                "probe_wait_seconds",
                "Time from sending a probe to taking it in",
                Histogram::new(PROBE_SECONDS),
            ),
            waiting: register(
                all,
                "probe_waiting_seconds",
                "Time for which a probe has been unanswered",
                Gauge::default(),
            ),
            probe_wait: OnceLock::new(),
        }
    }

    /// Counts a turn, and the idle time before it.
    pub(in crate::http) fn turn(&self, idle: Duration, turn: Duration) {
        self.idle.inc_by(idle.as_secs_f64());
        self.turns.observe(turn.as_secs_f64());
    }

    /// Counts the replies of a turn.
    pub(in crate::http) fn replies(&self, replies: usize) {
        if let Ok(replies @ 1..) = u32::try_from(replies) {
            self.replies.observe(replies.into());
        }
    }

    /// Counts a sync.
    pub(in crate::http) fn sync(&self, took: Duration) {
        self.syncs.observe(took.as_secs_f64());
    }

    /// Counts the wait of a probe.
    pub(in crate::http) fn probe(&self, wait: Duration) {
        self.probes.observe(wait.as_secs_f64());
    }

    /// Sets the source of the current wait.
    pub(in crate::http) fn watch(&self, probe_wait: ProbeWait) {
        // It is set once, as there is one source.
        let _ = self.probe_wait.set(probe_wait);
    }

    /// Updates the current wait.
    pub(in crate::http) fn update(&self) {
        let waiting = self.probe_wait.get().map_or(Duration::ZERO, ProbeWait::wait);
        self.waiting.set(waiting.as_secs_f64());
    }
}
