//! Blocks: of accounts by operators, and of senders by users.
//!
//! A block is an entry, which is removed when the block is lifted. The block of an account is
//! looked up at a login and no more often: all sessions of the account end with the block.

use crate::model::{Block, Cursor, Page, UserId, Window};
use crate::store::entries::block::{
    AccountBlockKey, ModerationValue, SenderBlockKey, SenderBlockValue,
};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::reader;
use crate::store::entries::reader::{EntryReader, Key, RangeEnd};
use crate::store::error::StoreError;

/// The entry that blocks an account, or lifts the block.
pub(in crate::store) fn of_account(user: UserId, value: Option<ModerationValue>) -> Entry {
    Entry::AccountBlock { key: AccountBlockKey { user }, value }
}

/// The block of an account, if there is one.
pub(in crate::store) fn account(
    state: &impl EntryReader,
    user: UserId,
) -> Result<Option<Block>, StoreError> {
    let value = reader::get(state, &AccountBlockKey { user })?;
    Ok(value.map(|ModerationValue { by, at }| Block { user, by, at }))
}

/// A page of the accounts that are blocked, in order of id.
pub(in crate::store) fn accounts(
    state: &impl EntryReader,
    window: Window,
) -> Result<Page<Block>, StoreError> {
    page(state, &[AccountBlockKey::KEYSPACE], window, |entry| match entry {
        Entry::AccountBlock { key, value: Some(ModerationValue { by, at }) } => {
            Some(Block { user: key.user, by, at })
        }
        _ => None,
    })
}

/// True if `by` refuses the private messages of `user`.
pub(in crate::store) fn is_refused(
    state: &impl EntryReader,
    by: UserId,
    user: UserId,
) -> Result<bool, StoreError> {
    Ok(reader::get(state, &SenderBlockKey { by, user })?.is_some())
}

/// The entry that sets or lifts the block of a sender; `None` if nothing changes.
pub(in crate::store) fn refuse(
    state: &impl EntryReader,
    Block { user, by, at }: Block,
    refused: bool,
) -> Result<Option<Entry>, StoreError> {
    let value = refused.then_some(SenderBlockValue { at });
    let changes = is_refused(state, by, user)? != refused;
    Ok(changes.then_some(Entry::SenderBlock { key: SenderBlockKey { by, user }, value }))
}

/// A page of the senders that a user has blocked, in order of id.
pub(in crate::store) fn senders(
    state: &impl EntryReader,
    by: UserId,
    window: Window,
) -> Result<Page<Block>, StoreError> {
    let prefix = [&[SenderBlockKey::KEYSPACE], &by.get().to_be_bytes()[..]].concat();
    page(state, &prefix, window, |entry| match entry {
        Entry::SenderBlock {
            key: SenderBlockKey { by, user },
            value: Some(SenderBlockValue { at }),
        } => Some(Block { user, by, at }),
        _ => None,
    })
}

/// A page of the entries whose keys are a prefix and a user.
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
    let decoded = entries.iter().map(|(key, value)| {
        let entry = Entry::decode(key, value).ok();
        entry.and_then(&block).ok_or_else(|| state.malformed())
    });
    let mut items = decoded.collect::<Result<Vec<_>, _>>()?;
    items.sort_unstable_by_key(|block| block.user);
    let first = window.start(items.first().map(|block| block.user.get()));
    let below = state.entries(&key(0)[..]..&key(first)[..], RangeEnd::Last, 1)?;
    Ok(Page { items, older: !below.is_empty() })
}
