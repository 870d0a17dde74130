//! What operators do, and what comes of it: accounts that are blocked, and registration that is
//! closed.
//!
//! An act is an event with its actor, and one with the facts that it makes so.

use serde::{Deserialize, Serialize};

use super::block::{self, ModerationValue};
use super::fact::{Entry, Layout};
use super::facts::{self, EntryReader};
use super::record::{DecodeError, Fields};
use super::{StoreError, session};
use crate::model::{ModerationAction, Timestamp, UserId};

/// Registration. There is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationKey {}

/// nothing
impl Layout for RegistrationKey {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Fields<'_>) -> Result<RegistrationKey, DecodeError> {
        Ok(RegistrationKey {})
    }
}

/// Whether an operator has closed registration.
pub(super) fn is_closed(state: &impl EntryReader) -> Result<bool, StoreError> {
    Ok(facts::get(state, &RegistrationKey {})?.is_some())
}

/// What is to be written before an act of `by`, all of which is only so if the act is there; `None`
/// if it is so already. `exists` says whether there is an
/// account that has not ended.
pub(super) fn consequences(
    state: &impl EntryReader,
    by: UserId,
    at: Timestamp,
    act: ModerationAction,
    exists: impl FnOnce(UserId) -> Result<bool, StoreError>,
) -> Result<Option<Vec<Entry>>, StoreError> {
    let made = ModerationValue { by, at };
    let registration = |is| vec![Entry::Registration { of: RegistrationKey {}, is }];
    Ok(match act {
        ModerationAction::Block(user)
            if block::account(state, user)?.is_none() && exists(user)? =>
        {
            let mut facts = session::end_all(state, user, None)?;
            facts.push(block::of_account(user, Some(made)));
            Some(facts)
        }
        ModerationAction::Unblock(user) if block::account(state, user)?.is_some() => {
            Some(vec![block::of_account(user, None)])
        }
        ModerationAction::CloseRegistration if !is_closed(state)? => Some(registration(Some(made))),
        ModerationAction::OpenRegistration if is_closed(state)? => Some(registration(None)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes on every disk out there: these literals never change.
    #[test]
    fn golden() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let closed = ModerationValue { by: UserId::new(3).unwrap(), at };
        let fact = Entry::Registration { of: RegistrationKey {}, is: Some(closed) };
        let value = [3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x68, 0xe5, 0xcf, 0x8b, 1, 0, 0];
        assert_eq!((fact.subject(), fact.value()), (vec![9], Some(value.to_vec())));
        let line = r#"{"registration":{"of":{},"is":{"by":3,"at":"2023-11-14T22:13:20.123Z"}}}"#;
        assert_eq!(serde_json::to_string(&fact).unwrap(), line);
        assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(fact));
    }
}
