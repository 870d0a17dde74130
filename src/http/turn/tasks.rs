//! Tasks of the loop.
//!
//! Everything that becomes a reply is in one queue: requests that have arrived, those whose body
//! was read, and those whose job is finished. Requests of clients that received much a short time
//! ago are in separate queues after it. So no request waits for ever, and the turn's limits are
//! checked in one place. The queues are bounded by the connections, each of which has one request
//! in flight; the bytes of their bodies are limited too.

use std::collections::VecDeque;

use crate::api::Resume;
use crate::http::requests::exchange::Exchange;

/// A task, which ends with a reply or a wait.
pub(super) enum TurnTask {
    /// Begin a request.
    Begin(Exchange),
    /// Handle a request whose body was read.
    Handle(Exchange),
    /// Resume a request whose job is finished.
    Resume(Exchange, Resume),
}

/// Tasks to handle.
#[derive(Default)]
pub(super) struct TurnTasks {
    /// In the order of their arrival. A connection has at most one request in flight, and so at
    /// most one task.
    pub(super) normal: VecDeque<TurnTask>,
    /// Requests of networks that received much: handled after `normal`.
    pub(super) deferred: VecDeque<TurnTask>,
    /// Requests of tokens that received much: handled after all others.
    pub(super) last: VecDeque<TurnTask>,
    /// Bytes of bodies that workers have read, of all requests in the queues.
    pub(super) bodies_bytes: usize,
    /// True if the last turn had no room for a task of `normal`.
    pub(super) normal_starved: bool,
    /// True if the last turn had no room for a task of `deferred` or `last`.
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
