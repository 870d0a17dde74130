//! Small state by key: a value for each key, until another one replaces or removes it.
//!
//! A file for each keyspace or group of them, with the types and the byte layouts of their keys and
//! values; [`keyspaces`] lists them all.

pub(super) mod account;
pub(super) mod block;
pub(super) mod entry_map;
pub(super) mod keyspaces;
pub(super) mod past_store_id;
pub(super) mod read_mark;
pub(super) mod reader;
pub(super) mod registration;
pub(super) mod retry;
pub(super) mod session;
#[cfg(test)]
mod tests;
