//! What holds whatever bytes come in: a module for each fuzz target, with a `check` that panics
//! where it does not hold.
//!
//! `fuzz_targets/` gives these functions to libFuzzer, and `tests/corpus` every input that is kept
//! in `corpus/`, on a stable toolchain. So they know nothing of a fuzzer.

#![expect(clippy::unwrap_used, reason = "a property that does not hold is a panic")]

pub mod paging;
pub mod record;
pub mod request;
pub mod settings;
mod stage;
pub mod token;
