//! Random choices that a seed repeats.

use std::env;

/// `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    /// From `VECHE_TEST_SEED`, or the one given. It is printed with what fails.
    pub(crate) fn new(default: u64) -> Random {
        let seed = env::var("VECHE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(default);
        println!("VECHE_TEST_SEED={seed}");
        Random(seed)
    }

    /// A fixed sequence.
    pub(crate) fn of(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True with this chance in percent.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
