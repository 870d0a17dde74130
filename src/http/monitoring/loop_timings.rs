//! Where the loop's time goes: how long its turns are and what lies between them, and how long the
//! server's requests to itself wait. What is counted of a request begins when the loop has taken it
//! in; here is what it waits before.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::http::connections::self_probe::ProbeWait;
use crate::http::monitoring::register::{SECONDS, register};

/// Upper bounds in seconds of what the server itself waits for: up to where it gives up.
const PROBE_SECONDS: [f64; 12] =
    [5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The figures of one loop.
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
                "Time of a turn of the loop, from when there was something to do until it was done",
                Histogram::new(SECONDS),
            ),
            replies: register(
                all,
                "turn_requests",
                "Replies that one turn of the loop let go",
                Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            ),
            syncs: register(
                all,
                "sync_duration_seconds",
                "Time to make durable what a turn wrote",
                Histogram::new(SECONDS),
            ),
            idle: register(
                all,
                "idle_seconds",
                "Time for which the loop had nothing to do",
                Counter::default(),
            ),
            probes: register(
                all,
                "probe_wait_seconds",
                "From when the server sent a request to itself until the loop took it in",
                Histogram::new(PROBE_SECONDS),
            ),
            waiting: register(
                all,
                "probe_waiting_seconds",
                "For how long one of these requests has not been answered by now",
                Gauge::default(),
            ),
            probe_wait: OnceLock::new(),
        }
    }

    /// The loop has waited for something to do, and done it.
    pub(in crate::http) fn turn(&self, idle: Duration, turn: Duration) {
        self.idle.inc_by(idle.as_secs_f64());
        self.turns.observe(turn.as_secs_f64());
    }

    /// A turn let go so many replies.
    pub(in crate::http) fn replies(&self, replies: usize) {
        if let Ok(replies @ 1..) = u32::try_from(replies) {
            self.replies.observe(replies.into());
        }
    }

    /// What a turn wrote is durable.
    pub(in crate::http) fn sync(&self, took: Duration) {
        self.syncs.observe(took.as_secs_f64());
    }

    /// The loop has taken in a request of the server to itself, which had waited so long.
    pub(in crate::http) fn probe(&self, wait: Duration) {
        self.probes.observe(wait.as_secs_f64());
    }

    /// The requests of the server to itself are to be looked at.
    pub(in crate::http) fn watch(&self, probe_wait: ProbeWait) {
        // There is one self-probe.
        let _ = self.probe_wait.set(probe_wait);
    }

    /// Looks whether one waits.
    pub(in crate::http) fn update(&self) {
        let waiting = self.probe_wait.get().map_or(Duration::ZERO, ProbeWait::wait);
        self.waiting.set(waiting.as_secs_f64());
    }
}
