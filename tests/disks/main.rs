//! Effects of disks and kills on a store: power cuts, calls that fail, a full disk.
//!
//! The real binary runs under `strace`, which records its file system calls in order, or fails a
//! call. Without `strace` these tests say so and pass, except in CI.

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
