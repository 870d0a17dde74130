//! The store that lives and dies with the process.

use std::borrow::Cow;

use super::backend::{
    Backend, Conversation, IdempotencyKey, MarkOutcome, NewMessage, NewRevision, NewUser,
    PostOutcome, UNREAD_LOOK, Unread,
};
use super::counterparts::Counterparts;
use super::entries::{keyspaces, reader};
use super::error::{RestoreError, StoreError};
use super::id_allocator::IdAllocator;
use super::mem_table::{Activity, HistoryItem, MemTable};
use super::record::Record;
use super::rules::{account, block, conversation, lineage, moderation, restore, retry, session};
use crate::model::{
    Block, Cursor, Event, EventId, Mailbox, Message, MessageId, ModerationAction, ModerationEvent,
    Page, Session, SessionId, StoreId, Timestamp, User, UserId, Username, Window,
};
use crate::store::entries::entry_map::EntryMap;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::past_store_id::PastStoreIdValue;
use crate::store::entries::read_mark::{ReadMarkKey, ReadMarkValue};
use crate::store::entries::retry::{FirstAnswer, RetryKey};
use crate::store::rules::conversation::ConversationReader;
use crate::store::rules::events::merged;
use crate::store::transfer::snapshot::Snapshot;

/// Everything in memory, nothing on disk. `sync` has nothing to do.
#[derive(Debug)]
pub struct MemoryStore {
    store_id: StoreId,
    table: MemTable,
    entries: EntryMap,
    counterparts: Counterparts,
    next_ids: IdAllocator,
}

impl MemoryStore {
    /// An empty store. `store id` should be random.
    #[must_use]
    pub fn new(store_id: StoreId) -> MemoryStore {
        let (table, entries, counterparts, next_ids) = Default::default();
        MemoryStore { store_id, table, entries, counterparts, next_ids }
    }

    fn push(&mut self, message: Message) {
        self.counterparts.note(&message);
        self.table.push(message);
    }

    /// Whether there is such a user, who has not ended.
    fn is_open(&self, user: UserId) -> Result<bool, StoreError> {
        Ok(self.table.user(user).is_some() && !account::has_ended(&self.entries, user)?)
    }

    fn take(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.entries.take(entry);
        }
    }
}

impl ConversationReader for MemoryStore {
    fn mark(&self, user: &ReadMarkKey) -> Result<Option<ReadMarkValue>, StoreError> {
        reader::get(&self.entries, user)
    }

    fn newest(&self, mailbox: Mailbox) -> Result<Option<Cow<'_, Message>>, StoreError> {
        let window = Window { cursor: Cursor::Newest, limit: 1 };
        Ok(self.table.mailbox(mailbox, window).items.pop())
    }

    fn counterparts(
        &self,
        user: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError> {
        Ok(self.counterparts.below(user, below).take(limit).collect())
    }

    fn unread(&self, user: UserId, mailbox: Mailbox, from: u64) -> Result<Unread, StoreError> {
        let seen = self.table.look(mailbox, user, from, UNREAD_LOOK);
        Ok(Unread { count: seen.others, more: seen.more })
    }

    fn broken(&self) -> StoreError {
        StoreError::Refused("a conversation has no message".to_owned())
    }
}

impl Backend for MemoryStore {
    fn store_id(&self) -> StoreId {
        self.store_id
    }

    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError> {
        if self.table.user_named(&new.name).is_some() {
            return Ok(None);
        }
        let user = new.with_id(self.next_ids.user()?);
        let id = user.id;
        self.table.insert_user(user);
        Ok(Some(id))
    }

    fn user(&mut self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        let record = self.table.user(id).map(Cow::Borrowed);
        record.map(|user| account::present(&self.entries, user)).transpose()
    }

