//! Properties that hold for any input: a module for each fuzz target, with a `check` that panics if
//! its property does not hold.
//!
//! `fuzz_targets/` gives these functions to libFuzzer, and `tests/corpus` runs them on every input
//! kept in `corpus/`, on a stable toolchain. So they do not depend on a fuzzer.

#![expect(clippy::unwrap_used, reason = "a property that does not hold is a panic")]

pub mod paging;
pub mod record;
pub mod request;
pub mod settings;
mod stage;
pub mod token;
