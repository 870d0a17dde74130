//! Conversations as a store with a log has them: newest in memory, the rest in the index.

use std::borrow::Cow;
use std::time::Instant;

use super::store::{LogStore, RECORD_BYTES};
use super::view::View;
use crate::model::{Cursor, Mailbox, Message, MessageId, Timestamp, UserId, Window};
use crate::store::backend::{MarkOutcome, UNREAD_LOOK, Unread};
use crate::store::entries::read_mark::{ReadMarkKey, ReadMarkValue};
use crate::store::entries::reader;
use crate::store::error::StoreError;
use crate::store::index::layout::List;
use crate::store::mem_table::UnreadScan;
use crate::store::record::Record;
use crate::store::rules::conversation;
use crate::store::rules::conversation::ConversationReader;

impl LogStore {
    pub(super) fn move_mark(
        &mut self,
        user: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<MarkOutcome>, StoreError> {
        let Some((marked, entry)) = conversation::mark(self, user, with, up_to, at)? else {
            return Ok(None);
        };
        if let Some(entry) = entry {
            self.free_space.admit(RECORD_BYTES, Instant::now())?;
            self.write(Record::Entry(entry))?;
        }
        Ok(Some(marked))
    }
}

impl ConversationReader for LogStore {
    fn mark(&self, user: &ReadMarkKey) -> Result<Option<ReadMarkValue>, StoreError> {
        reader::get(&self.view, user)
    }

    fn newest(&self, mailbox: Mailbox) -> Result<Option<Cow<'_, Message>>, StoreError> {
        let window = Window { cursor: Cursor::Newest, limit: 1 };
        Ok(self.mailbox(mailbox, window)?.items.pop())
    }

    /// What the index does not know yet is newer than all that it knows, and what it knows of these
    /// conversations is over.
    fn counterparts(
        &self,
        user: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError> {
        let View { counterparts: newer, index, .. } = &self.view;
        let mut found: Vec<_> = newer.below(user, below).take(limit).collect();
        let rest = limit - found.len();
        found.extend(index.counterparts(user, below, rest, |with| !newer.has(user, with))?);
        Ok(found)
    }

    fn unread(&self, user: UserId, mailbox: Mailbox, from: u64) -> Result<Unread, StoreError> {
        let View { table, index, .. } = &self.view;
        let boundary = self.view.table_start();
        let UnreadScan { looked, others, more } = table.look(mailbox, user, from, UNREAD_LOOK);
        if more || from >= boundary {
            return Ok(Unread { count: others, more });
        }
        // One more than are looked at tells whether there are more.
        let rest = UNREAD_LOOK - looked;
        let list = List::Messages(mailbox);
        let mut postings = index.last_postings(list, (from, boundary), rest + 1)?;
        let more = postings.len() > rest;
        postings.drain(..postings.len().saturating_sub(rest));
        let older = match (mailbox, postings.first()) {
            (_, None) => 0,
            (Mailbox::Conversation(a, b), Some(first)) => {
                let list = List::Received { by: user, from: if a == user { b } else { a } };
                index.last_postings(list, (first.id, boundary), rest)?.len()
            }
            // Only the messages themselves say who wrote to everybody.
            _ => {
                self.read_messages(postings)?.iter().filter(|message| message.from != user).count()
            }
        };
        Ok(Unread { count: others + older, more })
    }

    fn broken(&self) -> StoreError {
        self.view.index.mark_broken("a conversation has no message")
    }
}
