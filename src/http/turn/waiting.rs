//! Long polls in a turn.
//!
//! Their pages are read after the turn's sync, or before a turn handles anything else, so that they
//! show only durable messages.

use std::time::{Duration, Instant};

use super::{Loop, MAX_TURN_BYTES};
use crate::api::Reply;
use crate::api::wait::Wait;
use crate::http::connections::acceptor::Arrival;
use crate::http::requests::exchange::{Exchange, Persistence};
use crate::http::requests::parking::{Due, Parked, ParkingFull};
use crate::problem::Problem;

/// Waiting requests that are served at once, at most, so that other requests do not wait for
/// thousands of them.
const MAX_WOKEN: usize = 256;
/// Bytes of replies from which on those left from the last turn give way to other requests.
const MAX_WOKEN_BYTES: usize = MAX_TURN_BYTES / 2;
/// `Retry-After` of a request that finds no room to wait, in seconds: some wait always ends soon.
const RETRY_AFTER_SECONDS: u64 = 1;

impl Loop {
    /// Waits for a request or other work. Returns the request, if there is one.
    pub(super) fn wait(&self) -> Option<Arrival> {
        let is_due = self.parking.is_due() || self.has_to_stream();
        // Replies that were made after the last turn's sync are released by the next turn.
        let is_ready = self.has_tasks() || !self.replies.is_empty();
        if is_ready || is_due || self.app.has_failed() {
            return None;
        }
        let looks = [self.next_stream_check(), self.next_clock_check()];
        match self.parking.next_deadline().into_iter().chain(looks.into_iter().flatten()).min() {
            None => self.acceptor.wait(),
            Some(deadline) => {
                self.acceptor.wait_for(deadline.saturating_duration_since(Instant::now()))
            }
        }
    }

    /// Parks a request.
    pub(super) fn park(&mut self, exchange: Exchange, mut wait: Wait) {
        // Its client has sent another request already.
        if self.draining || self.in_flight.has_next(exchange.peer()) {
            let reply = self.app.give_up(&mut wait);
            return self.answer(exchange, reply);
        }
        let parked = self.parking.park(exchange.peer(), exchange, wait, Instant::now());
        if let Err((exchange, full)) = parked {
            self.metrics.refuse("parked");
            let why = match full {
                ParkingFull::ForUser => "too many requests of this user wait already",
                ParkingFull::ForAll => "too many requests wait already",
            };
            self.answer(exchange, Problem::too_many_requests(why, RETRY_AFTER_SECONDS).into());
        }
    }

    /// Serves waiting requests for which the last turn had no room, before anything of this turn is
    /// handled. They have half of a turn's bytes; if one reply took all of them, the tasks that
    /// found no room because of it go first in the next turn.
    pub(super) fn serve_leftover_parked(&mut self) {
        if self.parking.is_due() {
            self.serve_parked(MAX_WOKEN_BYTES);
        }
    }

    /// Serves the waiting requests for which there are messages from this turn, or whose wait is
    /// over.
    pub(super) fn wake_parked(&mut self) {
        for (topic, id) in self.app.happened() {
            self.parking.wake(topic, id);
        }
        let revoked = self.app.revoked();
        if !revoked.is_empty() {
            self.parking.end_revoked(&revoked);
            for id in revoked
                .into_iter()
                .flat_map(|revoked| self.streams.of_revoked(revoked))
                .collect::<Vec<_>>()
            {
                self.end_stream(id);
            }
        }
        if self.parking.next_deadline().is_some() {
            self.parking.expire(Instant::now());
        }
        self.expire_tokens();
        if self.parking.is_due() {
            self.serve_parked(MAX_TURN_BYTES);
        }
        self.metrics.set_parked(self.parking.len());
    }

    fn serve_parked(&mut self, max_bytes: usize) {
        for _ in 0..MAX_WOKEN {
            if self.reply_bytes >= max_bytes {
                return;
            }
            match self.parking.next_due() {
                Some(Due::Look(mut parked)) => match self.app.look(&mut parked.wait) {
                    Some(reply) => self.answer_parked(parked, reply),
                    None => self.parking.wait_on(parked),
                },
                Some(Due::Answer(mut parked)) => {
                    let reply = self.app.give_up(&mut parked.wait);
                    self.answer_parked(parked, reply);
                }
                None => return,
            }
        }
    }

    pub(super) fn answer_parked(&mut self, parked: Parked<Exchange>, reply: Reply) {
        let Parked { mut exchange, since, close_after, .. } = parked;
        exchange.parked = since.elapsed();
        if (close_after || self.draining) && !exchange.close {
            // The client closes the connection when it is told to. A worker would have to find it
            // among all descriptors, and there can be thousands of these at once.
            exchange.persistence = Persistence::Closed;
        }
        self.answer(exchange, reply);
    }

    /// Answers all waiting requests with 500, as the store has failed.
    pub(super) fn refuse_parked(&mut self) {
        self.parking.end_all();
        while let Some(Due::Look(parked) | Due::Answer(parked)) = self.parking.next_due() {
            self.answer_parked(parked, Problem::internal().into());
        }
    }

    /// Longest time that a stopping server may wait for the next request.
    pub(super) fn drain_interval(&self, longest: Duration) -> Duration {
        if self.parking.is_due() || self.has_tasks() { Duration::ZERO } else { longest }
    }
}
