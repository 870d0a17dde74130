//! The write-ahead log: every change, in order, in segment files.
//!
//! A segment is a header and frames; a frame is a checksum, a length, its place in the group it
//! was synced with, its sequence number (LSN) and a payload. The bytes of all segments, headers
//! included, form one address space: a *position* is an offset in it, and a segment's file is
//! named after the position it starts at.
//!
//! A group is written and synced as a whole before the next one is begun. So only the newest
//! group can be torn by a crash; a bad frame with anything of a later group after it was
//! acknowledged once, and such a log is not opened, rather than cut. A frame of the newest group in
//! which a single bit is wrong is corrected ([`repair`]).
//!
//! The log handles bytes and files; `record` gives payloads their meaning.

pub(super) mod frame;
pub(super) mod repair;
pub(super) mod segment;
pub(super) mod sequence;
pub(super) mod stream;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::dirs;
use super::error::StoreError;
use crate::model::StoreId;
use crate::store::log::frame::{FRAME_HEADER_BYTES, Frame, MAX_FRAME_BYTES, Stamp, u64_at};
use crate::store::log::segment::{HEADER_BYTES, Segment};

/// A segment that has reached this length is followed by a new one.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes that a scan reads first. They are enough for a lookup, which begins at most 16 KiB and a
/// record before the target. Each further read is twice as long.
const SCAN_BYTES_MIN: usize = 32 * 1024;
/// Most bytes that a scan reads at once.
const SCAN_BYTES_MAX: usize = 1024 * 1024;
/// Two records are read with one call when no more than this lies between them: reading 16 KiB
/// that are cached costs less than a second call.
const READ_GAP_BYTES: u64 = 16 * 1024;
/// Bytes after the start of a run's last record that are read with the run, as the record's length
/// is unknown.
const READ_AHEAD_BYTES: u64 = 512;

/// The end of a scan. Unless the visitor stopped it, the bytes after `position` are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanEnd {
    pub(super) position: u64,
    pub(super) next_lsn: u64,
}

/// The log of one store. One writer, no readers beside it.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    store_id: StoreId,
    /// Never empty, in order of position.
    segments: Vec<Segment>,
    next_lsn: u64,
    /// The current group's frames, not yet written.
    group: Vec<u8>,
    group_len: u32,
    /// Set by the first write or sync that fails: the state of the disk is unknown from then on.
    failed: bool,
    /// [`SEGMENT_BYTES`], or less in a test.
    pub(super) segment_bytes: u64,
}

impl Log {
    /// The position of the first frame of all.
    pub(super) const START: u64 = HEADER_BYTES as u64;

    /// Begins a log in `dir`, which is made.
    pub(super) fn create(dir: &Path, store_id: StoreId) -> Result<Log, StoreError> {
        dirs::create_dir_synced(dir)?;
        let first = Segment::create(dir, store_id, 0, 0)?;
        Ok(Log::over(dir, store_id, vec![first]))
    }

