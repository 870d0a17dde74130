//! The store that lasts: a write-ahead log, and sled as the index over it.
//!
//! A write goes into the log's current group and into the table of newest messages; `sync` makes
//! the group durable; every [`view::APPLY_EVERY`] records the index is told. So the table holds all
//! that the index does not know yet, and readers ask the table first and the index, which leads
//! back to the log, for what is older.

pub(super) mod check;
pub(super) mod compact;
mod engine;
mod entries;
mod lock;
mod mending;
mod opening;
mod reading;
pub(super) mod store;
mod view;
mod write_batch;

#[cfg(test)]
mod tests;
