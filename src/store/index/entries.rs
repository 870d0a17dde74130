//! Facts in the index: what is so about each subject, under the subject itself.

use std::ops::Range;

use ::sled::IVec;

use super::layout::{FACT, fact_key};
use super::part::Words;
use super::tree::{Entries, Index, Writes};
use crate::store::error::StoreError;

impl Index {
    /// What is so about a subject.
    pub(in crate::store) fn fact(&self, subject: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.get(&fact_key(subject))
    }

    /// What is so about the subjects in a range, with [`subject`] to be called on each key.
    pub(in crate::store) fn facts(&self, range: Range<&[u8]>) -> Entries<'_> {
        self.entries(fact_key(range.start)..fact_key(range.end.max(range.start)))
    }

    /// Puts the last words in the place of what was so before.
    pub(super) fn put_facts(&self, words: Words, batch: &mut Writes) -> Result<(), StoreError> {
        for (subject, value) in words {
            let key = fact_key(&subject);
            let before = self.get(&key)?;
            batch.replace(&key, before.as_deref(), value.as_deref());
        }
        Ok(())
    }
}

/// The subject of an entry.
pub(in crate::store) fn subject(key: &[u8]) -> &[u8] {
    key.strip_prefix(&[FACT]).unwrap_or(key)
}
