//! The loop: one thread that owns the state and never waits for anybody but its queue.
//!
//! A turn takes what is there, has it handled in order, syncs once, and only then lets the
//! replies go, reads included: nobody is told "ok", or shown a message, that a power cut could
//! take back. Under load turns grow by themselves and share the sync; a lone request waits for
//! nobody.

mod expiry;
mod streaming;
mod tasks;
mod upkeep;
mod waiting;

use std::borrow::Cow;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use super::acceptor::{Acceptor, Afterwards, Arrival};
use super::access_log::{AccessLog, AccessRecord};
use super::broadcast::Broadcaster;
use super::connections::Connections;
use super::content::{self, BODY_DEADLINE, HURRIED_BODY_DEADLINE, MAX_CHUNKED_BYTES};
use super::deadlines::Deadlines;
use super::exchange::{Exchange, Framing};
use super::hashers::Hashers;
use super::in_flight::{Admission, InFlight, Next, PipelineId};
use super::inspector::ConnectionInspector;
use super::loop_message::{self, LoopMessage, Sender};
use super::metrics::{Metrics, Tally};
use super::parking::Parking;
use super::pool::{Pool, Priority};
use super::process::Process;
use super::reaper::Reaper;
use super::reply::{Busy, Outbox, SendOutcome};
use super::request_id::RequestIds;
use super::self_probe::SelfProbe;
use super::streams::Streams;
use super::turn_shares::TurnShares;
use super::watchdog::{CountingKeeper, Watchdog};
use super::{ServeError, Server};
use crate::api::client::Network;
use crate::api::{App, Job, Outcome, Reply};
use crate::problem::{self, Problem};
use crate::store::IdAllocator;
use crate::sys::random;
use tasks::{TurnTask, TurnTasks};

