//! How much the tests do. `cargo test` does enough of everything to see what is broken;
//! `VECHE_TESTS=long cargo test` runs the same tests, and has them do it often enough to see what
//! is rare, and with as many as have been promised.

use std::env;

/// The variable that says which.
const VARIABLE: &str = "VECHE_TESTS";
const LONG: &str = "long";

/// How much there is of something in a short run and in a long one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent<T> {
    pub(crate) short: T,
    pub(crate) long: T,
}

impl<T: Copy> Extent<T> {
    /// How much it is now.
    pub(crate) fn now(&self) -> T {
        if is_long() { self.long } else { self.short }
    }
}

/// Whether this is the long run.
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
