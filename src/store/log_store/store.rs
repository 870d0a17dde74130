//! The store itself: its parts, and the [`Backend`] over them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::lock::Lock;
use super::view::{APPLY_EVERY, View};
use crate::model::{
    Block, Cursor, Event, EventId, Mailbox, Message, MessageId, ModerationAction, Page, Session,
    SessionId, StoreId, Timestamp, User, UserId, Username, Window,
};
use crate::store::backend::{
    Backend, Conversation, IdempotencyKey, MarkOutcome, NewMessage, NewRevision, NewUser,
    PostOutcome,
};
use crate::store::codec::DecodeError;
use crate::store::entries::keyspaces;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::past_store_id::PastStoreIdValue;
use crate::store::entries::retry::{FirstAnswer, RetryKey};
use crate::store::error::{RestoreError, StoreError};
use crate::store::free_space::FreeSpace;
use crate::store::id_allocator::IdAllocator;
use crate::store::log::Log;
use crate::store::log::frame::Frame;
use crate::store::record::{LogRecord, Record};
use crate::store::rules::events::merged;
use crate::store::rules::{
    account, block, conversation, lineage, moderation, restore, retry, session,
};
use crate::store::transfer::snapshot::Snapshot;

/// What a record takes beside its texts, about.
pub(super) const RECORD_BYTES: usize = 60;

/// Accounts and messages on disk, in one directory:
///
/// * `log/`: the truth
/// * `index/`: sled; can be deleted while the server is stopped
/// * `index.seal`: after a clean stop, says what the index's files are
/// * `LOCK`: held by the process that has the store open
#[derive(Debug)]
pub struct LogStore {
    pub(super) log: Log,
    pub(super) view: View,
    pub(super) free_space: FreeSpace,
    /// Dropped last.
    pub(super) _lock: Arc<Lock>,
}

impl LogStore {
    pub(super) fn write(&mut self, record: Record) -> Result<(), StoreError> {
        self.write_part(record, false)
    }

    /// Writes a record of a batch, which goes on with the next one if it `continues`.
    pub(super) fn write_part(&mut self, record: Record, continues: bool) -> Result<(), StoreError> {
        let stamp = self.log.append(|out| record.encode(continues, out))?;
        self.view.absorb(LogRecord { record, continues }, stamp);
        Ok(())
    }

    /// Whether there is such a user.
    pub(super) fn has_user(&self, id: UserId) -> Result<bool, StoreError> {
        Ok(self.view.table.user(id).is_some() || self.view.index.user(id)?.is_some())
    }

    /// Whether there is such a user, who has not ended.
    pub(super) fn is_open(&self, id: UserId) -> Result<bool, StoreError> {
        Ok(self.has_user(id)? && !account::has_ended(&self.view, id)?)
    }

    pub(super) fn name_is_taken(&self, name: &Username) -> Result<bool, StoreError> {
        let view = &self.view;
        Ok(view.table.user_named(name).is_some() || view.index.user_named(name)?.is_some())
    }
}

