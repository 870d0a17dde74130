//! Events: all that happens, in one sequence.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::id::{EventId, UserId};
use super::message::Message;
use super::timestamp::Timestamp;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its number.
    pub id: EventId,
    /// The user who caused it.
    pub by: UserId,
    /// The time at which it happened.
    pub at: Timestamp,
    /// The kind of event.
    pub what: EventKind<'a>,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// A change of a message. The message is as it is now, after all later changes.
    Message(MessageChange, Cow<'a, Message>),
    /// An operator's action.
    Moderation(ModerationAction),
}

/// The changes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageChange {
    /// It was posted.
    Created,
    /// It was edited.
    Edited,
    /// It was deleted.
    Deleted,
}

/// An operator's action. Everybody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModerationAction {
    /// Blocks a user: nobody can log in to the account, and its tokens are not valid any more.
    Block(UserId),
    /// Unblocks a user: they can log in again.
    Unblock(UserId),
    /// Closes registration.
    CloseRegistration,
    /// Opens registration.
    OpenRegistration,
}

/// A moderation action, as an operator did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModerationEvent {
    /// Its number.
    pub event: EventId,
    /// The operator.
    pub by: UserId,
    /// The time of the action.
    pub at: Timestamp,
    /// The action.
    pub action: ModerationAction,
}

impl ModerationEvent {
    /// The operator, and the user that the action is about. Both must exist.
    pub(crate) fn users(&self) -> [Option<UserId>; 2] {
        let on = match self.action {
            ModerationAction::Block(user) | ModerationAction::Unblock(user) => Some(user),
            ModerationAction::CloseRegistration | ModerationAction::OpenRegistration => None,
        };
        [Some(self.by), on]
    }
}

impl From<ModerationEvent> for Event<'_> {
    fn from(moderation: ModerationEvent) -> Self {
        let ModerationEvent { event: id, by, at, action } = moderation;
        Event { id, by, at, what: EventKind::Moderation(action) }
    }
}

impl<'a> Event<'a> {
    /// The event of a message's creation.
    #[must_use]
    pub fn created(message: Cow<'a, Message>) -> Event<'a> {
        let (id, by, at) = (message.id.into(), message.from, message.sent_at);
        Event { id, by, at, what: EventKind::Message(MessageChange::Created, message) }
    }

    /// The event that gave a message its present content.
    #[must_use]
    pub fn latest(message: Cow<'a, Message>) -> Event<'a> {
        let Some(revision) = message.revision() else { return Event::created(message) };
        let change =
            if revision.text.is_some() { MessageChange::Edited } else { MessageChange::Deleted };
        let (id, by, at) = (revision.event, revision.by, revision.at);
        Event { id, by, at, what: EventKind::Message(change, message) }
    }

    /// The message that was changed, if it is such an event.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        match &self.what {
            EventKind::Message(_, message) => Some(message),
            EventKind::Moderation(_) => None,
        }
    }

    /// The two users who may see it; `None` if everybody may.
    #[must_use]
    pub fn parties(&self) -> Option<[UserId; 2]> {
        let message = self.message()?;
        message.to.map(|to| [message.from, to])
    }
}
