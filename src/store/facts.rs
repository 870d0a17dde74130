//! Facts by their subjects: the whole of what [`super::MemoryStore`] has of them, and of
//! [`super::LogStore`] what its index does not know yet; and how either is read.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

use super::StoreError;
use super::fact::{Entry, Key, Layout};
use super::record::Fields;
use crate::model::UserId;

/// The bytes of a subject, and of what is so about it.
pub(super) type RawEntry = (Box<[u8]>, Box<[u8]>);

/// From which end a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeEnd {
    First,
    Last,
}

/// All that is so, wherever it is kept.
pub(super) trait EntryReader {
    /// What is so about a subject.
    fn value(&self, subject: &[u8]) -> Result<Option<Box<[u8]>>, StoreError>;

    /// What is so about the subjects in a range, `limit` at most, beginning at one of its ends.
    fn entries(
        &self,
        range: Range<&[u8]>,
        end: RangeEnd,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError>;

    /// The error for bytes that nobody has written.
    fn malformed(&self) -> StoreError;
}

/// What is so about a subject.
pub(super) fn get<S: Key>(
    state: &impl EntryReader,
    of: &S,
) -> Result<Option<S::Value>, StoreError> {
    let Some(value) = state.value(&of.bytes())? else { return Ok(None) };
    read(&value).map(Some).ok_or_else(|| state.malformed())
}

/// What is so about a user's subjects of a family, in order from one end.
pub(super) fn of_user<S: Key>(
    state: &impl EntryReader,
    user: UserId,
    end: RangeEnd,
    limit: usize,
) -> Result<Vec<(S, S::Value)>, StoreError> {
    let from = |user: u64| [&[S::KEYSPACE], &user.to_be_bytes()[..]].concat();
    // Ids end long before u64 does.
    let (start, behind) = (from(user.get()), from(user.get() + 1));
    let entries = state.entries(&start[..]..&behind[..], end, limit)?;
    let typed = entries.iter().map(|(subject, value)| {
        let subject = subject.split_first().and_then(|(_, fields)| read(fields));
        subject.zip(read(value)).ok_or_else(|| state.malformed())
    });
    typed.collect()
}

/// The first facts behind `after`, in order of subject: all that is so, page by page.
pub(super) fn page(
    state: &impl EntryReader,
    after: Option<&Entry>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    // The next subject there can be has one more byte, of the least.
    let start = after.map_or_else(Vec::new, |fact| [fact.subject(), vec![0]].concat());
    let entries = state.entries(&start[..]..&[u8::MAX][..], RangeEnd::First, limit)?;
    let decoded = entries.iter().map(|(subject, value)| Entry::decode(subject, value));
    decoded.map(|fact| fact.map_err(|_| state.malformed())).collect()
}

/// All of `bytes` as what was laid out there.
pub(super) fn read<T: Layout>(bytes: &[u8]) -> Option<T> {
    let mut fields = Fields(bytes);
    let read = T::take(&mut fields).ok()?;
    fields.end().ok().map(|()| read)
}

/// The last words on subjects.
#[derive(Debug, Default)]
pub(super) struct EntryMap {
    words: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
}

impl EntryMap {
    /// The last word on a subject, which may be that nothing is so; `None` if there is none here.
    pub(super) fn word(&self, subject: &[u8]) -> Option<&Option<Box<[u8]>>> {
        self.words.get(subject)
    }

    /// The last words on the subjects in a range, in order.
    pub(super) fn words(
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
    pub(super) fn note(&mut self, subject: Box<[u8]>, value: Option<Box<[u8]>>) {
        self.words.insert(subject, value);
    }

    /// Takes in a fact where nothing is below.
    pub(super) fn take(&mut self, fact: &Entry) {
        let subject = fact.subject();
        match fact.value() {
            Some(value) => self.note(subject.into(), Some(value.into())),
            None => drop(self.words.remove(&subject[..])),
        }
    }

    pub(super) fn clear(&mut self) {
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
