//! Ids of a page and what a deployment gave out in their place.

use std::collections::BTreeMap;

use crate::model::MAX_ID;

/// The ids of one kind, by those of the page.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) known: BTreeMap<u64, u64>,
    /// The next id of an empty store.
    pub(super) next: u64,
}

impl Ids {
    pub(super) fn from(next: u64) -> Ids {
        Ids { known: BTreeMap::new(), next }
    }

    /// The deployment's id; for an object that it lacks, an id that nothing has. A number above all
    /// ids stays.
    pub(super) fn get(&self, id: u64) -> u64 {
        self.known.get(&id).copied().unwrap_or(id.max(MAX_ID))
    }

    /// The same for a cursor, which need not be an object's id: one after the last id stays after
    /// it.
    pub(super) fn cursor(&self, id: u64) -> u64 {
        match self.known.last_key_value() {
            Some((last, actual)) if last + 1 == id && *actual < MAX_ID => actual + 1,
            _ => self.get(id),
        }
    }

    /// The same for a receiver: 0 is the general chat in every deployment.
    pub(super) fn get_or_general(&self, id: u64) -> u64 {
        if id == 0 { 0 } else { self.get(id) }
    }
}
