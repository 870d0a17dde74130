//! A user's conversations, the one that was talked in last before all others, and how far each is
//! read.
//!
//! The general chat is one, and each other user to whom or from whom there is a private message. What
//! is read is an entry for each, which only ever moves forwards. What is unread is counted when somebody
//! asks, from the newest message back, so that neither a post nor a mark has to keep a number right.

use std::borrow::Cow;

use crate::model::{Mailbox, Message, MessageId, Page, Timestamp, UserId};
use crate::store::backend::{Conversation, MarkOutcome, Unread};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::read_mark::{ReadMarkKey, ReadMarkValue};
use crate::store::error::StoreError;

/// What there is of conversations, wherever it is kept.
pub(in crate::store) trait ConversationReader {
    /// How far a conversation is read.
    fn mark(&self, user: &ReadMarkKey) -> Result<Option<ReadMarkValue>, StoreError>;

    /// The newest message of a mailbox.
    fn newest(&self, mailbox: Mailbox) -> Result<Option<Cow<'_, Message>>, StoreError>;

    /// With whom a user has talked, and the last message of each: the `limit` highest below an id,
    /// descending.
    fn counterparts(
        &self,
        user: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError>;

    /// What others than `of` said in a mailbox from an id on.
    fn unread(&self, user: UserId, mailbox: Mailbox, from: u64) -> Result<Unread, StoreError>;

    /// The error for a conversation without a message.
    fn broken(&self) -> StoreError;
}

/// The mailbox of a conversation.
fn mailbox(user: UserId, with: Option<UserId>) -> Mailbox {
    with.map_or(Mailbox::General, |other| Mailbox::between(user, other))
}

/// A user's conversations whose last messages lie below an id, descending.
pub(in crate::store) fn page<T: ConversationReader>(
    store: &T,
    user: UserId,
    below: u64,
    limit: usize,
) -> Result<Page<Conversation<'_>>, StoreError> {
    let counterparts = store.counterparts(user, below, limit.saturating_add(1))?;
    let mut found: Vec<_> =
        counterparts.into_iter().map(|(last, with)| (last, Some(with))).collect();
    if let Some(general) = store.newest(Mailbox::General)?.filter(|last| last.id.get() < below) {
        let place = found.partition_point(|(last, _)| *last > general.id);
        found.insert(place, (general.id, None));
    }
    let older = found.len() > limit;
    found.truncate(limit);
    let stands = |(_, with)| standing(store, user, with)?.ok_or_else(|| store.broken());
    let items = found.into_iter().map(stands).collect::<Result<_, _>>()?;
    Ok(Page { items, older })
}

/// A conversation as it stands; `None` if nothing was said in it.
pub(in crate::store) fn standing<T: ConversationReader>(
    store: &T,
    user: UserId,
    with: Option<UserId>,
) -> Result<Option<Conversation<'_>>, StoreError> {
    let mailbox = mailbox(user, with);
    let Some(last) = store.newest(mailbox)? else { return Ok(None) };
    let mark = store.mark(&ReadMarkKey { user, with })?;
    let read_up_to = mark.map(|mark| mark.up_to);
    let unread = if with == Some(user) || read_up_to >= Some(last.id) {
        Unread::default()
    } else {
        store.unread(user, mailbox, read_up_to.map_or(0, |id| id.get() + 1))?
    };
    Ok(Some(Conversation { with, last, unread, read_up_to }))
}

/// What marking a conversation as read up to a message would come to, and what is to be written for
/// it. Never beyond the last message: what is said later is unread. `None` if nothing was said.
pub(in crate::store) fn mark(
    store: &impl ConversationReader,
    user: UserId,
    with: Option<UserId>,
    up_to: MessageId,
    at: Timestamp,
) -> Result<Option<(MarkOutcome, Option<Entry>)>, StoreError> {
    let Some(last) = store.newest(mailbox(user, with))? else { return Ok(None) };
    let up_to = up_to.min(last.id);
    let key = ReadMarkKey { user, with };
    Ok(Some(match store.mark(&key)? {
        Some(before) if before.up_to >= up_to => {
            (MarkOutcome { up_to: before.up_to, moved: false }, None)
        }
        _ => {
            let entry = Entry::ReadMark { key, value: Some(ReadMarkValue { up_to, at }) };
            (MarkOutcome { up_to, moved: true }, Some(entry))
        }
    }))
}
