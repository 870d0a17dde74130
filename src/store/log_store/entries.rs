//! Entries as a store with a log has them: newest in memory, the rest in the index; and how some are
//! written as one with a message.

use std::cmp::Ordering;
use std::ops::Range;
use std::time::Instant;

use super::store::{LogStore, RECORD_BYTES};
use super::view::View;
use crate::model::{EventId, MessageId, ModerationAction, ModerationEvent, Timestamp, UserId};
use crate::store::backend::{IdempotencyKey, NewMessage, PostOutcome};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::reader::{EntryReader, RangeEnd, RawEntry};
use crate::store::entries::retry::RetryKey;
use crate::store::error::StoreError;
use crate::store::index::entries::untagged;
use crate::store::record::Record;
use crate::store::rules::{moderation, retry};

/// What remembering a message under a key takes at most, about: two entries, and four that are over.
const RETRY_BYTES: usize = 360;
/// What an entry of an account or a session takes at most, about.
const ENTRY_BYTES: usize = 250;

impl LogStore {
    pub(super) fn send_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        let of = RetryKey { user: new.from, key: once.key };
        if let Some(first) = retry::find(&self.view, &of, once.settled.min(new.sent_at))? {
            return Ok(Some(PostOutcome::Replayed(first)));
        }
        if let Some(to) = new.to
            && !self.is_open(to)?
        {
            return Ok(None);
        }
        self.free_space
            .admit(RETRY_BYTES + RECORD_BYTES + new.text.as_str().len(), Instant::now())?;
        let id = MessageId::new(self.view.next_ids.next_event).ok_or(StoreError::OutOfIds)?;
        let entries = retry::remember(&self.view, of.user, once, id, new.sent_at)?;
        let message = new.with_id(self.view.next_ids.message()?);
        self.write_batch(entries, Record::Message(message))?;
        Ok(Some(PostOutcome::Posted(id)))
    }

    /// Does what an operator wants, for which only the reserve has to be there: what keeps order
    /// must not wait for room.
    pub(super) fn write_act(
        &mut self,
        by: UserId,
        at: Timestamp,
        action: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        let is_open = |user| self.is_open(user);
        let Some(entries) = moderation::consequences(&self.view, by, at, action, is_open)? else {
            return Ok(None);
        };
        self.free_space
            .admit_to_reserve(ENTRY_BYTES * entries.len() + RECORD_BYTES, Instant::now())?;
        let moderation = ModerationEvent { event: self.view.next_ids.event()?, by, at, action };
        self.write_batch(entries, Record::Moderation(moderation))?;
        Ok(Some(moderation.event))
    }

    /// Writes entries all of which are only so if the last one is. What ends something must not
    /// wait for room, and what begins with it is small: only the reserve has to be there.
    pub(super) fn write_as_one(&mut self, mut entries: Vec<Entry>) -> Result<(), StoreError> {
        let Some(entry) = entries.pop() else { return Ok(()) };
        self.free_space.admit_to_reserve(ENTRY_BYTES * (entries.len() + 1), Instant::now())?;
        self.write_batch(entries, Record::Entry(entry))
    }

    /// Writes `record`, and before it what is only so if it is there.
    fn write_batch(&mut self, entries: Vec<Entry>, record: Record) -> Result<(), StoreError> {
        for entry in entries {
            self.write_part(Record::Entry(entry), true)?;
        }
        self.write(record)
    }
}

impl EntryReader for View {
    fn value(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        match self.entries.get(key) {
            Some(word) => Ok(word.clone()),
            None => Ok(self.index.entry(key)?.map(|value| (&*value).into())),
        }
    }

    fn entries(
        &self,
        range: Range<&[u8]>,
        end: RangeEnd,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError> {
        let (mut older, mut newer) = (self.index.entries(range.clone()), self.entries.range(range));
        let mut next_older = || match end {
            RangeEnd::First => older.next(),
            RangeEnd::Last => older.next_back(),
        };
        let mut next_newer = || match end {
            RangeEnd::First => newer.next(),
            RangeEnd::Last => newer.next_back(),
        };
        let mut found = Vec::new();
        let (mut old, mut new) = (next_older()?, next_newer());
        while found.len() < limit {
            let first = match (&old, &new) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((newer, _))) if end == RangeEnd::First => {
                    untagged(key).cmp(newer)
                }
                (Some((key, _)), Some((newer, _))) => (*newer).cmp(untagged(key)),
            };
            if first != Ordering::Greater {
                if let Some((key, value)) = old.take().filter(|_| first == Ordering::Less) {
                    found.push((untagged(&key).into(), (&*value).into()));
                }
                old = next_older()?;
            }
            if first != Ordering::Less {
                if let Some((key, Some(value))) = new {
                    found.push((key.into(), value.into()));
                }
                new = next_newer();
            }
        }
        Ok(found)
    }

    fn malformed(&self) -> StoreError {
        self.index.mark_broken("a fact is malformed")
    }
}
