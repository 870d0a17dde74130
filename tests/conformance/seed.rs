//! Reproducible random numbers.

use std::{env, thread};

use veche::sys::{self, SeededEntropy};

/// A sequence of numbers. Tells its seed when the test that uses it fails.
pub(crate) struct Random {
    seed: u64,
    entropy: SeededEntropy,
}

impl Random {
    /// From `VECHE_TEST_SEED`, or from `default`.
    pub(crate) fn new(default: u64) -> Random {
        let seed = env::var("VECHE_TEST_SEED").map_or(default, |seed| seed.parse().unwrap());
        Random { seed, entropy: SeededEntropy(seed) }
    }

    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        u64::from_le_bytes(sys::random(&mut self.entropy)) % end
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `0..end`; lower ones are likelier.
    pub(crate) fn low_below(&mut self, end: u64) -> u64 {
        let end = 1 + self.below(end);
        self.below(end)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = self.below(from.len() as u64);
        &from[usize::try_from(index).unwrap()]
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("again with VECHE_TEST_SEED={}", self.seed);
        }
    }
}
