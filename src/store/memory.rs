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
use super::record::Restored;
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
    epoch: StoreId,
    table: MemTable,
    facts: EntryMap,
    counterparts: Counterparts,
    counters: IdAllocator,
}

impl MemoryStore {
    /// An empty store. `epoch` should be random.
    #[must_use]
    pub fn new(epoch: StoreId) -> MemoryStore {
        let (table, facts, counterparts, counters) = Default::default();
        MemoryStore { epoch, table, facts, counterparts, counters }
    }

    fn push(&mut self, message: Message) {
        self.counterparts.note(&message);
        self.table.push(message);
    }

    /// Whether there is such a user, who has not ended.
    fn is_open(&self, user: UserId) -> Result<bool, StoreError> {
        Ok(self.table.user(user).is_some() && !account::has_ended(&self.facts, user)?)
    }

    fn take(&mut self, facts: &[Entry]) {
        for fact in facts {
            self.facts.take(fact);
        }
    }
}

impl ConversationReader for MemoryStore {
    fn mark(&self, of: &ReadMarkKey) -> Result<Option<ReadMarkValue>, StoreError> {
        reader::get(&self.facts, of)
    }

    fn newest(&self, mailbox: Mailbox) -> Result<Option<Cow<'_, Message>>, StoreError> {
        let window = Window { cursor: Cursor::Newest, limit: 1 };
        Ok(self.table.mailbox(mailbox, window).items.pop())
    }

    fn counterparts(
        &self,
        of: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError> {
        Ok(self.counterparts.below(of, below).take(limit).collect())
    }

    fn unread(&self, of: UserId, mailbox: Mailbox, from: u64) -> Result<Unread, StoreError> {
        let seen = self.table.look(mailbox, of, from, UNREAD_LOOK);
        Ok(Unread { count: seen.others, more: seen.more })
    }

    fn broken(&self) -> StoreError {
        StoreError::Refused("a conversation has no message".to_owned())
    }
}

impl Backend for MemoryStore {
    fn epoch(&self) -> StoreId {
        self.epoch
    }

    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError> {
        if self.table.user_named(&new.name).is_some() {
            return Ok(None);
        }
        let user = new.with_id(self.counters.user()?);
        let id = user.id;
        self.table.insert_user(user);
        Ok(Some(id))
    }

    fn user(&mut self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        let record = self.table.user(id).map(Cow::Borrowed);
        record.map(|user| account::present(&self.facts, user)).transpose()
    }

