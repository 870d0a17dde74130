//! Messages, their texts and their revisions.

use std::borrow::Cow;

use super::id::{EventId, MessageId, UserId};
use super::timestamp::Timestamp;

/// Longest message text, in bytes of UTF-8 after JSON decoding.
pub const MAX_TEXT_BYTES: usize = 4096;

/// 1 to [`MAX_TEXT_BYTES`] of UTF-8, not blank, without U+0000.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageText(Box<str>);

impl MessageText {
    /// The reason, in words for the client, when `text` cannot be a message.
    pub fn parse(text: Cow<'_, str>) -> Result<MessageText, &'static str> {
        if text.len() > MAX_TEXT_BYTES {
            return Err("must be at most 4096 bytes of UTF-8");
        }
        if text.trim().is_empty() {
            return Err("must not be blank");
        }
        if text.contains('\0') {
            return Err("must not contain U+0000");
        }
        Ok(MessageText(text.into()))
    }

    /// A text that was parsed before it was stored; the limits may have been others then.
    pub(crate) fn from_store(text: &str) -> MessageText {
        MessageText(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message of the general chat or between two users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Given out by the store, ascending.
    pub id: MessageId,
    /// The author.
    pub from: UserId,
    /// The receiver of a private message; `None` is the general chat.
    pub to: Option<UserId>,
    /// What it says.
    pub content: MessageContent,
    /// When the server took it.
    pub sent_at: Timestamp,
}

/// What a message says. As large as the text alone: nearly all are never revised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageContent {
    /// What was sent.
    Original(MessageText),
    /// What the last revision left of it.
    Revised(Box<Revision>),
}

/// A message was edited or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its own number.
    pub event: EventId,
    /// Who did it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// The new text; `None` if the message was deleted.
    pub text: Option<MessageText>,
}

impl Message {
    /// What it says; nothing once it is deleted.
    #[must_use]
    pub fn text(&self) -> &str {
        match &self.content {
            MessageContent::Original(text) => text.as_str(),
            MessageContent::Revised(revision) => {
                revision.text.as_ref().map_or("", MessageText::as_str)
            }
        }
    }

    /// The last time that it was edited or deleted.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        match &self.content {
            MessageContent::Original(_) => None,
            MessageContent::Revised(revision) => Some(revision),
        }
    }

    /// Whether it is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.revision().is_some_and(|revision| revision.text.is_none())
    }

    /// When its text was last changed, if it was and still is there.
    #[must_use]
    pub fn edited_at(&self) -> Option<Timestamp> {
        self.revision().filter(|revision| revision.text.is_some()).map(|revision| revision.at)
    }

    /// The event that made it what it is.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.revision().map_or(self.id.into(), |revision| revision.event)
    }

    /// Leaves an empty text in the place of one that a later revision has taken the place of.
    pub(crate) fn erase_text(&mut self) {
        let text = match &mut self.content {
            MessageContent::Original(text) => text,
            MessageContent::Revised(revision) => match &mut revision.text {
                Some(text) => text,
                None => return,
            },
        };
        *text = MessageText::from_store("");
    }

    /// Whether `user` may read it: everybody the general chat, its two parties a private message.
    #[must_use]
    pub fn is_visible_to(&self, user: UserId) -> bool {
        match self.to {
            None => true,
            Some(to) => self.from == user || to == user,
        }
    }
}

// A message that was never revised costs no more than its text.
const _: () = assert!(size_of::<MessageContent>() == size_of::<MessageText>());
