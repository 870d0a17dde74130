//! The ids that a store gives out.

use serde::{Deserialize, Serialize};

use super::error::{RestoreError, StoreError};
use crate::model::{EventId, MAX_ID, MessageId, UserId};

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
    /// Gives out the next account's id.
    pub(super) fn user(&mut self) -> Result<UserId, StoreError> {
        let id = UserId::new(self.next_user).ok_or(StoreError::OutOfIds)?;
        self.next_user += 1;
        Ok(id)
    }

    /// Gives out the next message's id.
    pub(super) fn message(&mut self) -> Result<MessageId, StoreError> {
        let id = MessageId::new(self.next_event).ok_or(StoreError::OutOfIds)?;
        self.next_event += 1;
        Ok(id)
    }

    /// Gives out the next number of an event other than a new message.
    pub(super) fn event(&mut self) -> Result<EventId, StoreError> {
        let event = EventId::new(self.next_event).ok_or(StoreError::OutOfIds)?;
        self.next_event += 1;
        Ok(event)
    }

    /// Moves on past a record that brings its own id; refuses one that was given out before, or is
    /// out of range.
    pub(super) fn admit(&mut self, advance: IdAdvance) -> Result<(), RestoreError> {
        let (what, next, id) = match advance {
            IdAdvance::User(id) => ("user", self.next_user, id.get()),
            IdAdvance::Message(id) => ("message", self.next_event, id.get()),
            IdAdvance::Event(id) => ("event", self.next_event, id.get()),
            IdAdvance::To(to) => {
                if to.next_user < self.next_user || to.next_event < self.next_event {
                    return Err(RestoreError::Conflict("the next ids would go back".to_owned()));
                }
                if to.next_user.max(to.next_event) > MAX_ID + 1 {
                    return Err(RestoreError::Conflict("the next ids are out of range".to_owned()));
                }
                self.advance(advance);
                return Ok(());
            }
            IdAdvance::Nowhere => return Ok(()),
        };
        if id < next {
            return Err(RestoreError::Conflict(format!("{what} {id} is out of order")));
        }
        self.advance(advance);
        Ok(())
    }

    /// Moves on past a record whose id is known to be good.
    pub(super) fn advance(&mut self, advance: IdAdvance) {
        match advance {
            IdAdvance::User(id) => self.next_user = id.get() + 1,
            IdAdvance::Message(id) => self.next_event = id.get() + 1,
            IdAdvance::Event(id) => self.next_event = id.get() + 1,
            IdAdvance::To(to) => *self = to,
            IdAdvance::Nowhere => {}
        }
    }
}

/// The effect of a record on the ids that are given out next.
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

/// One of the two sequences that a store numbers things by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Accounts.
    Users,
    /// Events, and so messages.
    Events,
}

impl IdKind {
    /// The number that is given out next.
    #[must_use]
    pub fn of(self, next_ids: IdAllocator) -> u64 {
        match self {
            IdKind::Users => next_ids.next_user,
            IdKind::Events => next_ids.next_event,
        }
    }
}
