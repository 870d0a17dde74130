//! A user's conversations, the one that was talked in last before all others, and how far each is
//! read.
//!
//! The general chat is one, and each other user to whom or from whom there is a private message. What
//! is read is an entry for each, which only ever moves forwards. What is unread is counted when somebody
//! asks, from the newest message back, so that neither a post nor a mark has to keep a number right.

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
    let stands = |(_, with)| load(engine, user, with)?.ok_or_else(missing);
    let items = found.into_iter().map(stands).collect::<Result<_, _>>()?;
    Ok(Page { items, older })
}

/// A conversation as it stands; `None` if nothing was said in it.
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

/// What marking a conversation as read up to a message would come to, and what is to be written for
/// it. Never beyond the last message: what is said later is unread. `None` if nothing was said.
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
