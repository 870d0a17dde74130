//! Who is blocked: by an operator, from the whole house, or by a user, from writing to them.
//!
//! A fact for each, of which nothing is kept once it is taken back. That an account is blocked is
//! looked up when somebody logs in to it, and no more often: all its sessions end with the block.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::fact::{Entry, Key, Layout, subject_user};
use super::facts::{self, EntryReader, RangeEnd};
use super::record::{DecodeError, Fields};
use crate::model::{Block, Cursor, Page, Timestamp, UserId, Window};

/// An account that nobody can log in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountBlockKey {
    /// Whose it is.
    pub user: UserId,
}

/// By whom it is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModerationValue {
    /// An operator.
    pub by: UserId,
    /// Since when.
    pub at: Timestamp,
}

/// A user whose private messages another does not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderBlockKey {
    /// Who does not want them.
    pub by: UserId,
    /// Whose they are.
    pub user: UserId,
}

/// That they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderBlockValue {
    /// Since when.
    pub at: Timestamp,
}

/// user
impl Layout for AccountBlockKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<AccountBlockKey, DecodeError> {
        Ok(AccountBlockKey { user: subject_user(fields)? })
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
        Ok(SenderBlockKey { by: subject_user(fields)?, user: subject_user(fields)? })
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

/// That an account is blocked, or is not.
pub(super) fn of_account(user: UserId, is: Option<ModerationValue>) -> Entry {
    Entry::AccountBlock { of: AccountBlockKey { user }, is }
}

/// The block of an account, if there is one.
pub(super) fn account(state: &impl EntryReader, user: UserId) -> Result<Option<Block>, StoreError> {
    let is = facts::get(state, &AccountBlockKey { user })?;
    Ok(is.map(|ModerationValue { by, at }| Block { user, by, at }))
}

/// A page of the accounts that are blocked, in order of id.
pub(super) fn accounts(
    state: &impl EntryReader,
    window: Window,
) -> Result<Page<Block>, StoreError> {
    page(state, &[AccountBlockKey::KEYSPACE], window, |fact| match fact {
        Entry::AccountBlock { of, is: Some(ModerationValue { by, at }) } => {
            Some(Block { user: of.user, by, at })
        }
        _ => None,
    })
}

/// Whether one user's private messages are refused by another.
pub(super) fn is_refused(
    state: &impl EntryReader,
    by: UserId,
    user: UserId,
) -> Result<bool, StoreError> {
    Ok(facts::get(state, &SenderBlockKey { by, user })?.is_some())
}

/// What is to be written so that they are, or are no longer; `None` if it is so.
pub(super) fn refuse(
    state: &impl EntryReader,
    Block { user, by, at }: Block,
    refused: bool,
) -> Result<Option<Entry>, StoreError> {
    let is = refused.then_some(SenderBlockValue { at });
    let changes = is_refused(state, by, user)? != refused;
    Ok(changes.then_some(Entry::SenderBlock { of: SenderBlockKey { by, user }, is }))
}

/// A page of those whose messages a user refuses, in order of id.
pub(super) fn senders(
    state: &impl EntryReader,
    by: UserId,
    window: Window,
) -> Result<Page<Block>, StoreError> {
    let prefix = [&[SenderBlockKey::KEYSPACE], &by.get().to_be_bytes()[..]].concat();
    page(state, &prefix, window, |fact| match fact {
        Entry::SenderBlock {
            of: SenderBlockKey { by, user },
            is: Some(SenderBlockValue { at }),
        } => Some(Block { user, by, at }),
        _ => None,
    })
}

/// A page of the facts whose subjects are a prefix and a user.
fn page(
    state: &impl EntryReader,
    prefix: &[u8],
    window: Window,
    block: impl Fn(Entry) -> Option<Block>,
) -> Result<Page<Block>, StoreError> {
    let key = |user: u64| [prefix, &user.to_be_bytes()[..]].concat();
    let (start, end, from_end) = match window.cursor {
        Cursor::Newest => (0, u64::MAX, RangeEnd::Last),
        Cursor::Before(end) => (0, end, RangeEnd::Last),
        Cursor::From(start) => (start, u64::MAX, RangeEnd::First),
    };
    let entries = state.entries(&key(start)[..]..&key(end)[..], from_end, window.limit)?;
    let decoded = entries.iter().map(|(subject, value)| {
        let fact = Entry::decode(subject, value).ok();
        fact.and_then(&block).ok_or_else(|| state.malformed())
    });
    let mut items = decoded.collect::<Result<Vec<_>, _>>()?;
    items.sort_unstable_by_key(|block| block.user);
    let first = window.start(items.first().map(|block| block.user.get()));
    let below = state.entries(&key(0)[..]..&key(first)[..], RangeEnd::Last, 1)?;
    Ok(Page { items, older: !below.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes on every disk out there: these literals never change.
    #[test]
    fn golden() {
        let user = |id| UserId::new(id).unwrap();
        let at = Timestamp::from_millis(1_700_000_000_123);
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
        };
        for (fact, subject, value, line) in [
            (
                of_account(user(0x0a0b), Some(ModerationValue { by: user(3), at })),
                "060000000000000a0b",
                "03000000000000007b68e5cf8b010000",
                r#"{"account_block":{"of":{"user":2571},"is":{"by":3,"at":"2023-11-14T22:13:20.123Z"}}}"#,
            ),
            (
                Entry::SenderBlock {
                    of: SenderBlockKey { by: user(3), user: user(0x0a0b) },
                    is: Some(SenderBlockValue { at }),
                },
                "0700000000000000030000000000000a0b",
                "7b68e5cf8b010000",
                r#"{"sender_block":{"of":{"by":3,"user":2571},"is":{"at":"2023-11-14T22:13:20.123Z"}}}"#,
            ),
        ] {
            assert_eq!(hex(&fact.subject()), subject);
            assert_eq!(hex(&fact.value().unwrap()), value);
            assert_eq!(serde_json::to_string(&fact).unwrap(), line);
            assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(fact.clone()));
            let value = fact.value().unwrap();
            for len in 0..value.len() {
                assert!(Entry::decode(&fact.subject(), &value[..len]).is_err(), "{len}");
            }
        }
    }
}
