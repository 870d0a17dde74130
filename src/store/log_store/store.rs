//! The store itself: its parts, and its end.

use std::sync::Arc;

use super::lock::Lock;
use super::view::View;
use crate::store::codec::DecodeError;
use crate::store::error::StoreError;
use crate::store::free_space::FreeSpace;
use crate::store::log::Log;
use crate::store::log::frame::Frame;
use crate::store::record::LogRecord;

/// Accounts and messages on disk, in one directory:
///
/// * `log/`: all data
/// * `index/`: sled; can be deleted while the server is stopped
/// * `index.seal`: after a clean stop, the checksums of the index's files
/// * `LOCK`: held by the process that has the store open
#[derive(Debug)]
pub struct LogStore {
    pub(super) log: Log,
    pub(super) view: View,
    pub(super) free_space: FreeSpace,
    /// Dropped last.
    pub(super) _lock: Arc<Lock>,
}

impl Drop for LogStore {
    /// Writes the synced records to the index, so that the next start need not catch up.
    fn drop(&mut self) {
        let told = if self.log.is_synced() { self.view.apply(1) } else { Ok(()) };
        if let Err(e) = told.and_then(|()| self.view.index.close()) {
            ::log::warn!("{e}");
        }
    }
}

pub(super) fn decode(log: &Log, frame: &Frame<'_>) -> Result<LogRecord, StoreError> {
    LogRecord::decode(frame.payload).map_err(|error: DecodeError| match error.newer() {
        None => log.damage_at(frame.stamp.position, "a record is malformed"),
        Some(what) => StoreError::Refused(format!(
            "the log holds {what}: it was written by a newer version of veche"
        )),
    })
}

#[cfg(test)]
impl LogStore {
    /// Makes segments end at this length.
    pub(in crate::store) fn end_segments_at(&mut self, bytes: u64) {
        self.log.segment_bytes = bytes;
    }
}
