//! Lists of postings: the items of each list in order, with the positions of their records.
//!
//! A list is divided into chunks, each an entry of the index under its first id.

use ::sled::IVec;

use super::layout::{CHUNK_POSTINGS, List, Posting, decode_chunk, encode_chunk, posting_key};
use super::tree::{Index, TreeIter, Writes};
use crate::store::error::StoreError;

impl Index {
    /// Returns the last id that the list had before.
    pub(super) fn append_postings(
        &self,
        list: List,
        new: Vec<Posting>,
        batch: &mut Writes,
    ) -> Result<Option<u64>, StoreError> {
        let newest = self.chunks_below(list, u64::MAX).next_back()?;
        let mut chunk = match &newest {
            Some(entry) => self.chunk(entry)?,
            None => Vec::new(),
        };
        let mut replaced = newest.as_ref();
        let known = chunk.last().map(|posting| posting.id);
        let mut changed = false;
        for posting in new {
            if known.is_some_and(|known| posting.id <= known) {
                continue;
            }
            if chunk.len() >= CHUNK_POSTINGS {
                if changed {
                    batch.insert_chunk(list, &chunk, replaced);
                }
                replaced = None;
                chunk.clear();
            }
            chunk.push(posting);
            changed = true;
        }
        if changed {
            batch.insert_chunk(list, &chunk, replaced);
        }
        Ok(known)
    }

    /// The first `limit` postings of a list from `start` on, below `end`.
    pub(in crate::store) fn postings_from(
        &self,
        list: List,
        start: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<Posting>, StoreError> {
        let mut found = Vec::new();
        if start >= end {
            return Ok(found);
        }
        // The chunk that `start` falls into begins at or below it.
        let first_chunk = match self.chunks_below(list, start.saturating_add(1)).next_back()? {
            Some(entry) => self.chunk(&entry)?.first().map_or(start, |posting| posting.id),
            None => start,
        };
        let mut chunks = self.scan(posting_key(list, first_chunk)..posting_key(list, end));
        while let Some(entry) = chunks.next()? {
            let wanted = self.chunk(&entry)?.into_iter().filter(|it| it.id >= start && it.id < end);
            found.extend(wanted.take(limit - found.len()));
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// The last `limit` postings of a list in a range of ids, ascending. Reads no more of the list
    /// than these take.
    pub(in crate::store) fn last_postings(
        &self,
        list: List,
        (start, end): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Posting>, StoreError> {
        let mut found = Vec::new();
        let mut chunks = self.chunks_below(list, end);
        while found.len() < limit
            && let Some(entry) = chunks.next_back()?
        {
            let chunk = self.chunk(&entry)?;
            let wanted = chunk.iter().rev().filter(|it| it.id >= start && it.id < end);
            found.extend(wanted.take(limit - found.len()));
            if chunk.first().is_none_or(|first| first.id <= start) {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Returns whether a list has a posting below `end`.
    pub(in crate::store) fn any_below(&self, list: List, end: u64) -> Result<bool, StoreError> {
        Ok(self.chunks_below(list, end).next()?.is_some())
    }

    /// The chunks of a list that begin below `end`.
    pub(super) fn chunks_below(&self, list: List, end: u64) -> TreeIter<'_> {
        self.scan(posting_key(list, 0)..posting_key(list, end))
    }

    pub(super) fn chunk(&self, (key, value): &(IVec, IVec)) -> Result<Vec<Posting>, StoreError> {
        decode_chunk(key, value).ok_or_else(|| self.mark_broken("a list of postings is malformed"))
    }
}

impl Writes {
    /// Writes a chunk, in the place of the one that it continues.
    fn insert_chunk(&mut self, list: List, chunk: &[Posting], replaced: Option<&(IVec, IVec)>) {
        let Some(first) = chunk.first() else { return };
        let before = replaced.map(|(_, value)| &**value);
        self.replace(&posting_key(list, first.id), before, Some(&encode_chunk(chunk)));
    }
}
