//! Expiry of tokens whose requests or streams are held.
//!
//! A deadline is a span of time, but a token expires by the time of day. That can be set, and
//! advances while the machine sleeps. So held requests and streams are compared with the time of
//! day too, at regular times.

use std::time::{Duration, Instant};

use super::Loop;

/// Time between these checks. A request or stream is ended at most a second late, if a turn takes
/// half a second.
const CLOCK_INTERVAL: Duration = Duration::from_millis(500);

impl Loop {
    /// Time of the next check, if anything is held.
    pub(super) fn next_clock_check(&self) -> Option<Instant> {
        let holds = self.parking.len() > 0 || !self.streams.is_empty();
        holds.then(|| Instant::now() + CLOCK_INTERVAL)
    }

    /// Ends held requests and streams whose tokens have expired.
    pub(super) fn expire_tokens(&mut self) {
        let now = self.app.clock().now();
        self.parking.expire_tokens(now);
        for id in self.streams.take_expired(now) {
            self.end_stream(id);
        }
    }
}

#[cfg(test)]
mod tests;
