//! The engine that keeps everything in memory, and forgets it when the process ends.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::counterparts::Counterparts;
use super::engine::{Engine, SpaceClass};
use super::entries::entry_map::EntryMap;
use super::error::StoreError;
use super::id_allocator::IdAllocator;
use super::mem_table::{Activity, HistoryItem, MemTable, UnreadScan};
use super::record::Record;
use super::transfer::snapshot::Snapshot;
use crate::model::{
    Event, EventId, Mailbox, Message, MessageId, Page, StoreId, User, UserId, Username, Window,
};

/// Accounts and messages in memory, with nothing on disk. `sync` has nothing to do.
#[derive(Debug)]
pub struct MemoryStore {
    store_id: StoreId,
    ids: IdAllocator,
    table: MemTable,
    entries: EntryMap,
    counterparts: Counterparts,
}

impl MemoryStore {
    /// An empty store. `store_id` should be random.
    #[must_use]
    pub fn new(store_id: StoreId) -> MemoryStore {
        let (ids, table, entries, counterparts) = Default::default();
        MemoryStore { store_id, ids, table, entries, counterparts }
    }
}

impl Engine for MemoryStore {
    type Entries = EntryMap;

    fn entry_reader(&self) -> &EntryMap {
        &self.entries
    }

    fn id(&self) -> StoreId {
        self.store_id
    }

    fn ids(&self) -> IdAllocator {
        self.ids
    }

    fn begin_write(&mut self) -> Result<IdAllocator, StoreError> {
        Ok(self.ids)
    }

    fn admit(&mut self, _: usize, _: SpaceClass) -> Result<(), StoreError> {
        Ok(())
    }

    fn append(&mut self, batch: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        for record in batch {
            self.ids.advance(record.advance());
            match record {
                Record::User(user) => self.table.insert_user(user),
                Record::Message(message) => {
                    self.counterparts.note(&message);
                    self.table.push(message);
                }
                Record::Revision(message) => self.table.revise(&message),
                Record::Moderation(moderation) => {
                    self.table.note(Activity::moderation(&moderation));
                }
                Record::NextIds(_) => {}
                Record::Entry(entry) => self.entries.take(&entry),
            }
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn has_account(&self, id: UserId) -> Result<bool, StoreError> {
        Ok(self.table.user(id).is_some())
    }

    fn account_id(&self, name: &Username) -> Result<Option<UserId>, StoreError> {
        Ok(self.table.user_named(name).map(|user| user.id))
    }

    fn account(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        Ok(self.table.user(id).map(Cow::Borrowed))
    }

    fn accounts(&self, ids: &BTreeSet<UserId>) -> Result<Vec<Cow<'_, User>>, StoreError> {
        Ok(ids.iter().filter_map(|id| self.table.user(*id)).map(Cow::Borrowed).collect())
    }

    fn account_page(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
        let items: Vec<_> = self.table.users(window).into_iter().map(Cow::Borrowed).collect();
        let start = window.start(items.first().map(|user| user.id.get()));
        let older = self.table.first_user().is_some_and(|first| first.get() < start);
        Ok(Page { items, older })
    }

    fn find_message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError> {
        Ok(self.table.message(id).map(Cow::Borrowed))
    }

    fn mailbox(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError> {
        Ok(self.table.mailbox(mailbox, window))
    }

    fn activity(&self, feed: Mailbox, window: Window) -> Result<Page<Event<'_>>, StoreError> {
        let Page { items, older } = self.table.activities(feed, window);
        let items = items.into_iter().filter_map(|it| self.table.event_of(it)).collect();
        Ok(Page { items, older })
    }

    fn events_from(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        let events = self.table.history(from.get()).filter_map(|item| match item {
            HistoryItem::Posted(message) => Some(Event::created(Cow::Borrowed(message))),
            HistoryItem::Done(activity) => self.table.event_of(activity),
        });
        Ok(events.take(limit).collect())
    }

    fn counterparts(
        &self,
        user: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError> {
        Ok(self.counterparts.below(user, below).take(limit).collect())
    }

    fn count_others(
        &self,
        user: UserId,
        mailbox: Mailbox,
        from: u64,
        limit: usize,
    ) -> Result<(usize, bool), StoreError> {
        let UnreadScan { others, more, .. } = self.table.look(mailbox, user, from, limit);
        Ok((others, more))
    }

    fn set_id(&mut self, id: StoreId) -> Result<(), StoreError> {
        self.store_id = id;
        Ok(())
    }

    fn log_length(&self) -> u64 {
        0
    }

    fn durable_copy(&self) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }
}
