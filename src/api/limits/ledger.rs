//! A map from keys to times, with a limited number of keys.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// Most keys of a ledger. They take about 5 MB. A client that makes up keys displaces those with
/// the earliest times.
pub(super) const MAX_KEYS: usize = 50_000;
/// Most keys that are dropped with each write, once their time has passed. With more than one they
/// become fewer, and with few no write is slow.
const FORGOTTEN_AT_ONCE: usize = 2;

/// The time of each key. Times are since the moment that [`Clock::elapsed`] counts from.
///
/// [`Clock::elapsed`]: crate::sys::Clock::elapsed
#[derive(Debug)]
pub(super) struct Ledger<K> {
    times: HashMap<K, Duration>,
    /// The keys in order of time.
    order: BTreeSet<(Duration, K)>,
    capacity: usize,
}

impl<K: Copy + Ord + Hash> Ledger<K> {
    /// A ledger of [`MAX_KEYS`].
    pub(super) fn new() -> Ledger<K> {
        Ledger::with_capacity(MAX_KEYS)
    }

    fn with_capacity(capacity: usize) -> Ledger<K> {
        Ledger { times: HashMap::new(), order: BTreeSet::new(), capacity }
    }

    pub(super) fn get(&self, key: K) -> Option<Duration> {
        self.times.get(&key).copied()
    }

    /// Sets the time of a key. If the ledger is full, the key with the earliest time is dropped.
    pub(super) fn set(&mut self, key: K, time: Duration) {
        match self.times.insert(key, time) {
            Some(before) => {
                self.order.remove(&(before, key));
            }
            None if self.times.len() > self.capacity => {
                if let Some((_, earliest)) = self.order.pop_first() {
                    self.times.remove(&earliest);
                }
            }
            None => {}
        }
        self.order.insert((time, key));
    }

    pub(super) fn remove(&mut self, key: K) {
        if let Some(time) = self.times.remove(&key) {
            self.order.remove(&(time, key));
        }
    }

    /// Drops a few of the keys whose time is not after `now`.
    pub(super) fn forget_some_until(&mut self, now: Duration) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.order.first() {
                Some((time, key)) if *time <= now => self.remove(*key),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl<K> Ledger<K> {
        pub(in crate::api::limits) fn len(&self) -> usize {
            assert_eq!(self.times.len(), self.order.len());
            self.times.len()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, u64),
        Remove(u8),
        ForgetUntil(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..20u8, 0..50u64).prop_map(|(key, time)| Step::Set(key, time)),
            1 => (0..20u8).prop_map(Step::Remove),
            1 => (0..50u64).prop_map(Step::ForgetUntil),
        ]
    }

    proptest! {
        /// The model is a map that is searched as a whole.
        #[test]
        fn it_holds_the_latest(steps in prop::collection::vec(step(), 0..200)) {
            const CAPACITY: usize = 8;
            let mut ledger = Ledger::with_capacity(CAPACITY);
            let mut model = BTreeMap::new();
            let first = |model: &BTreeMap<u8, Duration>| {
                model.iter().map(|(key, time)| (*time, *key)).min()
            };
            for step in steps {
                match step {
                    Step::Set(key, time) => {
                        let time = Duration::from_secs(time);
                        if model.len() == CAPACITY && !model.contains_key(&key) {
                            model.remove(&first(&model).unwrap().1);
                        }
                        model.insert(key, time);
                        ledger.set(key, time);
                    }
                    Step::Remove(key) => {
                        model.remove(&key);
                        ledger.remove(key);
                    }
                    Step::ForgetUntil(now) => {
                        let now = Duration::from_secs(now);
                        for _ in 0..FORGOTTEN_AT_ONCE {
                            if let Some((_, key)) = first(&model).filter(|(time, _)| *time <= now) {
                                model.remove(&key);
                            }
                        }
                        ledger.forget_some_until(now);
                    }
                }
                prop_assert_eq!(ledger.len(), model.len());
                for key in 0..20 {
                    prop_assert_eq!(ledger.get(key), model.get(&key).copied());
                }
            }
        }
    }
}
