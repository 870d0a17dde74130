//! The loop: one thread that owns the state, and waits for nothing but its queue.
//!
//! A turn takes what has arrived, handles it in order, syncs the store once, and only then releases
//! the replies, also those that only read. So no client gets a reply, or sees a message, that a
//! power cut could still undo. Under load a turn serves more requests with one sync; a lone request
//! waits for no other.

mod expiry;
mod replies;
mod requests;
mod shares;
mod streaming;
mod tasks;
mod upkeep;
mod waiting;
mod work;

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use super::error::ServeError;
use super::server::Server;
use super::supervisor::DRAIN_DEADLINE;
use crate::api::{App, Reply};
use crate::http::connections::acceptor::{Acceptor, Arrival};
use crate::http::connections::deadlines::Deadlines;
use crate::http::connections::descriptors::Connections;
use crate::http::connections::inspector::ConnectionInspector;
use crate::http::connections::process::Process;
use crate::http::connections::reaper::Reaper;
use crate::http::connections::self_probe::SelfProbe;
use crate::http::connections::watchdog::{CountingSupervisor, Watchdog};
use crate::http::loop_message::{self, LoopMessage, Sender};
use crate::http::monitoring::access_log::AccessLog;
use crate::http::monitoring::metrics::{Metrics, RequestMetrics};
use crate::http::replies::outbox::Outbox;
use crate::http::requests::exchange::Exchange;
use crate::http::requests::in_flight::InFlight;
use crate::http::requests::parking::Parking;
use crate::http::requests::request_id::RequestIds;
use crate::http::streams::broadcaster::Broadcaster;
use crate::http::streams::registry::StreamRegistry;
use crate::http::workers::hashers::Hashers;
use crate::http::workers::pool::{Pool, Priority};
use crate::store::IdAllocator;
use crate::sys::random;
use shares::TurnShares;
use tasks::TurnTasks;

/// Requests that a turn takes in, and tasks that it handles, at most, so that the first reply does
/// not wait long for the last.
const MAX_TURN_REQUESTS: usize = 256;
/// Bytes of replies from which on a turn handles no more tasks, so that many large pages are not in
/// memory at once. The last reply may exceed it.
const MAX_TURN_BYTES: usize = 8 * 1024 * 1024;
/// Messages of other threads that a turn takes, at most.
const MAX_MESSAGES: usize = 1024;
/// Bodies that are read at once.
const BODY_READERS: usize = 128;
/// Bodies that wait for a reader.
const BODY_QUEUE: usize = 256;
/// Bytes of read bodies of unhandled requests from which on no more bodies are read.
const MAX_BODIES_BYTES: usize = 32 * 1024 * 1024;
/// Time between checks whether a stopping server is done.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// The loop's state.
struct Loop {
    acceptor: Acceptor,
    stopping: Arc<AtomicBool>,
    app: App,
    in_flight: InFlight,
    outbox: Outbox,
    hashers: Hashers,
    readers: Pool,
    /// Deadlines of the readers' jobs.
    reading: Deadlines,
    /// Long polls.
    parking: Parking,
    /// Event streams.
    streams: StreamRegistry,
    broadcaster: Broadcaster,
    /// For the workers: a look at connections takes too long for the loop.
    connections: Connections,
    inspector: ConnectionInspector,
    self_probe: SelfProbe,
    sender: Sender,
    messages: Receiver<LoopMessage>,
    metrics: Arc<Metrics>,
    request_metrics: RequestMetrics,
    /// The store's id counters and the length of its log, as last reported to the metrics.
    counted: (IdAllocator, u64),
    ids: RequestIds,
    access_log: Option<AccessLog>,
    /// Replies that wait for this turn's sync.
    replies: Vec<(Exchange, Reply)>,
    reply_bytes: usize,
    /// Tasks to handle.
    tasks: TurnTasks,
    shares: TurnShares,
    /// True if the last turn left messages in the queue.
    has_more_messages: bool,
    /// Reason for which the server has to stop.
    failure: Option<ServeError>,
    /// True if the server is stopping: every connection ends with its next reply.
    draining: bool,
}

impl Server {
    /// Answers requests until it is stopped; then the requests in progress are finished and synced.
    /// An error means that the server could not continue; acknowledged writes are durable all the
    /// same.
    pub fn run(self, app: App) -> Result<(), ServeError> {
        Loop::new(self, app)?.run()
    }
}

