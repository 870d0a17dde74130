//! Typed reads of entries, over whatever a store keeps them in.

use std::ops::Range;

use crate::model::UserId;
use crate::store::codec::{Fields, Layout};
use crate::store::error::StoreError;

/// The key of an entry, and its keyspace.
pub(in crate::store) trait Key: Layout {
    /// The number of its keyspace.
    const KEYSPACE: u8;
    /// The value of such a key.
    type Value: Layout;

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![Self::KEYSPACE];
        self.put(&mut bytes);
        bytes
    }
}

/// The bytes of a key and of its value.
pub(in crate::store) type RawEntry = (Box<[u8]>, Box<[u8]>);

/// The end from which a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum RangeEnd {
    First,
    Last,
}

/// The entries of a store, wherever it keeps them.
pub(in crate::store) trait EntryReader {
    /// The value of a key.
    fn value(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError>;

    /// The entries in a range of keys, `limit` at most, from one of its ends on.
    fn entries(
        &self,
        range: Range<&[u8]>,
        end: RangeEnd,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError>;

    /// The error for something that no store writes.
    fn corrupt(&self, what: &'static str) -> StoreError;

    /// The error for a key or a value that no store writes.
    fn malformed(&self) -> StoreError {
        self.corrupt("an entry is malformed")
    }
}

/// The value of a key.
pub(in crate::store) fn get<S: Key>(
    state: &impl EntryReader,
    key: &S,
) -> Result<Option<S::Value>, StoreError> {
    let Some(value) = state.value(&key.bytes())? else { return Ok(None) };
    read(&value).map(Some).ok_or_else(|| state.malformed())
}

/// The entries of a user in a keyspace, in order of key from one end.
pub(in crate::store) fn of_user<S: Key>(
    state: &impl EntryReader,
    user: UserId,
    end: RangeEnd,
    limit: usize,
) -> Result<Vec<(S, S::Value)>, StoreError> {
    let from = |user: u64| [&[S::KEYSPACE], &user.to_be_bytes()[..]].concat();
    // Ids end long before u64 does.
    let (start, after) = (from(user.get()), from(user.get() + 1));
    let entries = state.entries(&start[..]..&after[..], end, limit)?;
    let typed = entries.iter().map(|(key, value)| {
        let key = key.split_first().and_then(|(_, fields)| read(fields));
        key.zip(read(value)).ok_or_else(|| state.malformed())
    });
    typed.collect()
}

/// Decodes all of `bytes`.
pub(in crate::store) fn read<T: Layout>(bytes: &[u8]) -> Option<T> {
    let mut fields = Fields(bytes);
    let read = T::take(&mut fields).ok()?;
    fields.end().ok().map(|()| read)
}
