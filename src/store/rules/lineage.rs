//! Store ids: the identity of a store, and its change when a backup is restored.
//!
//! A backup lacks the ids that the store gave out after it. So a store restored from one is another
//! store. It has a new store id, and its ids begin so far above those of the backup that none is
//! given out again: neither one that was lost, nor one of another restore of the same file. An
//! entry remembers the store id that ended, with the ids that it had reached in the backup and
//! those at which the next one began. So its cursors can be told apart: those up to the backup are
//! still valid, those above it point at lost records.

use std::fmt;

use super::session;
use crate::model::{Cursor, MAX_ID, StoreId};
use crate::store::backend::Backend;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::past_store_id::{PastStoreIdKey, PastStoreIdValue};
use crate::store::entries::reader;
use crate::store::entries::reader::{EntryReader, Key, RangeEnd};
use crate::store::error::{RestoreError, StoreError};
use crate::store::id_allocator::{IdAllocator, IdKind};
use crate::store::record::Record;

/// The distance from the ids of a backup to those of the store restored from it, at least: no
/// server gives out so many in the time between two backups.
pub const MIN_JUMP: u64 = 1 << 20;
/// The random part of that distance, at most, so that two restores of one file do not meet. Ids
/// last for some 16,000 restores.
const JUMP_SPREAD: u64 = 1 << 40;
/// Most earlier store ids that are remembered. With one more the oldest is forgotten, and its
/// cursors are those of another store.
pub const MAX_PAST_STORE_IDS: usize = 256;

/// The reason for which a cursor leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostRange {
    /// The cursor is of another store.
    OtherStore,
    /// The cursor is from after the backup from which the store was restored.
    Undone,
    /// The cursor is above every id that was given out.
    Ahead,
}

/// The store ids that a store has had before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Ended store ids, in the order in which they ended.
    past: Vec<(StoreId, PastStoreIdValue)>,
}

impl Lineage {
    /// Reads the earlier store ids of a store.
    pub fn of(store: &mut dyn Backend) -> Result<Lineage, StoreError> {
        store.past_store_ids().map(Lineage::new)
    }

    pub(in crate::store) fn new(mut past: Vec<(StoreId, PastStoreIdValue)>) -> Lineage {
        past.sort_by_key(|(_, ended)| ended.resumed.next_event);
        Lineage { past }
    }

    /// Judges a cursor in a list whose items are numbered by `sequence`, in the store `current`
    /// that gives out `next` next. `store_id` is the one that the cursor names.
    ///
    /// Every list, every wait and every stream is decided here.
    pub fn judge(
        &self,
        (sequence, cursor): (IdKind, Cursor),
        store_id: Option<StoreId>,
        current: StoreId,
        next: IdAllocator,
    ) -> Result<(), LostRange> {
        let is_lost = |place: u64| {
            self.past.iter().any(|(_, PastStoreIdValue { reached, resumed })| {
                sequence.of(*reached) < place && place < sequence.of(*resumed)
            })
        };
        // A cursor is a place between two ids: the id that follows it.
        let end = match store_id.filter(|store_id| *store_id != current) {
            None => sequence.of(next),
            Some(store_id) => {
                let past = self.past.iter().find(|(past, _)| *past == store_id);
                let (_, ended) = past.ok_or(LostRange::OtherStore)?;
                let end = sequence.of(ended.reached);
                if matches!(cursor, Cursor::Before(place) | Cursor::From(place) if place > end) {
                    return Err(LostRange::Undone);
                }
                end
            }
        };
        let Cursor::From(place) = cursor else { return Ok(()) };
        if is_lost(place) {
            return Err(LostRange::Undone);
        }
        // An empty store is also asked for messages after 0: a client may begin so that does not know
        // that ids begin there.
        if place > end.max(1) { Err(LostRange::Ahead) } else { Ok(()) }
    }

    /// The value that an id would have if none below it had been skipped, for metrics and counts.
    #[must_use]
    pub fn dense(&self, sequence: IdKind, id: u64) -> u64 {
        let gaps = self.past.iter().map(|(_, PastStoreIdValue { reached, resumed })| {
            id.min(sequence.of(*resumed)).saturating_sub(sequence.of(*reached))
        });
        gaps.fold(id, u64::saturating_sub)
    }

    /// Refuses past store ids that no chain of restores produces, in the store `current` that gives
    /// out `next` next.
    pub(in crate::store) fn expect_sense(
        &self,
        current: StoreId,
        next: IdAllocator,
    ) -> Result<(), &'static str> {
        let ends = self.past.iter().map(|(_, ended)| *ended);
        let last = PastStoreIdValue { reached: next, resumed: next };
        let follows = |earlier: PastStoreIdValue, later: PastStoreIdValue| {
            [IdKind::Users, IdKind::Events]
                .iter()
                .all(|sequence| sequence.of(earlier.resumed) <= sequence.of(later.reached))
        };
        let ends: Vec<PastStoreIdValue> = ends.chain([last]).collect();
        if !ends.windows(2).all(|pair| follows(pair[0], pair[1])) {
            return Err("an earlier epoch ends at an impossible id");
        }
        if self.past.iter().any(|(store_id, _)| *store_id == current) {
            return Err("the store's epoch is one of its earlier epochs");
        }
        Ok(())
    }
}

