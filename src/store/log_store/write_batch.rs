//! Records that are one with what follows them in the log: all of them are there, or none is.
//!
//! A crash may leave the beginning of a group of records and not its end. So at a start entries that
//! are joined to the record behind them are held back until that has been read too, and where the
//! log ends before it does, it ends before them.

use crate::store::audit::MAX_JOINED;
use crate::store::log::ScanEnd;
use crate::store::log::frame::Stamp;
use crate::store::record::Record;

/// What was read and is not whole yet.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    held: Vec<(Record, Stamp)>,
}

impl OpenBatch {
    /// The next record of the log: what it makes whole, with it, or nothing so far. The reason, if
    /// nobody writes so much as one.
    pub(super) fn take(
        &mut self,
        record: Record,
        stamp: Stamp,
    ) -> Result<impl Iterator<Item = (Record, Stamp)>, &'static str> {
        let is_joined = matches!(record, Record::Entry { joined: true, .. });
        self.held.push((record, stamp));
        if self.held.len() > MAX_JOINED + 1 {
            return Err("too many records are one");
        }
        let whole = if is_joined { 0 } else { self.held.len() };
        Ok(self.held.drain(..whole))
    }

    /// Where the log ends that was read up to `end`.
    pub(super) fn end_before(&self, end: ScanEnd) -> ScanEnd {
        match self.held.first() {
            Some((_, Stamp { position, lsn, .. })) => {
                ScanEnd { position: *position, next_lsn: *lsn }
            }
            None => end,
        }
    }
}
