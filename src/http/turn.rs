//! The loop: one thread that owns the state and never waits for anybody but its queue.
//!
//! A turn takes what is there, has it handled in order, syncs once, and only then lets the
//! replies go, reads included: nobody is told "ok", or shown a message, that a power cut could
//! take back. Under load turns grow by themselves and share the sync; a lone request waits for
//! nobody.

mod expiry;
mod streaming;
mod upkeep;
mod waiting;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use super::acceptor::{Acceptor, Afterwards, Arrival};
use super::access_log::{AccessLog, Entry};
use super::broadcast::Broadcaster;
use super::connections::Connections;
use super::content::{self, BODY_DEADLINE, HURRIED_BODY_DEADLINE, MAX_CHUNKED_BYTES};
use super::deadlines::Deadlines;
use super::events::{self, Event, Sender};
use super::exchange::{Exchange, Framing};
use super::lanes::{Admission, Ending, LaneId, Lanes};
use super::metrics::{Metrics, Tally};
use super::parking::Parking;
use super::pool::{Pool, Priority};
use super::process::Process;
use super::pulse::Pulse;
use super::reaper::Reaper;
use super::reply::{Outbox, Sent};
use super::request_id::RequestIds;
use super::streams::Streams;
use super::warden::{Counted, Warden};
use super::{ServeError, Server};
use crate::api::{App, Job, Outcome, Reply};
use crate::problem::{self, Problem};
use crate::store::Counters;
use crate::sys::random;

/// Requests that one turn takes at most, so that the first does not wait for the last for long.
const MAX_TURN: usize = 256;
/// Bytes of replies with which a turn takes no more requests, so that many large pages at once are
/// not all held at once.
const MAX_TURN_BYTES: usize = 8 * 1024 * 1024;
/// Hashes that wait for a worker: about two seconds of them.
const HASH_QUEUE: usize = 64;
/// Bodies that are read at once.
const BODY_READERS: usize = 128;
/// Bodies that wait to be read.
const BODY_QUEUE: usize = 256;
/// How long requests under way may take to finish when the server stops.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How often a draining server looks whether it is done.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// The loop and all that it owns.
pub(super) struct Loop {
    acceptor: Acceptor,
    stopping: Arc<AtomicBool>,
    app: App,
    lanes: Lanes,
    outbox: Outbox,
    hashers: Pool,
    readers: Pool,
    /// The deadlines of the readers' jobs.
    reading: Deadlines,
    /// Those that wait for something to come.
    parking: Parking,
    /// Those that are told what happens.
    streams: Streams,
    broadcaster: Broadcaster,
    connections: Connections,
    pulse: Pulse,
    sender: Sender,
    events: Receiver<Event>,
    metrics: Arc<Metrics>,
    tally: Tally,
    /// What the store had given out when it was last counted.
    counted: Counters,
    ids: RequestIds,
    access_log: Option<AccessLog>,
    /// Answered in this turn, waiting for its sync.
    replies: Vec<(Exchange, Reply)>,
    reply_bytes: usize,
    /// In flight since the last turn's replies went out.
    ready: VecDeque<Exchange>,
    /// Why it cannot go on.
    failure: Option<ServeError>,
    /// Whether the server stops: every connection ends with its next reply.
    draining: bool,
}

