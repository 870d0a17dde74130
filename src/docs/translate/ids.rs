//! Ids of a page and what a deployment gave out in their place.

use std::collections::BTreeMap;

use crate::model::MAX_ID;

/// Of one kind, by the page's.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) known: BTreeMap<u64, u64>,
    /// What a fresh store would give out next.
    pub(super) next: u64,
}

impl Ids {
    pub(super) fn from(next: u64) -> Ids {
        Ids { known: BTreeMap::new(), next }
    }

    /// The deployment's id; of what it does not have, one that nothing has. What is no id stays.
    pub(super) fn get(&self, id: u64) -> u64 {
        self.known.get(&id).copied().unwrap_or(id.max(MAX_ID))
    }

    /// Likewise for a cursor, which need not be anybody's id: behind the last one it stays so.
    pub(super) fn cursor(&self, id: u64) -> u64 {
        match self.known.last_key_value() {
            Some((last, actual)) if last + 1 == id && *actual < MAX_ID => actual + 1,
            _ => self.get(id),
        }
    }

    /// 0, for a receiver, is the general chat, in every deployment.
    pub(super) fn get_or_general(&self, id: u64) -> u64 {
        if id == 0 { 0 } else { self.get(id) }
    }
}
