//! Opens or creates a store: reads the log, and adds to the index what it lacks.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::lock::Lock;
use super::mending::UNFINISHED_IMPORT;
use super::store::{LogStore, decode};
use super::view::{APPLY_EVERY, RECENT_MESSAGES, REPLAY_APPLY_EVERY, View};
use super::write_batch::OpenBatch;
use super::{compact, mending};
use crate::model::StoreId;
use crate::store::backend::Backend;
use crate::store::counterparts::Counterparts;
use crate::store::dirs;
use crate::store::entries::entry_map::EntryMap;
use crate::store::error::StoreError;
use crate::store::free_space::FreeSpace;
use crate::store::id_allocator::IdAllocator;
use crate::store::index::layout::{Applied, Posting};
use crate::store::index::tree::Index;
use crate::store::log::Log;
use crate::store::mem_table::{Activity, MemTable};
use crate::store::progress::Progress;
use crate::store::record::Record;

/// The first event there can be, and where a log has it at the earliest.
const BEGINNING: Posting = Posting { id: 0, position: Log::START };

impl LogStore {
    /// Opens the store in `dir`, or creates one with the id `new_epoch`. An index that lacks
    /// records of the log catches up; one that is broken or missing is made again.
    pub fn open(
        dir: &Path,
        new_store_id: StoreId,
        progress: &mut dyn Progress,
    ) -> Result<LogStore, StoreError> {
        dirs::create_dir_synced(dir)?;
        let lock = Lock::of(dir)?;
        LogStore::open_locked(dir, Arc::new(lock), new_store_id, progress)
    }

    /// Creates the store in `dir`, which must not exist yet, with the contents that `fill` writes.
    /// It appears there when it is complete; the remains of an earlier attempt are removed.
    pub fn build<T, E: From<StoreError>>(
        dir: &Path,
        new_store_id: StoreId,
        fill: impl FnOnce(&mut LogStore) -> Result<T, E>,
    ) -> Result<T, E> {
        let is_new = !dir.exists();
        dirs::create_dir_synced(dir)?;
        let _lock = Lock::of(dir)?;
        if Log::open(&dir.join("log"))?.is_some() {
            let why = format!("{} already holds a store", dir.display());
            return Err(StoreError::Refused(why).into());
        }
        let unfinished = dir.join(UNFINISHED_IMPORT);
        dirs::remove_dir(&unfinished)?;
        let mut store = LogStore::open(&unfinished, new_store_id, &mut ())?;
        let filled = fill(&mut store).and_then(|result| Ok(store.sync().map(|()| result)?));
        drop(store);
        let result = filled.inspect_err(|_| {
            // The first error is returned. Remains are removed by the next import.
            let _ = fs::remove_dir_all(&unfinished);
            if is_new {
                Lock::remove(dir);
            }
        })?;
        // An index that remains of a lost log does not fit this one.
        Index::discard(&dir.join("index"))?;
        let moved = dir.join("log");
        fs::rename(unfinished.join("log"), &moved)
            .map_err(|e| StoreError::failed("moving the log to", &moved, e))?;
        dirs::sync_dir(dir)?;
        // The store is complete without its index. One that cannot be moved is made again.
        let _ = Index::relocate(&unfinished.join("index"), &dir.join("index"));
        let _ = fs::remove_dir_all(&unfinished);
        Ok(result)
    }

    /// Refuses messages and accounts with [`StoreError::Full`] while fewer than `bytes` bytes are
    /// free on the disk. Without this call a store writes to the last byte.
    pub fn keep_free(&mut self, bytes: u64) {
        self.free_space.keep(bytes);
    }

    /// Returns whether `dir` holds a store. It changes nothing: the store may be a running
    /// server's, and an opening would take a segment that the server has just begun for the remains
    /// of a crash.
    pub fn exists(dir: &Path) -> Result<bool, StoreError> {
        Log::exists(&dir.join("log"))
    }

    pub(super) fn open_locked(
        dir: &Path,
        lock: Arc<Lock>,
        new_store_id: StoreId,
        progress: &mut dyn Progress,
    ) -> Result<LogStore, StoreError> {
        mending::mend(dir);
        let (log_dir, index_dir) = (dir.join("log"), dir.join("index"));
        let log = match Log::open(&log_dir)? {
            Some(log) => {
                // A start that was killed may have left it in the page cache only, as below.
                if !index_dir.exists() && log.end() == Log::START {
                    log.settle(0)?;
                }
                log
            }
            // Durable before there is an index. So an index without a log shows that the log is gone,
            // not that a first start was interrupted, whatever is in the index.
            None if !index_dir.exists() => Log::create(&log_dir, new_store_id)?,
            None => {
                return Err(StoreError::Refused(format!(
                    "{} is gone, but {} remains: put the log back, or remove the index to begin anew",
                    log_dir.display(),
                    index_dir.display(),
                )));
            }
        };
        let index = match Index::open(&index_dir) {
            Ok(index) => index,
            Err(StoreError::Index(why)) => {
                ::log::warn!("rebuilding {}: {why}", index_dir.display());
                Index::discard(&index_dir)?;
                Index::open(&index_dir)?
            }
            Err(other) => return Err(other),
        };
        let mut store = LogStore::catch_up(dir, log, index, lock, progress)?;
        store.view.apply(APPLY_EVERY)?;
        // Only now: what is there is known to be a store.
        compact::remove_unfinished(dir)?;
        Ok(store)
    }