impl Loop {
    pub(super) fn new(server: Server, mut app: App) -> Result<Loop, ServeError> {
        let Server { acceptor, local_addr, admin, settings, keeper, stopping } = server;
        let metrics = Arc::new(Metrics::new());
        let ids = RequestIds::new(u64::from_le_bytes(random(app.entropy())));
        metrics.count(app.store().counters(), app.store().log_bytes());
        let open_log = |to| AccessLog::start(to, metrics.access_log_dropped.clone());
        let access_log = settings.access_log.map(open_log).transpose();
        let access_log = access_log.map_err(ServeError::AccessLog)?;
        let (sender, events) = events::channel(acceptor.waker());
        let connections = Connections { local_port: local_addr.port() };
        let [reading, writing, showing] = [(); 3].map(|()| Deadlines::new(connections));
        let watched = vec![reading.clone(), writing.clone(), showing.clone()];
        let max_descriptors = Process::max_descriptors();
        let parking = Parking::new(max_descriptors);
        let reaper = Reaper::new(connections, settings.idle_timeout, Some(max_descriptors));
        let keeper = Box::new(Counted(Arc::clone(&metrics), keeper));
        let warden = Warden::new(watched, reaper, acceptor.door(), sender.clone(), keeper);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = || -> io::Result<_> {
            let outbox = Outbox::start(writing, showing, connections, sender.clone())?;
            // Half of the processors at most: hashing would take all it is given.
            let hashers = Pool::start("hasher", (cores / 2).max(1), HASH_QUEUE, Priority::Low)?;
            let readers = Pool::start("reader", BODY_READERS, BODY_QUEUE, Priority::Normal)?;
            for (name, pool) in [("hashes", &hashers), ("bodies", &readers)] {
                metrics.watch(name, pool.depth());
            }
            for (name, pool) in outbox.pools() {
                metrics.watch(name, pool.depth());
            }
            let broadcaster = Broadcaster::start(connections, sender.clone())?;
            let pulse = Pulse::start(local_addr, warden)?;
            if let Some(admin) = admin {
                admin.start(Arc::clone(&metrics), sender.clone())?;
            }
            Ok((outbox, hashers, readers, broadcaster, pulse))
        };
        let (outbox, hashers, readers, broadcaster, pulse) = start().map_err(ServeError::Thread)?;
        Ok(Loop {
            acceptor,
            stopping,
            lanes: Lanes::default(),
            outbox,
            hashers,
            readers,
            reading,
            parking,
            streams: Streams::new(),
            broadcaster,
            connections,
            pulse,
            sender,
            events,
            tally: Tally::new(Arc::clone(&metrics)),
            metrics,
            counted: app.store().counters(),
            app,
            ids,
            access_log,
            replies: Vec::new(),
            reply_bytes: 0,
            ready: VecDeque::new(),
            failure: None,
            draining: false,
        })
    }

    pub(super) fn run(mut self) -> Result<(), ServeError> {
        let served = self.serve();
        // What nobody will answer any more is not dropped either: tiny_http would write and read
        // for each request, and so wait for its client.
        let Loop { lanes, parking, streams, ready, replies, events, .. } = self;
        mem::forget((lanes, parking, streams, ready, replies, events));
        served
    }

    fn serve(&mut self) -> Result<(), ServeError> {
        while !self.stopping.load(Ordering::SeqCst) && self.failure.is_none() {
            let first = self.wait();
            self.turn(first)?;
            if self.outbox.is_exhausted() {
                self.failure.get_or_insert(ServeError::Abandoned);
            }
        }
        self.drain()?;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Finishes what is under way, and takes no new connections.
    fn drain(&mut self) -> Result<(), ServeError> {
        log::info!("stopping: finishing what is under way");
        self.draining = true;
        // The accept thread ends with an error, which is not one any more.
        self.stopping.store(true, Ordering::SeqCst);
        self.acceptor.close();
        self.parking.end_all();
        self.end_all_streams();
        let deadline = Instant::now() + DRAIN_DEADLINE;
        loop {
            let first = self.acceptor.wait_for(self.drain_interval(DRAIN_INTERVAL));
            let idle = first.is_none();
            self.turn(first)?;
            if idle && self.lanes.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                log::warn!("stopping although some requests are not finished");
                return Ok(());
            }
        }
    }

