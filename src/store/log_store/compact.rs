//! Compaction: writes a new log without erased data, and replaces the old one with it.
//!
//! The new store is made beside the old one, in `unfinished-compaction/`: its log is synced to the
//! last byte, and read once more. Then, with the directories synced at each step:
//!
//! 1. the old index is moved away, because its positions are those of the old log;
//! 2. the two logs are exchanged, which the file system does atomically;
//! 3. the new index is moved in;
//! 4. `unfinished-compaction/` is removed, and the old log with it.
//!
//! So at any instant `log/` is one of the two, complete, and its index is its own or is missing,
//! which a start mends. An interrupted compaction is never continued: the next start removes its
//! remains.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::lock::Lock;
use super::store::{LogStore, decode};
use crate::model::{StoreId, Timestamp};
use crate::store::backend::Backend;
use crate::store::dirs;
use crate::store::entries::keyspaces;
use crate::store::error::{RestoreError, StoreError};
use crate::store::free_space::free;
use crate::store::index::tree::Index;
use crate::store::log::Log;
use crate::store::progress::Progress;
use crate::store::record::Record;
use crate::store::rules::account;
use crate::store::rules::retry::RetentionFilter;

/// The directory in which the new store is made and the old one is removed.
pub(super) const UNFINISHED: &str = "unfinished-compaction";
/// Bytes of the new log that are synced at once.
const GROUP_BYTES: usize = 1024 * 1024;
/// Entries read, and synced, at once.
const ENTRIES_AT_ONCE: usize = 1000;
/// Bytes that must stay free in addition to the second copy.
const SPARE_BYTES: u64 = 16 * 1024 * 1024;

/// The outcome of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// The log's length, in bytes.
    pub before: u64,
    /// The new one's.
    pub after: u64,
}

/// The part of a record of `store` that stays in its log. This is the one place that decides it:
/// where it returns nothing, all of the record is gone from the disk.
///
/// Events stay, but only the newest text of each message. The text of a message that was edited or
/// deleted later is gone, and so is a password hash that was replaced, or whose account has ended.
/// The ids that were reached need no record of their own while other records show them; otherwise
/// [`rewrite`] adds one. Only the latest values of entries stay. No record by itself shows which
/// those are, so [`rewrite`] writes them after all other records, without keys that have expired
/// and others that a [`RetentionFilter`] holds back.
fn kept(store: &LogStore, mut record: Record) -> Result<Option<Record>, StoreError> {
    match &mut record {
        Record::Message(message) | Record::Revision(message) => {
            if store.is_superseded(message)? {
                message.erase_text();
            }
        }
        Record::User(user) => {
            if account::is_overlaid(&store.view, user.id)? {
                user.password_hash = "".into();
            }
        }
        Record::Moderation(_) => {}
        Record::NextIds(_) | Record::Entry(_) => return Ok(None),
    }
    Ok(Some(record))
}

/// Compacts the store in `dir`, which no server may have open. Ids, store id, next ids and the
/// order of records stay the same. Keys that have expired at `now` are removed.
pub fn compact(
    dir: &Path,
    now: Timestamp,
    progress: &mut dyn Progress,
) -> Result<Compaction, StoreError> {
    if !LogStore::exists(dir)? {
        return Err(StoreError::Refused(format!("there is no store in {}", dir.display())));
    }
    // Held until the end, beyond the life of both stores.
    let lock = Arc::new(Lock::of(dir)?);
    let store = LogStore::open_locked(dir, Arc::clone(&lock), StoreId(0), progress)?;
    let before = log_bytes(&store.log);
    let made = make_new(&store, dir, now, progress);
    drop(store);
    let after = made.inspect_err(|_| {
        // The disk may be full of it. What cannot be removed now, the next start removes.
        let _ = fs::remove_dir_all(dir.join(UNFINISHED));
    })?;
    switch(dir)?;
    remove_unfinished(dir)?;
    Ok(Compaction { before, after })
}

/// Makes the new store beside the old one; returns the length of its log.
fn make_new(
    store: &LogStore,
    dir: &Path,
    now: Timestamp,
    progress: &mut dyn Progress,
) -> Result<u64, StoreError> {
    let index = dir_bytes(&dir.join("index"))?;
    expect_room(dir, log_bytes(&store.log).saturating_add(index))?;
    let unfinished = dir.join(UNFINISHED);
    expect_exchange(&unfinished)?;
    let mut new = LogStore::open(&unfinished, store.store_id(), &mut ())?;
    rewrite(store, &mut new, |record| kept(store, record), now, progress)?;
    Ok(log_bytes(&new.log))
}

/// Removes the remains of an interrupted compaction in `dir`. `log/` must be found good.
pub(super) fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    let unfinished = dir.join(UNFINISHED);
    if !unfinished.exists() {
        return Ok(());
    }
    dirs::remove_dir(&unfinished)?;
    dirs::sync_dir(dir)
}

