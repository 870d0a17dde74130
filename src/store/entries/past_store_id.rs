//! Entries for the store ids of the past, which ended when a backup was restored.

use serde::{Deserialize, Serialize};

use crate::model::{MAX_ID, StoreId};
use crate::store::codec::{DecodeError, Fields, Layout};
use crate::store::id_allocator::{IdAllocator, IdKind};

/// A store id of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastStoreIdKey {
    /// The store id. In JSON it is `epoch`.
    #[serde(rename = "epoch")]
    pub store_id: StoreId,
}

/// The ids at which a store id of the past ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastStoreIdValue {
    /// The ids that the backup would have given out next.
    pub reached: IdAllocator,
    /// The ids that the store id after it gave out first.
    pub resumed: IdAllocator,
}

/// store id
impl Layout for PastStoreIdKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.store_id.0.to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<PastStoreIdKey, DecodeError> {
        Ok(PastStoreIdKey { store_id: StoreId(u64::from_be_bytes(fields.array()?)) })
    }
}

/// user and event that were reached · user and event from which on it went on
impl Layout for PastStoreIdValue {
    fn put(&self, out: &mut Vec<u8>) {
        for IdAllocator { next_user, next_event } in [self.reached, self.resumed] {
            out.extend(next_user.to_le_bytes());
            out.extend(next_event.to_le_bytes());
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<PastStoreIdValue, DecodeError> {
        let mut next_ids = || -> Result<IdAllocator, DecodeError> {
            Ok(IdAllocator { next_user: fields.u64()?, next_event: fields.u64()? })
        };
        let (reached, resumed) = (next_ids()?, next_ids()?);
        let is_ahead = |sequence: IdKind| {
            let (reached, resumed) = (sequence.of(reached), sequence.of(resumed));
            reached < resumed && resumed <= MAX_ID
        };
        if reached.next_user >= IdAllocator::default().next_user
            && is_ahead(IdKind::Users)
            && is_ahead(IdKind::Events)
        {
            Ok(PastStoreIdValue { reached, resumed })
        } else {
            Err(DecodeError::Malformed)
        }
    }
}