    /// One turn. Answers nothing, and is the last one, if the sync fails.
    fn turn(&mut self, first: Option<Arrival>) -> Result<(), ServeError> {
        self.catch_up();
        while self.has_room()
            && let Some(exchange) = self.ready.pop_front()
        {
            self.begin(exchange);
        }
        let mut first = first;
        for _ in 0..MAX_TURN {
            match first.take().or_else(|| self.acceptor.next()) {
                Some(Arrival::Request(request, afterwards)) => self.admit(request, afterwards),
                Some(Arrival::Dead(error)) => self.mourn(&error),
                None => break,
            }
            if !self.has_room() {
                break;
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        let begun = Instant::now();
        if let Err(error) = self.app.sync() {
            self.refuse_all();
            return Err(ServeError::Store(error));
        }
        self.count(begun);
        self.wake();
        self.release();
        self.tell();
        Ok(())
    }

    /// Counts a turn whose sync began then and is done.
    fn count(&mut self, sync_begun: Instant) {
        let store = self.app.store();
        let counters = store.counters();
        if counters != self.counted {
            self.metrics.sync_seconds.observe(sync_begun.elapsed().as_secs_f64());
            self.metrics.count(counters, store.log_bytes());
            self.counted = counters;
        }
    }

    /// Whether the turn's replies leave room for more.
    fn has_room(&self) -> bool {
        self.reply_bytes < MAX_TURN_BYTES
    }

    fn answer(&mut self, exchange: Exchange, reply: Reply) {
        // What is part of the program is not held for it.
        if let Cow::Owned(body) = &reply.body {
            self.reply_bytes += body.len();
        }
        self.replies.push((exchange, reply));
    }

    /// Takes a request in.
    fn admit(&mut self, request: tiny_http::Request, afterwards: Afterwards) {
        if self.pulse.is_beat(request.url()) {
            let _ = request.respond(tiny_http::Response::empty(204));
            return;
        }
        self.pulse.quicken();
        match self.lanes.admit(request) {
            Admission::Now(mut exchange) => {
                exchange.close |= afterwards == Afterwards::Ends;
                self.begin(exchange);
            }
            // Who asks for something else waits no more. That is begun when the reply is out.
            Admission::Later(peer) => {
                self.parking.end(peer);
                self.end_stream_of(peer);
            }
            Admission::Refused(request) => {
                let peer = super::exchange::peer(&request);
                log::info!("cutting {peer} off: it pipelines too many requests");
                self.connections.sever(peer);
                if let Some(lane) = self.lanes.of(peer) {
                    self.end(lane, Ending::Closed);
                }
                self.outbox.discard(request);
            }
            Admission::Ended(request) => {
                let peer = super::exchange::peer(&request);
                if self.connections.is_open(peer) {
                    self.lanes.reopen(peer);
                    self.admit(request, afterwards);
                } else {
                    self.outbox.discard(request);
                }
            }
        }
    }

    /// Handles a request, or has its body read first.
    fn begin(&mut self, mut exchange: Exchange) {
        exchange.close |= self.draining;
        match exchange.framing {
            Framing::None => self.handle(exchange),
            Framing::Buffered => {
                content::take_buffered(&mut exchange);
                self.handle(exchange);
            }
            Framing::Ambiguous => {
                let why = "it is not clear where the body ends";
                let problem = Problem::new(problem::MALFORMED_REQUEST, why);
                self.refuse_unread(exchange, problem);
            }
            Framing::Streamed { expects_continue } => self.receive(exchange, expects_continue),
        }
    }

    fn receive(&mut self, mut exchange: Exchange, expects_continue: bool) {
        if self.readers.is_busy() {
            self.reading.hurry(HURRIED_BODY_DEADLINE);
        }
        let Some(slot) = self.readers.slot() else {
            self.metrics.refuse("bodies");
            return self.refuse_unread(exchange, Problem::overloaded());
        };
        let (sender, deadlines) = (self.sender.clone(), self.reading.clone());
        let connections = self.connections;
        slot.submit(move || {
            let deadline = deadlines.watch(exchange.peer(), BODY_DEADLINE);
            // What tiny_http does not say of a chunked body, the socket does: whether it was cut
            // short, and what sizes and extensions come on top of what is counted as the body.
            let chunked = exchange.request.body_length().is_none();
            let socket = if chunked { connections.find(exchange.peer()) } else { None };
            let socket = socket.map(Arc::new);
            if let Some(socket) = &socket {
                deadline.limit_received(socket, MAX_CHUNKED_BYTES);
            }
            content::read(&mut exchange, expects_continue, socket.as_deref());
            drop(deadline);
            sender.send(Event::Received(exchange));
        });
    }

    /// Answers a request whose body nobody reads: its connection ends there.
    fn refuse_unread(&mut self, mut exchange: Exchange, problem: Problem) {
        exchange.close = true;
        exchange.unread = exchange.request.body_length().unwrap_or(0) as u64;
        self.answer(exchange, problem.into());
    }

    fn handle(&mut self, mut exchange: Exchange) {
        let request = exchange.request(self.app.proxies());
        let (trace, outcome) = self.app.handle(&request);
        exchange.trace = trace;
        match outcome {
            Outcome::Reply(reply) => self.answer(exchange, reply),
            Outcome::Offload(job) => self.offload(exchange, job),
            Outcome::Park(wait) => self.park(exchange, wait),
            Outcome::Stream(subscription) => self.stream(exchange, subscription),
        }
    }

    /// What is answered when a queue is full.
    fn overloaded(&self, queue: &'static str) -> Reply {
        self.metrics.refuse(queue);
        Problem::overloaded().into()
    }

    fn offload(&mut self, exchange: Exchange, job: Job) {
        let Some(slot) = self.hashers.slot() else {
            self.metrics.refuse("hashes");
            let reply = self.app.resume(job.declined);
            return self.answer(exchange, reply);
        };
        let sender = self.sender.clone();
        slot.submit(move || {
            let done = catch_unwind(AssertUnwindSafe(job.work));
            let resume = done.unwrap_or_else(|_| Box::new(|_| Err(Problem::internal().into())));
            sender.send(Event::Done(exchange, resume));
        });
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Received(exchange) => self.handle(exchange),
            Event::Done(exchange, resume) => {
                let reply = self.app.resume(resume);
                self.answer(exchange, reply);
            }
            Event::Sent(lane) => self.ready.extend(self.lanes.release(lane)),
            Event::Ended(lane, ending) => self.end(lane, ending),
            Event::Stream(told) => self.hear(told),
            Event::Swept(sweep) => self.reap(&sweep),
            Event::Unattended { shed } => self.renew(shed),
            Event::Snapshot(wanted) => {
                // Who wanted it may have gone.
                let _ = wanted.send(self.app.snapshot());
            }
            Event::Silent => {
                self.failure.get_or_insert(ServeError::Silent);
            }
        }
    }

    /// Lets the turn's replies go.
    fn release(&mut self) {
        let now = self.app.clock().now();
        self.metrics.turn(self.replies.len());
        self.outbox.begin_turn();
        self.reply_bytes = 0;
        for (exchange, mut reply) in mem::take(&mut self.replies) {
            let lane = exchange.lane();
            if let Err(queue) = self.outbox.has_room(&exchange, &reply) {
                reply = self.overloaded(queue);
            }
            self.app.cors().share(|| exchange.origin(), &mut reply);
            let id = self.ids.of(&exchange);
            let took = exchange.begun.elapsed();
            let worked = took.saturating_sub(exchange.parked);
            self.tally.count(exchange.trace.route, reply.status, worked);
            if let Some(access_log) = &self.access_log {
                access_log.record(Entry {
                    time: now,
                    id: id.clone(),
                    client: exchange.trace.client.unwrap_or(lane.peer.ip()),
                    user: exchange.trace.caller,
                    method: exchange.method(),
                    route: exchange.trace.route,
                    status: reply.status,
                    bytes: reply.body.len(),
                    took,
                });
            }
            match self.outbox.send(exchange, reply, &id, now) {
                Sent::Now => self.ready.extend(self.lanes.release(lane)),
                Sent::Later => {}
                Sent::Ended(ending) => self.end(lane, ending),
            }
        }
    }

    /// Forgets a connection that has ended, and what it sent. What came from the same port since,
    /// on another connection, is in flight, and handled in the next turn: behind this one's sync
    /// nothing may be.
    fn end(&mut self, lane: LaneId, ending: Ending) {
        let Some(leftover) = self.lanes.end(lane) else { return };
        let peer = lane.peer;
        if let Some(parked) = self.parking.remove(peer) {
            self.outbox.discard(parked.exchange.request);
        }
        if leftover.is_empty() {
            return;
        }
        let (old, new) = leftover.part(self.connections.unanswered_since(peer), ending);
        for request in old {
            self.outbox.discard(request);
        }
        if !new.is_empty() {
            self.lanes.reopen(peer);
        } else if ending == Ending::Closed {
            self.connections.sever(peer);
        }
        for request in new {
            match self.lanes.admit(request) {
                Admission::Now(exchange) => self.ready.push_back(exchange),
                Admission::Later(_) => {}
                Admission::Refused(request) | Admission::Ended(request) => {
                    self.outbox.discard(request);
                }
            }
        }
    }

    /// The store has failed: what this turn's requests asked for may or may not have happened.
    fn refuse_all(&mut self) {
        self.refuse_parked();
        self.refuse_streams();
        for (_, reply) in &mut self.replies {
            *reply = Problem::internal().into();
        }
        self.release();
    }
}
