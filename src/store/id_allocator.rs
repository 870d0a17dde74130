//! The ids that a store gives out.

use serde::{Deserialize, Serialize};

use super::record::ModerationEvent;
use super::{NewMessage, NewRevision, NewUser, RestoreError, StoreError};
use crate::model::{
    EventId, MAX_ID, Message, MessageContent, MessageId, ModerationAction, Revision, Timestamp,
    User, UserId,
};

/// The ids a store gives out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdAllocator {
    /// The next account's id.
    pub next_user: u64,
    /// The next event's number, and so the next message's id.
    pub next_event: u64,
}

impl Default for IdAllocator {
    fn default() -> Self {
        IdAllocator { next_user: UserId::FIRST.get(), next_event: MessageId::FIRST.get() }
    }
}

impl IdAllocator {
    /// Gives `new` the next id.
    pub(super) fn user(&mut self, new: NewUser) -> Result<User, StoreError> {
        let id = UserId::new(self.next_user).ok_or(StoreError::OutOfIds)?;
        self.next_user += 1;
        let NewUser { name, password_hash, created_at } = new;
        Ok(User { id, name, password_hash, created_at, ended_at: None })
    }

    /// Gives `new` the next id.
    pub(super) fn message(&mut self, new: NewMessage) -> Result<Message, StoreError> {
        let id = MessageId::new(self.next_event).ok_or(StoreError::OutOfIds)?;
        self.next_event += 1;
        let NewMessage { from, to, text, sent_at } = new;
        Ok(Message { id, from, to, content: MessageContent::Original(text), sent_at })
    }

    /// Gives `new` the next number: what it makes of `message`.
    pub(super) fn revision(
        &mut self,
        message: &Message,
        new: NewRevision,
    ) -> Result<Message, StoreError> {
        let event = EventId::new(self.next_event).ok_or(StoreError::OutOfIds)?;
        self.next_event += 1;
        let NewRevision { by, at, text } = new;
        let content = MessageContent::Revised(Box::new(Revision { event, by, at, text }));
        let &Message { id, from, to, sent_at, .. } = message;
        Ok(Message { id, from, to, content, sent_at })
    }

    /// Gives what an operator does the next number.
    pub(super) fn act(
        &mut self,
        by: UserId,
        at: Timestamp,
        act: ModerationAction,
    ) -> Result<ModerationEvent, StoreError> {
        let event = EventId::new(self.next_event).ok_or(StoreError::OutOfIds)?;
        self.next_event += 1;
        Ok(ModerationEvent { event, by, at, act })
    }

    /// Moves on past a record that brings its own id, which must not be given out yet.
    pub(super) fn admit(&mut self, step: IdAdvance) -> Result<(), RestoreError> {
        let (what, next, id) = match step {
            IdAdvance::User(id) => ("user", &mut self.next_user, id.get()),
            IdAdvance::Message(id) => ("message", &mut self.next_event, id.get()),
            IdAdvance::Event(id) => ("event", &mut self.next_event, id.get()),
            IdAdvance::To(to) => {
                if to.next_user < self.next_user || to.next_event < self.next_event {
                    return Err(RestoreError::Conflict("the counters would go back".to_owned()));
                }
                if to.next_user.max(to.next_event) > MAX_ID + 1 {
                    return Err(RestoreError::Conflict("the counters are out of range".to_owned()));
                }
                *self = to;
                return Ok(());
            }
            IdAdvance::Nowhere => return Ok(()),
        };
        if id < *next {
            return Err(RestoreError::Conflict(format!("{what} {id} is out of order")));
        }
        *next = id + 1;
        Ok(())
    }
}

/// How far a record that brings its own id moves the counters.
#[derive(Debug, Clone, Copy)]
pub(super) enum IdAdvance {
    /// Past an account.
    User(UserId),
    /// Past a message.
    Message(MessageId),
    /// Past something else that happened.
    Event(EventId),
    /// To these.
    To(IdAllocator),
    /// It brings none.
    Nowhere,
}
