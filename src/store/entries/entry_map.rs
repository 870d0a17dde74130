//! Entries in memory: all of [`crate::store::MemoryStore`]'s, and those of
//! [`crate::store::LogStore`] that its index does not have yet.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

use super::keyspaces::Entry;
use super::reader::{EntryReader, RangeEnd, RawEntry};
use crate::store::error::StoreError;

/// The latest values of keys; `None` for a key that was removed.
#[derive(Debug, Default)]
pub(in crate::store) struct EntryMap {
    latest: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
}

impl EntryMap {
    /// The latest value of a key, which is `None` if the key was removed; `None` if the map has
    /// nothing about the key.
    pub(in crate::store) fn get(&self, key: &[u8]) -> Option<&Option<Box<[u8]>>> {
        self.latest.get(key)
    }

    /// The latest values of the keys in a range, in order of key.
    pub(in crate::store) fn range(
        &self,
        range: Range<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        let latest = if range.start < range.end {
            self.latest.range::<[u8], _>((Bound::Included(range.start), Bound::Excluded(range.end)))
        } else {
            btree_map::Range::default()
        };
        latest.map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Sets the value of a key, or notes its removal, which hides an older value elsewhere.
    pub(in crate::store) fn note(&mut self, key: Box<[u8]>, value: Option<Box<[u8]>>) {
        self.latest.insert(key, value);
    }

    /// Sets or removes a key in a map that holds all entries.
    pub(in crate::store) fn take(&mut self, entry: &Entry) {
        let key = entry.key_bytes();
        match entry.value_bytes() {
            Some(value) => self.note(key.into(), Some(value.into())),
            None => drop(self.latest.remove(&key[..])),
        }
    }

    pub(in crate::store) fn clear(&mut self) {
        self.latest.clear();
    }
}

/// For a map that holds all entries.
impl EntryReader for EntryMap {
    fn value(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(self.get(key).cloned().flatten())
    }

    fn entries(
        &self,
        range: Range<&[u8]>,
        end: RangeEnd,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError> {
        let mut latest = self.range(range);
        let next = || match end {
            RangeEnd::First => latest.next(),
            RangeEnd::Last => latest.next_back(),
        };
        let so =
            std::iter::from_fn(next).filter_map(|(key, value)| Some((key.into(), value?.into())));
        Ok(so.take(limit).collect())
    }

    fn corrupt(&self, what: &'static str) -> StoreError {
        StoreError::Refused(format!("entries in memory are malformed: {what}"))
    }
}
