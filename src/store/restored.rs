//! What an import puts back, and why it is refused.

use std::fmt;

use super::id_allocator::IdAdvance;
use super::{Entry, IdAllocator, ModerationEvent, StoreError};
use crate::model::{Message, User, UserId};

/// What an import puts back.
#[derive(Debug, Clone)]
pub enum Restored {
    /// An account with its id and hash.
    User(User),
    /// A message with its id.
    Message(Message),
    /// A message that was there before, as a revision left it.
    Revision(Message),
    /// The ids to go on with: never lower than what the store already reached.
    Counters(IdAllocator),
    /// What an operator did, with its number.
    Act(ModerationEvent),
    /// What is so about a subject, whatever was before.
    Fact(Entry),
}

impl Restored {
    pub(super) fn step(&self) -> IdAdvance {
        match self {
            Restored::User(user) => IdAdvance::User(user.id),
            Restored::Message(message) => IdAdvance::Message(message.id),
            Restored::Revision(message) => IdAdvance::Event(message.event()),
            Restored::Act(acted) => IdAdvance::Event(acted.event),
            Restored::Counters(counters) => IdAdvance::To(*counters),
            Restored::Fact(_) => IdAdvance::Nowhere,
        }
    }
}

/// Why an import was refused.
#[derive(Debug)]
pub enum RestoreError {
    /// The store already holds something.
    NotEmpty,
    /// An id or name that is taken, or an id lower than its predecessor's.
    Conflict(String),
    /// The store itself failed.
    Store(StoreError),
}

impl RestoreError {
    pub(super) fn name_taken(user: &User) -> RestoreError {
        RestoreError::Conflict(format!("the name of user {} is taken", user.id))
    }

    /// Refuses what is about users who are not there. Messages are taken from whomever they are:
    /// nothing is looked up by their authors.
    pub(super) fn expect_users(
        record: &Restored,
        mut exists: impl FnMut(UserId) -> Result<bool, StoreError>,
    ) -> Result<(), RestoreError> {
        let users = match record {
            Restored::Fact(fact) => fact.users(),
            Restored::Act(acted) => acted.users(),
            _ => return Ok(()),
        };
        for user in users.into_iter().flatten() {
            if !exists(user)? {
                return Err(RestoreError::Conflict(format!("there is no user {user}")));
            }
        }
        Ok(())
    }

    /// Refuses what cannot be made of the message that is there.
    pub(super) fn expect_revision_of(
        there: Option<&Message>,
        revised: &Message,
    ) -> Result<(), RestoreError> {
        let unchanged = |message: &&Message| {
            (message.from, message.to, message.sent_at)
                == (revised.from, revised.to, revised.sent_at)
        };
        if there.as_ref().is_some_and(unchanged) && revised.revision().is_some() {
            return Ok(());
        }
        let what = format!("event {} is of another message", revised.event());
        Err(RestoreError::Conflict(what))
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        RestoreError::Store(error)
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NotEmpty => f.write_str("the store is not empty"),
            RestoreError::Conflict(what) => f.write_str(what),
            RestoreError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}
