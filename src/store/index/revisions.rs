//! Positions of the last revisions of messages.

use std::collections::BTreeMap;

use super::layout::{Posting, revision_key};
use super::tree::{Index, Writes};
use crate::model::MessageId;
use crate::store::error::StoreError;

impl Index {
    /// Writes the positions of the last revisions, by message, over earlier ones.
    pub(super) fn put_revisions(
        &self,
        revised: &BTreeMap<u64, u64>,
        batch: &mut Writes,
    ) -> Result<(), StoreError> {
        for (&id, position) in revised {
            let key = revision_key(id);
            let before = self.get(&key)?;
            batch.replace(&key, before.as_deref(), Some(&position.to_be_bytes()));
        }
        Ok(())
    }

    /// Extends the range of ids within which revised messages lie.
    pub(super) fn widen_bounds(&mut self, revised: &BTreeMap<u64, u64>) {
        if let Some(((&first, _), (&last, _))) =
            revised.first_key_value().zip(revised.last_key_value())
        {
            let (low, high) = self.revised.unwrap_or((first, last));
            self.revised = Some((low.min(first), high.max(last)));
        }
    }

    /// The position of a message's last revision.
    pub(in crate::store) fn revision(&self, id: MessageId) -> Result<Option<u64>, StoreError> {
        if self.revised.is_none_or(|(low, high)| id.get() < low || id.get() > high) {
            return Ok(None);
        }
        self.get(&revision_key(id.get()))?.map(|value| self.number(&value)).transpose()
    }

    /// Replaces the positions in postings of messages with those of their last revisions, where
    /// there are any.
    pub(in crate::store) fn redirect(&self, postings: &mut [Posting]) -> Result<(), StoreError> {
        let Some((first, last)) = postings.first().zip(postings.last()) else { return Ok(()) };
        let (first, last) = (first.id, last.id);
        if self.revised.is_none_or(|(low, high)| last < low || first > high) {
            return Ok(());
        }
        let mut entries = self.scan(revision_key(first)..=revision_key(last));
        let mut revised = Vec::new();
        while let Some((key, value)) = entries.next()? {
            revised.push((self.number(&key[1..])?, self.number(&value)?));
            // Too much of what lies between is another mailbox's.
            if revised.len() > postings.len() {
                return self.redirect_each(postings);
            }
        }
        for (id, position) in revised {
            if let Ok(place) = postings.binary_search_by_key(&id, |posting| posting.id) {
                postings[place].position = position;
            }
        }
        Ok(())
    }

    fn redirect_each(&self, postings: &mut [Posting]) -> Result<(), StoreError> {
        for posting in postings {
            if let Some(value) = self.get(&revision_key(posting.id))? {
                posting.position = self.number(&value)?;
            }
        }
        Ok(())
    }

    pub(super) fn revised_bounds(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let mut entries = self.scan(revision_key(0)..=revision_key(u64::MAX));
        let Some((first, _)) = entries.next()? else { return Ok(None) };
        let last = entries.next_back()?.map_or_else(|| first.clone(), |(last, _)| last);
        Ok(Some((self.number(&first[1..])?, self.number(&last[1..])?)))
    }
}
