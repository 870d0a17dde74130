//! Entries in the index: the value of each key, under the key itself.

use std::ops::Range;

use ::sled::IVec;

use super::layout::{ENTRY, entry_key};
use super::part::EntryChanges;
use super::tree::{Index, TreeIter, Writes};
use crate::store::error::StoreError;

impl Index {
    /// The value of a key.
    pub(in crate::store) fn entry(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.get(&entry_key(key))
    }

    /// The entries in a range of keys, with [`untagged`] to be called on each key.
    pub(in crate::store) fn entries(&self, range: Range<&[u8]>) -> TreeIter<'_> {
        self.scan(entry_key(range.start)..entry_key(range.end.max(range.start)))
    }

    /// Replaces the values of keys by their latest ones.
    pub(super) fn put_entries(
        &self,
        entries: EntryChanges,
        batch: &mut Writes,
    ) -> Result<(), StoreError> {
        for (key, value) in entries {
            let key = entry_key(&key);
            let before = self.get(&key)?;
            batch.replace(&key, before.as_deref(), value.as_deref());
        }
        Ok(())
    }
}

/// The key of an entry.
pub(in crate::store) fn untagged(key: &[u8]) -> &[u8] {
    key.strip_prefix(&[ENTRY]).unwrap_or(key)
}
