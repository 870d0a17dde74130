//! Session entries, and those that an earlier version wrote for tokens of no session.

use serde::{Deserialize, Serialize};

use crate::model::{SessionId, Timestamp, UserId};
use crate::store::codec::{DecodeError, Fields, Layout, key_user};

/// A session of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionKey {
    /// The user who logged in.
    pub user: UserId,
    /// The id of the session, which its token has.
    pub id: SessionId,
}

/// The value of a session's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionValue {
    /// The time of the login.
    pub at: Timestamp,
    /// The time at which its token expires.
    pub expires_at: Timestamp,
    /// The `User-Agent` of the login, shortened.
    pub user_agent: Box<str>,
}

/// A user's tokens that are of no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrayTokensKey {
    /// The user they are of.
    pub user: UserId,
}

/// The time since which they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrayTokensValue {
    /// The time since which they are refused.
    pub at: Timestamp,
}

/// user · id
impl Layout for SessionKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.id.0);
    }

    fn take(fields: &mut Fields<'_>) -> Result<SessionKey, DecodeError> {
        Ok(SessionKey { user: key_user(fields)?, id: SessionId(fields.array()?) })
    }
}

/// time · time of expiry · user agent
impl Layout for SessionValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.at.millis().to_le_bytes());
        out.extend(self.expires_at.millis().to_le_bytes());
        out.extend(self.user_agent.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<SessionValue, DecodeError> {
        let (at, expires_at) = (fields.timestamp()?, fields.timestamp()?);
        Ok(SessionValue { at, expires_at, user_agent: fields.rest()?.into() })
    }
}

/// user
impl Layout for StrayTokensKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<StrayTokensKey, DecodeError> {
        Ok(StrayTokensKey { user: key_user(fields)? })
    }
}

/// time
impl Layout for StrayTokensValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<StrayTokensValue, DecodeError> {
        Ok(StrayTokensValue { at: fields.timestamp()? })
    }
}