/// Refuses a store that was filled from a file of the store `current`, if it remembers store ids
/// that no chain of restores produces.
pub(in crate::store) fn expect_sense(
    store: &mut dyn Backend,
    current: StoreId,
) -> Result<(), RestoreError> {
    let (lineage, next) = (Lineage::of(store)?, store.next_ids());
    let sense = lineage.expect_sense(current, next);
    sense.map_err(|why| RestoreError::Conflict(why.to_owned()))
}

/// All store ids of the past, in no particular order.
pub(in crate::store) fn past(
    state: &impl EntryReader,
) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError> {
    let range = [PastStoreIdKey::KEYSPACE]..[PastStoreIdKey::KEYSPACE + 1];
    let entries =
        state.entries(&range.start[..]..&range.end[..], RangeEnd::First, MAX_PAST_STORE_IDS + 1)?;
    let typed = entries.iter().map(|(key, value)| {
        let key: Option<PastStoreIdKey> =
            key.split_first().and_then(|(_, fields)| reader::read(fields));
        key.map(|key| key.store_id).zip(reader::read(value)).ok_or_else(|| state.malformed())
    });
    typed.collect()
}

/// Refuses a store id of an import that would be one more than can be remembered.
pub(in crate::store) fn expect_room(
    state: &impl EntryReader,
    entry: &Entry,
) -> Result<(), RestoreError> {
    let Entry::PastStoreId { key, value: Some(_) } = entry else { return Ok(()) };
    let there = past(state)?;
    if there.len() < MAX_PAST_STORE_IDS
        || there.iter().any(|(store_id, _)| *store_id == key.store_id)
    {
        return Ok(());
    }
    Err(RestoreError::Conflict(format!("there are more than {MAX_PAST_STORE_IDS} earlier epochs")))
}

/// A new store id of a store that was restored from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreIdChange {
    /// The new store id.
    pub store_id: StoreId,
    /// The store id of the backup.
    pub past: StoreId,
    /// The ids at which it ended.
    pub ended: PastStoreIdValue,
    /// The number of sessions that ended with it.
    pub sessions: u64,
}

impl fmt::Display for StoreIdChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreIdChange { store_id, past, ended: PastStoreIdValue { resumed, .. }, sessions } =
            self;
        let IdAllocator { next_user, next_event } = resumed;
        write!(
            f,
            "epoch {store_id} begins where {past} ended: ids go on from {next_user} for users "
        )?;
        write!(f, "and {next_event} for messages; sessions that ended: {sessions}")
    }
}

/// Continues a store that was filled from a backup of the store `past`, and already has a new id.
/// `draw` returns random numbers. Everything but the last records is synced.
pub(in crate::store) fn renew(
    store: &mut dyn Backend,
    past: StoreId,
    draw: &mut dyn FnMut() -> u64,
) -> Result<StoreIdChange, RestoreError> {
    let reached = store.next_ids();
    let resumed = jump(reached, draw)?;
    // Otherwise a session that ended after the backup would be valid again.
    let sessions = session::end_every_session(store)?;
    let Lineage { past: there } = Lineage::of(store)?;
    let too_many = (there.len() + 1).saturating_sub(MAX_PAST_STORE_IDS);
    for (store_id, _) in &there[..too_many] {
        let key = PastStoreIdKey { store_id: *store_id };
        store.restore(Record::Entry(Entry::PastStoreId { key, value: None }))?;
    }
    let ended = PastStoreIdValue { reached, resumed };
    let key = PastStoreIdKey { store_id: past };
    store.restore(Record::Entry(Entry::PastStoreId { key, value: Some(ended) }))?;
    store.restore(Record::NextIds(resumed))?;
    Ok(StoreIdChange { store_id: store.store_id(), past, ended, sessions })
}

/// The ids at which those of a restored store begin. Each sequence jumps independently, so that the
/// jump of one does not reveal that of the other.
fn jump(reached: IdAllocator, draw: &mut dyn FnMut() -> u64) -> Result<IdAllocator, StoreError> {
    let mut above = |reached: u64| {
        // Half of the remaining ids stay for the store to give out.
        let room = MAX_ID.saturating_sub(reached).saturating_sub(MIN_JUMP) / 2;
        let spread = JUMP_SPREAD.min(room);
        if spread < MIN_JUMP {
            return Err(StoreError::Refused(format!(
                "the backup cannot be restored: its ids have reached {reached}, and too few are \
                 left up to {MAX_ID} to go on above what was lost; an import that is a move \
                 keeps them"
            )));
        }
        Ok(reached + MIN_JUMP + draw() % spread)
    };
    Ok(IdAllocator { next_user: above(reached.next_user)?, next_event: above(reached.next_event)? })
}

#[cfg(test)]
mod tests;
