//! Checks a store from end to end without changing it: every record of the log, and the index
//! against them.
//!
//! The index is checked in a copy in the system's directory for temporary files, because sled
//! writes to what it opens.

use std::borrow::Cow;
use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::lock::Lock;
use crate::model::StoreId;
use crate::store::audit::{Audit, Counts};
use crate::store::dirs;
use crate::store::error::{LogDamage, StoreError};
use crate::store::index::audit::IndexAudit;
use crate::store::index::layout::Applied;
use crate::store::index::tree::{Index, OTHER_VERSION};
use crate::store::log::frame::{FRAME_HEADER_BYTES, Frame, u64_at};
use crate::store::log::repair::flipped_bit;
use crate::store::log::segment::{HEADER_BYTES, Header, HeaderError, newer_format};
use crate::store::log::sequence::Sequence;
use crate::store::log::{frame, segment};
use crate::store::progress::Progress;
use crate::store::record::{LogRecord, Record};

/// Most damages that are reported one by one; the others are only counted.
const MAX_DAMAGES: usize = 20;
/// The description of a torn tail.
const NEVER_ACKNOWLEDGED: &str = "a write that was never acknowledged; the next start cuts it off";

/// The result of a check.
#[derive(Debug)]
pub struct CheckReport {
    /// The numbers of records in the log.
    pub counts: Counts,
    /// The number of the log's files.
    pub segments: usize,
    /// The total length of these files.
    pub bytes: u64,
    /// The remains of a write that was never acknowledged. They are no damage.
    pub torn: Option<LogDamage>,
    /// Damage in the log, up to a limit.
    pub damages: Vec<LogDamage>,
    /// The number of damages beyond the limit.
    pub more_damages: u64,
    /// The state of the index.
    pub index: IndexState,
}

/// The state of an index.
#[derive(Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It agrees with the log, but for some records at the log's end.
    Agrees {
        /// The number of records that the next start adds to it.
        unindexed: u64,
    },
    /// There is none, or none that the next start would use. The next start makes it again.
    ToBeMade(&'static str),
    /// It contradicts the log, so that a server would give wrong answers.
    Wrong(String),
    /// The log is damaged, so the index cannot be compared with it.
    Unjudged,
}

impl CheckReport {
    /// Returns whether the check found no damage and no wrong index.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && !matches!(self.index, IndexState::Wrong(_))
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { counts, segments, bytes, torn, damages, more_damages, index } = self;
        writeln!(f, "{counts}")?;
        writeln!(f, "log: {bytes} bytes, segments: {segments}")?;
        if let Some(LogDamage { file, offset, what }) = torn {
            writeln!(f, "{}, from offset {offset}: {what}", file.display())?;
        }
        for damage in damages {
            writeln!(f, "{damage}")?;
        }
        if *more_damages > 0 {
            writeln!(f, "and {more_damages} damages more")?;
        }
        match index {
            IndexState::Agrees { unindexed: 0 } => write!(f, "index: agrees with the log"),
            IndexState::Agrees { unindexed } => {
                write!(
                    f,
                    "index: agrees with the log; records that the next start adds: {unindexed}"
                )
            }
            IndexState::ToBeMade(why) => write!(f, "index: {why}; the next start makes it"),
            IndexState::Wrong(why) => {
                write!(f, "index: WRONG: {why}; remove it, and the next start makes it again")
            }
            IndexState::Unjudged => write!(f, "index: not checked, as the log is damaged"),
        }
    }
}

/// Checks the store in `dir`, which no server may have open.
pub fn check(dir: &Path, progress: &mut dyn Progress) -> Result<CheckReport, StoreError> {
    let _lock = Lock::of_existing(dir)?;
    let log_dir = dir.join("log");
    let files = match segment::files(&log_dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        files => files.map_err(|e| StoreError::failed("listing", &log_dir, e))?,
    };
    if files.is_empty() {
        return Err(StoreError::Refused(format!("there is no store in {}", dir.display())));
    }
    // Removed at the end, with all that sled has made of it.
    let (index, _copy) = open_copy(dir)?;
    let mut walk = Walk::new(index);
    let mut total = 0;
    for (_, path) in &files {
        let metadata = fs::metadata(path).map_err(|e| StoreError::failed("reading", path, e))?;
        total += metadata.len();
    }
    progress.begin("checking", total);
    for (number, (base, path)) in files.iter().enumerate() {
        let last = number + 1 == files.len();
        walk.segment(*base, path, last, progress)?;
    }
    progress.end();
    Ok(walk.finish())
}

