//! The clock by which idempotency keys expire: a key is remembered for 24 h by both the time of day
//! and the monotonic clock.
//!
//! The store compares times of day, and cannot tell when the clock was set. So it is not given the
//! time of day, but a time that is low enough: by it, no key has expired that may have been used in
//! the last 24 h of the process, or in the 24 h before its start.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;
use crate::store::RETRY_LIFETIME;
use crate::sys::Reading;

/// The length of a period. Posts of a period share one entry, so that there are about two dozen of
/// them. A key may be remembered that much longer than it has to be.
const PERIOD: Duration = Duration::from_hours(1);

/// [`RETRY_LIFETIME`] in milliseconds.
const LIFETIME: u64 = RETRY_LIFETIME.as_secs() * 1000;

/// The most that the clock may be ahead at a start without a key expiring early, in milliseconds.
/// It is more than any time zone's offset, by which a machine's clock may be wrong.
const MAX_CLOCK_ERROR: u64 = LIFETIME;

/// The times of the posts under a key of the last 24 h, by period.
#[derive(Debug)]
pub(super) struct RetryClock(VecDeque<PostPeriod>);

/// The posts of a period.
#[derive(Debug)]
struct PostPeriod {
    /// The first post, by the monotonic clock.
    first: Duration,
    /// The last post, by the monotonic clock.
    last: Duration,
    /// The lowest time of day of a post.
    lowest: Timestamp,
}

impl RetryClock {
    /// The clock of a server that starts now. `settled` is the last time that is known of its
    /// store. Posts of the 24 h before it may be of the last 24 h, because the clock may be ahead,
    /// by [`MAX_CLOCK_ERROR`] at most. So keys expire also on a server that is started each day.
    pub(super) fn new(at: Reading, settled: Option<Timestamp>) -> RetryClock {
        let believed = at.now.millis().saturating_sub(MAX_CLOCK_ERROR);
        let settled = settled.map_or(believed, |settled| settled.millis().max(believed));
        let lowest = Timestamp::from_millis(settled.saturating_sub(LIFETIME - 1));
        RetryClock([PostPeriod { first: at.elapsed, last: at.elapsed, lowest }].into())
    }

    /// Records that a message is posted under a key now.
    pub(super) fn record_post(&mut self, at: Reading) {
        while self.0.front().is_some_and(|period| !period.is_recent(at)) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some(period) if at.elapsed.saturating_sub(period.first) < PERIOD => {
                period.last = period.last.max(at.elapsed);
                period.lowest = period.lowest.min(at.now);
            }
            _ => {
                let (first, last, lowest) = (at.elapsed, at.elapsed, at.now);
                self.0.push_back(PostPeriod { first, last, lowest });
            }
        }
    }

    /// The time that the store is given, to decide which keys have expired.
    pub(super) fn settled(&self, at: Reading) -> Timestamp {
        let recent = self.0.iter().filter(|period| period.is_recent(at));
        let Some(lowest) = recent.map(|period| period.lowest).min() else { return at.now };
        let before_expiry = lowest.millis().saturating_add(LIFETIME - 1);
        at.now.min(Timestamp::from_millis(before_expiry))
    }
}

impl PostPeriod {
    /// `true` if it has posts of the last 24 h, by the monotonic clock.
    fn is_recent(&self, at: Reading) -> bool {
        at.elapsed < self.last.saturating_add(RETRY_LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const DAY: u64 = 24 * HOUR;
    const BEGUN: u64 = 1_767_323_045_678;

    fn at(now: u64, elapsed: u64) -> Reading {
        let elapsed = Duration::from_millis(elapsed);
        Reading { now: Timestamp::from_millis(now), elapsed }
    }

    #[test]
    fn a_start_does_not_expire_keys() {
        // The last post was forty days earlier.
        let began = at(BEGUN + 40 * DAY, 0);
        let clock = RetryClock::new(began, Some(Timestamp::from_millis(BEGUN)));
        assert_eq!(clock.settled(began).millis(), BEGUN + 39 * DAY, "24 h before the start");
        let clock = RetryClock::new(began, Some(Timestamp::from_millis(began.now.millis() - HOUR)));
        assert_eq!(clock.settled(began).millis(), began.now.millis() - HOUR);
        let clock = RetryClock::new(began, Some(began.now));
        assert_eq!(clock.settled(began), began.now);
    }

    #[test]
    fn it_is_the_time_of_day_unless_the_clock_was_set() {
        let mut clock = RetryClock::new(at(BEGUN, 0), None);
        let settled = |clock: &RetryClock, now, elapsed| clock.settled(at(now, elapsed)).millis();
        assert_eq!(settled(&clock, BEGUN, 0), BEGUN - DAY, "the clock may be ahead");
        assert_eq!(settled(&clock, BEGUN + DAY, DAY), BEGUN + DAY);
        // A post each hour for three days.
        for hour in 0..72 {
            clock.record_post(at(BEGUN + hour * HOUR, hour * HOUR));
            assert!(clock.0.len() <= 26, "{}", clock.0.len());
        }
        let (now, elapsed) = (BEGUN + 71 * HOUR, 71 * HOUR);
        // Keys of 24 hours ago have expired, and none later, whatever the time of day.
        for now in [now, now + 365 * DAY] {
            let expired = settled(&clock, now, elapsed).min(now) - DAY;
            assert!((BEGUN + 46 * HOUR..BEGUN + 48 * HOUR).contains(&expired), "{expired}");
        }
        assert_eq!(settled(&clock, BEGUN, elapsed), BEGUN, "set back");
    }
}
