//! Moderation by operators: blocks of accounts, and the closing of registration.
//!
//! A moderation is an event, written in one batch with the entries that put it into effect.

use super::{block, session};
use crate::model::{ModerationAction, Timestamp, UserId};
use crate::store::entries::block::ModerationValue;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::reader;
use crate::store::entries::reader::EntryReader;
use crate::store::entries::registration::RegistrationKey;
use crate::store::error::StoreError;

/// True if an operator has closed registration.
pub(in crate::store) fn is_closed(state: &impl EntryReader) -> Result<bool, StoreError> {
    Ok(reader::get(state, &RegistrationKey {})?.is_some())
}

/// The entries to write in one batch with the event of a moderation by `by`; `None` if nothing
/// changes. `exists` says whether there is an account that has not ended.
pub(in crate::store) fn consequences(
    state: &impl EntryReader,
    by: UserId,
    at: Timestamp,
    action: ModerationAction,
    exists: impl FnOnce(UserId) -> Result<bool, StoreError>,
) -> Result<Option<Vec<Entry>>, StoreError> {
    let made = ModerationValue { by, at };
    let registration = |value| vec![Entry::Registration { key: RegistrationKey {}, value }];
    Ok(match action {
        ModerationAction::Block(user)
            if block::account(state, user)?.is_none() && exists(user)? =>
        {
            let mut entries = session::end_all(state, user, None)?;
            entries.push(block::of_account(user, Some(made)));
            Some(entries)
        }
        ModerationAction::Unblock(user) if block::account(state, user)?.is_some() => {
            Some(vec![block::of_account(user, None)])
        }
        ModerationAction::CloseRegistration if !is_closed(state)? => Some(registration(Some(made))),
        ModerationAction::OpenRegistration if is_closed(state)? => Some(registration(None)),
        _ => None,
    })
}