/// The index before it is compared with the log.
enum Candidate {
    Copy(Box<IndexAudit>, Applied),
    Judged(IndexState),
}

/// A copy of the index, with its directory, which is removed when it is dropped.
fn open_copy(dir: &Path) -> Result<(Candidate, Option<TempDir>), StoreError> {
    let index = dir.join("index");
    let judged = |state| Ok((Candidate::Judged(state), None));
    if dir.join("index.broken").exists() {
        return judged(IndexState::ToBeMade("found wrong by the server"));
    }
    if !index.exists() {
        return judged(IndexState::ToBeMade("there is none"));
    }
    let temporary = tempfile::Builder::new()
        .prefix("veche-check-")
        .permissions(Permissions::from_mode(dirs::DIR_MODE))
        .tempdir()
        .map_err(|e| StoreError::failed("making a copy of", &index, e))?;
    let copy = temporary.path().join("index");
    dirs::copy_dir(&index, &copy).map_err(|e| StoreError::failed("making a copy of", &index, e))?;
    let opened = match Index::open(&copy) {
        Ok(index) => IndexAudit::new(index),
        Err(StoreError::Index(why)) if why == OTHER_VERSION => {
            return judged(IndexState::ToBeMade(OTHER_VERSION));
        }
        Err(StoreError::Index(why)) => return judged(IndexState::Wrong(why)),
        Err(other) => return Err(other),
    };
    match opened.applied() {
        Some(applied) => Ok((Candidate::Copy(Box::new(opened), applied), Some(temporary))),
        None => judged(IndexState::ToBeMade("it is empty")),
    }
}

/// The state of a check while it reads the log.
struct Walk {
    found: CheckReport,
    audit: Audit,
    sequence: Sequence,
    store_id: Option<StoreId>,
    /// One above the sequence number of the last record so far.
    next_lsn: u64,
    /// The position after the last segment so far.
    end: u64,
    /// The position after the readable part of the log, and the file that it is in.
    readable: u64,
    newest: (PathBuf, u64),
    index: Candidate,
    /// True once the last record of the index was reached.
    met_applied: bool,
    /// The first record of a write batch whose last one has not been read yet, and its LSN.
    open_batch: Option<(PathBuf, u64, u64)>,
    /// True if records are missing, so that what depends on them cannot be checked.
    lost: bool,
}

impl Walk {
    fn new(index: Candidate) -> Walk {
        let found = CheckReport {
            counts: Counts::default(),
            segments: 0,
            bytes: 0,
            torn: None,
            damages: Vec::new(),
            more_damages: 0,
            index: IndexState::Unjudged,
        };
        Walk {
            found,
            audit: Audit::default(),
            sequence: Sequence::default(),
            store_id: None,
            next_lsn: 0,
            end: 0,
            readable: 0,
            newest: (PathBuf::new(), 0),
            index,
            met_applied: false,
            open_batch: None,
            lost: false,
        }
    }

    fn damage(&mut self, path: &Path, offset: u64, what: &'static str) {
        if self.found.damages.len() < MAX_DAMAGES {
            self.found.damages.push(LogDamage { file: path.to_owned(), offset, what });
        } else {
            self.found.more_damages += 1;
        }
    }

    fn segment(
        &mut self,
        base: u64,
        path: &Path,
        last: bool,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        // A segment is 64 MiB and a group: to be held whole.
        let bytes = fs::read(path).map_err(|e| StoreError::failed("reading", path, e))?;
        self.found.segments += 1;
        self.found.bytes += bytes.len() as u64;
        if self.header(&bytes, base, path, last)? {
            self.frames(&bytes, base, path, last, progress)?;
        }
        self.end = base + bytes.len() as u64;
        Ok(())
    }