/// Writes the records of `old` that `kept` returns to `new`, durably, and verifies them.
pub(super) fn rewrite(
    old: &LogStore,
    new: &mut LogStore,
    kept: impl Fn(Record) -> Result<Option<Record>, StoreError>,
    now: Timestamp,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    progress.begin("compacting", old.log.end());
    let mut written = Trace::default();
    let mut unsynced = 0;
    let end = old.log.scan(Log::START, |frame| {
        let record = kept(decode(&old.log, &frame)?.record)?;
        if let Some(record) = record.filter(|it| !matches!(it, Record::Entry(_))) {
            unsynced += written.add(&record);
            restore(new, record)?;
        }
        if unsynced >= GROUP_BYTES {
            unsynced = 0;
            new.sync()?;
        }
        progress.advance(frame.stamp.end);
        Ok(ControlFlow::Continue(()))
    })?;
    if end.position != old.log.end() {
        return Err(old.log.damage_at(end.position, "a record is unreadable"));
    }
    write_entries(old, new, &mut written, now)?;
    let reached = old.next_ids();
    if new.next_ids() != reached {
        written.add(&Record::NextIds(reached));
        restore(new, Record::NextIds(reached))?;
    }
    new.sync()?;
    progress.end();

    progress.begin("reading it back", new.log.end());
    let mut read = Trace::default();
    let end = new.log.scan(Log::START, |frame| {
        read.add(&decode(&new.log, &frame)?.record);
        progress.advance(frame.stamp.end);
        Ok(ControlFlow::Continue(()))
    })?;
    progress.end();
    if end.position != new.log.end() || read != written {
        return Err(new.log.damage_at(end.position, "it differs from what was just written"));
    }
    Ok(())
}

/// Copies the latest values of entries from `old` to `new`.
fn write_entries(
    old: &LogStore,
    new: &mut LogStore,
    written: &mut Trace,
    now: Timestamp,
) -> Result<(), StoreError> {
    let filter = RetentionFilter::new(now);
    let mut last = None;
    loop {
        let mut entries = keyspaces::page(&old.view, last.as_ref(), ENTRIES_AT_ONCE)?;
        last = entries.last().cloned();
        for entry in entries.drain(..) {
            if !filter.keeps(&entry, |user| account::has_ended(&old.view, user))? {
                continue;
            }
            let record = Record::Entry(entry);
            written.add(&record);
            restore(new, record)?;
        }
        if last.is_none() {
            return Ok(());
        }
        new.sync()?;
    }
}

fn restore(store: &mut LogStore, record: Record) -> Result<(), StoreError> {
    store.restore(record).map_err(|error| match error {
        RestoreError::Store(error) => error,
        other => StoreError::Refused(format!("the log cannot be compacted: {other}")),
    })
}

/// Steps 1 to 3.
pub(super) fn switch(dir: &Path) -> Result<(), StoreError> {
    let unfinished = dir.join(UNFINISHED);
    let both_synced = || dirs::sync_dir(dir).and_then(|()| dirs::sync_dir(&unfinished));
    let index = dir.join("index");
    if index.exists() {
        fs::rename(&index, unfinished.join("old-index"))
            .map_err(|e| StoreError::failed("moving away", &index, e))?;
    }
    both_synced()?;
    exchange(&dir.join("log"), &unfinished.join("log"))?;
    both_synced()?;
    // The store is complete without its index. One that cannot be moved is made again.
    if Index::relocate(&unfinished.join("index"), &index).is_ok() {
        let _ = fs::remove_file(dir.join("index.broken"));
    }
    dirs::sync_dir(dir)
}

pub(super) fn exchange(one: &Path, other: &Path) -> Result<(), StoreError> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
        .map_err(|e| StoreError::failed("exchanging", one, e.into()))
}

/// Tries it with two empty directories, before any work is done in vain.
fn expect_exchange(unfinished: &Path) -> Result<(), StoreError> {
    let (one, other) = (unfinished.join("one"), unfinished.join("other"));
    dirs::create_dir_synced(unfinished)?;
    for dir in [&one, &other] {
        fs::create_dir(dir).map_err(|e| StoreError::failed("creating", dir, e))?;
    }
    exchange(&one, &other)?;
    dirs::remove_dir(&one)?;
    dirs::remove_dir(&other)
}

/// Refuses a compaction that would fill the disk.
pub(super) fn expect_room(dir: &Path, copy: u64) -> Result<(), StoreError> {
    let free = free(dir).map_err(|e| StoreError::failed("looking at", dir, e))?;
    match copy.saturating_add(SPARE_BYTES) {
        needed if needed > free => Err(StoreError::Refused(format!(
            "compacting needs {needed} bytes for a second copy, but {} has only {free} free",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

fn log_bytes(log: &Log) -> u64 {
    log.synced_files().map(|(_, len)| len).sum()
}

fn dir_bytes(dir: &Path) -> Result<u64, StoreError> {
    let failed = |e: io::Error| StoreError::failed("reading", dir, e);
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        bytes += if metadata.is_dir() { dir_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Records in order: how many, and a checksum of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    count: u64,
    crc: u32,
}

impl Trace {
    /// Adds a record; returns the number of its bytes.
    fn add(&mut self, record: &Record) -> usize {
        let mut bytes = Vec::new();
        record.encode(false, &mut bytes);
        self.count += 1;
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        bytes.len()
    }
}
