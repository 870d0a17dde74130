//! Changes of an account since it was registered: another password, or its end.
//!
//! The change is an entry for the user, which overrides the record wherever an account is read. A
//! compaction leaves out the password hash of a record that is overridden.

use std::borrow::Cow;

use super::{block, session};
use crate::model::{Session, Timestamp, User, UserId};
use crate::store::engine::Engine;
use crate::store::entries::account::{AccountKey, AccountValue};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::reader;
use crate::store::entries::reader::{EntryReader, Key, RangeEnd};
use crate::store::error::StoreError;

/// Applies the change of an account to its record.
fn lay_over(user: &mut User, state: AccountValue) {
    match state {
        AccountValue::Password { hash, .. } => user.password_hash = hash,
        AccountValue::Ended { at } => {
            user.password_hash = "".into();
            user.ended_at = Some(at);
        }
    }
}

/// An account as it is now, given its record.
pub(in crate::store) fn present<'a>(
    state: &impl EntryReader,
    user: Cow<'a, User>,
) -> Result<Cow<'a, User>, StoreError> {
    let Some(value) = reader::get(state, &AccountKey { user: user.id })? else { return Ok(user) };
    let mut user = user.into_owned();
    lay_over(&mut user, value);
    Ok(Cow::Owned(user))
}

/// Accounts as they are now, given their records in order of id. One read for all of them, unless
/// more accounts between them have changed.
pub(in crate::store) fn present_all(
    state: &impl EntryReader,
    users: &mut [Cow<'_, User>],
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (users.first(), users.last()) else { return Ok(()) };
    let start = AccountKey { user: first.id }.bytes();
    let after = [AccountKey { user: last.id }.bytes(), vec![0]].concat();
    let entries =
        state.entries(&start[..]..&after[..], RangeEnd::First, users.len().saturating_add(1))?;
    if entries.len() > users.len() {
        for user in users {
            if let Some(value) = reader::get(state, &AccountKey { user: user.id })? {
                lay_over(user.to_mut(), value);
            }
        }
        return Ok(());
    }
    for (key, value) in entries {
        let decoded = Entry::decode(&key, &value).map_err(|_| state.malformed())?;
        let Entry::Account { key, value: Some(value) } = decoded else {
            return Err(state.malformed());
        };
        let Ok(place) = users.binary_search_by_key(&key.user, |user| user.id) else { continue };
        lay_over(users[place].to_mut(), value);
    }
    Ok(())
}

/// The entries that change the password of a user, begin the session `fresh` and end all others.
pub(in crate::store) fn change_password(
    state: &impl EntryReader,
    fresh: Session,
    hash: Box<str>,
) -> Result<Vec<Entry>, StoreError> {
    let (user, at) = (fresh.user, fresh.created_at);
    let mut entries = session::end_all(state, user, Some(fresh))?;
    let key = AccountKey { user };
    entries.push(Entry::Account { key, value: Some(AccountValue::Password { hash, at }) });
    Ok(entries)
}

/// The entries that end an account and its sessions.
pub(in crate::store) fn end(
    state: &impl EntryReader,
    user: UserId,
    at: Timestamp,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = session::end_all(state, user, None)?;
    entries
        .push(Entry::Account { key: AccountKey { user }, value: Some(AccountValue::Ended { at }) });
    Ok(entries)
}

/// True if there is an account with this id and this password hash that has neither ended nor been
/// blocked.
pub(in crate::store) fn has_hash(
    engine: &impl Engine,
    user: UserId,
    seen: &str,
) -> Result<bool, StoreError> {
    let entries = engine.entry_reader();
    let is_blocked = block::account(entries, user)?.is_some();
    let Some(user) = engine.account(user)? else { return Ok(false) };
    let user = present(entries, user)?;
    Ok(user.ended_at.is_none() && *user.password_hash == *seen && !is_blocked)
}

/// True if an account has ended.
pub(in crate::store) fn has_ended(
    state: &impl EntryReader,
    user: UserId,
) -> Result<bool, StoreError> {
    let value = reader::get(state, &AccountKey { user })?;
    Ok(matches!(value, Some(AccountValue::Ended { .. })))
}

/// True if an account has changed, so that the password hash of its record is void.
pub(in crate::store) fn is_overlaid(
    state: &impl EntryReader,
    user: UserId,
) -> Result<bool, StoreError> {
    Ok(reader::get(state, &AccountKey { user })?.is_some())
}
