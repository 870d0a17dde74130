//! Taking messages and requests, and handling the queued tasks.

use super::shares::Place;
use super::tasks::TurnTask;
use super::{Loop, MAX_MESSAGES, MAX_TURN_REQUESTS};
use crate::http::connections::acceptor::Arrival;
use crate::http::error::ServeError;
use crate::http::loop_message::LoopMessage;
use crate::problem::Problem;

impl Loop {
    /// Returns whether there is work that needs no wake-up.
    pub(super) fn has_tasks(&self) -> bool {
        self.has_more_messages || !self.tasks.normal.is_empty() || self.tasks.has_deferred()
    }

    /// Takes messages of other threads.
    pub(super) fn receive_messages(&mut self) {
        self.has_more_messages = true;
        for _ in 0..MAX_MESSAGES {
            let Ok(message) = self.messages.try_recv() else {
                self.has_more_messages = false;
                break;
            };
            self.on_message(message);
        }
    }

    pub(super) fn on_message(&mut self, message: LoopMessage) {
        match message {
            LoopMessage::BodyRead(exchange) => {
                self.tasks.bodies_bytes += exchange.content.len();
                self.tasks.normal.push_back(TurnTask::Handle(exchange));
            }
            LoopMessage::JobDone(exchange, resume) => {
                self.tasks.normal.push_back(TurnTask::Resume(exchange, resume));
            }
            LoopMessage::ReplySent(pipeline) => self.release_pipeline(pipeline),
            LoopMessage::ConnectionEnded(pipeline) => self.end(pipeline),
            LoopMessage::Settled(pipeline, requests) => {
                for request in self.in_flight.settle(pipeline, requests) {
                    self.outbox.discard(request);
                }
                self.release_pipeline(pipeline);
            }
            LoopMessage::UnknownConnection(exchange) => {
                self.metrics.refuse("connections");
                self.refuse_unread(exchange, Problem::overloaded());
            }
            LoopMessage::Stream(message) => self.on_stream_message(message),
            LoopMessage::Swept(sweep) => self.on_sweep(&sweep),
            LoopMessage::NotAccepting { shed } => self.renew(shed),
            LoopMessage::Snapshot(wanted) => {
                // It fails if the operator's request has ended.
                let _ = wanted.send(self.app.snapshot());
            }
            LoopMessage::Silent => {
                self.failure.get_or_insert(ServeError::Silent);
            }
        }
    }

    /// Takes in the requests that have arrived.
    pub(super) fn take_in(&mut self, mut first: Option<Arrival>) {
        for _ in 0..MAX_TURN_REQUESTS {
            match first.take().or_else(|| self.acceptor.next()) {
                Some(Arrival::Request(request, afterwards)) => self.admit(request, afterwards),
                Some(Arrival::AcceptFailed(error)) => self.accept_failed(&error),
                None => break,
            }
        }
    }

    /// Handles tasks until the turn has no room; the others are left for the next turn.
    pub(super) fn handle_tasks(&mut self) {
        let is_something = !self.tasks.normal.is_empty();
        let (mut left, mut normal_starved, mut deferred_served) =
            (MAX_TURN_REQUESTS, is_something, false);
        // Deferred tasks do not wait for ever, even if others fill every turn: if the last turn had
        // no room for them, one of them goes first in this turn, and the others in the next.
        if self.tasks.deferred_starved
            && self.has_room()
            && let Some(task) = self.tasks.next_deferred()
        {
            self.handle_task(task);
            left -= 1;
            deferred_served = true;
        }
        while left > 0
            && self.has_room()
            && let Some(task) = self.tasks.normal.pop_front()
        {
            normal_starved = false;
            match self.place(&task) {
                Place::Normal => {
                    self.handle_task(task);
                    left -= 1;
                }
                Place::Deferred => self.tasks.deferred.push_back(task),
                Place::Last => self.tasks.last.push_back(task),
            }
        }
        while left > 0
            && self.has_room()
            && let Some(task) = self.tasks.next_deferred()
        {
            self.handle_task(task);
            left -= 1;
            deferred_served = true;
        }
        self.tasks.deferred_starved = self.tasks.has_deferred() && !deferred_served;
        self.tasks.normal_starved = normal_starved;
    }

    /// The place of a task, by the bytes that its client received a short time ago.
    pub(super) fn place(&self, task: &TurnTask) -> Place {
        match task {
            TurnTask::Begin(exchange) | TurnTask::Handle(exchange) => {
                self.shares.place(exchange, self.app.proxies())
            }
            TurnTask::Resume(..) => Place::Normal,
        }
    }

    pub(super) fn handle_task(&mut self, task: TurnTask) {
        match task {
            TurnTask::Begin(exchange) => self.begin(exchange),
            TurnTask::Handle(exchange) => {
                self.tasks.bodies_bytes -= exchange.content.len();
                self.handle(exchange);
            }
            TurnTask::Resume(exchange, resume) => {
                let reply = self.app.resume(resume);
                self.answer(exchange, reply);
            }
        }
    }
}
