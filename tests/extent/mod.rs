//! The extent of the tests. `cargo test` does enough of everything to show what is broken;
//! `VECHE_TESTS=long cargo test` runs the same tests with larger numbers, to find rare failures and
//! to reach the numbers that the documents promise.

use std::env;

/// The variable that selects the run.
const VARIABLE: &str = "VECHE_TESTS";
const LONG: &str = "long";

/// A number, or another value, for a short run and for a long one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent<T> {
    pub(crate) short: T,
    pub(crate) long: T,
}

impl<T: Copy> Extent<T> {
    /// The value for this run.
    pub(crate) fn now(&self) -> T {
        if is_long() { self.long } else { self.short }
    }
}

/// Returns whether this is the long run.
fn is_long() -> bool {
    match env::var_os(VARIABLE) {
        None => false,
        Some(value) if value.is_empty() => false,
        Some(value) => {
            assert!(value == LONG, "{VARIABLE} can be {LONG} only, not {}", value.display());
            true
        }
    }
}
