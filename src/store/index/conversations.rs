//! Conversations in the index: those of each user in order of their last messages, and the messages
//! of each above an id.

use super::layout::{CONVERSATION, List, conversation_key, number};
use super::tree::{Index, Writes};
use crate::model::{MessageId, UserId};
use crate::store::error::StoreError;

impl List {
    /// The list of received messages that a message is in, if it is in one.
    pub(super) fn received(from: UserId, to: Option<UserId>) -> Option<List> {
        to.filter(|to| *to != from).map(|by| List::Received { by, from })
    }
}

impl Writes {
    /// Puts the last message of a conversation in the place of the one before.
    pub(super) fn put_conversation(
        &mut self,
        (a, b): (UserId, UserId),
        before: Option<u64>,
        last: Option<u64>,
    ) {
        let Some(last) = last.filter(|last| before.is_none_or(|before| before < *last)) else {
            return;
        };
        let sides = [(a, b), (b, a)];
        for (user, with) in sides.into_iter().take(if a == b { 1 } else { 2 }) {
            let with = with.get().to_be_bytes();
            if let Some(before) = before {
                self.replace(&conversation_key(user.get(), before), Some(&with), None);
            }
            self.insert(&conversation_key(user.get(), last), &with);
        }
    }
}

impl Index {
    /// A user's counterparts with the last message of each, those below `end`, descending: at most
    /// `limit`, and only those for which `wanted` is true.
    pub(in crate::store) fn counterparts(
        &self,
        user: UserId,
        end: u64,
        limit: usize,
        wanted: impl Fn(UserId) -> bool,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError> {
        let mut entries =
            self.scan(conversation_key(user.get(), 0)..conversation_key(user.get(), end));
        let mut found = Vec::new();
        while found.len() < limit
            && let Some((key, value)) = entries.next_back()?
        {
            let entry = conversation(&key, &value);
            let (_, last, with) =
                entry.ok_or_else(|| self.mark_broken("a conversation is malformed"))?;
            if wanted(with) {
                found.push((last, with));
            }
        }
        Ok(found)
    }
}

/// The user, the last message and the counterpart of an entry.
pub(super) fn conversation(key: &[u8], value: &[u8]) -> Option<(UserId, MessageId, UserId)> {
    let (user, last) = key.strip_prefix(&[CONVERSATION])?.split_at_checked(8)?;
    let user = UserId::new(number(user)?)?;
    Some((user, MessageId::new(number(last)?)?, UserId::new(number(value)?)?))
}
