//! The store that lasts: a write-ahead log, and sled as the index over it.
//!
//! A write goes into the log's current group and into the table of newest messages; `sync` makes
//! the group durable; every [`view::APPLY_EVERY`] records the index is told. So the table holds all
//! that the index does not know yet, and readers ask the table first and the index, which leads
//! back to the log, for what is older.

pub(super) mod check;
pub(super) mod compact;
mod conversations;
mod facts;
mod joined;
mod lock;
mod reading;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::conversation::{self, Counterparts};
use super::events::merged;
use super::facts::{Facts, page};
use super::index::{Applied, Index, Posting};
use super::log::{self, Frame, Log};
use super::record::{DecodeError, Record};
use super::room::Room;
use super::table::Table;
use super::{
    Backend, Conversation, Counters, Fact, FirstAnswer, Marked, NewMessage, NewRevision, NewUser,
    Once, Progress, RestoreError, Restored, RetryOf, Sent, Snapshot, StoreError, account, retry,
    session,
};
use crate::model::{
    Cursor, Epoch, Event, EventId, Mailbox, Message, MessageId, Page, Session, SessionId,
    Timestamp, User, UserId, Username, Window,
};

use joined::Joined;
use lock::Lock;
use view::{APPLY_EVERY, RECENT_MESSAGES, REPLAY_APPLY_EVERY, View};

/// The first event there can be, and where a log has it at the earliest.
const BEGINNING: Posting = Posting { id: 0, position: Log::START };
/// What a record takes beside its texts, about.
const RECORD_BYTES: usize = 60;

/// Accounts and messages on disk, in one directory:
///
/// * `log/`: the truth
/// * `index/`: sled; can be deleted while the server is stopped
/// * `index.seal`: after a clean stop, says what the index's files are
/// * `LOCK`: held by the process that has the store open
#[derive(Debug)]
pub struct SledStore {
    log: Log,
    view: View,
    room: Room,
    /// Dropped last.
    _lock: Arc<Lock>,
}

impl SledStore {
    /// Opens the store in `dir`, or begins one there; `new_epoch` is for the latter. A sled that
    /// is behind the log catches up, one that is broken or gone is made again.
    pub fn open(
        dir: &Path,
        new_epoch: Epoch,
        progress: &mut dyn Progress,
    ) -> Result<SledStore, StoreError> {
        log::create_dir_synced(dir)?;
        let lock = Lock::of(dir)?;
        SledStore::open_locked(dir, Arc::new(lock), new_epoch, progress)
    }

    /// Makes the store in `dir`, which must not exist yet, with what `fill` puts in. It appears
    /// there when it is complete; what an earlier attempt left unfinished is removed.
    pub fn build<T, E: From<StoreError>>(
        dir: &Path,
        new_epoch: Epoch,
        fill: impl FnOnce(&mut SledStore) -> Result<T, E>,
    ) -> Result<T, E> {
        log::create_dir_synced(dir)?;
        let _lock = Lock::of(dir)?;
        if Log::open(&dir.join("log"))?.is_some() {
            let why = format!("{} already holds a store", dir.display());
            return Err(StoreError::Refused(why).into());
        }
        let unfinished = dir.join("unfinished-import");
        remove_dir(&unfinished)?;
        let mut store = SledStore::open(&unfinished, new_epoch, &mut ())?;
        let filled = fill(&mut store).and_then(|result| Ok(store.sync().map(|()| result)?));
        drop(store);
        let result = filled.inspect_err(|_| {
            // The reason is the error that there is already; what stays is removed the next time.
            let _ = fs::remove_dir_all(&unfinished);
        })?;
        // One that remains of a log that was lost says nothing about this one.
        Index::discard(&dir.join("index"))?;
        let moved = dir.join("log");
        fs::rename(unfinished.join("log"), &moved)
            .map_err(|e| StoreError::failed("moving the log to", &moved, e))?;
        log::sync_dir(dir)?;
        // Without its index the store is complete; what cannot be moved is made again.
        let _ = Index::relocate(&unfinished.join("index"), &dir.join("index"));
        let _ = fs::remove_dir_all(&unfinished);
        Ok(result)
    }

    /// Refuses messages and accounts with [`StoreError::Full`] while fewer bytes than these are
    /// free on the disk. Until it is told so, a store goes on to the last byte.
    pub fn keep_free(&mut self, bytes: u64) {
        self.room.keep(bytes);
    }

