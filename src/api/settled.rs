//! When a key is forgotten under which a message was sent: once a day has passed by both clocks.
//!
//! The store compares times of day, and knows of no step between them. So it is not told the time
//! of day, but one that is so low that nothing is over by it that may have been sent within the day
//! that the process has seen last, or before it began.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;
use crate::store::RETRY_LIFETIME;
use crate::sys::Reading;

/// What was sent within so much time is one entry, so that there are some two dozen at most. As much
/// longer than it has to be something may be remembered.
const SPAN: Duration = Duration::from_hours(1);

/// [`RETRY_LIFETIME`] in milliseconds.
const LIFETIME: u64 = RETRY_LIFETIME.as_secs() * 1000;

/// How far the clock may be ahead at a start without a key being forgotten early, in milliseconds: by
/// more than any time zone, in which a machine's own clock may be kept.
const DOUBT: u64 = LIFETIME;

/// At which times of day messages were sent lately.
#[derive(Debug)]
pub(super) struct Sendings(VecDeque<Span>);

#[derive(Debug)]
struct Span {
    /// By the clock that only goes on.
    first: Duration,
    last: Duration,
    /// The lowest time of day that something was sent at.
    lowest: Timestamp,
}

impl Sendings {
    /// Of a server that begins now. What was sent in the day before `settled`, the last time that is
    /// known of its store, may be of the last day, as the clock may be ahead; but not by more than
    /// [`DOUBT`]. So a server that is started each day forgets keys all the same.
    pub(super) fn new(at: Reading, settled: Option<Timestamp>) -> Sendings {
        let believed = at.now.millis().saturating_sub(DOUBT);
        let settled = settled.map_or(believed, |settled| settled.millis().max(believed));
        let lowest = settled.saturating_sub(LIFETIME - 1);
        let lowest = Timestamp::from_millis(lowest);
        Sendings([Span { first: at.elapsed, last: at.elapsed, lowest }].into())
    }

    /// A message is sent under a key.
    pub(super) fn note(&mut self, at: Reading) {
        while self.0.front().is_some_and(|span| !span.is_of_today(at)) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some(span) if at.elapsed.saturating_sub(span.first) < SPAN => {
                span.last = span.last.max(at.elapsed);
                span.lowest = span.lowest.min(at.now);
            }
            _ => {
                let (first, last, lowest) = (at.elapsed, at.elapsed, at.now);
                self.0.push_back(Span { first, last, lowest });
            }
        }
    }

    /// The time of day by which the store is to decide what is over.
    pub(super) fn settled(&self, at: Reading) -> Timestamp {
        let today = self.0.iter().filter(|span| span.is_of_today(at));
        let Some(lowest) = today.map(|span| span.lowest).min() else { return at.now };
        let not_over = lowest.millis().saturating_add(LIFETIME - 1);
        at.now.min(Timestamp::from_millis(not_over))
    }
}

impl Span {
    /// Whether something of it was sent within the day that was seen last.
    fn is_of_today(&self, at: Reading) -> bool {
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
    fn a_start_is_no_new_day() {
        // Nothing happened for forty days before it.
        let began = at(BEGUN + 40 * DAY, 0);
        let sendings = Sendings::new(began, Some(Timestamp::from_millis(BEGUN)));
        assert_eq!(sendings.settled(began).millis(), BEGUN + 39 * DAY, "but for a day");
        let sendings =
            Sendings::new(began, Some(Timestamp::from_millis(began.now.millis() - HOUR)));
        assert_eq!(sendings.settled(began).millis(), began.now.millis() - HOUR);
        let sendings = Sendings::new(began, Some(began.now));
        assert_eq!(sendings.settled(began), began.now);
    }

    #[test]
    fn it_is_the_time_of_day_unless_that_has_jumped() {
        let mut sendings = Sendings::new(at(BEGUN, 0), None);
        let settled =
            |sendings: &Sendings, now, elapsed| sendings.settled(at(now, elapsed)).millis();
        assert_eq!(settled(&sendings, BEGUN, 0), BEGUN - DAY, "the clock may be ahead");
        assert_eq!(settled(&sendings, BEGUN + DAY, DAY), BEGUN + DAY);
        // Something is sent each hour for three days.
        for hour in 0..72 {
            sendings.note(at(BEGUN + hour * HOUR, hour * HOUR));
            assert!(sendings.0.len() <= 26, "{}", sendings.0.len());
        }
        let (now, elapsed) = (BEGUN + 71 * HOUR, 71 * HOUR);
        // What was sent 24 hours ago is over, and nothing later, whatever the clock says.
        for now in [now, now + 365 * DAY] {
            let over = settled(&sendings, now, elapsed).min(now) - DAY;
            assert!((BEGUN + 46 * HOUR..BEGUN + 48 * HOUR).contains(&over), "{over}");
        }
        assert_eq!(settled(&sendings, BEGUN, elapsed), BEGUN, "set back");
    }
}