impl Backend for LogStore {
    fn store_id(&self) -> StoreId {
        self.view.store_id
    }

    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError> {
        if self.name_is_taken(&new.name)? {
            return Ok(None);
        }
        let bytes = RECORD_BYTES + new.name.as_str().len() + new.password_hash.len();
        self.free_space.admit(bytes, Instant::now())?;
        let user = new.with_id(self.view.next_ids.user()?);
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
            return Err(self.view.index.mark_broken("a name leads to no user"));
        }
        self.user(id)
    }

    fn usernames(
        &mut self,
        user: &BTreeSet<UserId>,
    ) -> Result<BTreeMap<UserId, Box<str>>, StoreError> {
        let users = self.accounts(user)?;
        Ok(users.iter().map(|user| (user.id, user.shown_name().into())).collect())
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
        if !account::has_hash(self, new.user, seen)? {
            return Ok(None);
        }
        let (entries, ended) = session::begin(&self.view, new)?;
        self.write_as_one(entries)?;
        Ok(Some(ended))
    }

    fn sessions(&mut self, user: UserId) -> Result<Vec<Session>, StoreError> {
        session::all(&self.view, user)
    }

    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        let entry = session::end(&self.view, user, id)?;
        let was_there = entry.is_some();
        self.write_as_one(entry.into_iter().collect())?;
        Ok(was_there)
    }

    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        let entries = session::end_all(&self.view, user, None)?;
        self.write_as_one(entries)
    }

    fn change_password(
        &mut self,
        fresh: Session,
        seen: &str,
        hash: Box<str>,
    ) -> Result<bool, StoreError> {
        if !account::has_hash(self, fresh.user, seen)? {
            return Ok(false);
        }
        let entries = account::change_password(&self.view, fresh, hash)?;
        self.write_as_one(entries)?;
        Ok(true)
    }

    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError> {
        if !account::has_hash(self, user, seen)? {
            return Ok(false);
        }
        let entries = account::end(&self.view, user, at)?;
        self.write_as_one(entries)?;
        Ok(true)
    }

    fn moderate(
        &mut self,
        by: UserId,
        at: Timestamp,
        action: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        self.write_act(by, at, action)
    }

    fn account_block(&mut self, user: UserId) -> Result<Option<Block>, StoreError> {
        block::account(&self.view, user)
    }

    fn blocked_accounts(&mut self, window: Window) -> Result<Page<Block>, StoreError> {
        block::accounts(&self.view, window)
    }

    fn registration_is_closed(&mut self) -> Result<bool, StoreError> {
        moderation::is_closed(&self.view)
    }

    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError> {
        let Some(entry) = block::refuse(&self.view, block, refused)? else { return Ok(false) };
        self.free_space.admit(RECORD_BYTES, Instant::now())?;
        self.write(Record::Entry(entry))?;
        Ok(true)
    }

    fn refuses(&mut self, by: UserId, user: UserId) -> Result<bool, StoreError> {
        block::is_refused(&self.view, by, user)
    }

    fn refused_senders(&mut self, by: UserId, window: Window) -> Result<Page<Block>, StoreError> {
        block::senders(&self.view, by, window)
    }

    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError> {
        if let Some(to) = new.to
            && !self.is_open(to)?
        {
            return Ok(None);
        }
        self.free_space.admit(RECORD_BYTES + new.text.as_str().len(), Instant::now())?;
        let message = new.with_id(self.view.next_ids.message()?);
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
        match &new.text {
            Some(text) => {
                self.free_space.admit(RECORD_BYTES + text.as_str().len(), Instant::now())?;
            }
            // It comes once to each message at most, and keeps order.
            None => self.free_space.admit_to_reserve(RECORD_BYTES, Instant::now())?,
        }
        let revised = new.of(&message, self.view.next_ids.event()?);
        let event = revised.event();
        self.write(Record::Revision(revised))?;
        Ok(Some(event))
    }

    fn post_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        self.send_once(new, once)
    }

    fn first_answer(
        &mut self,
        user: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        retry::find(&self.view, &user, now)
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
            parts.push(Page { items: items.into_iter().map(Event::created).collect(), older });
            parts.push(self.activities(feed, window)?);
        }
        Ok(merged(parts, window))
    }

    fn conversations(
        &mut self,
        user: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Conversation<'_>>, StoreError> {
        conversation::page(self, user, before.unwrap_or(u64::MAX), limit)
    }

    fn conversation(
        &mut self,
        user: UserId,
        with: Option<UserId>,
    ) -> Result<Option<Conversation<'_>>, StoreError> {
        conversation::standing(self, user, with)
    }

    fn mark_read(
        &mut self,
        user: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<MarkOutcome>, StoreError> {
        self.move_mark(user, with, up_to, at)
    }

    fn history(&mut self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        self.events_from(from, limit)
    }

    fn entries(&mut self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        keyspaces::page(&self.view, after, limit)
    }

    fn next_ids(&self) -> IdAllocator {
        self.view.next_ids
    }

    fn past_store_ids(&mut self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError> {
        lineage::past(&self.view)
    }

    fn log_bytes(&self) -> u64 {
        self.log.end()
    }

    fn takes_writes(&mut self) -> bool {
        self.free_space.admit(0, Instant::now()).is_ok()
    }

    fn adopt(&mut self, store_id: StoreId) -> Result<(), RestoreError> {
        if self.view.next_ids != IdAllocator::default() || !self.entries(None, 1)?.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        self.log.restart(store_id)?;
        self.view.store_id = store_id;
        Ok(())
    }

    fn restore(&mut self, record: Record) -> Result<(), RestoreError> {
        if let Record::User(user) = &record
            && self.name_is_taken(&user.name)?
        {
            return Err(restore::name_taken(user));
        }
        if let Record::Revision(revised) = &record {
            let there = self.find_message(revised.id)?;
            restore::expect_revision_of(there.as_deref(), revised)?;
        }
        restore::expect_users(&record, |user| self.has_user(user))?;
        if let Record::Entry(entry) = &record {
            session::expect_room(&self.view, entry)?;
            lineage::expect_room(&self.view, entry)?;
        }
        self.view.next_ids.admit(record.advance())?;
        Ok(self.write(record)?)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.log.sync()?;
        self.view.apply(APPLY_EVERY)
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StoreError> {
        Snapshot::of(self.log.synced_files()).map(Some)
    }
}

impl Drop for LogStore {
    /// Saves the next start the catching up. What was not synced is not told to the index.
    fn drop(&mut self) {
        let told = if self.log.is_synced() { self.view.apply(1) } else { Ok(()) };
        if let Err(e) = told.and_then(|()| self.view.index.close()) {
            ::log::warn!("{e}");
        }
    }
}

pub(super) fn decode(log: &Log, frame: &Frame<'_>) -> Result<LogRecord, StoreError> {
    LogRecord::decode(frame.payload).map_err(|error: DecodeError| match error.newer() {
        None => log.damage_at(frame.stamp.position, "a record makes no sense"),
        Some(what) => StoreError::Refused(format!(
            "the log holds {what}: it was written by a newer version of veche"
        )),
    })
}

#[cfg(test)]
impl LogStore {
    /// Has segments end sooner.
    pub(in crate::store) fn end_segments_at(&mut self, bytes: u64) {
        self.log.segment_bytes = bytes;
    }
}
