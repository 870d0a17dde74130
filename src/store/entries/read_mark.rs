//! Read marks: how far each user has read each conversation.

use serde::{Deserialize, Serialize};

use crate::model::{MessageId, Timestamp, UserId};
use crate::store::codec::{DecodeError, Fields, Layout, key_user};

/// A user's conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadMarkKey {
    /// The reader.
    pub user: UserId,
    /// The other user; `None` is the general chat.
    pub with: Option<UserId>,
}

/// The mark of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadMarkValue {
    /// The last message that is read.
    pub up_to: MessageId,
    /// The time of the mark.
    pub at: Timestamp,
}

/// user · counterpart, 0 for the general chat
impl Layout for ReadMarkKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.with.map_or(0, UserId::get).to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<ReadMarkKey, DecodeError> {
        let user = key_user(fields)?;
        let with = match u64::from_be_bytes(fields.array()?) {
            0 => None,
            id => Some(UserId::new(id).ok_or(DecodeError::Malformed)?),
        };
        Ok(ReadMarkKey { user, with })
    }
}

/// message · time
impl Layout for ReadMarkValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.up_to.get().to_le_bytes());
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<ReadMarkValue, DecodeError> {
        let up_to = MessageId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        Ok(ReadMarkValue { up_to, at: fields.timestamp()? })
    }
}
