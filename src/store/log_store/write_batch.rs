//! Write batches of a log: all of a batch's records take effect, or none.
//!
//! A crash may leave the beginning of a batch and not its end. So at a start the records of a batch
//! are held back until its last one has been read, and where the log ends before that one, it ends
//! before the batch.

use crate::store::audit::MAX_BATCH_ENTRIES;
use crate::store::log::ScanEnd;
use crate::store::log::frame::Stamp;
use crate::store::record::LogRecord;

/// The records of a batch whose last one has not been read yet.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    held: Vec<(LogRecord, Stamp)>,
}

impl OpenBatch {
    /// Takes the next record of the log, and returns the records of the batch that it completes, or
    /// none. Fails for a batch longer than any that is written.
    pub(super) fn take(
        &mut self,
        logged: LogRecord,
        stamp: Stamp,
    ) -> Result<impl Iterator<Item = (LogRecord, Stamp)>, &'static str> {
        let continues = logged.continues;
        self.held.push((logged, stamp));
        if self.held.len() > MAX_BATCH_ENTRIES + 1 {
            return Err("a write batch has too many records");
        }
        let complete = if continues { 0 } else { self.held.len() };
        Ok(self.held.drain(..complete))
    }

    /// The end of the log without the batch that is open, given the end of what was read.
    pub(super) fn end_before(&self, end: ScanEnd) -> ScanEnd {
        match self.held.first() {
            Some((_, Stamp { position, lsn, .. })) => {
                ScanEnd { position: *position, next_lsn: *lsn }
            }
            None => end,
        }
    }
}
