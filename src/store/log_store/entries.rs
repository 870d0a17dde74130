//! Entries as the store has them: the newest in memory, the rest in the index.

use std::cmp::Ordering;
use std::ops::Range;

use super::view::View;
use crate::store::entries::reader::{EntryReader, RangeEnd, RawEntry};
use crate::store::error::StoreError;
use crate::store::index::entries::untagged;

impl EntryReader for View {
    fn value(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StoreError> {
        match self.entries.get(key) {
            Some(value) => Ok(value.clone()),
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

    fn corrupt(&self, what: &'static str) -> StoreError {
        self.index.mark_broken(what)
    }
}
