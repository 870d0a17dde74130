//! What the loop does for requests that wait for something to come.
//!
//! They are looked after behind the turn's sync, or before anything else is handled in a turn: what
//! they see is durable, as what everybody else is shown.

use std::time::{Duration, Instant};

use super::{Loop, MAX_TURN_BYTES};
use crate::api::Reply;
use crate::api::wait::Wait;
use crate::http::connections::acceptor::Arrival;
use crate::http::requests::exchange::{Exchange, Persistence};
use crate::http::requests::parking::{Due, Parked, ParkingFull};
use crate::problem::Problem;

/// Those who are looked after at once at most, so that with thousands of them other requests do not
/// wait for all.
const MAX_WOKEN: usize = 256;
/// Bytes of replies with which those left from the last turn give way to other requests.
const MAX_WOKEN_BYTES: usize = MAX_TURN_BYTES / 2;
/// After how many seconds who finds no room to wait may ask again: some wait always ends soon.
const RETRY_AFTER_SECONDS: u64 = 1;

impl Loop {
    /// The next request, once there is one, or something else to do.
    pub(super) fn wait(&self) -> Option<Arrival> {
        let is_due = self.parking.is_due() || self.has_to_stream();
        // What was refused behind the last turn's sync is answered in the next.
        let is_ready = self.has_tasks() || !self.replies.is_empty();
        if is_ready || is_due || self.app.has_failed() {
            return None;
        }
        let looks = [self.next_look_at_streams(), self.next_look_at_clock()];
        match self.parking.next_deadline().into_iter().chain(looks.into_iter().flatten()).min() {
            None => self.acceptor.wait(),
            Some(deadline) => {
                self.acceptor.wait_for(deadline.saturating_duration_since(Instant::now()))
            }
        }
    }

    /// Has a request wait.
    pub(super) fn park(&mut self, exchange: Exchange, mut wait: Wait) {
        // Whoever has asked for something else already waits no more.
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

    /// Looks after those for whom the last turn had no room. Nothing of this turn is handled yet.
    /// They have half of the bytes of a turn; where a reply of theirs took all of them, those who
    /// found no room because of it go first in the next one.
    pub(super) fn serve_leftover_parked(&mut self) {
        if self.parking.is_due() {
            self.serve_parked(MAX_WOKEN_BYTES);
        }
    }

    /// Looks after those for whom something has come in this turn, and whose time is over.
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
            // The client is message to go, and does. A worker that ended the connection would look for
            // it among all descriptors, and there can be thousands of these at once.
            exchange.persistence = Persistence::Closed;
        }
        self.answer(exchange, reply);
    }

    /// The store has failed: nobody will be message of anything more.
    pub(super) fn refuse_parked(&mut self) {
        self.parking.end_all();
        while let Some(Due::Look(parked) | Due::Answer(parked)) = self.parking.next_due() {
            self.answer_parked(parked, Problem::internal().into());
        }
    }

    /// How long a server that stops may wait for the next request.
    pub(super) fn drain_interval(&self, longest: Duration) -> Duration {
        if self.parking.is_due() || self.has_tasks() { Duration::ZERO } else { longest }
    }
}
