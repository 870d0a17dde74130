//! A user's conversations, the one that was talked in last before all others, and how far each is
//! read.
//!
//! The general chat is one, and each other user to whom or from whom there is a private message. What
//! is read is a fact for each, which only ever moves forwards. What is unread is counted when somebody
//! asks, from the newest message back, so that neither a post nor a mark has to keep a number right.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::StoreError;
use super::fact::{Entry, ReadMarkKey, ReadMarkValue};
use crate::model::{MAX_ID, Mailbox, Message, MessageId, Page, Timestamp, UserId};

/// Messages of a conversation that are looked at to count what is unread: the newest ones.
pub const UNREAD_LOOK: usize = 1000;

/// A conversation as it stands for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation<'a> {
    /// The other one; `None` is the general chat.
    pub with: Option<UserId>,
    /// The message in it with the highest id.
    pub last: Cow<'a, Message>,
    /// What others said behind `read_up_to`.
    pub unread: Unread,
    /// The last message that the user has read, as far as is known.
    pub read_up_to: Option<MessageId>,
}

impl Conversation<'_> {
    /// The same, with nothing of the store's.
    #[must_use]
    pub fn into_owned(self) -> Conversation<'static> {
        let Conversation { with, last, unread, read_up_to } = self;
        Conversation { with, last: Cow::Owned(last.into_owned()), unread, read_up_to }
    }
}

/// How many messages are unread.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Those of others among the newest [`UNREAD_LOOK`].
    pub count: usize,
    /// Whether there are messages before these that are not marked as read, which nobody counted.
    pub more: bool,
}

/// What came of marking a conversation as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkOutcome {
    /// The message up to which it is read.
    pub up_to: MessageId,
    /// Whether that was not so before.
    pub moved: bool,
}

/// What there is of conversations, wherever it is kept.
pub(super) trait ConversationReader {
    /// How far a conversation is read.
    fn mark(&self, of: &ReadMarkKey) -> Result<Option<ReadMarkValue>, StoreError>;

    /// The newest message of a mailbox.
    fn newest(&self, mailbox: Mailbox) -> Result<Option<Cow<'_, Message>>, StoreError>;

    /// With whom a user has talked, and the last message of each: the `limit` highest below an id,
    /// descending.
    fn counterparts(
        &self,
        of: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError>;

    /// What others than `of` said in a mailbox from an id on.
    fn unread(&self, of: UserId, mailbox: Mailbox, from: u64) -> Result<Unread, StoreError>;

    /// The error for a conversation without a message.
    fn broken(&self) -> StoreError;
}

/// The mailbox of a conversation.
fn mailbox(of: UserId, with: Option<UserId>) -> Mailbox {
    with.map_or(Mailbox::General, |other| Mailbox::between(of, other))
}

/// A user's conversations whose last messages lie below an id, descending.
pub(super) fn page<T: ConversationReader>(
    store: &T,
    of: UserId,
    below: u64,
    limit: usize,
) -> Result<Page<Conversation<'_>>, StoreError> {
    let counterparts = store.counterparts(of, below, limit.saturating_add(1))?;
    let mut found: Vec<_> =
        counterparts.into_iter().map(|(last, with)| (last, Some(with))).collect();
    if let Some(general) = store.newest(Mailbox::General)?.filter(|last| last.id.get() < below) {
        let place = found.partition_point(|(last, _)| *last > general.id);
        found.insert(place, (general.id, None));
    }
    let older = found.len() > limit;
    found.truncate(limit);
    let stands = |(_, with)| standing(store, of, with)?.ok_or_else(|| store.broken());
    let items = found.into_iter().map(stands).collect::<Result<_, _>>()?;
    Ok(Page { items, older })
}

/// A conversation as it stands; `None` if nothing was said in it.
pub(super) fn standing<T: ConversationReader>(
    store: &T,
    of: UserId,
    with: Option<UserId>,
) -> Result<Option<Conversation<'_>>, StoreError> {
    let mailbox = mailbox(of, with);
    let Some(last) = store.newest(mailbox)? else { return Ok(None) };
    let mark = store.mark(&ReadMarkKey { user: of, with })?;
    let read_up_to = mark.map(|mark| mark.up_to);
    let unread = if with == Some(of) || read_up_to >= Some(last.id) {
        Unread::default()
    } else {
        store.unread(of, mailbox, read_up_to.map_or(0, |id| id.get() + 1))?
    };
    Ok(Some(Conversation { with, last, unread, read_up_to }))
}

/// What marking a conversation as read up to a message would come to, and what is to be written for
/// it. Never beyond the last message: what is said later is unread. `None` if nothing was said.
pub(super) fn mark(
    store: &impl ConversationReader,
    of: UserId,
    with: Option<UserId>,
    up_to: MessageId,
    at: Timestamp,
) -> Result<Option<(MarkOutcome, Option<Entry>)>, StoreError> {
    let Some(last) = store.newest(mailbox(of, with))? else { return Ok(None) };
    let up_to = up_to.min(last.id);
    let subject = ReadMarkKey { user: of, with };
    Ok(Some(match store.mark(&subject)? {
        Some(before) if before.up_to >= up_to => {
            (MarkOutcome { up_to: before.up_to, moved: false }, None)
        }
        _ => {
            let fact = Entry::ReadMark { of: subject, is: Some(ReadMarkValue { up_to, at }) };
            (MarkOutcome { up_to, moved: true }, Some(fact))
        }
    }))
}

/// Who talked with whom, and when last: all there is in the memory store, and in the sled store what
/// the index does not know yet.
#[derive(Debug, Default)]
pub(super) struct Counterparts {
    /// By user and counterpart.
    last: HashMap<(UserId, UserId), MessageId>,
    /// The same by user and message.
    order: BTreeMap<(UserId, MessageId), UserId>,
}

impl Counterparts {
    /// Takes in a message, which must be newer than any before it.
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

    /// Whether there is a message between the two.
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
