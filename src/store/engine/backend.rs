//! [`Backend`] over any [`Engine`]: the rules, applied to the engine's data.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Engine, SpaceClass};
use crate::model::{
    Block, Event, EventId, Mailbox, Message, MessageId, ModerationAction, ModerationEvent, Page,
    Session, SessionId, StoreId, Timestamp, User, UserId, Username, Window,
};
use crate::store::backend::{
    Backend, Conversation, IdempotencyKey, MarkOutcome, NewMessage, NewRevision, NewUser,
    PostOutcome,
};
use crate::store::entries::keyspaces::{self, Entry};
use crate::store::entries::past_store_id::PastStoreIdValue;
use crate::store::entries::reader::EntryReader;
use crate::store::entries::retry::{FirstAnswer, RetryKey};
use crate::store::error::{RestoreError, StoreError};
use crate::store::id_allocator::IdAllocator;
use crate::store::record::Record;
use crate::store::rules::{
    account, block, conversation, events, lineage, moderation, restore, retry, session,
};
use crate::store::transfer::snapshot::Snapshot;

/// Approximate number of bytes of a record without its texts.
const RECORD_BYTES: usize = 60;
/// Bytes of the entries that remember a message under an idempotency key, about: two, and four that
/// remove expired ones.
const RETRY_BYTES: usize = 360;
/// Bytes of an entry of an account or a session, about, at most.
const ENTRY_BYTES: usize = 250;

impl<E: Engine> Backend for E {
    fn store_id(&self) -> StoreId {
        self.id()
    }

    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError> {
        let mut ids = self.begin_write()?;
        if self.account_id(&new.name)?.is_some() {
            return Ok(None);
        }
        let bytes = RECORD_BYTES + new.name.as_str().len() + new.password_hash.len();
        self.admit(bytes, SpaceClass::Ordinary)?;
        let id = ids.user()?;
        self.append([Record::User(new.with_id(id))])?;
        Ok(Some(id))
    }

    fn user(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        let user = self.account(id)?;
        user.map(|user| account::present(self.entry_reader(), user)).transpose()
    }