/// Requests that one turn takes in, and that it handles at most, so that the first does not wait
/// for the last for long.
const MAX_TURN: usize = 256;
/// Bytes of replies with which a turn handles no more requests, so that many large pages at once
/// are not all held at once. The last reply may go beyond it.
const MAX_TURN_BYTES: usize = 8 * 1024 * 1024;
/// What workers have to say that a turn hears at most.
const MAX_EVENTS: usize = 1024;
/// Bodies that are read at once.
const BODY_READERS: usize = 128;
/// Bodies that wait to be read.
const BODY_QUEUE: usize = 256;
/// In bytes: with so much of bodies that were read, and whose requests wait to be handled, no more
/// are read.
const MAX_BODIES_BYTES: usize = 32 * 1024 * 1024;
/// How long requests under way may take to finish when the server stops.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How often a draining server looks whether it is done.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// The loop and all that it owns.
pub(super) struct Loop {
    acceptor: Acceptor,
    stopping: Arc<AtomicBool>,
    app: App,
    lanes: InFlight,
    outbox: Outbox,
    hashers: Hashers,
    readers: Pool,
    /// The deadlines of the readers' jobs.
    reading: Deadlines,
    /// Those that wait for something to come.
    parking: Parking,
    /// Those that are told what happens.
    streams: Streams,
    broadcaster: Broadcaster,
    /// For the workers. To look at them takes time, which the loop has not.
    connections: Connections,
    lookout: ConnectionInspector,
    pulse: SelfProbe,
    sender: Sender,
    events: Receiver<LoopMessage>,
    metrics: Arc<Metrics>,
    tally: Tally,
    /// What the store had given out when it was last counted, and the length of its log.
    counted: (IdAllocator, u64),
    ids: RequestIds,
    access_log: Option<AccessLog>,
    /// Answered in this turn, waiting for its sync.
    replies: Vec<(Exchange, Reply)>,
    reply_bytes: usize,
    /// What is to be handled next.
    agenda: TurnTasks,
    spending: TurnShares,
    /// Whether workers have more to say than the last turn has heard.
    is_behind: bool,
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
        metrics.count(app.counted(), app.store().log_bytes());
        let open_log = |to| AccessLog::start(to, metrics.access_log.clone());
        let access_log = settings.access_log.map(open_log).transpose();
        let access_log = access_log.map_err(ServeError::AccessLog)?;
        let (sender, events) = loop_message::channel(acceptor.waker());
        let connections = Connections { local_port: local_addr.port() };
        let [reading, writing, showing] = [(); 3].map(|()| Deadlines::new(connections));
        let watched = vec![reading.clone(), writing.clone(), showing.clone()];
        let max_descriptors = Process::max_descriptors();
        let parking = Parking::new(max_descriptors);
        let reaper = Reaper::new(connections, settings.idle_timeout, Some(max_descriptors));
        let keeper = Box::new(CountingKeeper(Arc::clone(&metrics), keeper));
        let warden = Watchdog::new(watched, reaper, acceptor.door(), sender.clone(), keeper);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = || -> io::Result<_> {
            let lookout = ConnectionInspector::start(connections, sender.clone())?;
            let outbox = Outbox::start(writing, showing, connections, sender.clone())?;
            // Half of the processors at most: hashing would take all it is given.
            let hashers = Hashers::start((cores / 2).max(1), sender.clone())?;
            let readers = Pool::start("reader", BODY_READERS, BODY_QUEUE, Priority::Normal)?;
            metrics.watch("hashes", hashers.depth());
            metrics.watch("bodies", readers.depth());
            for (name, pool) in outbox.pools() {
                metrics.watch(name, pool.depth());
            }
            let broadcaster = Broadcaster::start(connections, sender.clone())?;
            let pulse = SelfProbe::start(local_addr, warden)?;
            metrics.rhythm.watch(pulse.vigil());
            if let Some(admin) = admin {
                admin.start(Arc::clone(&metrics), sender.clone())?;
            }
            Ok((lookout, outbox, hashers, readers, broadcaster, pulse))
        };
        let started = start().map_err(ServeError::Thread)?;
        let (lookout, outbox, hashers, readers, broadcaster, pulse) = started;
        Ok(Loop {
            acceptor,
            stopping,
            lanes: InFlight::default(),
            outbox,
            hashers,
            readers,
            reading,
            parking,
            streams: Streams::new(),
            broadcaster,
            connections,
            lookout,
            pulse,
            sender,
            events,
            tally: Tally::new(Arc::clone(&metrics)),
            metrics,
            counted: (app.counted(), app.store().log_bytes()),
            app,
            ids,
            access_log,
            replies: Vec::new(),
            reply_bytes: 0,
            agenda: TurnTasks::default(),
            spending: TurnShares::new(),
            is_behind: false,
            failure: None,
            draining: false,
        })
    }

    pub(super) fn run(mut self) -> Result<(), ServeError> {
        let served = self.serve();
        // What nobody will answer any more is not dropped either: tiny_http would write and read
        // for each request, and so wait for its client.
        let Loop { lanes, parking, streams, agenda, replies, events, .. } = self;
        mem::forget((lanes, parking, streams, agenda, replies, events));
        served
    }

    fn serve(&mut self) -> Result<(), ServeError> {
        while !self.stopping.load(Ordering::SeqCst) && self.failure.is_none() {
            let idle_since = Instant::now();
            let first = self.wait();
            let begun = Instant::now();
            self.turn(first)?;
            self.metrics.rhythm.turn(begun - idle_since, begun.elapsed());
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
        self.hear_all();
        self.take_in(first);
        if !self.agenda.is_held_up {
            self.catch_up();
        }
        self.work();
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
        // Sessions, marks and blocks make the log longer, but give nothing out.
        let counted @ (counters, bytes) = (self.app.counted(), store.log_bytes());
        if counted != self.counted {
            self.metrics.rhythm.sync(sync_begun.elapsed());
            self.metrics.count(counters, bytes);
            self.counted = counted;
        }
    }

    /// Whether the turn's replies leave room for more.
    fn has_room(&self) -> bool {
        self.reply_bytes < MAX_TURN_BYTES
    }

    fn answer(&mut self, exchange: Exchange, mut reply: Reply) {
        // What is part of the program is not held for it. What is only measured takes as long as
        // what is made.
        if matches!(reply.body, Cow::Owned(_)) || reply.withheld > 0 {
            let bytes = reply.content_length();
            self.reply_bytes += bytes;
            self.spending.count(&exchange, self.app.proxies(), bytes);
        }
        if exchange.is_head() {
            reply.withhold();
        }
        self.replies.push((exchange, reply));
    }

    /// Takes a request in.
    fn admit(&mut self, request: tiny_http::Request, afterwards: Afterwards) {
        if let Some(wait) = self.pulse.wait_of(request.url()) {
            self.metrics.rhythm.probe(wait);
            let _ = request.respond(tiny_http::Response::empty(204));
            return;
        }
        self.pulse.quicken();
        match self.lanes.admit(request) {
            Admission::Now(mut exchange) => {
                exchange.close |= afterwards == Afterwards::Ends;
                self.agenda.tasks.push_back(TurnTask::Begin(exchange));
            }
            // Who asks for something else waits no more. That is begun when the reply is out.
            Admission::Later(peer) => {
                self.parking.end(peer);
                self.end_stream_of(peer);
            }
            Admission::Refused(request) => {
                let peer = super::exchange::peer(&request);
                log::info!("cutting {peer} off: it pipelines too many requests");
                self.lookout.end(peer);
                if let Some(lane) = self.lanes.of(peer) {
                    self.end(lane);
                }
                self.outbox.discard(request);
            }
            Admission::Doubtful(doubt) => self.lookout.ask(doubt),
        }
    }

    /// A lane's request is done with. The next one is handled in the next turn: behind this one's
    /// sync nothing may be.
    fn release_lane(&mut self, lane: PipelineId) {
        match self.lanes.release(lane) {
            Some(Next::Now(exchange)) => self.agenda.tasks.push_back(TurnTask::Begin(exchange)),
            Some(Next::Unclear(exchange)) => {
                self.metrics.refuse("connections");
                self.refuse_unread(exchange, Problem::overloaded());
            }
            Some(Next::Doubtful(doubt)) => self.lookout.ask(doubt),
            None => {}
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
        let has_memory = self.agenda.bodies_bytes < MAX_BODIES_BYTES;
        let Some(slot) = self.readers.slot().filter(|_| has_memory) else {
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
            let socket = if chunked { connections.find(exchange.peer()) } else { Ok(None) };
            let Ok(socket) = socket else { return sender.send(LoopMessage::Unknown(exchange)) };
            let socket = socket.map(Arc::new);
            if let Some(socket) = &socket {
                deadline.limit_received(socket, MAX_CHUNKED_BYTES);
            }
            content::read(&mut exchange, expects_continue, socket.as_deref());
            drop(deadline);
            sender.send(LoopMessage::Received(exchange));
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

    fn offload(&mut self, exchange: Exchange, job: Job) {
        let client = exchange.trace.client.unwrap_or_else(|| exchange.peer().ip());
        let declined = self.hashers.submit(Network::of_client(client), exchange, job);
        if let Some((exchange, declined)) = declined {
            self.metrics.refuse("hashes");
            let reply = self.app.resume(declined);
            self.answer(exchange, reply);
        }
    }

    /// Lets the turn's replies go.
    fn release(&mut self) {
        let now = self.app.clock().now();
        self.metrics.rhythm.replies(self.replies.len());
        self.outbox.begin_turn();
        self.metrics.set_unread(self.outbox.unread_bytes());
        self.reply_bytes = 0;
        for (mut exchange, mut reply) in mem::take(&mut self.replies) {
            let lane = exchange.lane();
            if let Err(busy) = self.outbox.has_room(&exchange, &reply) {
                self.metrics.refuse(busy.name());
                reply = busy.problem().into();
                // What was asked for behind it would be made and thrown away one after the other.
                exchange.close |= busy == Busy::Reader;
            }
            self.app.cors().share(|| exchange.origin(), &mut reply);
            let id = self.ids.of(&exchange);
            let took = exchange.begun.elapsed();
            let worked = took.saturating_sub(exchange.parked);
            self.tally.count(exchange.trace.route, reply.status, worked);
            if let Some(access_log) = &self.access_log {
                access_log.record(AccessRecord {
                    time: now,
                    id: id.clone(),
                    client: exchange.trace.client.unwrap_or(lane.peer.ip()),
                    user: exchange.trace.caller,
                    method: exchange.method(),
                    route: exchange.trace.route,
                    status: reply.status,
                    bytes: reply.content_length(),
                    took,
                });
            }
            match self.outbox.send(exchange, reply, &id, now) {
                SendOutcome::Now => self.release_lane(lane),
                SendOutcome::Later => {}
                SendOutcome::Ended => self.end(lane),
                SendOutcome::Refused(request) => {
                    self.lookout.end(lane.peer);
                    self.end(lane);
                    if let Some(request) = request {
                        self.outbox.discard(request);
                    }
                }
            }
        }
    }

    /// Forgets a connection that has ended, and what it sent. What came from the same port since,
    /// on another connection, goes on when that is known.
    fn end(&mut self, lane: PipelineId) {
        let Some(lane) = self.lanes.end(lane) else { return };
        if let Some(parked) = self.parking.remove(lane.peer) {
            self.outbox.discard(parked.exchange.request);
        }
        self.release_lane(lane);
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

#[cfg(test)]
mod lost;
#[cfg(test)]
mod tests;