    fn user_named(&mut self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError> {
        let record = self.table.user_named(name).map(Cow::Borrowed);
        record.map(|user| account::present(&self.entries, user)).transpose()
    }

    fn users(&mut self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
        let mut items: Vec<_> = self.table.users(window).into_iter().map(Cow::Borrowed).collect();
        account::present_all(&self.entries, &mut items)?;
        let start = window.start(items.first().map(|user| user.id.get()));
        let older = self.table.first_user().is_some_and(|first| first.get() < start);
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
        let (entries, ended) = session::begin(&self.entries, new)?;
        self.take(&entries);
        Ok(Some(ended))
    }

    fn sessions(&mut self, user: UserId) -> Result<Vec<Session>, StoreError> {
        session::all(&self.entries, user)
    }

    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        let entry = session::end(&self.entries, user, id)?;
        self.take(entry.as_slice());
        Ok(entry.is_some())
    }

    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        let entries = session::end_all(&self.entries, user, None)?;
        self.take(&entries);
        Ok(())
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
        let entries = account::change_password(&self.entries, fresh, hash)?;
        self.take(&entries);
        Ok(true)
    }

    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError> {
        if !account::has_hash(self, user, seen)? {
            return Ok(false);
        }
        let entries = account::end(&self.entries, user, at)?;
        self.take(&entries);
        Ok(true)
    }

    fn moderate(
        &mut self,
        by: UserId,
        at: Timestamp,
        action: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        let is_open = |user| self.is_open(user);
        let Some(entries) = moderation::consequences(&self.entries, by, at, action, is_open)?
        else {
            return Ok(None);
        };
        let moderation = ModerationEvent { event: self.next_ids.event()?, by, at, action };
        self.take(&entries);
        self.table.note(Activity::moderation(&moderation));
        Ok(Some(moderation.event))
    }

    fn account_block(&mut self, user: UserId) -> Result<Option<Block>, StoreError> {
        block::account(&self.entries, user)
    }

    fn blocked_accounts(&mut self, window: Window) -> Result<Page<Block>, StoreError> {
        block::accounts(&self.entries, window)
    }

    fn registration_is_closed(&mut self) -> Result<bool, StoreError> {
        moderation::is_closed(&self.entries)
    }

    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError> {
        let entry = block::refuse(&self.entries, block, refused)?;
        self.take(entry.as_slice());
        Ok(entry.is_some())
    }

    fn refuses(&mut self, by: UserId, user: UserId) -> Result<bool, StoreError> {
        block::is_refused(&self.entries, by, user)
    }

    fn refused_senders(&mut self, by: UserId, window: Window) -> Result<Page<Block>, StoreError> {
        block::senders(&self.entries, by, window)
    }

    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError> {
        if let Some(to) = new.to
            && !self.is_open(to)?
        {
            return Ok(None);
        }
        let message = new.with_id(self.next_ids.message()?);
        let id = message.id;
        self.push(message);
        Ok(Some(id))
    }

    fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Result<Option<EventId>, StoreError> {
        let Some(message) = self.table.message(id).filter(|message| message.event() == seen) else {
            return Ok(None);
        };
        let revised = new.of(message, self.next_ids.event()?);
        self.table.revise(&revised);
        Ok(Some(revised.event()))
    }

    fn post_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        let user = RetryKey { user: new.from, key: once.key };
        if let Some(first) = retry::find(&self.entries, &user, once.settled.min(new.sent_at))? {
            return Ok(Some(PostOutcome::Replayed(first)));
        }
        let at = new.sent_at;
        let Some(message) = self.post(new)? else { return Ok(None) };
        let entries = retry::remember(&self.entries, user.user, once, message, at)?;
        self.take(&entries);
        Ok(Some(PostOutcome::Posted(message)))
    }

    fn first_answer(
        &mut self,
        user: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        retry::find(&self.entries, &user, now)
    }

    fn message(&mut self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError> {
        Ok(self.table.message(id).map(Cow::Borrowed))
    }

    fn messages(
        &mut self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError> {
        Ok(self.table.mailbox(mailbox, window))
    }

    fn events(&mut self, reader: UserId, window: Window) -> Result<Page<Event<'_>>, StoreError> {
        let table = &self.table;
        let parts = [Mailbox::General, Mailbox::Private(reader)].map(|feed| {
            let messages = table.mailbox(feed, window);
            let created = messages.items.into_iter().map(Event::created).collect();
            let activities = table.activities(feed, window);
            let done = activities.items.into_iter().filter_map(|it| table.event_of(it)).collect();
            [
                Page { items: created, older: messages.older },
                Page { items: done, older: activities.older },
            ]
        });
        Ok(merged(parts.into_iter().flatten(), window))
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
        let Some((marked, entry)) = conversation::mark(self, user, with, up_to, at)? else {
            return Ok(None);
        };
        if let Some(entry) = entry {
            self.entries.take(&entry);
        }
        Ok(Some(marked))
    }

    fn history(&mut self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        let events = self.table.history(from.get()).filter_map(|entry| match entry {
            HistoryItem::Posted(message) => Some(Event::created(Cow::Borrowed(message))),
            HistoryItem::Done(activity) => self.table.event_of(activity),
        });
        Ok(events.take(limit).collect())
    }

    fn entries(&mut self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        keyspaces::page(&self.entries, after, limit)
    }

    fn next_ids(&self) -> IdAllocator {
        self.next_ids
    }

    fn past_store_ids(&mut self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError> {
        lineage::past(&self.entries)
    }

    fn log_bytes(&self) -> u64 {
        0
    }

    fn takes_writes(&mut self) -> bool {
        true
    }

    fn adopt(&mut self, store_id: StoreId) -> Result<(), RestoreError> {
        if self.next_ids != IdAllocator::default() || !self.entries(None, 1)?.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        self.store_id = store_id;
        Ok(())
    }

    fn restore(&mut self, record: Record) -> Result<(), RestoreError> {
        if let Record::User(user) = &record
            && self.table.user_named(&user.name).is_some()
        {
            return Err(restore::name_taken(user));
        }
        if let Record::Revision(revised) = &record {
            restore::expect_revision_of(self.table.message(revised.id), revised)?;
        }
        restore::expect_users(&record, |user| Ok(self.table.user(user).is_some()))?;
        if let Record::Entry(entry) = &record {
            session::expect_room(&self.entries, entry)?;
            lineage::expect_room(&self.entries, entry)?;
        }
        self.next_ids.admit(record.advance())?;
        match record {
            Record::User(user) => self.table.insert_user(user),
            Record::Message(message) => self.push(message),
            Record::Revision(message) => self.table.revise(&message),
            Record::Moderation(moderation) => self.table.note(Activity::moderation(&moderation)),
            Record::NextIds(_) => {}
            Record::Entry(entry) => self.entries.take(&entry),
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }
}
