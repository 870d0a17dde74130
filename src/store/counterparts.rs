//! The users that each user has talked with.

use std::collections::{BTreeMap, HashMap};

use crate::model::{MAX_ID, Message, MessageId, UserId};

/// The last private message between each two users: all of them in [`crate::store::MemoryStore`],
/// and in [`crate::store::LogStore`] those that the index does not have yet.
#[derive(Debug, Default)]
pub(super) struct Counterparts {
    /// The last message, by user and counterpart.
    last: HashMap<(UserId, UserId), MessageId>,
    /// The counterparts, by user and last message.
    order: BTreeMap<(UserId, MessageId), UserId>,
}

impl Counterparts {
    /// Adds a message, which must be newer than any before it.
    pub(super) fn note(&mut self, message: &Message) {
        let Some(to) = message.to else { return };
        self.note_of(message.from, to, message.id);
        if message.from != to {
            self.note_of(to, message.from, message.id);
        }
    }

    fn note_of(&mut self, user: UserId, with: UserId, id: MessageId) {
        if let Some(before) = self.last.insert((user, with), id) {
            self.order.remove(&(user, before));
        }
        self.order.insert((user, id), with);
    }

    /// True if there is a message between the two.
    pub(super) fn has(&self, user: UserId, with: UserId) -> bool {
        self.last.contains_key(&(user, with))
    }

    /// A user's last messages with each, below an id, descending.
    pub(super) fn below(
        &self,
        user: UserId,
        end: u64,
    ) -> impl Iterator<Item = (MessageId, UserId)> {
        // An id there cannot be lies above all there are.
        let last = end.checked_sub(1).map(|id| MessageId::new(id.min(MAX_ID)));
        let range =
            last.flatten().map(|last| self.order.range((user, MessageId::FIRST)..=(user, last)));
        range.into_iter().flat_map(Iterator::rev).map(|((_, id), with)| (*id, *with))
    }

    pub(super) fn clear(&mut self) {
        self.last.clear();
        self.order.clear();
    }
}
