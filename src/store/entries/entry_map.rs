//! Entries in memory: all of [`crate::store::MemoryStore`]'s, and those of
//! [`crate::store::LogStore`] that its index does not have yet.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

use super::keyspaces::Entry;
use super::reader::{EntryReader, RangeEnd, RawEntry};
use crate::store::error::StoreError;

/// The last words on subjects.
#[derive(Debug, Default)]
pub(in crate::store) struct EntryMap {
    words: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
}

impl EntryMap {
    /// The last word on a subject, which may be that nothing is so; `None` if there is none here.
    pub(in crate::store) fn word(&self, subject: &[u8]) -> Option<&Option<Box<[u8]>>> {
        self.words.get(subject)
    }

    /// The last words on the subjects in a range, in order.
    pub(in crate::store) fn words(
        &self,
        range: Range<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        let words = if range.start < range.end {
            self.words.range::<[u8], _>((Bound::Included(range.start), Bound::Excluded(range.end)))
        } else {
            btree_map::Range::default()
        };
        words.map(|(subject, value)| (&**subject, value.as_deref()))
    }

    /// Takes in a word, also that nothing is so: for who has something below that it takes back.
    pub(in crate::store) fn note(&mut self, subject: Box<[u8]>, value: Option<Box<[u8]>>) {
        self.words.insert(subject, value);
    }

    /// Takes in a fact where nothing is below.
    pub(in crate::store) fn take(&mut self, fact: &Entry) {
        let subject = fact.subject();
        match fact.value() {
            Some(value) => self.note(subject.into(), Some(value.into())),
            None => drop(self.words.remove(&subject[..])),
        }
    }

    pub(in crate::store) fn clear(&mut self) {
        self.words.clear();
    }
}

/// With nothing below.
impl EntryReader for EntryMap {
    fn value(&self, subject: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        Ok(self.word(subject).cloned().flatten())
    }

    fn entries(
        &self,
        range: Range<&[u8]>,
        end: RangeEnd,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError> {
        let mut words = self.words(range);
        let next = || match end {
            RangeEnd::First => words.next(),
            RangeEnd::Last => words.next_back(),
        };
        let so = std::iter::from_fn(next)
            .filter_map(|(subject, value)| Some((subject.into(), value?.into())));
        Ok(so.take(limit).collect())
    }

    fn malformed(&self) -> StoreError {
        StoreError::Refused("what is in memory is not what was put there".to_owned())
    }
}
