//! The store as an [`Engine`]: writes go to the log and to memory. Reads ask memory first, and
//! then, for older data, the index, which has positions in the log.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

use super::store::LogStore;
use super::view::{APPLY_EVERY, View};
use crate::model::{
    Cursor, Event, EventId, EventKind, Mailbox, Message, MessageId, Page, StoreId, User, UserId,
    Username, Window,
};
use crate::store::engine::{Engine, SpaceClass};
use crate::store::error::StoreError;
use crate::store::id_allocator::IdAllocator;
use crate::store::index::layout::{List, Posting};
use crate::store::mem_table::{Activity, HistoryItem, UnreadScan};
use crate::store::record::{LogRecord, Record};
use crate::store::transfer::snapshot::Snapshot;

impl Engine for LogStore {
    type Entries = View;

    fn entry_reader(&self) -> &View {
        &self.view
    }

    fn id(&self) -> StoreId {
        self.view.store_id
    }

    fn ids(&self) -> IdAllocator {
        self.view.next_ids
    }

    fn begin_write(&mut self) -> Result<IdAllocator, StoreError> {
        Ok(self.view.next_ids)
    }

    fn admit(&mut self, bytes: usize, class: SpaceClass) -> Result<(), StoreError> {
        let now = Instant::now();
        match class {
            SpaceClass::Ordinary => self.free_space.admit(bytes, now),
            SpaceClass::Reserve => self.free_space.admit_to_reserve(bytes, now),
        }
    }

    /// Each record but the last is marked: its batch continues.
    fn append(&mut self, batch: impl IntoIterator<Item = Record>) -> Result<(), StoreError> {
        let mut batch = batch.into_iter().peekable();
        while let Some(record) = batch.next() {
            let continues = batch.peek().is_some();
            let stamp = self.log.append(|out| record.encode(continues, out))?;
            self.view.next_ids.advance(record.advance());
            self.view.absorb(LogRecord { record, continues }, stamp);
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), StoreError> {
        self.log.sync()?;
        self.view.apply(APPLY_EVERY)
    }

    fn has_account(&self, id: UserId) -> Result<bool, StoreError> {
        Ok(self.view.table.user(id).is_some() || self.view.index.user(id)?.is_some())
    }

    fn account_id(&self, name: &Username) -> Result<Option<UserId>, StoreError> {
        match self.view.table.user_named(name) {
            Some(user) => Ok(Some(user.id)),
            None => self.view.index.user_named(name),
        }
    }

    fn account(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        if let Some(user) = self.view.table.user(id) {
            return Ok(Some(Cow::Borrowed(user)));
        }
        let Some(position) = self.view.index.user(id)? else { return Ok(None) };
        Ok(self.read_users(&[position])?.pop())
    }

    /// Accounts that are not in memory are read from the log in one go.
    fn accounts(&self, ids: &BTreeSet<UserId>) -> Result<Vec<Cow<'_, User>>, StoreError> {
        let (mut newer, mut positions) = (Vec::new(), Vec::new());
        for &id in ids {
            match self.view.table.user(id) {
                Some(user) => newer.push(Cow::Borrowed(user)),
                None => positions.extend(self.view.index.user(id)?),
            }
        }
        let mut users = self.read_users(&positions)?;
        users.append(&mut newer);
        Ok(users)
    }

    fn account_page(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
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
        let older = boundary < start && self.view.table.first_user().is_some()
            || !index.users_below(start.min(boundary), 1)?.is_empty();
        Ok(Page { items, older })
    }

    fn find_message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError> {
        if let Some(message) = self.view.newest(id) {
            return Ok(Some(Cow::Borrowed(message)));
        }
        if id.get() >= self.view.table_start() {
            return Ok(None);
        }
        if let Some(position) = self.view.index.revision(id)? {
            return Ok(self.read_messages(vec![Posting { id: id.get(), position }])?.pop());
        }
        let Some(Event { what: EventKind::Message(_, message), .. }) =
            self.scan(id.into(), 1)?.pop()
        else {
            return Ok(None);
        };
        // A number that is an event's other than a posting is nobody's id.
        Ok(Some(message).filter(|message| message.id == id))
    }