    /// Checks a segment's header. Returns whether frames may follow it.
    fn header(
        &mut self,
        bytes: &[u8],
        base: u64,
        path: &Path,
        last: bool,
    ) -> Result<bool, StoreError> {
        if base != self.end {
            self.damage(path, 0, "the segment does not begin where the one before it ends");
            self.lost = true;
            self.sequence.lose_track();
        }
        let Some(first) = bytes.first_chunk::<HEADER_BYTES>() else {
            if last {
                self.torn(path, 0, "a file that was just being begun");
            } else {
                self.damage(path, bytes.len() as u64, "the file's header is cut short");
                self.lost = true;
            }
            return Ok(false);
        };
        match Header::parse(first) {
            Err(HeaderError::Newer(version)) => return Err(newer_format(path, version)),
            Ok(header) if header.base == base => {
                if *self.store_id.get_or_insert(header.store_id) != header.store_id {
                    self.damage(path, 0, "the segment belongs to another store");
                }
                if let Err(why) = self.sequence.begin_segment(header.first_lsn) {
                    self.damage(path, 0, why);
                    self.lost = true;
                }
            }
            _ if last && bytes.len() == HEADER_BYTES => {
                self.torn(path, 0, "a file that was just being begun");
                return Ok(false);
            }
            _ => {
                self.damage(path, 0, "the file's header is unreadable");
                self.sequence.lose_track();
            }
        }
        self.readable = base + HEADER_BYTES as u64;
        self.newest = (path.to_owned(), base);
        Ok(true)
    }

