//! The real binary, as its operator and its clients see it: started in a directory of its own, used
//! over loopback, and stopped, killed and started again.
//!
//! No test sleeps and hopes: each waits for a condition with a deadline.

#![cfg(test)]

mod access_log;
mod admin;
mod asked;
mod attempts;
mod backup;
mod bodies;
mod busy;
mod client;
mod concurrency;
#[path = "../contract/mod.rs"]
mod contract;
mod cors;
mod crash;
mod docs_check;
mod export;
#[path = "../extent/mod.rs"]
mod extent;
mod files;
mod fixtures;
mod framing;
mod hang;
mod hashing;
mod idle;
mod limits;
mod long_poll;
mod memory;
mod moderation;
mod nobody;
mod paging;
mod parameters;
mod pipelining;
mod quotas;
mod readonly;
mod reference;
mod request_ids;
mod resets;
mod restart;
mod restores;
mod retries;
mod same_peer;
mod scans;
mod secret;
mod server;
mod service;
mod sessions;
mod signals;
mod stage;
mod startup;
mod storm;
#[expect(dead_code, reason = "tests/disks uses all of it")]
#[path = "../disks/strace.rs"]
mod strace;
mod streams;
mod terminal;
mod transcript;
mod transfer;
mod turnstile;
mod upkeep;
mod wire;