    fn user_named(&self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError> {
        let Some(id) = self.account_id(name)? else { return Ok(None) };
        let missing = || self.entry_reader().corrupt("a name leads to no user");
        self.user(id)?.map(Some).ok_or_else(missing)
    }

    fn usernames(&self, ids: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, Box<str>>, StoreError> {
        let mut users = self.accounts(ids)?;
        account::present_all(self.entry_reader(), &mut users)?;
        Ok(users.iter().map(|user| (user.id, user.shown_name().into())).collect())
    }

    fn users(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
        let mut page = self.account_page(window)?;
        account::present_all(self.entry_reader(), &mut page.items)?;
        Ok(page)
    }

    fn begin_session(
        &mut self,
        new: Session,
        seen: &str,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        self.begin_write()?;
        if !account::has_hash(self, new.user, seen)? {
            return Ok(None);
        }
        let (entries, ended) = session::begin(self.entry_reader(), new)?;
        append_entries(self, entries)?;
        Ok(Some(ended))
    }

    fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        session::all(self.entry_reader(), user)
    }

    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        self.begin_write()?;
        let entry = session::end(self.entry_reader(), user, id)?;
        let was_there = entry.is_some();
        append_entries(self, entry.into_iter().collect())?;
        Ok(was_there)
    }

    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        self.begin_write()?;
        let entries = session::end_all(self.entry_reader(), user, None)?;
        append_entries(self, entries)
    }

    fn change_password(
        &mut self,
        fresh: Session,
        seen: &str,
        hash: Box<str>,
    ) -> Result<bool, StoreError> {
        self.begin_write()?;
        if !account::has_hash(self, fresh.user, seen)? {
            return Ok(false);
        }
        let entries = account::change_password(self.entry_reader(), fresh, hash)?;
        append_entries(self, entries)?;
        Ok(true)
    }

    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.begin_write()?;
        if !account::has_hash(self, user, seen)? {
            return Ok(false);
        }
        let entries = account::end(self.entry_reader(), user, at)?;
        append_entries(self, entries)?;
        Ok(true)
    }

    fn moderate(
        &mut self,
        by: UserId,
        at: Timestamp,
        action: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        let mut ids = self.begin_write()?;
        let is_open = |user| is_open(self, user);
        let entries = moderation::consequences(self.entry_reader(), by, at, action, is_open)?;
        let Some(entries) = entries else { return Ok(None) };
        self.admit(ENTRY_BYTES * entries.len() + RECORD_BYTES, SpaceClass::Reserve)?;
        let event = ids.event()?;
        let moderation = Record::Moderation(ModerationEvent { event, by, at, action });
        self.append(entries.into_iter().map(Record::Entry).chain([moderation]))?;
        Ok(Some(event))
    }

    fn account_block(&self, user: UserId) -> Result<Option<Block>, StoreError> {
        block::account(self.entry_reader(), user)
    }

    fn blocked_accounts(&self, window: Window) -> Result<Page<Block>, StoreError> {
        block::accounts(self.entry_reader(), window)
    }

    fn registration_is_closed(&self) -> Result<bool, StoreError> {
        moderation::is_closed(self.entry_reader())
    }

    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError> {
        self.begin_write()?;
        let Some(entry) = block::refuse(self.entry_reader(), block, refused)? else {
            return Ok(false);
        };
        self.admit(RECORD_BYTES, SpaceClass::Ordinary)?;
        self.append([Record::Entry(entry)])?;
        Ok(true)
    }

    fn refuses(&self, by: UserId, user: UserId) -> Result<bool, StoreError> {
        block::is_refused(self.entry_reader(), by, user)
    }

    fn refused_senders(&self, by: UserId, window: Window) -> Result<Page<Block>, StoreError> {
        block::senders(self.entry_reader(), by, window)
    }

    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError> {
        let mut ids = self.begin_write()?;
        if let Some(to) = new.to
            && !is_open(self, to)?
        {
            return Ok(None);
        }
        self.admit(RECORD_BYTES + new.text.as_str().len(), SpaceClass::Ordinary)?;
        let id = ids.message()?;
        self.append([Record::Message(new.with_id(id))])?;
        Ok(Some(id))
    }

    fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Result<Option<EventId>, StoreError> {
        let mut ids = self.begin_write()?;
        let (bytes, class) = match &new.text {
            Some(text) => (RECORD_BYTES + text.as_str().len(), SpaceClass::Ordinary),
            // A message is deleted once at most, and moderation must not wait for space.
            None => (RECORD_BYTES, SpaceClass::Reserve),
        };
        let Some(message) = self.find_message(id)?.filter(|message| message.event() == seen) else {
            return Ok(None);
        };
        let event = ids.event()?;
        let revised = new.of(&message, event);
        self.admit(bytes, class)?;
        self.append([Record::Revision(revised)])?;
        Ok(Some(event))
    }

    fn post_once(
        &mut self,
        new: NewMessage,
        key: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        let mut ids = self.begin_write()?;
        let retry_key = RetryKey { user: new.from, key: key.key };
        let now = key.settled.min(new.sent_at);
        if let Some(first) = retry::find(self.entry_reader(), &retry_key, now)? {
            return Ok(Some(PostOutcome::Replayed(first)));
        }
        if let Some(to) = new.to
            && !is_open(self, to)?
        {
            return Ok(None);
        }
        let bytes = RETRY_BYTES + RECORD_BYTES + new.text.as_str().len();
        self.admit(bytes, SpaceClass::Ordinary)?;
        let id = ids.message()?;
        let entries = retry::remember(self.entry_reader(), new.from, key, id, new.sent_at)?;
        let message = Record::Message(new.with_id(id));
        self.append(entries.into_iter().map(Record::Entry).chain([message]))?;
        Ok(Some(PostOutcome::Posted(id)))
    }

    fn first_answer(
        &self,
        key: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        retry::find(self.entry_reader(), &key, now)
    }

    fn message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError> {
        self.find_message(id)
    }

    fn messages(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError> {
        self.mailbox(mailbox, window)
    }

    fn events(&self, reader: UserId, window: Window) -> Result<Page<Event<'_>>, StoreError> {
        let mut parts = Vec::with_capacity(4);
        for feed in [Mailbox::General, Mailbox::Private(reader)] {
            let Page { items, older } = self.mailbox(feed, window)?;
            parts.push(Page { items: items.into_iter().map(Event::created).collect(), older });
            parts.push(self.activity(feed, window)?);
        }
        Ok(events::merged(parts, window))
    }

    fn conversations(
        &self,
        user: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Conversation<'_>>, StoreError> {
        conversation::page(self, user, before.unwrap_or(u64::MAX), limit)
    }

    fn conversation(
        &self,
        user: UserId,
        with: Option<UserId>,
    ) -> Result<Option<Conversation<'_>>, StoreError> {
        conversation::load(self, user, with)
    }

    fn mark_read(
        &mut self,
        user: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<MarkOutcome>, StoreError> {
        self.begin_write()?;
        let Some((outcome, entry)) = conversation::mark(self, user, with, up_to, at)? else {
            return Ok(None);
        };
        if let Some(entry) = entry {
            self.admit(RECORD_BYTES, SpaceClass::Ordinary)?;
            self.append([Record::Entry(entry)])?;
        }
        Ok(Some(outcome))
    }

    fn history(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        self.events_from(from, limit)
    }

    fn entries(&self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        keyspaces::page(self.entry_reader(), after, limit)
    }

    fn next_ids(&self) -> IdAllocator {
        self.ids()
    }

    fn past_store_ids(&self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError> {
        lineage::past(self.entry_reader())
    }

    fn log_bytes(&self) -> u64 {
        self.log_length()
    }

    fn takes_writes(&mut self) -> bool {
        self.admit(0, SpaceClass::Ordinary).is_ok()
    }

    fn adopt(&mut self, store_id: StoreId) -> Result<(), RestoreError> {
        let ids = self.begin_write()?;
        if ids != IdAllocator::default() || !self.entries(None, 1)?.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        self.set_id(store_id)?;
        Ok(())
    }

    fn restore(&mut self, record: Record) -> Result<(), RestoreError> {
        let mut ids = self.begin_write()?;
        match &record {
            Record::User(user) if self.account_id(&user.name)?.is_some() => {
                return Err(restore::name_taken(user));
            }
            Record::Revision(revised) => {
                let there = self.find_message(revised.id)?;
                restore::expect_revision_of(there.as_deref(), revised)?;
            }
            Record::Entry(entry) => {
                restore::expect_users(entry.users(), |user| self.has_account(user))?;
                session::expect_room(self.entry_reader(), entry)?;
                lineage::expect_room(self.entry_reader(), entry)?;
            }
            Record::Moderation(moderation) => {
                restore::expect_users(moderation.users(), |user| self.has_account(user))?;
            }
            Record::User(_) | Record::Message(_) | Record::NextIds(_) => {}
        }
        ids.admit(record.advance())?;
        self.append([record])?;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.make_durable()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.durable_copy()
    }
}

/// True if there is an account with this id that has not ended.
fn is_open(engine: &impl Engine, user: UserId) -> Result<bool, StoreError> {
    Ok(engine.has_account(user)? && !account::has_ended(engine.entry_reader(), user)?)
}

/// Appends entries as one batch. It may use the reserve: writes that end something must not wait
/// for space, and those that begin something are small.
fn append_entries(engine: &mut impl Engine, entries: Vec<Entry>) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    engine.admit(ENTRY_BYTES * entries.len(), SpaceClass::Reserve)?;
    engine.append(entries.into_iter().map(Record::Entry))
}