    fn mailbox(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError> {
        let View { table, .. } = &self.view;
        let (list, held) = (List::Messages(mailbox), table.mailbox_held(mailbox, window));
        let (postings, older) = self.older(list, window, self.view.table_start(), held)?;
        let mut items = self.read_messages(postings)?;
        let rest = Window { limit: window.limit - items.len(), ..window };
        items.extend(table.mailbox(mailbox, rest).items);
        Ok(Page { items, older })
    }

    fn activity(&self, feed: Mailbox, window: Window) -> Result<Page<Event<'_>>, StoreError> {
        let View { table, .. } = &self.view;
        let (list, held) = (List::Activity(feed), table.activities_held(feed, window));
        let (postings, older) = self.older(list, window, self.view.activities_start(), held)?;
        let mut activities = self.read_activities(&postings)?;
        let rest = Window { limit: window.limit - activities.len(), ..window };
        activities.extend(table.activities(feed, rest).items);
        let revised = self.older_revised(activities.iter().filter_map(Activity::message))?;
        let events = activities.into_iter().map(|it| self.event_of(it, &revised));
        Ok(Page { items: events.collect::<Result<_, _>>()?, older })
    }

    fn events_from(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        let view = &self.view;
        let mut logged = Vec::new();
        if from.get() < view.table_start().max(view.activities_start()) {
            logged = self.scan(from, limit)?;
        }
        // The table has the events that the log has not synced yet.
        let next = logged.last().map_or(from.get(), |last| last.id.get() + 1);
        let held = view.table.history(next).take(limit - logged.len());
        let revised = logged.iter().filter_map(|event| Some(event.message()?.id));
        let revised = revised.chain(held.clone().filter_map(HistoryItem::revised));
        let revised = self.older_revised(revised)?;
        let logged = logged.into_iter().map(|event| self.present(event, &revised));
        let held = held.map(|item| match item {
            HistoryItem::Posted(message) => Ok(Event::created(Cow::Borrowed(message))),
            HistoryItem::Done(activity) => self.event_of(activity, &revised),
        });
        logged.chain(held).collect()
    }

    /// Messages that are not in the index yet are newer than all in it. Their conversations replace
    /// those in the index.
    fn counterparts(
        &self,
        user: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError> {
        let View { counterparts: newer, index, .. } = &self.view;
        let mut found: Vec<_> = newer.below(user, below).take(limit).collect();
        let rest = limit - found.len();
        found.extend(index.counterparts(user, below, rest, |with| !newer.has(user, with))?);
        Ok(found)
    }

    fn count_others(
        &self,
        user: UserId,
        mailbox: Mailbox,
        from: u64,
        limit: usize,
    ) -> Result<(usize, bool), StoreError> {
        let View { table, index, .. } = &self.view;
        let boundary = self.view.table_start();
        let UnreadScan { looked, others, more } = table.look(mailbox, user, from, limit);
        if more || from >= boundary {
            return Ok((others, more));
        }
        // One more than the limit shows whether there are more.
        let rest = limit - looked;
        let list = List::Messages(mailbox);
        let mut postings = index.last_postings(list, (from, boundary), rest + 1)?;
        let more = postings.len() > rest;
        postings.drain(..postings.len().saturating_sub(rest));
        let older = match (mailbox, postings.first()) {
            (_, None) => 0,
            (Mailbox::Conversation(a, b), Some(first)) => {
                let list = List::Received { by: user, from: if a == user { b } else { a } };
                index.last_postings(list, (first.id, boundary), rest)?.len()
            }
            // The authors of the general chat are only in the messages themselves.
            _ => {
                self.read_messages(postings)?.iter().filter(|message| message.from != user).count()
            }
        };
        Ok((others + older, more))
    }

    fn set_id(&mut self, id: StoreId) -> Result<(), StoreError> {
        self.log.restart(id)?;
        self.view.store_id = id;
        Ok(())
    }

    fn log_length(&self) -> u64 {
        self.log.end()
    }

    fn durable_copy(&self) -> Result<Option<Snapshot>, StoreError> {
        Snapshot::of(self.log.synced_files()).map(Some)
    }
}
