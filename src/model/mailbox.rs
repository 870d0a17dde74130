//! Lists of messages.

use super::id::UserId;

/// A list of messages that is read page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mailbox {
    /// The general chat.
    General,
    /// Every private message a user sent or received.
    Private(UserId),
    /// The private messages between two users; make it with [`Mailbox::between`].
    Conversation(UserId, UserId),
}

impl Mailbox {
    /// The same mailbox whichever of the two is named first.
    #[must_use]
    pub fn between(a: UserId, b: UserId) -> Mailbox {
        Mailbox::Conversation(a.min(b), a.max(b))
    }

    /// The mailboxes a message lies in.
    pub fn of(from: UserId, to: Option<UserId>) -> impl Iterator<Item = Mailbox> {
        let [a, b, c] = match to {
            None => [Some(Mailbox::General), None, None],
            Some(to) => [
                Some(Mailbox::Private(from)),
                (to != from).then_some(Mailbox::Private(to)),
                Some(Mailbox::between(from, to)),
            ],
        };
        [a, b, c].into_iter().flatten()
    }

    /// Those of them that make up what a user may see: the general chat, and each party's own.
    pub fn feeds(from: UserId, to: Option<UserId>) -> impl Iterator<Item = Mailbox> {
        Mailbox::of(from, to).filter(|mailbox| !matches!(mailbox, Mailbox::Conversation(..)))
    }
}
