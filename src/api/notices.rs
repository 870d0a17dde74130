//! Changes by a turn's requests, for the requests that wait for them and for streams.

use crate::model::{Mailbox, MessageId, UserId};

/// The subject of an event that a request can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A message was posted to a mailbox.
    Posted(Mailbox),
    /// A message of a mailbox was edited or deleted, or, in the general chat, an operator acted.
    Done(Mailbox),
}

/// A conversation that a user has read up to a message, for their other devices.
///
/// It is state and no event: it has no number, and a device that missed it finds it in the list of
/// conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// The reader.
    pub user: UserId,
    /// The other user of the conversation; `None` is the general chat.
    pub with: Option<UserId>,
    /// The last message that is read.
    pub up_to: MessageId,
}
