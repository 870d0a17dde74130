//! Block entries: accounts that an operator has blocked, and senders that a user has blocked.
//!
//! The entry is removed when the block is lifted.

use serde::{Deserialize, Serialize};

use crate::model::{Timestamp, UserId};
use crate::store::codec::{DecodeError, Fields, Layout, key_user};

/// An account that nobody can log in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountBlockKey {
    /// The owner of the account.
    pub user: UserId,
}

/// The operator who acted, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModerationValue {
    /// The operator.
    pub by: UserId,
    /// The time of it.
    pub at: Timestamp,
}

/// A sender whom another user has blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderBlockKey {
    /// The user who blocks.
    pub by: UserId,
    /// The sender.
    pub user: UserId,
}

/// The time of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderBlockValue {
    /// The time of it.
    pub at: Timestamp,
}

/// user
impl Layout for AccountBlockKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<AccountBlockKey, DecodeError> {
        Ok(AccountBlockKey { user: key_user(fields)? })
    }
}

/// operator · time
impl Layout for ModerationValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.by.get().to_le_bytes());
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<ModerationValue, DecodeError> {
        let by = UserId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        Ok(ModerationValue { by, at: fields.timestamp()? })
    }
}

/// by · user
impl Layout for SenderBlockKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.by.get().to_be_bytes());
        out.extend(self.user.get().to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<SenderBlockKey, DecodeError> {
        Ok(SenderBlockKey { by: key_user(fields)?, user: key_user(fields)? })
    }
}

/// time
impl Layout for SenderBlockValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<SenderBlockValue, DecodeError> {
        Ok(SenderBlockValue { at: fields.timestamp()? })
    }
}
