//! The loop's steps for a request: admission, reading its body, and handling it.

use std::sync::Arc;

use super::Loop;
use super::MAX_BODIES_BYTES;
use super::tasks::TurnTask;
use crate::api::client::Network;
use crate::api::{Job, Outcome};
use crate::http::connections::acceptor::Afterwards;
use crate::http::loop_message::LoopMessage;
use crate::http::requests::body::{self, BODY_DEADLINE, MAX_CHUNKED_BYTES, SHORT_BODY_DEADLINE};
use crate::http::requests::exchange::{Exchange, Framing, PipelineId, peer};
use crate::http::requests::in_flight::{Admission, Next};
use crate::problem::{self, Problem};

impl Loop {
    /// Admits a request.
    pub(super) fn admit(&mut self, request: tiny_http::Request, afterwards: Afterwards) {
        if let Some(wait) = self.self_probe.wait_of(request.url()) {
            self.metrics.timings.probe(wait);
            let _ = request.respond(tiny_http::Response::empty(204));
            return;
        }
        self.self_probe.report_activity();
        match self.in_flight.admit(request) {
            Admission::Begin(mut exchange) => {
                exchange.close |= afterwards == Afterwards::Closes;
                self.tasks.normal.push_back(TurnTask::Begin(exchange));
            }
            // A client that sends another request ends its wait or stream. The new request begins
            // after that reply.
            Admission::Queued(peer) => {
                self.parking.end(peer);
                self.end_stream_of(peer);
            }
            Admission::TooMany(request) => {
                let peer = peer(&request);
                log::info!("cutting {peer} off: it pipelines too many requests");
                self.inspector.end(peer);
                if let Some(pipeline) = self.in_flight.of(peer) {
                    self.end(pipeline);
                }
                self.outbox.discard(request);
            }
            Admission::Unclear(unclear) => self.inspector.inspect(unclear),
        }
    }

    /// Begins the next request of a pipeline. It is handled in the next turn, as nothing may be
    /// written after this turn's sync.
    pub(super) fn release_pipeline(&mut self, pipeline: PipelineId) {
        match self.in_flight.release(pipeline) {
            Some(Next::Begin(exchange)) => self.tasks.normal.push_back(TurnTask::Begin(exchange)),
            Some(Next::Undecided(exchange)) => {
                self.metrics.refuse("connections");
                self.refuse_unread(exchange, Problem::overloaded());
            }
            Some(Next::Unclear(unclear)) => self.inspector.inspect(unclear),
            None => {}
        }
    }

    /// Handles a request, or has its body read first.
    pub(super) fn begin(&mut self, mut exchange: Exchange) {
        exchange.close |= self.draining;
        match exchange.framing {
            Framing::None => self.handle(exchange),
            Framing::Buffered => {
                body::take_buffered(&mut exchange);
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

    pub(super) fn receive(&mut self, mut exchange: Exchange, expects_continue: bool) {
        if self.readers.is_busy() {
            self.reading.shorten(SHORT_BODY_DEADLINE);
        }
        let has_memory = self.tasks.bodies_bytes < MAX_BODIES_BYTES;
        let Some(slot) = self.readers.slot().filter(|_| has_memory) else {
            self.metrics.refuse("bodies");
            return self.refuse_unread(exchange, Problem::overloaded());
        };
        let (sender, deadlines) = (self.sender.clone(), self.reading.clone());
        let connections = self.connections;
        slot.submit(move || {
            let deadline = deadlines.watch(exchange.peer(), BODY_DEADLINE);
            // tiny_http does not say whether a chunked body was cut short, and does not count its
            // framing; the socket shows both.
            let chunked = exchange.request.body_length().is_none();
            let socket = if chunked { connections.find(exchange.peer()) } else { Ok(None) };
            let Ok(socket) = socket else {
                return sender.send(LoopMessage::UnknownConnection(exchange));
            };
            let socket = socket.map(Arc::new);
            if let Some(socket) = &socket {
                deadline.limit_received(socket, MAX_CHUNKED_BYTES);
            }
            body::read(&mut exchange, expects_continue, socket.as_deref());
            drop(deadline);
            sender.send(LoopMessage::BodyRead(exchange));
        });
    }

    /// Answers a request whose body is not read. Its connection ends.
    pub(super) fn refuse_unread(&mut self, mut exchange: Exchange, problem: Problem) {
        exchange.close = true;
        exchange.unread = exchange.request.body_length().unwrap_or(0) as u64;
        self.answer(exchange, problem.into());
    }

    pub(super) fn handle(&mut self, mut exchange: Exchange) {
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

    pub(super) fn offload(&mut self, exchange: Exchange, job: Job) {
        let client = exchange.trace.client.unwrap_or_else(|| exchange.peer().ip());
        let declined = self.hashers.submit(Network::of_client(client), exchange, job);
        if let Some((exchange, declined)) = declined {
            self.metrics.refuse("hashes");
            let reply = self.app.resume(declined);
            self.answer(exchange, reply);
        }
    }
}