    /// Whether `dir` holds a store. Only looks: it may be a running server's, of which an opening
    /// would take the segment that it is just beginning for one that a crash has left.
    pub fn exists(dir: &Path) -> Result<bool, StoreError> {
        Log::exists(&dir.join("log"))
    }

    fn open_locked(
        dir: &Path,
        lock: Arc<Lock>,
        new_epoch: Epoch,
        progress: &mut dyn Progress,
    ) -> Result<SledStore, StoreError> {
        let (log_dir, index_dir) = (dir.join("log"), dir.join("index"));
        let opened = Log::open(&log_dir)?;
        let index = match Index::open(&index_dir) {
            Ok(index) => index,
            Err(StoreError::Index(why)) => {
                ::log::warn!("rebuilding {}: {why}", index_dir.display());
                Index::discard(&index_dir)?;
                Index::open(&index_dir)?
            }
            Err(other) => return Err(other),
        };
        let log = match (opened, index.applied()) {
            (Some(log), _) => log,
            (None, None) => Log::create(&log_dir, new_epoch)?,
            (None, Some(_)) => {
                return Err(StoreError::Refused(format!(
                    "{} is gone, but {} remains: put the log back, or remove the index to begin anew",
                    log_dir.display(),
                    index_dir.display(),
                )));
            }
        };
        let mut store = SledStore::catch_up(dir, log, index, lock, progress)?;
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
    ) -> Result<SledStore, StoreError> {
        let index_dir = &dir.join("index");
        let mut applied = index.applied().filter(|applied| applied.epoch == log.epoch());
        let durable = applied.map_or(0, |applied| applied.stamp.end);
        if durable > log.end() {
            return Err(log.damage_at(
                log.end(),
                "records that the index has seen synced are missing behind it; put the whole log \
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
        let mut table = Table::default();
        table.begin_at(start.id);
        let start = start.position;
        let mut view = View {
            epoch: log.epoch(),
            counters: applied.map_or(Counters::default(), |applied| applied.counters),
            table,
            facts: Facts::default(),
            counterparts: Counterparts::default(),
            index,
            pending: Vec::new(),
            revised: BTreeMap::new(),
            last: None,
        };
        progress.begin("reading the log", log.end() - start);
        let mut joined = Joined::default();
        let end = log.scan_and_mend(start, durable, |frame| {
            let record = decode(&log, &frame)?;
            if applied.is_some_and(|applied| frame.stamp.lsn <= applied.stamp.lsn) {
                match record {
                    Record::Message(message) => view.table.push(message),
                    Record::Revision(message) => view.table.revise(&message),
                    Record::User(_) | Record::Counters(_) | Record::Fact { .. } => {}
                }
            } else {
                let whole = joined.take(record, frame.stamp);
                let whole = whole.map_err(|why| log.damage_at(frame.stamp.position, why))?;
                for (record, stamp) in whole {
                    view.replay(record, stamp)
                        .map_err(|_| log.damage_at(stamp.position, "an id is out of order"))?;
                }
                view.apply(REPLAY_APPLY_EVERY)?;
            }
            view.trim();
            progress.advance(frame.stamp.end - start);
            Ok(ControlFlow::Continue(()))
        })?;
        progress.end();
        let torn = log.recover(joined.end_before(end), durable)?;
        if torn > 0 {
            ::log::warn!("cut {torn} bytes off the log: a write that was never acknowledged");
        }
        Ok(SledStore { log, view, room: Room::in_dir(dir), _lock: lock })
    }

    fn write(&mut self, record: Record) -> Result<(), StoreError> {
        let stamp = self.log.append(|out| record.encode(out))?;
        self.view.absorb(record, stamp);
        Ok(())
    }

    /// Whether there is such a user, who has not ended.
    fn takes_messages(&self, id: UserId) -> Result<bool, StoreError> {
        let view = &self.view;
        let exists = view.table.user(id).is_some() || view.index.user(id)?.is_some();
        Ok(exists && !account::has_ended(view, id)?)
    }

    fn name_is_taken(&self, name: &Username) -> Result<bool, StoreError> {
        let view = &self.view;
        Ok(view.table.user_named(name).is_some() || view.index.user_named(name)?.is_some())
    }
}

impl Backend for SledStore {
    fn epoch(&self) -> Epoch {
        self.view.epoch
    }

    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError> {
        if self.name_is_taken(&new.name)? {
            return Ok(None);
        }
        let bytes = RECORD_BYTES + new.name.as_str().len() + new.password_hash.len();
        self.room.admit(bytes, Instant::now())?;
        let user = self.view.counters.user(new)?;
        let id = user.id;
        self.write(Record::User(user))?;
        Ok(Some(id))
    }

    fn user(&mut self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        let record = match (self.view.table.user(id), self.view.index.user(id)?) {
            (Some(user), _) => Some(Cow::Borrowed(user)),
            (None, Some(position)) => self.read_users(&[position])?.pop(),
            (None, None) => None,
        };
        record.map(|user| account::present(&self.view, user)).transpose()
    }

    fn user_named(&mut self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError> {
        let id = match self.view.table.user_named(name) {
            Some(user) => Some(user.id),
            None => self.view.index.user_named(name)?,
        };
        let Some(id) = id else { return Ok(None) };
        if self.view.table.user(id).is_none() && self.view.index.user(id)?.is_none() {
            return Err(self.view.index.broken("a name leads to no user"));
        }
        self.user(id)
    }

    fn users(&mut self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
        let (index, boundary) = (&self.view.index, self.view.users_start());
        let positions = match window.cursor {
            Cursor::From(start) => index.users_from(start, boundary, window.limit)?,
            Cursor::Newest | Cursor::Before(_) => {
                let newer = self.view.table.users(window).len();
                index.users_below(boundary.min(window.start(None)), window.limit - newer)?
            }
        };
        let mut items = self.read_users(&positions)?;
        let rest = Window { limit: window.limit - items.len(), ..window };
        items.extend(self.view.table.users(rest).into_iter().map(Cow::Borrowed));
        let start = window.start(items.first().map(|user| user.id.get()));
        account::present_all(&self.view, &mut items)?;
        let older = boundary < start && self.view.table.first_user().is_some()
            || !index.users_below(start.min(boundary), 1)?.is_empty();
        Ok(Page { items, older })
    }

    fn begin_session(
        &mut self,
        new: Session,
        seen: &str,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        if !self.has_hash(new.user, seen)? {
            return Ok(None);
        }
        let (facts, ended) = session::begin(&self.view, new)?;
        self.write_as_one(facts)?;
        Ok(Some(ended))
    }

    fn sessions(&mut self, user: UserId) -> Result<Vec<Session>, StoreError> {
        session::all(&self.view, user)
    }

    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        let fact = session::end(&self.view, user, id)?;
        let was_there = fact.is_some();
        self.write_as_one(fact.into_iter().collect())?;
        Ok(was_there)
    }

    fn end_sessions(&mut self, user: UserId, at: Timestamp) -> Result<(), StoreError> {
        let facts = session::end_all(&self.view, user, at, None)?;
        self.write_as_one(facts)
    }

    fn change_password(
        &mut self,
        fresh: Session,
        seen: &str,
        hash: Box<str>,
    ) -> Result<bool, StoreError> {
        if !self.has_hash(fresh.user, seen)? {
            return Ok(false);
        }
        let facts = account::change_password(&self.view, fresh, hash)?;
        self.write_as_one(facts)?;
        Ok(true)
    }

    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError> {
        if !self.has_hash(user, seen)? {
            return Ok(false);
        }
        let facts = account::end(&self.view, user, at)?;
        self.write_as_one(facts)?;
        Ok(true)
    }

    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError> {
        if let Some(to) = new.to
            && !self.takes_messages(to)?
        {
            return Ok(None);
        }
        self.room.admit(RECORD_BYTES + new.text.as_str().len(), Instant::now())?;
        let message = self.view.counters.message(new)?;
        let id = message.id;
        self.write(Record::Message(message))?;
        Ok(Some(id))
    }

    fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Result<Option<EventId>, StoreError> {
        let Some(message) = self.find_message(id)?.filter(|message| message.event() == seen) else {
            return Ok(None);
        };
        let message = message.into_owned();
        let text_bytes = new.text.as_ref().map_or(0, |text| text.as_str().len());
        self.room.admit(RECORD_BYTES + text_bytes, Instant::now())?;
        let revised = self.view.counters.revision(&message, new)?;
        let event = revised.event();
        self.write(Record::Revision(revised))?;
        Ok(Some(event))
    }

    fn post_once(&mut self, new: NewMessage, once: Once) -> Result<Option<Sent>, StoreError> {
        self.send_once(new, once)
    }

    fn first_answer(
        &mut self,
        of: RetryOf,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        retry::find(&self.view, &of, now)
    }

    fn message(&mut self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError> {
        self.find_message(id)
    }

    fn messages(
        &mut self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError> {
        self.mailbox(mailbox, window)
    }

    fn events(&mut self, reader: UserId, window: Window) -> Result<Page<Event<'_>>, StoreError> {
        let mut parts = Vec::new();
        for feed in [Mailbox::General, Mailbox::Private(reader)] {
            let Page { items, older } = self.mailbox(feed, window)?;
            parts.push((items.into_iter().map(Event::created).collect(), older));
            parts.push(self.revisions(feed, window)?);
        }
        Ok(merged(parts, window))
    }

    fn conversations(
        &mut self,
        of: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Conversation<'_>>, StoreError> {
        conversation::page(self, of, before.unwrap_or(u64::MAX), limit)
    }

    fn conversation(
        &mut self,
        of: UserId,
        with: Option<UserId>,
    ) -> Result<Option<Conversation<'_>>, StoreError> {
        conversation::standing(self, of, with)
    }

    fn mark_read(
        &mut self,
        of: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<Marked>, StoreError> {
        self.move_mark(of, with, up_to, at)
    }

    fn history(&mut self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        self.events_from(from, limit)
    }

    fn facts(&mut self, after: Option<&Fact>, limit: usize) -> Result<Vec<Fact>, StoreError> {
        page(&self.view, after, limit)
    }

    fn counters(&self) -> Counters {
        self.view.counters
    }

    fn log_bytes(&self) -> u64 {
        self.log.end()
    }

    fn takes_writes(&mut self) -> bool {
        self.room.admit(0, Instant::now()).is_ok()
    }

    fn adopt(&mut self, epoch: Epoch) -> Result<(), RestoreError> {
        if self.view.counters != Counters::default() || !self.facts(None, 1)?.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        self.log.restart(epoch)?;
        self.view.epoch = epoch;
        Ok(())
    }

    fn restore(&mut self, restored: Restored) -> Result<(), RestoreError> {
        if let Restored::User(user) = &restored
            && self.name_is_taken(&user.name)?
        {
            return Err(RestoreError::name_taken(user));
        }
        if let Restored::Revision(revised) = &restored {
            let there = self.find_message(revised.id)?;
            RestoreError::expect_revision_of(there.as_deref(), revised)?;
        }
        self.view.counters.admit(&restored)?;
        self.write(match restored {
            Restored::User(user) => Record::User(user),
            Restored::Message(message) => Record::Message(message),
            Restored::Revision(message) => Record::Revision(message),
            Restored::Counters(counters) => Record::Counters(counters),
            Restored::Fact(fact) => Record::Fact { fact, joined: false },
        })?;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.log.sync()?;
        self.view.apply(APPLY_EVERY)
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StoreError> {
        Snapshot::of(self.log.synced_files()).map(Some)
    }
}

impl Drop for SledStore {
    /// Saves the next start the catching up. What was not synced is not told to the index.
    fn drop(&mut self) {
        let told = if self.log.is_synced() { self.view.apply(1) } else { Ok(()) };
        if let Err(e) = told.and_then(|()| self.view.index.close()) {
            ::log::warn!("{e}");
        }
    }
}

/// Where to begin reading a log that is indexed up to `applied`, so that the newest messages come
/// back into memory. `None` if the index does not fit the log.
fn replay_start(log: &Log, index: &Index, applied: Applied) -> Result<Option<Posting>, StoreError> {
    let mut fits = false;
    let last = log.read(&[applied.stamp.position], |frame| {
        fits = frame.stamp == applied.stamp;
        Ok(())
    });
    if !fits || last.is_err() {
        return Ok(None);
    }
    let recent = applied.counters.next_event.saturating_sub(RECENT_MESSAGES as u64);
    let Some(mark) = index.mark_below(recent)? else { return Ok(Some(BEGINNING)) };
    let mut fits = false;
    let marked = log.read(&[mark.position], |frame| {
        fits =
            matches!(decode(log, &frame)?, Record::Message(message) if message.id.get() == mark.id);
        Ok(())
    });
    Ok((fits && marked.is_ok()).then_some(mark))
}

fn decode(log: &Log, frame: &Frame<'_>) -> Result<Record, StoreError> {
    Record::decode(frame.payload).map_err(|error: DecodeError| match error.newer() {
        None => log.damage_at(frame.stamp.position, "a record makes no sense"),
        Some(what) => StoreError::Refused(format!(
            "the log holds {what}: it was written by a newer version of veche"
        )),
    })
}

/// Removes a directory that need not be there.
fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::failed("removing", dir, e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
impl SledStore {
    /// Has segments end sooner.
    pub(super) fn end_segments_at(&mut self, bytes: u64) {
        self.log.segment_bytes = bytes;
    }
}

#[cfg(test)]
mod tests;
