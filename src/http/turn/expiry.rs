//! What the loop does for tokens that expire while a request of theirs is held.
//!
//! A deadline knows how much time is to pass, and a token expires by the time of day, which can be
//! set, or go on while the machine sleeps. So what is held is compared with that as well, whether
//! anything happens or not.

use std::time::{Duration, Instant};

use super::Loop;

/// How often the time of day is looked at while something is held. What is ended for it is late by
/// a second at most, should a turn take half of that.
const CLOCK_INTERVAL: Duration = Duration::from_millis(500);

impl Loop {
    /// When the time of day is to be looked at, whatever else happens until then.
    pub(super) fn next_look_at_clock(&self) -> Option<Instant> {
        let holds = self.parking.len() > 0 || !self.streams.is_empty();
        holds.then(|| Instant::now() + CLOCK_INTERVAL)
    }

    /// Ends what is held for tokens that have expired.
    pub(super) fn expire_tokens(&mut self) {
        let now = self.app.clock().now();
        self.parking.expire_tokens(now);
        for id in self.streams.expired(now) {
            self.end_stream(id);
        }
    }
}

#[cfg(test)]
mod tests;
