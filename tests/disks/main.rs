//! What disks do to a store, and kills: power cuts, calls that fail, a disk that is full.
//!
//! The real binary runs under `strace`, which tells what it asks of the disk and in which order,
//! or fails a call of ours. Without `strace` these tests say so and pass, but not in CI.

#![cfg(test)]

mod clients;
mod disk;
#[path = "../extent/mod.rs"]
mod extent;
mod faults;
mod full;
mod kills;
mod powercut;
mod random;
mod retries;
#[expect(dead_code, reason = "tests/process uses all of it")]
#[path = "../process/server.rs"]
mod server;
mod stage;
mod states;
mod strace;
mod trace;
#[expect(dead_code, reason = "nothing here measures time")]
#[path = "../process/turnstile.rs"]
mod turnstile;
mod verdict;
