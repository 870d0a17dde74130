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
use crate::http::requests::exchange::Exchange;

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
    pub(super) normal: VecDeque<TurnTask>,
    /// Those of networks in which somebody has had much not long ago: they wait behind others.
    pub(super) deferred: VecDeque<TurnTask>,
    /// Those of who has: they wait behind all others.
    pub(super) last: VecDeque<TurnTask>,
    /// Bytes of the bodies among all of them that workers have read.
    pub(super) bodies_bytes: usize,
    /// Whether the last turn had no room for any of the first ones.
    pub(super) normal_starved: bool,
    /// Whether it had none for any of the patient ones.
    pub(super) deferred_starved: bool,
}

impl TurnTasks {
    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty() || !self.last.is_empty()
    }

    pub(super) fn next_deferred(&mut self) -> Option<TurnTask> {
        self.deferred.pop_front().or_else(|| self.last.pop_front())
    }
}
