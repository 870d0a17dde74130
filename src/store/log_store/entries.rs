//! Facts as a store with a log has them: newest in memory, the rest in the index; and how some are
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
use crate::store::index::entries::subject;
use crate::store::record::Record;
use crate::store::rules::{moderation, retry};

/// What remembering a message under a key takes at most, about: two facts, and four that are over.
const RETRY_BYTES: usize = 360;
/// What a fact of an account or a session takes at most, about.
const ENTRY_BYTES: usize = 250;

impl LogStore {
    pub(super) fn send_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        let of = RetryKey { user: new.from, key: once.key };
        if let Some(first) = retry::find(&self.view, &of, once.settled.min(new.sent_at))? {
            return Ok(Some(PostOutcome::Before(first)));
        }
        if let Some(to) = new.to
            && !self.is_open(to)?
        {
            return Ok(None);
        }
        self.room.admit(RETRY_BYTES + RECORD_BYTES + new.text.as_str().len(), Instant::now())?;
        let id = MessageId::new(self.view.counters.next_event).ok_or(StoreError::OutOfIds)?;
        let facts = retry::remember(&self.view, of.user, once, id, new.sent_at)?;
        let message = new.with_id(self.view.counters.message()?);
        self.write_joined(facts, Record::Message(message))?;
        Ok(Some(PostOutcome::Now(id)))
    }

    /// Does what an operator wants, for which only the reserve has to be there: what keeps order
    /// must not wait for room.
    pub(super) fn write_act(
        &mut self,
        by: UserId,
        at: Timestamp,
        act: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        let is_open = |user| self.is_open(user);
        let Some(facts) = moderation::consequences(&self.view, by, at, act, is_open)? else {
            return Ok(None);
        };
        self.room.admit_to_reserve(ENTRY_BYTES * facts.len() + RECORD_BYTES, Instant::now())?;
        let acted = ModerationEvent { event: self.view.counters.event()?, by, at, act };
        self.write_joined(facts, Record::Act(acted))?;
        Ok(Some(acted.event))
    }

    /// Writes facts all of which are only so if the last one is. What ends something must not
    /// wait for room, and what begins with it is small: only the reserve has to be there.
    pub(super) fn write_as_one(&mut self, mut facts: Vec<Entry>) -> Result<(), StoreError> {
        let Some(fact) = facts.pop() else { return Ok(()) };
        self.room.admit_to_reserve(ENTRY_BYTES * (facts.len() + 1), Instant::now())?;
        self.write_joined(facts, Record::Fact { fact, joined: false })
    }

    /// Writes `record`, and before it what is only so if it is there.
    fn write_joined(&mut self, facts: Vec<Entry>, record: Record) -> Result<(), StoreError> {
        for fact in facts {
            self.write(Record::Fact { fact, joined: true })?;
        }
        self.write(record)
    }
}

impl EntryReader for View {
    fn value(&self, subject: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        match self.facts.word(subject) {
            Some(word) => Ok(word.clone()),
            None => Ok(self.index.fact(subject)?.map(|value| (&*value).into())),
        }
    }

    fn entries(
        &self,
        range: Range<&[u8]>,
        end: RangeEnd,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError> {
        let (mut older, mut newer) = (self.index.facts(range.clone()), self.facts.words(range));
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
                    subject(key).cmp(newer)
                }
                (Some((key, _)), Some((newer, _))) => (*newer).cmp(subject(key)),
            };
            if first != Ordering::Greater {
                if let Some((key, value)) = old.take().filter(|_| first == Ordering::Less) {
                    found.push((subject(&key).into(), (&*value).into()));
                }
                old = next_older()?;
            }
            if first != Ordering::Less {
                if let Some((subject, Some(value))) = new {
                    found.push((subject.into(), value.into()));
                }
                new = next_newer();
            }
        }
        Ok(found)
    }

    fn malformed(&self) -> StoreError {
        self.index.broken("a fact is malformed")
    }
}
