//! Round trips of the formats on disk: each function reads what `bytes` begin with and returns the
//! bytes that would be written for it, or nothing if they are refused.
//!
//! For `fuzz/` and `tests/corpus`, which compare the two. No part of the program calls this module;
//! the readers and writers themselves stay private.

use super::log::frame;
use super::record::LogRecord;
use crate::store::log::frame::FRAME_HEADER_BYTES;
use crate::store::log::segment::Header;
use crate::store::transfer::snapshot::Trailer;

/// All of `bytes` as a record.
#[must_use]
pub fn record(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut again = Vec::with_capacity(bytes.len());
    let LogRecord { record, continues } = LogRecord::decode(bytes).ok()?;
    record.encode(continues, &mut again);
    Some(again)
}

/// A record's frame.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<Vec<u8>> {
    let frame = frame::parse(bytes, 0)?;
    let lsn = frame.stamp.lsn;
    let before = u32::try_from(lsn - frame.group_start).ok()?;
    let mut again = Vec::with_capacity(FRAME_HEADER_BYTES + frame.payload.len());
    frame::encode(&mut again, 0, lsn, before, |out| out.extend(frame.payload));
    Some(again)
}

/// A segment's header.
#[must_use]
pub fn header(bytes: &[u8]) -> Option<Vec<u8>> {
    Header::parse(bytes.first_chunk()?).ok().map(|header| header.encode().to_vec())
}

/// A backup's end mark.
#[must_use]
pub fn trailer(bytes: &[u8]) -> Option<Vec<u8>> {
    Trailer::parse(bytes.first_chunk()?).ok().map(|trailer| trailer.encode().to_vec())
}