    fn user_named(&mut self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError> {
        let record = self.table.user_named(name).map(Cow::Borrowed);
        record.map(|user| account::present(&self.facts, user)).transpose()
    }

    fn users(&mut self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
        let mut items: Vec<_> = self.table.users(window).into_iter().map(Cow::Borrowed).collect();
        account::present_all(&self.facts, &mut items)?;
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
        let (facts, ended) = session::begin(&self.facts, new)?;
        self.take(&facts);
        Ok(Some(ended))
    }

    fn sessions(&mut self, user: UserId) -> Result<Vec<Session>, StoreError> {
        session::all(&self.facts, user)
    }

    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        let fact = session::end(&self.facts, user, id)?;
        self.take(fact.as_slice());
        Ok(fact.is_some())
    }

    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        let facts = session::end_all(&self.facts, user, None)?;
        self.take(&facts);
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
        let facts = account::change_password(&self.facts, fresh, hash)?;
        self.take(&facts);
        Ok(true)
    }

    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError> {
        if !account::has_hash(self, user, seen)? {
            return Ok(false);
        }
        let facts = account::end(&self.facts, user, at)?;
        self.take(&facts);
        Ok(true)
    }

    fn act(
        &mut self,
        by: UserId,
        at: Timestamp,
        act: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        let is_open = |user| self.is_open(user);
        let Some(facts) = moderation::consequences(&self.facts, by, at, act, is_open)? else {
            return Ok(None);
        };
        let acted = ModerationEvent { event: self.counters.event()?, by, at, act };
        self.take(&facts);
        self.table.note(Activity::act(&acted));
        Ok(Some(acted.event))
    }

    fn account_block(&mut self, user: UserId) -> Result<Option<Block>, StoreError> {
        block::account(&self.facts, user)
    }

    fn blocked_accounts(&mut self, window: Window) -> Result<Page<Block>, StoreError> {
        block::accounts(&self.facts, window)
    }

    fn registration_is_closed(&mut self) -> Result<bool, StoreError> {
        moderation::is_closed(&self.facts)
    }

    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError> {
        let fact = block::refuse(&self.facts, block, refused)?;
        self.take(fact.as_slice());
        Ok(fact.is_some())
    }

    fn refuses(&mut self, by: UserId, user: UserId) -> Result<bool, StoreError> {
        block::is_refused(&self.facts, by, user)
    }

    fn refused_senders(&mut self, by: UserId, window: Window) -> Result<Page<Block>, StoreError> {
        block::senders(&self.facts, by, window)
    }

    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError> {
        if let Some(to) = new.to
            && !self.is_open(to)?
        {
            return Ok(None);
        }
        let message = new.with_id(self.counters.message()?);
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
        let revised = new.of(message, self.counters.event()?);
        self.table.revise(&revised);
        Ok(Some(revised.event()))
    }

    fn post_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        let of = RetryKey { user: new.from, key: once.key };
        if let Some(first) = retry::find(&self.facts, &of, once.settled.min(new.sent_at))? {
            return Ok(Some(PostOutcome::Before(first)));
        }
        let at = new.sent_at;
        let Some(message) = self.post(new)? else { return Ok(None) };
        let facts = retry::remember(&self.facts, of.user, once, message, at)?;
        self.take(&facts);
        Ok(Some(PostOutcome::Now(message)))
    }

    fn first_answer(
        &mut self,
        of: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        retry::find(&self.facts, &of, now)
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
            let deeds = table.deeds(feed, window);
            let done = deeds.items.into_iter().filter_map(|it| table.event_of(it)).collect();
            [
                Page { items: created, older: messages.older },
                Page { items: done, older: deeds.older },
            ]
        });
        Ok(merged(parts.into_iter().flatten(), window))
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
    ) -> Result<Option<MarkOutcome>, StoreError> {
        let Some((marked, fact)) = conversation::mark(self, of, with, up_to, at)? else {
            return Ok(None);
        };
        if let Some(fact) = fact {
            self.facts.take(&fact);
        }
        Ok(Some(marked))
    }

    fn history(&mut self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        let events = self.table.history(from.get()).filter_map(|entry| match entry {
            HistoryItem::Posted(message) => Some(Event::created(Cow::Borrowed(message))),
            HistoryItem::Done(deed) => self.table.event_of(deed),
        });
        Ok(events.take(limit).collect())
    }

    fn facts(&mut self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        keyspaces::page(&self.facts, after, limit)
    }

    fn counters(&self) -> IdAllocator {
        self.counters
    }

    fn past_epochs(&mut self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError> {
        lineage::past(&self.facts)
    }

    fn log_bytes(&self) -> u64 {
        0
    }

    fn takes_writes(&mut self) -> bool {
        true
    }

    fn adopt(&mut self, epoch: StoreId) -> Result<(), RestoreError> {
        if self.counters != IdAllocator::default() || !self.facts(None, 1)?.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        self.epoch = epoch;
        Ok(())
    }

    fn restore(&mut self, record: Restored) -> Result<(), RestoreError> {
        if let Restored::User(user) = &record
            && self.table.user_named(&user.name).is_some()
        {
            return Err(restore::name_taken(user));
        }
        if let Restored::Revision(revised) = &record {
            restore::expect_revision_of(self.table.message(revised.id), revised)?;
        }
        restore::expect_users(&record, |user| Ok(self.table.user(user).is_some()))?;
        if let Restored::Fact(fact) = &record {
            session::expect_room(&self.facts, fact)?;
            lineage::expect_room(&self.facts, fact)?;
        }
        self.counters.admit(record.step())?;
        match record {
            Restored::User(user) => self.table.insert_user(user),
            Restored::Message(message) => self.push(message),
            Restored::Revision(message) => self.table.revise(&message),
            Restored::Act(acted) => self.table.note(Activity::act(&acted)),
            Restored::Counters(_) => {}
            Restored::Fact(fact) => self.facts.take(&fact),
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
