//! The loop: one thread that owns the state and never waits for anybody but its queue.
//!
//! A turn takes what is there, has it handled in order, syncs once, and only then lets the
//! replies go, reads included: nobody is told "ok", or shown a message, that a power cut could
//! take back. Under load turns grow by themselves and share the sync; a lone request waits for
//! nobody.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::iter;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::content::{self, BODY_DEADLINE, HURRIED_BODY_DEADLINE, MAX_CHUNKED_BYTES};
use super::deadlines::Deadlines;
use super::events::{self, Event, Sender};
use super::exchange::{Exchange, Framing};
use super::lanes::{Admission, Lanes};
use super::pool::{Pool, Priority};
use super::pulse::Pulse;
use super::reply::{Outbox, Sent};
use super::socket::Connections;
use super::{ServeError, Server};
use crate::api::{App, Job, Outcome, Reply};
use crate::problem::{self, Problem};

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
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How often a draining server looks whether it is done.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// The loop and all that it owns.
pub(super) struct Loop {
    server: Arc<tiny_http::Server>,
    listener: std::net::TcpListener,
    stopping: Arc<AtomicBool>,
    app: App,
    lanes: Lanes,
    outbox: Outbox,
    hashers: Pool,
    readers: Pool,
    /// The deadlines of the readers' jobs.
    reading: Deadlines,
    connections: Connections,
    pulse: Pulse,
    sender: Sender,
    events: Receiver<Event>,
    /// Answered in this turn, waiting for its sync.
    replies: Vec<(Exchange, Reply)>,
    reply_bytes: usize,
    /// In flight since the last turn's replies went out.
    ready: VecDeque<Exchange>,
    accept_error: Option<io::Error>,
    /// Whether the server stops: every connection ends with its next reply.
    draining: bool,
}

impl Loop {
    pub(super) fn new(server: Server, app: App) -> Result<Loop, ServeError> {
        let Server { inner: server, listener, local_addr, stopping } = server;
        let (sender, events) = events::channel(&server);
        let connections = Connections { local_port: local_addr.port() };
        let [reading, writing, showing] = [(); 3].map(|()| Deadlines::new(connections));
        let watched = [reading.clone(), writing.clone(), showing.clone()];
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let start = || -> io::Result<_> {
            let outbox = Outbox::start(writing, showing, connections, sender.clone())?;
            // Half of the processors at most: hashing would take all it is given.
            let hashers = Pool::start("hasher", (cores / 2).max(1), HASH_QUEUE, Priority::Low)?;
            let readers = Pool::start("reader", BODY_READERS, BODY_QUEUE, Priority::Normal)?;
            let pulse =
                Pulse::start(local_addr, move || watched.iter().for_each(Deadlines::enforce))?;
            Ok((outbox, hashers, readers, pulse))
        };
        let (outbox, hashers, readers, pulse) = start().map_err(ServeError::Thread)?;
        Ok(Loop {
            server,
            listener,
            stopping,
            app,
            lanes: Lanes::default(),
            outbox,
            hashers,
            readers,
            reading,
            connections,
            pulse,
            sender,
            events,
            replies: Vec::new(),
            reply_bytes: 0,
            ready: VecDeque::new(),
            accept_error: None,
            draining: false,
        })
    }

    pub(super) fn run(mut self) -> Result<(), ServeError> {
        let served = self.serve();
        // What nobody will answer any more is not dropped either: tiny_http would write and read
        // for each request, and so wait for its client.
        let Loop { lanes, ready, replies, events, .. } = self;
        mem::forget((lanes, ready, replies, events));
        served
    }

    fn serve(&mut self) -> Result<(), ServeError> {
        while !self.stopping.load(Ordering::SeqCst) && self.accept_error.is_none() {
            let first = if self.ready.is_empty() { Some(self.server.recv()) } else { None };
            self.turn(first)?;
            if self.outbox.is_exhausted() {
                self.drain()?;
                return Err(ServeError::Abandoned);
            }
        }
        self.drain()?;
        self.accept_error.take().map_or(Ok(()), |error| Err(ServeError::Accept(error)))
    }