impl Loop {
    fn new(server: Server, mut app: App) -> Result<Loop, ServeError> {
        let Server { acceptor, local_addr, admin, settings, supervisor, stopping } = server;
        let metrics = Arc::new(Metrics::new());
        let ids = RequestIds::new(u64::from_le_bytes(random(app.entropy())));
        metrics.count(app.counted(), app.store().log_bytes());
        let open_log = |to| AccessLog::start(to, metrics.access_log.clone());
        let access_log = settings.access_log.map(open_log).transpose();
        let access_log = access_log.map_err(ServeError::AccessLog)?;
        let (sender, messages) = loop_message::channel(acceptor.waker());
        let connections = Connections { local_port: local_addr.port() };
        let [reading, writing, writing_files] = [(); 3].map(|()| Deadlines::new(connections));
        let watched = vec![reading.clone(), writing.clone(), writing_files.clone()];
        let max_descriptors = Process::max_descriptors();
        let parking = Parking::new(max_descriptors);
        let reaper = Reaper::new(connections, settings.idle_timeout, Some(max_descriptors));
        let supervisor = Box::new(CountingSupervisor(Arc::clone(&metrics), supervisor));
        let watchdog =
            Watchdog::new(watched, reaper, acceptor.listen_state(), sender.clone(), supervisor);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = || -> io::Result<_> {
            let inspector = ConnectionInspector::start(connections, sender.clone())?;
            let outbox = Outbox::start(writing, writing_files, connections, sender.clone())?;
            // At most half of the processors: hashing takes all that it gets.
            let hashers = Hashers::start((cores / 2).max(1), sender.clone())?;
            let readers = Pool::start("reader", BODY_READERS, BODY_QUEUE, Priority::Normal)?;
            metrics.watch("hashes", hashers.depth());
            metrics.watch("bodies", readers.depth());
            for (name, pool) in outbox.pools() {
                metrics.watch(name, pool.depth());
            }
            let broadcaster = Broadcaster::start(connections, sender.clone())?;
            let self_probe = SelfProbe::start(local_addr, watchdog)?;
            metrics.timings.watch(self_probe.probe_wait());
            if let Some(admin) = admin {
                admin.start(Arc::clone(&metrics), sender.clone())?;
            }
            Ok((inspector, outbox, hashers, readers, broadcaster, self_probe))
        };
        let started = start().map_err(ServeError::Thread)?;
        let (inspector, outbox, hashers, readers, broadcaster, self_probe) = started;
        Ok(Loop {
            acceptor,
            stopping,
            in_flight: InFlight::default(),
            outbox,
            hashers,
            readers,
            reading,
            parking,
            streams: StreamRegistry::new(),
            broadcaster,
            connections,
            inspector,
            self_probe,
            sender,
            messages,
            request_metrics: RequestMetrics::new(Arc::clone(&metrics)),
            metrics,
            counted: (app.counted(), app.store().log_bytes()),
            app,
            ids,
            access_log,
            replies: Vec::new(),
            reply_bytes: 0,
            tasks: TurnTasks::default(),
            shares: TurnShares::new(),
            has_more_messages: false,
            failure: None,
            draining: false,
        })
    }

    fn run(mut self) -> Result<(), ServeError> {
        let served = self.serve();
        // Unanswered requests are leaked: dropping them would have tiny_http answer each, and block
        // on its client.
        let Loop { in_flight, parking, streams, tasks, replies, messages, .. } = self;
        mem::forget((in_flight, parking, streams, tasks, replies, messages));
        served
    }

    fn serve(&mut self) -> Result<(), ServeError> {
        while !self.stopping.load(Ordering::SeqCst) && self.failure.is_none() {
            let idle_since = Instant::now();
            let first = self.wait();
            let begun = Instant::now();
            self.turn(first)?;
            self.metrics.timings.turn(begun - idle_since, begun.elapsed());
            if self.outbox.is_exhausted() {
                self.failure.get_or_insert(ServeError::Abandoned);
            }
        }
        self.drain()?;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Takes no new connections, and finishes the requests in progress.
    fn drain(&mut self) -> Result<(), ServeError> {
        log::info!("stopping: finishing the requests in progress");
        self.draining = true;
        // The accept thread will end with an error, which is expected now.
        self.stopping.store(true, Ordering::SeqCst);
        self.acceptor.close();
        self.parking.end_all();
        self.end_all_streams();
        let deadline = Instant::now() + DRAIN_DEADLINE;
        loop {
            let first = self.acceptor.wait_for(self.drain_interval(DRAIN_INTERVAL));
            let idle = first.is_none();
            self.turn(first)?;
            if idle && self.in_flight.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                log::warn!("stopping; some requests are not finished");
                return Ok(());
            }
        }
    }

    /// Runs one turn. If the sync fails, all requests are refused, and the turn is the last one.
    fn turn(&mut self, first: Option<Arrival>) -> Result<(), ServeError> {
        self.receive_messages();
        self.take_in(first);
        if !self.tasks.normal_starved {
            self.serve_leftover_parked();
        }
        self.handle_tasks();
        let begun = Instant::now();
        if let Err(error) = self.app.sync() {
            self.refuse_all();
            return Err(ServeError::Store(error));
        }
        self.count(begun);
        self.wake_parked();
        self.release();
        self.update_streams();
        Ok(())
    }

    /// Updates the metrics after a sync that began at `sync_begun`.
    fn count(&mut self, sync_begun: Instant) {
        let store = self.app.store();
        // Sessions, read marks and blocks lengthen the log without a new id.
        let counted @ (counters, bytes) = (self.app.counted(), store.log_bytes());
        if counted != self.counted {
            self.metrics.timings.sync(sync_begun.elapsed());
            self.metrics.count(counters, bytes);
            self.counted = counted;
        }
    }
}

#[cfg(test)]
mod lost;
#[cfg(test)]
mod tests;
