//! The real binary, as its operator and its clients see it: started in a directory of its own,
//! talked to over loopback, and stopped, killed and started again.
//!
//! Nothing here sleeps for luck: what takes time is waited for as a condition with a deadline.

#![cfg(test)]

mod access_log;
mod admin;
mod asked;
mod attempts;
mod backup;
mod bodies;
mod client;
mod concurrency;
#[path = "../contract/mod.rs"]
mod contract;
mod cors;
mod crash;
mod docs_check;
mod export;
mod framing;
mod idle;
mod limits;
mod long_poll;
mod moderation;
mod paging;
mod parameters;
mod pipelining;
mod quotas;
mod reference;
mod request_ids;
mod resets;
mod restart;
mod retries;
mod secret;
mod server;
mod service;
mod sessions;
mod signals;
mod stage;
mod startup;
mod storm;
mod streams;
mod terminal;
mod transcript;
mod transfer;
mod turnstile;
mod upkeep;
mod wire;
