//! Batches of changes to the index, and the pages that sled keeps until one is written.
//!
//! sled copies a page for every entry that is put there, and frees the old one when no reader can
//! use it any more. It does a little of that at every 128th of its operations, and a batch is one
//! operation, however many pages it replaces. So batches are small, and replaced pages are freed
//! after each of them. Without that, a rebuild kept 7 KB for each account.

use std::collections::BTreeMap;

use super::layout::{List, Posting};
use crate::model::{EventId, Mailbox, MessageId, UserId, Username};

/// The change of the index for a record.
#[derive(Debug, Clone)]
pub(in crate::store) enum IndexChange {
    User { id: UserId, name: Username, position: u64 },
    Message { id: MessageId, from: UserId, to: Option<UserId>, position: u64 },
    Revision { event: EventId, id: MessageId, from: UserId, to: Option<UserId>, position: u64 },
    Moderation { event: EventId, position: u64 },
    Entry { key: Box<[u8]>, value: Option<Box<[u8]>> },
}

/// Approximate number of entries in one batch. Until the batch is written, sled keeps each of the
/// pages that it replaces, of some kilobytes.
const MAX_PART_ENTRIES: usize = 1024;
/// Entries that change with the first addition to a list, on the average of the four lists that a
/// private message is in: a chunk of each, and both users' entries that say with which message
/// their conversation ends, each removed and put.
const ENTRIES_OF_LIST: usize = 2;
/// Steps in which replaced pages are freed, some 500 at each: about as many as a part leaves.
const FREEING_STEPS: usize = 16;

/// The latest values of some keys; `None` removes the entry.
pub(super) type EntryChanges = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// Changes that are written in one batch.
#[derive(Default)]
pub(super) struct IndexBatch {
    pub(super) users: Vec<(UserId, Username, u64)>,
    pub(super) events: Vec<Posting>,
    pub(super) postings: BTreeMap<List, Vec<Posting>>,
    /// The position of the last revision of each message.
    pub(super) revised: BTreeMap<u64, u64>,
    pub(super) entries: EntryChanges,
    /// The number of entries that change, about.
    changed: usize,
}

impl IndexBatch {
    pub(super) fn take(&mut self, change: IndexChange) {
        match change {
            IndexChange::User { id, name, position } => {
                self.users.push((id, name, position));
                self.changed += 2;
            }
            IndexChange::Message { id, from, to, position } => {
                let posting = Posting { id: id.get(), position };
                for mailbox in Mailbox::of(from, to) {
                    self.push(List::Messages(mailbox), posting);
                }
                if let Some(list) = List::received(from, to) {
                    self.push(list, posting);
                }
                self.events.push(posting);
            }
            IndexChange::Revision { event, id, from, to, position } => {
                let posting = Posting { id: event.get(), position };
                for feed in Mailbox::feeds(from, to) {
                    self.push(List::Activity(feed), posting);
                }
                self.events.push(posting);
                self.changed += usize::from(self.revised.insert(id.get(), position).is_none());
            }
            IndexChange::Moderation { event, position } => {
                let posting = Posting { id: event.get(), position };
                self.push(List::Activity(Mailbox::General), posting);
                self.events.push(posting);
            }
            IndexChange::Entry { key, value } => {
                self.changed += usize::from(self.entries.insert(key, value).is_none());
            }
        }
    }

    /// True when it is time to write the batch.
    pub(super) fn is_full(&self) -> bool {
        self.changed >= MAX_PART_ENTRIES
    }

    /// A list's chunk is written once, however much is added to it.
    fn push(&mut self, list: List, posting: Posting) {
        let list = self.postings.entry(list).or_insert_with(|| {
            self.changed += ENTRIES_OF_LIST;
            Vec::new()
        });
        list.push(posting);
    }
}

/// Frees the pages that a batch replaced.
pub(super) fn free_replaced_pages() {
    for _ in 0..FREEING_STEPS {
        ::sled::pin().flush();
    }
}