    fn frames(
        &mut self,
        bytes: &[u8],
        base: u64,
        path: &Path,
        last: bool,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        // As a start would mend them.
        let mut bytes = Cow::Borrowed(bytes);
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            if let Some(frame) = frame::parse(&bytes[at..], base + at as u64) {
                if let Err(why) = self.sequence.take(&frame) {
                    self.damage(path, at as u64, why);
                    self.lost = true;
                }
                self.next_lsn = frame.stamp.lsn + 1;
                self.record(&frame, path, at as u64)?;
                self.readable = frame.stamp.end;
                at += FRAME_HEADER_BYTES + frame.payload.len();
                progress.advance(base + at as u64);
                continue;
            }
            let lsn = self.sequence.next_lsn().unwrap_or(self.next_lsn);
            let later_frames = || later(&bytes[at..], base + at as u64, lsn);
            if last && !later_frames().any(|(_, frame)| frame.group_start > lsn) {
                let position = base + at as u64;
                let bit = flipped_bit(&bytes[at..], position, lsn);
                if let Some(bit) = bit.filter(|_| position >= self.durable()) {
                    let flipped = "one bit of a record is flipped; the next start corrects it";
                    self.torn(path, (at + bit / 8) as u64, flipped);
                    bytes.to_mut()[at + bit / 8] ^= 1 << (bit % 8);
                    continue;
                }
                self.torn(path, at as u64, NEVER_ACKNOWLEDGED);
                return Ok(());
            }
            self.damage(path, at as u64, "a record is unreadable");
            self.lost = true;
            self.sequence.lose_track();
            match later_frames().next() {
                Some((offset, _)) => at += offset,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn torn(&mut self, path: &Path, offset: u64, what: &'static str) {
        self.found.torn = Some(LogDamage { file: path.to_owned(), offset, what });
    }

    fn record(&mut self, frame: &Frame<'_>, path: &Path, offset: u64) -> Result<(), StoreError> {
        let logged = match LogRecord::decode(frame.payload) {
            Ok(logged) => logged,
            Err(error) => {
                if let Some(what) = error.newer() {
                    return Err(StoreError::Refused(format!(
                        "{} holds {what} at offset {offset}: it was written by a newer version of veche",
                        path.display()
                    )));
                }
                self.damage(path, offset, "a record is malformed");
                self.lost = true;
                return Ok(());
            }
        };
        if self.lost {
            self.audit.lose_track();
        }
        if let Err(why) = self.audit.take_logged(&logged) {
            self.damage(path, offset, why);
        }
        self.compare_index(&logged.record, frame);
        if logged.continues {
            self.open_batch.get_or_insert_with(|| (path.to_owned(), offset, frame.stamp.lsn));
        } else {
            self.open_batch = None;
        }
        Ok(())
    }

    fn compare_index(&mut self, record: &Record, frame: &Frame<'_>) {
        let Candidate::Copy(index, applied) = &mut self.index else { return };
        if self.lost
            || frame.stamp.lsn > applied.stamp.lsn
            || Some(applied.store_id) != self.store_id
        {
            return;
        }
        if frame.stamp.lsn == applied.stamp.lsn {
            self.met_applied = true;
            if frame.stamp != applied.stamp || self.audit.next_ids() != applied.next_ids {
                let why = "it does not match its last record in the log".to_owned();
                self.index = Candidate::Judged(IndexState::Wrong(why));
                return;
            }
        }
        if let Err(why) = unpanicked(|| index.take(record, frame.stamp)) {
            self.index = Candidate::Judged(IndexState::Wrong(why));
        }
    }

    /// The position up to which the index proves the log to have been synced.
    fn durable(&self) -> u64 {
        match &self.index {
            Candidate::Copy(_, applied) if Some(applied.store_id) == self.store_id => {
                applied.stamp.end
            }
            _ => 0,
        }
    }

    fn finish(mut self) -> CheckReport {
        self.found.counts = self.audit.counts();
        if let Err(why) = self.audit.expect_texts() {
            let (path, base) = self.newest.clone();
            self.damage(&path, self.readable.saturating_sub(base), why);
        }
        if let Some((path, offset, lsn)) = self.open_batch.take() {
            self.torn(&path, offset, NEVER_ACKNOWLEDGED);
            self.next_lsn = lsn;
        }
        let durable = self.durable();
        if self.readable < durable && !self.lost {
            // The index has seen them synced: so they are not what a torn write leaves.
            self.found.torn = None;
            let (path, base) = mem::take(&mut self.newest);
            let offset = self.readable.saturating_sub(base);
            self.damage(&path, offset, "records that the index has seen synced are missing here");
            self.lost = true;
        }
        self.found.index = match self.index {
            Candidate::Judged(state) => state,
            Candidate::Copy(..) if self.lost => IndexState::Unjudged,
            Candidate::Copy(_, applied) if Some(applied.store_id) != self.store_id => {
                IndexState::ToBeMade("it is of another store")
            }
            Candidate::Copy(..) if !self.met_applied => {
                IndexState::Wrong("its last record is not in the log".to_owned())
            }
            Candidate::Copy(index, applied) => match unpanicked(|| index.finish()) {
                Ok(()) => IndexState::Agrees {
                    unindexed: self.next_lsn.saturating_sub(applied.stamp.lsn + 1),
                },
                Err(why) => IndexState::Wrong(why),
            },
        };
        self.found
    }
}

/// The frames after `position` that can be of the records after `lsn`.
fn later(rest: &[u8], position: u64, lsn: u64) -> impl Iterator<Item = (usize, Frame<'_>)> {
    (1..rest.len().saturating_sub(FRAME_HEADER_BYTES)).filter_map(move |at| {
        // The LSN first: it rules out nearly every offset without a checksum.
        let plausible = u64_at(rest, at + 12).wrapping_sub(lsn) <= rest.len() as u64;
        let frame = if plausible { frame::parse(&rest[at..], position + at as u64) } else { None };
        frame.map(|frame| (at, frame))
    })
}

/// Runs a check of the index; panics of sled are errors.
fn unpanicked(look: impl FnOnce() -> Result<(), StoreError>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(look)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(StoreError::Index(why))) => Err(why),
        Ok(Err(other)) => Err(other.to_string()),
        Err(_) => Err("sled panicked at reading it".to_owned()),
    }
}
