//! A user's conversations, in descending order of their last messages, with what is unread in each.
//!
//! The general chat is a conversation, and so are the private messages with each other user. A read
//! mark is an entry for each conversation, which only moves forwards. Unread messages are counted
//! on a read, from the newest message back, so that neither a post nor a mark has to maintain a
//! count.

use std::borrow::Cow;

use crate::model::{Cursor, Mailbox, Message, MessageId, Page, Timestamp, UserId, Window};
use crate::store::backend::{Conversation, MarkOutcome, UNREAD_LOOK, Unread};
use crate::store::engine::Engine;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::read_mark::{ReadMarkKey, ReadMarkValue};
use crate::store::entries::reader::{self, EntryReader as _};
use crate::store::error::StoreError;

/// The mailbox of a conversation.
fn mailbox(user: UserId, with: Option<UserId>) -> Mailbox {
    with.map_or(Mailbox::General, |other| Mailbox::between(user, other))
}

/// The newest message of a mailbox.
fn newest<E: Engine>(engine: &E, mailbox: Mailbox) -> Result<Option<Cow<'_, Message>>, StoreError> {
    let window = Window { cursor: Cursor::Newest, limit: 1 };
    Ok(engine.mailbox(mailbox, window)?.items.pop())
}

/// A user's conversations whose last messages lie below an id, descending.
pub(in crate::store) fn page<E: Engine>(
    engine: &E,
    user: UserId,
    below: u64,
    limit: usize,
) -> Result<Page<Conversation<'_>>, StoreError> {
    let counterparts = engine.counterparts(user, below, limit.saturating_add(1))?;
    let mut found: Vec<_> =
        counterparts.into_iter().map(|(last, with)| (last, Some(with))).collect();
    if let Some(general) = newest(engine, Mailbox::General)?.filter(|last| last.id.get() < below) {
        let place = found.partition_point(|(last, _)| *last > general.id);
        found.insert(place, (general.id, None));
    }
    let older = found.len() > limit;
    found.truncate(limit);
    let missing = || engine.entry_reader().corrupt("a conversation has no message");
    let loaded = |(_, with)| load(engine, user, with)?.ok_or_else(missing);
    let items = found.into_iter().map(loaded).collect::<Result<_, _>>()?;
    Ok(Page { items, older })
}

/// A conversation as a user sees it; `None` if it has no message.
pub(in crate::store) fn load<E: Engine>(
    engine: &E,
    user: UserId,
    with: Option<UserId>,
) -> Result<Option<Conversation<'_>>, StoreError> {
    let mailbox = mailbox(user, with);
    let Some(last) = newest(engine, mailbox)? else { return Ok(None) };
    let mark = reader::get(engine.entry_reader(), &ReadMarkKey { user, with })?;
    let read_up_to = mark.map(|mark| mark.up_to);
    let unread = if with == Some(user) || read_up_to >= Some(last.id) {
        Unread::default()
    } else {
        let from = read_up_to.map_or(0, |id| id.get() + 1);
        let (count, more) = engine.count_others(user, mailbox, from, UNREAD_LOOK)?;
        Unread { count, more }
    };
    Ok(Some(Conversation { with, last, unread, read_up_to }))
}

/// The outcome of marking a conversation as read up to a message, with the entry to write, if the
/// mark moves. The mark is never beyond the last message: what comes later is unread. `None` if
/// there is no message.
pub(in crate::store) fn mark(
    engine: &impl Engine,
    user: UserId,
    with: Option<UserId>,
    up_to: MessageId,
    at: Timestamp,
) -> Result<Option<(MarkOutcome, Option<Entry>)>, StoreError> {
    let Some(last) = newest(engine, mailbox(user, with))? else { return Ok(None) };
    let up_to = up_to.min(last.id);
    let key = ReadMarkKey { user, with };
    Ok(Some(match reader::get(engine.entry_reader(), &key)? {
        Some(before) if before.up_to >= up_to => {
            (MarkOutcome { up_to: before.up_to, moved: false }, None)
        }
        _ => {
            let entry = Entry::ReadMark { key, value: Some(ReadMarkValue { up_to, at }) };
            (MarkOutcome { up_to, moved: true }, Some(entry))
        }
    }))
}
