//! The durable store: a write-ahead log, and sled as the index over it.
//!
//! A write goes to the log's current group and to the table of newest messages. `sync` makes the
//! group durable. Every [`view::APPLY_EVERY`] records the index is updated. So the table has
//! everything that the index lacks, and reads ask the table first, and then the index, which has
//! positions in the log, for older data.

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
