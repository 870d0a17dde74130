//! Metrics of the server, for Prometheus.
//!
//! The loop counts without waiting; a scrape does not disturb it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::routes::Route;
use crate::http::connections::descriptors::open_descriptors;
use crate::http::connections::process::Process;
use crate::http::monitoring::access_log::Losses;
use crate::http::monitoring::loop_timings::LoopTimings;
use crate::http::monitoring::register::{SECONDS, register};
use crate::http::workers::pool::Depth;
use crate::store::IdAllocator;

/// Label `route` of requests that match no route, as clients choose their paths.
const NO_ROUTE: &str = "none";

type Labels = Vec<(&'static str, String)>;

/// All metrics of one server.
pub(in crate::http) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    latency: Family<Labels, Histogram>,
    pub(in crate::http) logins_throttled: Counter,
    pub(in crate::http) timings: LoopTimings,
    unread_bytes: Gauge,
    in_flight: Gauge,
    parked: Gauge,
    streams: Gauge,
    pub(in crate::http) streams_cut_off: Counter,
    refused: Family<Labels, Counter>,
    connections: Gauge,
    stuck: Gauge,
    closed: Family<Labels, Counter>,
    pub(in crate::http) accept_restarts: Counter,
    pub(in crate::http) access_log: Losses,
    accounts: Gauge,
    events: Gauge,
    store_bytes: Gauge,
    queued: Family<Labels, Gauge>,
    depths: Mutex<Vec<(&'static str, Depth)>>,
    process: ProcessMetrics,
    health: HealthState,
}

/// Metrics of the process.
struct ProcessMetrics {
    resident_bytes: Gauge,
    threads: Gauge,
    descriptors: Gauge,
}

impl ProcessMetrics {
    fn new(all: &mut Registry) -> ProcessMetrics {
        let memory = "Resident memory of the process";
        let descriptors = "Open file descriptors of the process";
        ProcessMetrics {
            resident_bytes: register(
                all,
                "process_resident_memory_bytes",
                memory,
                Gauge::default(),
            ),
            threads: register(all, "process_threads", "Threads of the process", Gauge::default()),
            descriptors: register(all, "process_open_fds", descriptors, Gauge::default()),
        }
    }

    fn update(&self) {
        let process = Process::read();
        self.threads.set(signed(process.threads as u64));
        self.resident_bytes.set(signed(process.resident_bytes));
        self.descriptors.set(signed(open_descriptors() as u64));
    }
}

/// State of the health endpoints.
struct HealthState {
    begun: Instant,
    /// Time of the last answered probe, in milliseconds since `begun`.
    answered: AtomicU64,
    writable: AtomicBool,
}

impl HealthState {
    fn new() -> HealthState {
        let (answered, writable) = (AtomicU64::new(0), AtomicBool::new(true));
        HealthState { begun: Instant::now(), answered, writable }
    }
}

/// Time after the last answered probe for which the server counts as alive.
const ALIVE: Duration = Duration::from_secs(30);

impl Metrics {
    pub(in crate::http) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("veche");
        let all = &mut registry;
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        Metrics {
            requests: register(all, "requests", "Requests answered", Family::default()),
            latency: register(
                all,
                "request_duration_seconds",
                "Time from taking a request in to its reply, without waiting for a message",
                Family::new_with_constructor(seconds),
            ),
            logins_throttled: register(
                all,
                "logins_throttled",
                "Logins refused because there were too many before",
                Counter::default(),
            ),
            timings: LoopTimings::new(all),
            unread_bytes: register(
                all,
                "unread_bytes",
                "Bytes of replies that clients have not read",
                Gauge::default(),
            ),
            in_flight: register(
                all,
                "parked_requests",
                "Requests in flight, including long polls and streams",
                Gauge::default(),
            ),
            parked: register(
                all,
                "parked",
                "Requests in flight that wait for a message",
                Gauge::default(),
            ),
            streams: register(all, "streams", "Open event streams", Gauge::default()),
            streams_cut_off: register(
                all,
                "streams_cut_off",
                "Event streams cut off because their clients did not keep up",
                Counter::default(),
            ),
            refused: register(
                all,
                "refused",
                "Requests refused because a queue was full",
                Family::default(),
            ),
            connections: register(all, "connections", "Open connections", Gauge::default()),
            stuck: register(
                all,
                "connections_stranded",
                "Connections that have ended and still hold a thread",
                Gauge::default(),
            ),
            closed: register(
                all,
                "connections_closed",
                "Connections that the server closed: idle, overlong, or to make room",
                Family::default(),
            ),
            accept_restarts: register(
                all,
                "accept_restarts",
                "Restarts of accepting connections",
                Counter::default(),
            ),
            access_log: losses(all),
            accounts: register(all, "accounts", "Accounts registered", Gauge::default()),
            events: register(
                all,
                "events",
                "Events of messages and of moderation",
                Gauge::default(),
            ),
            store_bytes: register(
                all,
                "store_bytes",
                "Length of the log in bytes",
                Gauge::default(),
            ),
            queued: register(
                all,
                "queue_jobs",
                "Waiting and running jobs of a pool of workers",
                Family::default(),
            ),
            process: ProcessMetrics::new(all),
            depths: Mutex::default(),
            health: HealthState::new(),
            registry,
        }
    }

    /// Adds a pool to the metric of jobs.
    pub(in crate::http) fn watch(&self, queue: &'static str, depth: Depth) {
        self.depths.lock().unwrap_or_else(PoisonError::into_inner).push((queue, depth));
    }

    /// Sets the bytes of unread replies.
    pub(in crate::http) fn set_unread(&self, bytes: usize) {
        self.unread_bytes.set(signed(bytes as u64));
    }

    /// Counts a request that was refused because a queue is full.
    pub(in crate::http) fn refuse(&self, queue: &'static str) {
        self.refused.get_or_create(&vec![("queue", queue.to_owned())]).inc();
    }

    /// Sets the numbers of open and stuck connections, and of requests in flight.
    pub(in crate::http) fn set_connections(&self, open: usize, stuck: usize, in_flight: usize) {
        self.connections.set(signed(open as u64));
        self.stuck.set(signed(stuck as u64));
        self.in_flight.set(signed(in_flight as u64));
    }

    /// Sets the number of requests that wait for a message.
    pub(in crate::http) fn set_parked(&self, parked: usize) {
        self.parked.set(signed(parked as u64));
    }

    /// Sets the number of open streams.
    pub(in crate::http) fn set_streams(&self, streams: usize) {
        self.streams.set(signed(streams as u64));
    }

    /// Counts a connection that the server has ended.
    pub(in crate::http) fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// Sets the size of the store.
    pub(in crate::http) fn count(&self, counters: IdAllocator, bytes: u64) {
        self.accounts.set(signed(counters.next_user - 1));
        self.events.set(signed(counters.next_event));
        self.store_bytes.set(signed(bytes));
    }

    /// Sets whether the store takes writes.
    pub(in crate::http) fn set_writable(&self, writable: bool) {
        self.health.writable.store(writable, Ordering::Relaxed);
    }

    /// Notes an answered probe.
    pub(in crate::http) fn report_alive(&self) {
        let millis = self.health.begun.elapsed().as_millis();
        self.health.answered.store(millis.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns whether a probe was answered a short time ago.
    pub(in crate::http) fn is_alive(&self) -> bool {
        let answered = Duration::from_millis(self.health.answered.load(Ordering::Relaxed));
        self.health.begun.elapsed().saturating_sub(answered) < ALIVE
    }

    /// Returns whether the store took writes at the last check.
    pub(in crate::http) fn is_writable(&self) -> bool {
        self.health.writable.load(Ordering::Relaxed)
    }

    /// All metrics in the text format of `OpenMetrics` 1.0.
    pub(in crate::http) fn text(&self) -> String {
        let depths = self.depths.lock().unwrap_or_else(PoisonError::into_inner);
        for (queue, depth) in &*depths {
            let (waiting, under_way) = depth.read();
            for (state, jobs) in [("waiting", waiting), ("under_way", under_way)] {
                let labels = vec![("queue", (*queue).to_owned()), ("state", state.to_owned())];
                self.queued.get_or_create(&labels).set(signed(jobs as u64));
            }
        }
        drop(depths);
        self.timings.update();
        self.process.update();
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Counters of the access log.
fn losses(all: &mut Registry) -> Losses {
    let dropped = "Lines of the access log that were not written";
    let errors = "Failed attempts to open or write the access log";
    Losses {
        dropped: register(all, "access_log_dropped", dropped, Counter::default()),
        errors: register(all, "access_log_errors", errors, Counter::default()),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The loop's handle on the metrics that it counts for each request.
pub(in crate::http) struct RequestMetrics {
    metrics: Arc<Metrics>,
    /// By the address of the route, and the status. There are few, so that a linear search is
    /// faster than hashing.
    known: Vec<(usize, u16, Counter, Histogram)>,
}

impl RequestMetrics {
    pub(in crate::http) fn new(metrics: Arc<Metrics>) -> RequestMetrics {
        RequestMetrics { metrics, known: Vec::new() }
    }

    /// Counts an answered request.
    pub(in crate::http) fn count(
        &mut self,
        route: Option<&'static Route>,
        status: u16,
        took: Duration,
    ) {
        let address = route.map_or(0, |route| std::ptr::from_ref(route).addr());
        let is_it = |it: &(usize, u16, _, _)| it.0 == address && it.1 == status;
        let place = self.known.iter().position(is_it).unwrap_or_else(|| {
            let (requests, latency) = self.metrics.of(route, status);
            self.known.push((address, status, requests, latency));
            self.known.len() - 1
        });
        let (_, _, requests, latency) = &self.known[place];
        requests.inc();
        latency.observe(took.as_secs_f64());
        let is_login = route.is_some_and(|route| route.path.ends_with("/login"));
        if status == 429 && is_login {
            self.metrics.logins_throttled.inc();
        }
    }
}

impl Metrics {
    fn of(&self, route: Option<&'static Route>, status: u16) -> (Counter, Histogram) {
        let (method, path) = route.map_or((NO_ROUTE, NO_ROUTE), |it| (it.method, it.path));
        let mut labels = vec![("method", method.to_owned()), ("route", path.to_owned())];
        let latency = self.latency.get_or_create(&labels).clone();
        labels.push(("status", status.to_string()));
        (self.requests.get_or_create(&labels).clone(), latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::ROUTES;

    #[test]
    fn counted_values_are_shown() {
        let metrics = Arc::new(Metrics::new());
        let mut request_metrics = RequestMetrics::new(Arc::clone(&metrics));
        let login = ROUTES.iter().find(|route| route.path == "/login");
        for (route, status) in [(login, 200), (login, 429), (None, 404), (None, 404)] {
            request_metrics.count(route, status, Duration::from_micros(300));
        }
        metrics.refuse("bodies");
        metrics.count(IdAllocator { next_user: 3, next_event: 9 }, 70);
        let text = metrics.text();
        for line in [
            "veche_requests_total{method=\"POST\",route=\"/login\",status=\"429\"} 1",
            "veche_requests_total{method=\"none\",route=\"none\",status=\"404\"} 2",
            "veche_request_duration_seconds_count{method=\"POST\",route=\"/login\"} 2",
            "veche_logins_throttled_total 1",
            "veche_refused_total{queue=\"bodies\"} 1",
            "veche_accounts 2",
            "veche_events 9",
            "veche_store_bytes 70",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_new_server_is_alive() {
        let metrics = Metrics::new();
        assert!(metrics.is_alive() && metrics.is_writable(), "a server that has just started");
        metrics.set_writable(false);
        assert!(metrics.is_alive() && !metrics.is_writable());
    }
}
