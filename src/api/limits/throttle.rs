//! Token buckets, one for each key.
//!
//! The generic cell rate algorithm (ITU-T I.371) needs one time for each key: the time until which
//! what was taken would keep a server busy that serves at the limit's pace. The bucket is empty
//! once that is a whole window ahead. So the time of the next token is exact, no bucket has to be
//! filled as time passes, and a key whose time has passed is the same as a new one.

use std::hash::Hash;
use std::time::Duration;

use super::ledger::Ledger;
use super::quota::Quota;

/// The buckets of all keys, each of the same size.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    quota: Quota,
    /// The time until which each key keeps its server busy.
    busy: Ledger<K>,
}

/// A token that was taken, which can be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    until: Duration,
}

/// The level of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// The number of tokens.
    pub(super) remaining: u32,
    /// The time until there is one more.
    pub(super) more_in: Duration,
}

impl<K: Copy + Ord + Hash> Throttle<K> {
    pub(super) fn new(quota: Quota) -> Throttle<K> {
        Throttle { quota, busy: Ledger::new() }
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes a token out of the key's bucket. The error is the time until there is one.
    pub(super) fn take(&mut self, key: K, now: Duration) -> Result<(Taken, Level), Duration> {
        let interval = self.quota.interval();
        let ahead = self.ahead(key, now);
        let wait = (ahead + interval).saturating_sub(self.size());
        if !wait.is_zero() {
            return Err(wait);
        }
        self.busy.forget_some_until(now);
        let until = now + ahead + interval;
        self.busy.set(key, until);
        Ok((Taken { until }, self.level(ahead + interval)))
    }

    /// Gives a token back, less the part that has come back by itself.
    pub(super) fn give_back(&mut self, key: K, taken: Taken, now: Duration) {
        let left = taken.until.saturating_sub(now).min(self.quota.interval());
        let ahead = self.ahead(key, now).saturating_sub(left);
        if ahead.is_zero() {
            self.busy.remove(key);
        } else {
            self.busy.set(key, now + ahead);
        }
    }

    /// The time that corresponds to the tokens taken and not come back.
    fn ahead(&self, key: K, now: Duration) -> Duration {
        self.busy.get(key).unwrap_or_default().saturating_sub(now)
    }

    /// The time that corresponds to a full bucket. It may be less than a window, which need not be
    /// a multiple of the interval.
    fn size(&self) -> Duration {
        self.quota.interval() * self.quota.count()
    }

    fn level(&self, ahead: Duration) -> Level {
        let interval = self.quota.interval().as_nanos();
        let remaining = (self.size().saturating_sub(ahead)).as_nanos() / interval;
        // All tokens that will come back are whole but the first.
        let more_in = (ahead.as_nanos() + interval - 1) % interval + 1;
        Level {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            more_in: Duration::from_nanos(u64::try_from(more_in).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::ledger::MAX_KEYS;
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const NOW: Duration = Duration::from_secs(1_000_000);

    impl<K> Throttle<K> {
        pub(in crate::api::limits) fn keys(&self) -> usize {
            self.busy.len()
        }
    }

    fn three_a_minute() -> Throttle<u64> {
        Throttle::new(Quota::new(3, MINUTE).unwrap())
    }

    /// The time for which the bucket is empty.
    fn refused(throttle: &mut Throttle<u64>, key: u64, now: Duration) -> Duration {
        throttle.take(key, now).unwrap_err()
    }

    #[test]
    fn a_bucket_is_emptied_and_fills_evenly() {
        let mut throttle = three_a_minute();
        for remaining in [2, 1, 0] {
            let (_, level) = throttle.take(7, NOW).unwrap();
            assert_eq!(level, Level { remaining, more_in: MINUTE / 3 });
        }
        assert_eq!(refused(&mut throttle, 7, NOW), MINUTE / 3);
        let nearly = NOW + Duration::from_millis(19_999);
        assert_eq!(refused(&mut throttle, 7, nearly), Duration::from_millis(1));
        let (_, level) = throttle.take(7, NOW + MINUTE / 3).unwrap();
        assert_eq!(level, Level { remaining: 0, more_in: MINUTE / 3 });
        assert_eq!(refused(&mut throttle, 7, NOW + MINUTE / 2), MINUTE / 6);
        // Other keys have buckets of their own.
        assert_eq!(throttle.take(8, NOW).unwrap().1.remaining, 2);
        // It does not fill beyond its size.
        let later = NOW + 100 * MINUTE;
        assert_eq!(throttle.take(7, later).unwrap().1.remaining, 2);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut throttle = three_a_minute();
        let taken = [(); 3].map(|()| throttle.take(7, NOW).unwrap().0);
        throttle.give_back(7, taken[0], NOW);
        assert_eq!(throttle.take(7, NOW).unwrap().1.remaining, 0);
        refused(&mut throttle, 7, NOW);
    }

    #[test]
    fn what_came_back_by_itself_is_not_given_back_again() {
        let mut throttle = three_a_minute();
        let (taken, _) = throttle.take(7, NOW).unwrap();
        let later = NOW + MINUTE / 3;
        assert_eq!(throttle.take(7, later).unwrap().1.remaining, 2);
        throttle.give_back(7, taken, later);
        assert_eq!(throttle.take(7, later).unwrap().1.remaining, 1);
    }

    #[test]
    fn all_given_back_leaves_nothing_behind() {
        let mut throttle = three_a_minute();
        let taken = [(); 3].map(|()| throttle.take(7, NOW).unwrap().0);
        for taken in taken {
            throttle.give_back(7, taken, NOW);
        }
        assert_eq!(throttle.keys(), 0);
    }

    #[test]
    fn who_makes_up_keys_takes_no_more_memory_and_frees_nobody() {
        let mut throttle = three_a_minute();
        let attacked = u64::MAX;
        while throttle.take(attacked, NOW).is_ok() {}
        for key in 0..200_000 {
            throttle.take(key, NOW).unwrap();
            assert!(throttle.keys() <= MAX_KEYS);
        }
        assert_eq!(throttle.keys(), MAX_KEYS);
        refused(&mut throttle, attacked, NOW);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut throttle = three_a_minute();
        for key in 0..1000 {
            throttle.take(key, NOW).unwrap();
        }
        for key in 1000..2000 {
            throttle.take(key, NOW + MINUTE).unwrap();
        }
        assert_eq!(throttle.keys(), 1000);
    }

    /// A bucket as one would draw it: a level that rises as time goes by.
    struct Bucket {
        level: f64,
        at: f64,
    }

    proptest! {
        #[test]
        fn it_is_a_token_bucket(
            count in 1..20u32,
            window in 1..100u64,
            pauses in prop::collection::vec((0..3u8, 0..20_000u64), 1..200),
        ) {
            let quota = Quota::new(count, Duration::from_secs(window)).unwrap();
            let mut throttle = Throttle::new(quota);
            let mut buckets = HashMap::new();
            let (mut now, size) = (NOW, f64::from(count));
            let pace = 1.0 / quota.interval().as_secs_f64();
            for (key, pause) in pauses {
                now += Duration::from_millis(pause);
                let at = now.as_secs_f64();
                let bucket = buckets.entry(key).or_insert(Bucket { level: size, at });
                bucket.level = size.min(bucket.level + (at - bucket.at) * pace);
                bucket.at = at;
                // What the model's rounding leaves open may be either.
                let nearly = (bucket.level - 1.0).abs() < 1e-6;
                match throttle.take(key, now) {
                    Ok((_, level)) => {
                        prop_assert!(bucket.level >= 1.0 || nearly, "{}", bucket.level);
                        bucket.level -= 1.0;
                        let off = f64::from(level.remaining) - bucket.level.floor();
                        prop_assert!(off.abs() < 1.5);
                    }
                    Err(wait) => {
                        prop_assert!(bucket.level < 1.0 || nearly, "{}", bucket.level);
                        let expected = (1.0 - bucket.level) / pace;
                        prop_assert!((wait.as_secs_f64() - expected).abs() < 1e-3);
                        let nearly = now + wait.saturating_sub(Duration::from_nanos(1));
                        let mut clone = Throttle::new(quota);
                        clone.busy.set(key, throttle.busy.get(key).unwrap());
                        prop_assert!(clone.take(key, nearly).is_err());
                        prop_assert!(clone.take(key, now + wait).is_ok());
                    }
                }
            }
        }
    }
}