    /// Finishes what is under way, and takes no new connections.
    fn drain(&mut self) -> Result<(), ServeError> {
        log::info!("stopping: finishing what is under way");
        self.draining = true;
        // The accept thread ends with an error, which is not one any more.
        self.stopping.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
        let deadline = Instant::now() + DRAIN_DEADLINE;
        loop {
            let first = self.server.recv_timeout(DRAIN_INTERVAL).transpose();
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
    fn turn(&mut self, first: Option<io::Result<tiny_http::Request>>) -> Result<(), ServeError> {
        while self.has_room()
            && let Some(exchange) = self.ready.pop_front()
        {
            self.begin(exchange);
        }
        let server = Arc::clone(&self.server);
        // Asked twice, because what looks like the end may be a nudge between two requests.
        let next = || server.try_recv().transpose();
        let waiting = iter::from_fn(|| next().or_else(next));
        for received in first.into_iter().chain(waiting).take(MAX_TURN) {
            match received {
                Ok(request) => self.admit(request),
                // An error without a number is the nudge of `unblock`.
                Err(error) if error.raw_os_error().is_none() => {}
                Err(error) if !self.stopping.load(Ordering::SeqCst) => {
                    self.accept_error = Some(error);
                }
                Err(_) => {}
            }
            if !self.has_room() {
                break;
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        if let Err(error) = self.app.sync() {
            self.refuse_all();
            return Err(ServeError::Store(error));
        }
        self.release();
        Ok(())
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

    fn admit(&mut self, request: tiny_http::Request) {
        if self.pulse.is_beat(request.url()) {
            let _ = request.respond(tiny_http::Response::empty(204));
            return;
        }
        self.pulse.quicken();
        match self.lanes.admit(request) {
            Admission::Now(exchange) => self.begin(exchange),
            Admission::Later => {}
            Admission::Refused(request) => {
                let peer = super::exchange::peer(&request);
                log::info!("cutting {peer} off: it pipelines too many requests");
                self.end(peer);
                self.outbox.discard(Exchange::new(request));
            }
            Admission::Ended(request) => {
                let peer = super::exchange::peer(&request);
                if self.connections.is_open(peer) {
                    self.lanes.reopen(peer);
                    self.admit(request);
                } else {
                    self.outbox.discard(Exchange::new(request));
                }
            }
        }
    }

    /// Handles a request, or has its body read first.
    fn begin(&mut self, mut exchange: Exchange) {
        exchange.close = self.draining;
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

    fn handle(&mut self, exchange: Exchange) {
        let request = exchange.request(self.app.proxies());
        match self.app.handle(&request) {
            Outcome::Reply(reply) => self.answer(exchange, reply),
            Outcome::Offload(job) => self.offload(exchange, job),
        }
    }

    fn offload(&mut self, exchange: Exchange, job: Job) {
        let Some(slot) = self.hashers.slot() else {
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
            Event::Sent(peer) => self.ready.extend(self.lanes.release(peer)),
            Event::Closed(peer) => self.end(peer),
        }
    }

    /// Lets the turn's replies go.
    fn release(&mut self) {
        let now = self.app.clock().now();
        self.outbox.begin_turn();
        self.reply_bytes = 0;
        for (exchange, mut reply) in mem::take(&mut self.replies) {
            let peer = exchange.peer();
            if !self.outbox.has_room(&exchange, &reply) {
                reply = Problem::overloaded().into();
            }
            self.app.cors().share(|| exchange.origin(), &mut reply);
            match self.outbox.send(exchange, reply, now) {
                Sent::Now => self.ready.extend(self.lanes.release(peer)),
                Sent::Later => {}
                Sent::Closed => self.end(peer),
            }
        }
    }

    /// Forgets a connection that has ended, and what it sent.
    fn end(&mut self, peer: SocketAddr) {
        let waiting = self.lanes.end(peer);
        if !waiting.is_empty() {
            self.connections.sever(peer);
        }
        for request in waiting {
            self.outbox.discard(Exchange::new(request));
        }
    }

    /// The store has failed: what this turn's requests asked for may or may not have happened.
    fn refuse_all(&mut self) {
        for (_, reply) in &mut self.replies {
            *reply = Problem::internal().into();
        }
        self.release();
    }
}
