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
    /// Checks a text. The error says what is wrong, in words for the client.
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

    /// A text from the store. It was parsed when it was stored, perhaps under other limits.
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
    /// The text, and how it came about.
    pub content: MessageContent,
    /// The time at which the server accepted it.
    pub sent_at: Timestamp,
}

/// The content of a message. It is as large as the text alone, because nearly all messages are
/// never revised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageContent {
    /// The text as it was sent.
    Original(MessageText),
    /// The last revision.
    Revised(Box<Revision>),
}

/// An edit or a deletion of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The number of the event.
    pub event: EventId,
    /// The user who did it.
    pub by: UserId,
    /// The time at which it was done.
    pub at: Timestamp,
    /// The new text; `None` if the message was deleted.
    pub text: Option<MessageText>,
}

impl Message {
    /// The text; empty if the message is deleted.
    #[must_use]
    pub fn text(&self) -> &str {
        match &self.content {
            MessageContent::Original(text) => text.as_str(),
            MessageContent::Revised(revision) => {
                revision.text.as_ref().map_or("", MessageText::as_str)
            }
        }
    }

    /// The last edit, or the deletion.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        match &self.content {
            MessageContent::Original(_) => None,
            MessageContent::Revised(revision) => Some(revision),
        }
    }

    /// `true` if it is deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.revision().is_some_and(|revision| revision.text.is_none())
    }

    /// The time of the last edit; `None` if it was never edited or is deleted.
    #[must_use]
    pub fn edited_at(&self) -> Option<Timestamp> {
        self.revision().filter(|revision| revision.text.is_some()).map(|revision| revision.at)
    }

    /// The number of the event that gave it its present content.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.revision().map_or(self.id.into(), |revision| revision.event)
    }

    /// Erases a text that a later revision has replaced.
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

    /// `true` if `user` may read it: everybody reads the general chat, and its two parties a
    /// private message.
    #[must_use]
    pub fn is_visible_to(&self, user: UserId) -> bool {
        match self.to {
            None => true,
            Some(to) => self.from == user || to == user,
        }
    }
}

// A message that was never revised takes no more memory than its text.
const _: () = assert!(size_of::<MessageContent>() == size_of::<MessageText>());
