//! What happens, in one sequence: to messages, and in the house.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::id::{EventId, UserId};
use super::message::Message;
use super::timestamp::Timestamp;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its number.
    pub id: EventId,
    /// Who did it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub what: EventKind<'a>,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// To a message, which is as it is now, whatever has happened to it since.
    Message(MessageChange, Cow<'a, Message>),
    /// In the house.
    Act(ModerationAction),
}

/// What can happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageChange {
    /// It was posted.
    Created,
    /// Its text is another one.
    Edited,
    /// It is a tombstone from now on.
    Deleted,
}

/// What operators do to keep order. Everybody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModerationAction {
    /// Nobody can log in to a user's account any more, and no token of it is good.
    Block(UserId),
    /// The user can log in again.
    Unblock(UserId),
    /// Nobody can register any more.
    CloseRegistration,
    /// Everybody can register again.
    OpenRegistration,
}

/// That an operator acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModerationEvent {
    /// Its number.
    pub event: EventId,
    /// Who did it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: ModerationAction,
}

impl ModerationEvent {
    /// Who acted, and on whom: they must exist.
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
        Event { id, by, at, what: EventKind::Act(action) }
    }
}

impl<'a> Event<'a> {
    /// That a message was posted.
    #[must_use]
    pub fn created(message: Cow<'a, Message>) -> Event<'a> {
        let (id, by, at) = (message.id.into(), message.from, message.sent_at);
        Event { id, by, at, what: EventKind::Message(MessageChange::Created, message) }
    }

    /// The event that made a message what it is.
    #[must_use]
    pub fn latest(message: Cow<'a, Message>) -> Event<'a> {
        let Some(revision) = message.revision() else { return Event::created(message) };
        let change =
            if revision.text.is_some() { MessageChange::Edited } else { MessageChange::Deleted };
        let (id, by, at) = (revision.event, revision.by, revision.at);
        Event { id, by, at, what: EventKind::Message(change, message) }
    }

    /// The message that it happened to, if it was one.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        match &self.what {
            EventKind::Message(_, message) => Some(message),
            EventKind::Act(_) => None,
        }
    }

    /// The two who may see it; `None` if everybody may.
    #[must_use]
    pub fn parties(&self) -> Option<[UserId; 2]> {
        let message = self.message()?;
        message.to.map(|to| [message.from, to])
    }

    /// The same, with nothing of the store's.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        let Event { id, by, at, what } = self;
        let what = match what {
            EventKind::Message(change, message) => {
                EventKind::Message(change, Cow::Owned(message.into_owned()))
            }
            EventKind::Act(act) => EventKind::Act(act),
        };
        Event { id, by, at, what }
    }
}