    /// Opens the log in `dir`, if there is one, and checks that its segments follow each other. It
    /// does not read the frames: a caller that appends must first [`Log::scan`] to the end and
    /// [`Log::recover`].
    pub(super) fn open(dir: &Path) -> Result<Option<Log>, StoreError> {
        let listing = match segment::files(dir) {
            Ok(listing) => listing,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::failed("listing", dir, e)),
        };
        let mut segments: Vec<Segment> = Vec::new();
        let mut store_id = None;
        for (index, (base, path)) in listing.iter().enumerate() {
            let last = index + 1 == listing.len();
            let Some((segment, its_store_id)) = Segment::open(*base, path, last)? else {
                // A crash between creating the file and syncing its header: nothing was in it.
                fs::remove_file(path).map_err(|e| StoreError::failed("removing", path, e))?;
                dirs::sync_dir(dir)?;
                continue;
            };
            if *store_id.get_or_insert(its_store_id) != its_store_id {
                return Err(segment.damage(*base, "the segment belongs to another store"));
            }
            let expected = segments.last().map_or(0, Segment::end);
            if *base != expected {
                let before = segments.last().unwrap_or(&segment);
                let what = "the next segment does not start where this one ends";
                return Err(before.damage(expected.min(*base), what));
            }
            segments.push(segment);
        }
        Ok(store_id.map(|store_id| Log::over(dir, store_id, segments)))
    }

    /// Returns whether there is a log in `dir`, without changing anything. A segment that is
    /// shorter than its header does not count.
    pub(super) fn exists(dir: &Path) -> Result<bool, StoreError> {
        let failed = |e| StoreError::failed("listing", dir, e);
        let listing = match segment::files(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            listing => listing.map_err(failed)?,
        };
        for (_, path) in listing {
            if fs::metadata(&path).map_err(failed)?.len() >= HEADER_BYTES as u64 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes everything after `durable` durable, before anything is built on it. After a killed
    /// process it may be in the page cache only. After a failed sync the cache may treat it as
    /// written although it is not, so it is written once more.
    pub(super) fn settle(&self, durable: u64) -> Result<(), StoreError> {
        let tail = self.tail();
        let mut buffer = Vec::new();
        let mut position = durable.clamp(tail.base, tail.end());
        while position < tail.end() {
            tail.read(position, &mut buffer, SCAN_BYTES_MAX)?;
            tail.file
                .write_all_at(&buffer, position - tail.base)
                .map_err(|e| StoreError::failed("writing", &tail.path, e))?;
            position += buffer.len() as u64;
        }
        tail.file.sync_data().map_err(|e| StoreError::failed("syncing", &tail.path, e))?;
        // The same goes for the names of the segment and of the log itself.
        dirs::sync_dir(&self.dir)?;
        dirs::sync_dir(dirs::parent(&self.dir))
    }

    fn over(dir: &Path, store_id: StoreId, segments: Vec<Segment>) -> Log {
        Log {
            dir: dir.to_owned(),
            store_id,
            segments,
            next_lsn: 0,
            group: Vec::new(),
            group_len: 0,
            failed: false,
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// Replaces the log with an empty one with another store id.
    pub(super) fn restart(&mut self, store_id: StoreId) -> Result<(), StoreError> {
        for segment in &self.segments {
            fs::remove_file(&segment.path)
                .map_err(|e| StoreError::failed("removing", &segment.path, e))?;
        }
        let first = Segment::create(&self.dir, store_id, 0, 0)?;
        *self = Log::over(&self.dir, store_id, vec![first]);
        Ok(())
    }

    /// Returns whether everything that was appended is durable.
    pub(super) fn is_synced(&self) -> bool {
        self.group.is_empty() && !self.failed
    }

    pub(super) fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// The position after the last written byte.
    pub(super) fn end(&self) -> u64 {
        self.tail().end()
    }

    /// The files in order, with the durable length of each.
    pub(super) fn synced_files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.segments.iter().map(|segment| (&*segment.path, segment.len))
    }

    fn tail(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    /// Adds a frame to the current group; `encode` appends its payload. It can be read after
    /// [`Log::sync`].
    pub(super) fn append(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Stamp, StoreError> {
        if self.group.is_empty() && self.tail().len >= self.segment_bytes {
            self.rotate()?;
        }
        let position = self.end() + self.group.len() as u64;
        let stamp = frame::encode(&mut self.group, position, self.next_lsn, self.group_len, encode);
        self.next_lsn += 1;
        self.group_len += 1;
        Ok(stamp)
    }

    /// Writes the current group and waits until the disk has it. A failure is final: the kernel
    /// may have dropped the pages it could not write, so a second sync would prove nothing.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        let index = self.segments.len() - 1;
        let tail = &mut self.segments[index];
        if self.failed {
            let source = io::Error::other("an earlier write failed");
            return Err(StoreError::failed("writing", &tail.path, source));
        }
        if self.group.is_empty() {
            return Ok(());
        }
        let written = tail
            .file
            .write_all_at(&self.group, tail.len)
            .map_err(|e| StoreError::failed("writing", &tail.path, e))
            .and_then(|()| {
                tail.file.sync_data().map_err(|e| StoreError::failed("syncing", &tail.path, e))
            });
        self.failed = written.is_err();
        written?;
        tail.len += self.group.len() as u64;
        self.group.clear();
        self.group_len = 0;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), StoreError> {
        let segment = Segment::create(&self.dir, self.store_id, self.end(), self.next_lsn)
            .inspect_err(|_| self.failed = true)?;
        self.segments.push(segment);
        Ok(())
    }

    /// Calls `visit` with every frame from `from`, which must be a frame's position, to the end.
    pub(super) fn scan(
        &self,
        from: u64,
        mut visit: impl FnMut(Frame<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ScanEnd, StoreError> {
        let first = self.segment_index(from);
        let mut position = from;
        let mut next_lsn = None;
        let mut buffer = Vec::new();
        let mut span = SCAN_BYTES_MIN;
        for segment in &self.segments[first..] {
            if position <= segment.base + HEADER_BYTES as u64 {
                position = segment.base + HEADER_BYTES as u64;
                next_lsn.get_or_insert(segment.first_lsn);
            }
            while position < segment.end() {
                segment.read(position, &mut buffer, span)?;
                span = SCAN_BYTES_MAX.min(span * 2);
                let mut rest = &buffer[..];
                while let Some(frame) = frame::parse(rest, position) {
                    if next_lsn.is_some_and(|expected| expected != frame.stamp.lsn) {
                        break;
                    }
                    next_lsn = Some(frame.stamp.lsn + 1);
                    rest = &rest[FRAME_HEADER_BYTES + frame.payload.len()..];
                    position = frame.stamp.end;
                    if visit(frame)?.is_break() {
                        return Ok(ScanEnd { position, next_lsn: next_lsn.unwrap_or(0) });
                    }
                }
                let all_seen = position + rest.len() as u64 == segment.end();
                if !rest.is_empty() && (all_seen || rest.len() >= MAX_FRAME_BYTES) {
                    return Ok(ScanEnd { position, next_lsn: next_lsn.unwrap_or(0) });
                }
            }
        }
        Ok(ScanEnd { position, next_lsn: next_lsn.unwrap_or(0) })
    }

    /// Scans like [`Log::scan`] and mends flipped bits. Where a single flipped bit is all that is
    /// wrong with a frame that would be cut off as torn, the bit is corrected and the scan goes on.
    /// Nothing is changed before `durable`, a position up to which the log is known to have been
    /// synced.
    pub(super) fn scan_and_mend(
        &self,
        from: u64,
        durable: u64,
        mut visit: impl FnMut(Frame<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<ScanEnd, StoreError> {
        let mut end = self.scan(from, &mut visit)?;
        while end.position >= durable && self.mend(end)? {
            end = self.scan(end.position, &mut visit)?;
        }
        Ok(end)
    }

    /// Corrects a single flipped bit in the frame at which a scan to the end stopped, if that is
    /// what is wrong there. Returns whether it was.
    fn mend(&self, end: ScanEnd) -> Result<bool, StoreError> {
        let ScanEnd { position, next_lsn } = end;
        let tail = self.tail();
        if position < tail.base + HEADER_BYTES as u64 || position >= tail.end() {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        // A flipped length may hide where the frame ends, but not that it is one.
        tail.read(position, &mut bytes, MAX_FRAME_BYTES)?;
        let Some(bit) = repair::flipped_bit(&bytes, position, next_lsn) else { return Ok(false) };
        if later_group_follows(tail, position, next_lsn)? {
            return Ok(false);
        }
        let offset = position - tail.base + (bit / 8) as u64;
        let right = bytes[bit / 8] ^ 1 << (bit % 8);
        ::log::warn!(
            "{}: one bit was flipped at offset {offset}, in the record at {}; it is corrected",
            tail.path.display(),
            position - tail.base,
        );
        tail.file
            .write_all_at(&[right], offset)
            .and_then(|()| tail.file.sync_data())
            .map_err(|e| StoreError::failed("mending", &tail.path, e))?;
        Ok(true)
    }

    /// Refuses a log whose frames end before `durable`, a position up to which it is known to have
    /// been synced.
    pub(super) fn expect_synced(&self, end: ScanEnd, durable: u64) -> Result<(), StoreError> {
        if end.position < durable {
            let segment = &self.segments[self.segment_index(end.position.saturating_sub(1))];
            return Err(segment.damage(end.position, "records that were synced are missing here"));
        }
        Ok(())
    }

    /// Makes the log ready to append, given the end of a scan to its end. A torn tail is cut off,
    /// and its length is returned. Any other damage is refused, and so is a log that ends before
    /// `durable`.
    pub(super) fn recover(&mut self, end: ScanEnd, durable: u64) -> Result<u64, StoreError> {
        self.expect_synced(end, durable)?;
        let ScanEnd { position, next_lsn } = end;
        let index = self.segment_index(position.saturating_sub(1));
        let segment = &self.segments[index];
        if index + 1 < self.segments.len() {
            return Err(segment.damage(position, "a record is unreadable"));
        }
        let torn = segment.end() - position;
        if torn > 0 {
            if later_group_follows(segment, position, next_lsn)? {
                return Err(
                    segment.damage(position, "a record is unreadable, but later ones are not")
                );
            }
            let segment = &mut self.segments[index];
            segment
                .file
                .set_len(position - segment.base)
                .and_then(|()| segment.file.sync_all())
                .map_err(|e| StoreError::failed("cutting the torn tail of", &segment.path, e))?;
            segment.len = position - segment.base;
        }
        self.next_lsn = next_lsn;
        Ok(torn)
    }

    /// Reads the frames at `positions`, which must ascend. Neighbours are read together.
    pub(super) fn read(
        &self,
        positions: &[u64],
        mut visit: impl FnMut(Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut buffer = Vec::new();
        let mut rest = positions;
        while let Some(&first) = rest.first() {
            let segment = &self.segments[self.segment_index(first)];
            let run = 1 + rest
                .windows(2)
                .take_while(|pair| pair[1] < segment.end() && pair[1] - pair[0] <= READ_GAP_BYTES)
                .count();
            let last = rest[run - 1];
            let span = usize::try_from(last - first + READ_AHEAD_BYTES).unwrap_or(usize::MAX);
            segment.read(first, &mut buffer, span)?;
            for &position in &rest[..run] {
                let at = usize::try_from(position - first).unwrap_or(usize::MAX);
                let known = buffer.get(at..).unwrap_or_default();
                if let Some(frame) = frame::parse(known, position) {
                    visit(frame)?;
                    continue;
                }
                // Longer than what was read ahead, or bad: look at all a frame can span.
                let mut whole = Vec::new();
                segment.read(position, &mut whole, MAX_FRAME_BYTES)?;
                let frame = frame::parse(&whole, position)
                    .ok_or_else(|| segment.damage(position, "a record is unreadable"))?;
                visit(frame)?;
            }
            rest = &rest[run..];
        }
        Ok(())
    }

    /// The error for a frame whose payload is malformed.
    pub(super) fn damage_at(&self, position: u64, what: &'static str) -> StoreError {
        self.segments[self.segment_index(position)].damage(position, what)
    }

    fn segment_index(&self, position: u64) -> usize {
        self.segments.partition_point(|segment| segment.base <= position).saturating_sub(1)
    }
}

/// Returns whether any frame from `position` on belongs to a group that was begun after the record
/// `lsn`, which should be at `position`, was synced.
fn later_group_follows(segment: &Segment, position: u64, lsn: u64) -> Result<bool, StoreError> {
    let mut rest = Vec::new();
    segment.read(position, &mut rest, usize::MAX)?;
    Ok((0..rest.len().saturating_sub(FRAME_HEADER_BYTES)).any(|at| {
        // The LSN first: it rules out nearly every offset without a checksum.
        u64_at(&rest, at + 12).wrapping_sub(lsn) <= rest.len() as u64
            && frame::parse(&rest[at..], position + at as u64)
                .is_some_and(|frame| frame.group_start > lsn)
    }))
}

#[cfg(test)]
mod tests;
