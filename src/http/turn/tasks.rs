//! What a turn does one after the other: it hears workers, takes in requests, and handles what is
//! to be handled, as far as there is room.
//!
//! Whatever becomes a reply stands in one queue, whether it is a request that has come, one whose
//! body was read, or one whose job is done; a second one has what is asked for by who has had much
//! not long ago. So nobody is passed over for ever, and the room that a turn has is asked for in one
//! place. What is in the queue is bounded by the connections, each of
//! which has one request in flight, and the bodies in it are so many bytes at most.

use std::collections::VecDeque;

use crate::api::Resume;
use crate::http::ServeError;
use crate::http::acceptor::Arrival;
use crate::http::exchange::Exchange;
use crate::http::loop_message::LoopMessage;
use crate::http::turn_shares::Place;
use crate::problem::Problem;

use super::{Loop, MAX_EVENTS, MAX_TURN};

/// Something that becomes a reply, or goes on to wait.
pub(super) enum TurnTask {
    /// A request has come.
    Begin(Exchange),
    /// Its body was read.
    Handle(Exchange),
    /// Its job is done.
    Resume(Exchange, Resume),
}

/// What is to be handled next.
#[derive(Default)]
pub(super) struct TurnTasks {
    /// In the order in which it came to be so. A connection has one request in flight, so that it
    /// has one of them at most.
    pub(super) tasks: VecDeque<TurnTask>,
    /// Those of networks in which somebody has had much not long ago: they wait behind others.
    pub(super) patient: VecDeque<TurnTask>,
    /// Those of who has: they wait behind all others.
    pub(super) last: VecDeque<TurnTask>,
    /// Bytes of the bodies among all of them that workers have read.
    pub(super) bodies_bytes: usize,
    /// Whether the last turn had no room for any of the first ones.
    pub(super) is_held_up: bool,
    /// Whether it had none for any of the patient ones.
    pub(super) patience_is_over: bool,
}

impl TurnTasks {
    fn has_patient(&self) -> bool {
        !self.patient.is_empty() || !self.last.is_empty()
    }

    fn next_patient(&mut self) -> Option<TurnTask> {
        self.patient.pop_front().or_else(|| self.last.pop_front())
    }
}

impl Loop {
    /// Whether there is something to do before anything else comes.
    pub(super) fn has_tasks(&self) -> bool {
        self.is_behind || !self.agenda.tasks.is_empty() || self.agenda.has_patient()
    }

    /// Hears what workers have to say.
    pub(super) fn hear_all(&mut self) {
        self.is_behind = true;
        for _ in 0..MAX_EVENTS {
            let Ok(event) = self.events.try_recv() else {
                self.is_behind = false;
                break;
            };
            self.take(event);
        }
    }

    fn take(&mut self, event: LoopMessage) {
        match event {
            LoopMessage::Received(exchange) => {
                self.agenda.bodies_bytes += exchange.content.len();
                self.agenda.tasks.push_back(TurnTask::Handle(exchange));
            }
            LoopMessage::Done(exchange, resume) => {
                self.agenda.tasks.push_back(TurnTask::Resume(exchange, resume));
            }
            LoopMessage::Sent(lane) => self.release_lane(lane),
            LoopMessage::Ended(lane) => self.end(lane),
            LoopMessage::Settled(lane, requests) => {
                for request in self.lanes.settle(lane, requests) {
                    self.outbox.discard(request);
                }
                self.release_lane(lane);
            }
            LoopMessage::Unknown(exchange) => {
                self.metrics.refuse("connections");
                self.refuse_unread(exchange, Problem::overloaded());
            }
            LoopMessage::Stream(told) => self.hear(told),
            LoopMessage::Swept(sweep) => self.reap(&sweep),
            LoopMessage::Unattended { shed } => self.renew(shed),
            LoopMessage::Snapshot(wanted) => {
                // Who wanted it may have gone.
                let _ = wanted.send(self.app.snapshot());
            }
            LoopMessage::Silent => {
                self.failure.get_or_insert(ServeError::Silent);
            }
        }
    }

    /// Takes in the requests that have come.
    pub(super) fn take_in(&mut self, mut first: Option<Arrival>) {
        for _ in 0..MAX_TURN {
            match first.take().or_else(|| self.acceptor.next()) {
                Some(Arrival::Request(request, afterwards)) => self.admit(request, afterwards),
                Some(Arrival::Dead(error)) => self.mourn(&error),
                None => break,
            }
        }
    }

    /// Handles what there is room for. The rest is the next turn's.
    pub(super) fn work(&mut self) {
        let is_something = !self.agenda.tasks.is_empty();
        let (mut left, mut is_held_up, mut is_patient_served) = (MAX_TURN, is_something, false);
        // Who is patient is not passed over for ever, however much others ask for: where the last
        // turn had no room for them, one of them goes first in this turn, and others in the next.
        if self.agenda.patience_is_over
            && self.has_room()
            && let Some(task) = self.agenda.next_patient()
        {
            self.perform(task);
            left -= 1;
            is_patient_served = true;
        }
        while left > 0
            && self.has_room()
            && let Some(task) = self.agenda.tasks.pop_front()
        {
            is_held_up = false;
            match self.place(&task) {
                Place::First => {
                    self.perform(task);
                    left -= 1;
                }
                Place::Behind => self.agenda.patient.push_back(task),
                Place::Last => self.agenda.last.push_back(task),
            }
        }
        while left > 0
            && self.has_room()
            && let Some(task) = self.agenda.next_patient()
        {
            self.perform(task);
            left -= 1;
            is_patient_served = true;
        }
        self.agenda.patience_is_over = self.agenda.has_patient() && !is_patient_served;
        self.agenda.is_held_up = is_held_up;
    }

    /// Where something stands, by what was made for who asks not long ago.
    fn place(&self, task: &TurnTask) -> Place {
        match task {
            TurnTask::Begin(exchange) | TurnTask::Handle(exchange) => {
                self.spending.place(exchange, self.app.proxies())
            }
            TurnTask::Resume(..) => Place::First,
        }
    }

    fn perform(&mut self, task: TurnTask) {
        match task {
            TurnTask::Begin(exchange) => self.begin(exchange),
            TurnTask::Handle(exchange) => {
                self.agenda.bodies_bytes -= exchange.content.len();
                self.handle(exchange);
            }
            TurnTask::Resume(exchange, resume) => {
                let reply = self.app.resume(resume);
                self.answer(exchange, reply);
            }
        }
    }
}