    fn catch_up(
        dir: &Path,
        mut log: Log,
        mut index: Index,
        lock: Arc<Lock>,
        progress: &mut dyn Progress,
    ) -> Result<LogStore, StoreError> {
        let index_dir = &dir.join("index");
        let mut applied = index.applied().filter(|applied| applied.store_id == log.store_id());
        let durable = applied.map_or(0, |applied| applied.stamp.end);
        if durable > log.end() {
            return Err(log.damage_at(
                log.end(),
                "records that the index has seen synced are missing after it; put the whole log \
                 back, or remove the index to go on with what is left",
            ));
        }
        log.settle(durable)?;
        let start = match applied {
            Some(applied) => replay_start(&log, &index, applied)?,
            None => None,
        };
        if start.is_none() {
            if index.applied().is_some() {
                ::log::warn!("rebuilding {}: it does not fit the log", index_dir.display());
            }
            if applied.is_some() {
                // Where the log is at fault, the index must stay: it is the only witness that
                // records are missing, and without it the next start would cut them off as torn.
                let end = log.scan(Log::START, |_| Ok(ControlFlow::Continue(())))?;
                log.expect_synced(end, durable)?;
            }
            drop(index);
            Index::discard(index_dir)?;
            index = Index::open(index_dir)?;
            applied = None;
        }
        let start = start.unwrap_or(BEGINNING);
        let mut table = MemTable::default();
        table.begin_at(start.id);
        let start = start.position;
        let mut view = View {
            store_id: log.store_id(),
            next_ids: applied.map_or(IdAllocator::default(), |applied| applied.next_ids),
            table,
            entries: EntryMap::default(),
            counterparts: Counterparts::default(),
            index,
            pending: Vec::new(),
            revised: BTreeMap::new(),
            last: None,
            pending_bytes: 0,
        };
        progress.begin("reading the log", log.end() - start);
        let mut open_batch = OpenBatch::default();
        let end = log.scan_and_mend(start, durable, |frame| {
            let logged = decode(&log, &frame)?;
            if applied.is_some_and(|applied| frame.stamp.lsn <= applied.stamp.lsn) {
                match logged.record {
                    Record::Message(message) => view.table.push(message),
                    Record::Revision(message) => view.table.revise(&message),
                    Record::Moderation(moderation) => {
                        view.table.note(Activity::moderation(&moderation));
                    }
                    Record::User(_) | Record::NextIds(_) | Record::Entry(_) => {}
                }
            } else {
                let complete = open_batch.take(logged, frame.stamp);
                let complete = complete.map_err(|why| log.damage_at(frame.stamp.position, why))?;
                for (logged, stamp) in complete {
                    view.replay(logged, stamp)
                        .map_err(|_| log.damage_at(stamp.position, "an id is out of order"))?;
                }
                view.apply(REPLAY_APPLY_EVERY)?;
            }
            view.trim();
            progress.advance(frame.stamp.end - start);
            Ok(ControlFlow::Continue(()))
        })?;
        progress.end();
        let torn = log.recover(open_batch.end_before(end), durable)?;
        if torn > 0 {
            ::log::warn!("cut {torn} bytes off the log: a write that was never acknowledged");
        }
        Ok(LogStore { log, view, free_space: FreeSpace::in_dir(dir), _lock: lock })
    }
}

/// The place at which to begin reading a log that is indexed up to `applied`, so that the newest
/// messages come back into memory. `None` if the index does not fit the log.
fn replay_start(log: &Log, index: &Index, applied: Applied) -> Result<Option<Posting>, StoreError> {
    let mut fits = false;
    let last = log.read(&[applied.stamp.position], |frame| {
        fits = frame.stamp == applied.stamp;
        Ok(())
    });
    if !fits || last.is_err() {
        return Ok(None);
    }
    let recent = applied.next_ids.next_event.saturating_sub(RECENT_MESSAGES as u64);
    let Some(mark) = index.mark_below(recent)? else { return Ok(Some(BEGINNING)) };
    let mut fits = false;
    let marked = log.read(&[mark.position], |frame| {
        fits = decode(log, &frame)?.record.event().is_some_and(|event| event.get() == mark.id);
        Ok(())
    });
    Ok((fits && marked.is_ok()).then_some(mark))
}
