//! Account entries: the password hash that replaced the first one, or the end of the account.
//!
//! At most one entry for each user, which overrides the record of the account.

use serde::{Deserialize, Serialize};

use crate::model::{Timestamp, UserId};
use crate::store::codec::{DecodeError, Fields, Layout, key_user};

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountKey {
    /// The owner of the account.
    pub user: UserId,
}

/// The last change of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AccountValue {
    /// It has another password.
    Password {
        /// The hash, in the PHC string format.
        hash: Box<str>,
        /// The time of the change.
        at: Timestamp,
    },
    /// It has ended.
    Ended {
        /// The time of the end.
        at: Timestamp,
    },
}

/// user
impl Layout for AccountKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<AccountKey, DecodeError> {
        Ok(AccountKey { user: key_user(fields)? })
    }
}

const PASSWORD: u8 = 1;
const ENDED: u8 = 2;

/// Layout: kind of change · time · the hash, for a password
impl Layout for AccountValue {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            AccountValue::Password { hash, at } => {
                out.push(PASSWORD);
                out.extend(at.millis().to_le_bytes());
                out.extend(hash.as_bytes());
            }
            AccountValue::Ended { at } => {
                out.push(ENDED);
                out.extend(at.millis().to_le_bytes());
            }
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<AccountValue, DecodeError> {
        let (what, at) = (fields.u8()?, fields.timestamp()?);
        match what {
            PASSWORD => Ok(AccountValue::Password { hash: fields.rest()?.into(), at }),
            ENDED => Ok(AccountValue::Ended { at }),
            _ => Err(DecodeError::Malformed),
        }
    }
}
