//! The contents of a log: the newest part in memory, all of it through the index.

use std::collections::BTreeMap;

use crate::model::{Message, MessageId, StoreId, UserId};
use crate::store::counterparts::Counterparts;
use crate::store::entries::entry_map::EntryMap;
use crate::store::error::{RestoreError, StoreError};
use crate::store::id_allocator::IdAllocator;
use crate::store::index::layout::Applied;
use crate::store::index::part::IndexChange;
use crate::store::index::tree::Index;
use crate::store::log::frame::Stamp;
use crate::store::mem_table::{Activity, MemTable};
use crate::store::record::{LogRecord, Record};

/// Records that wait before they are applied to the index, so that a busy mailbox's list is written
/// once for many. A start after a crash reads the waiting records again.
pub(super) const APPLY_EVERY: usize = 256;
/// Records that wait while a whole log is read: the more are applied at once, the faster.
pub(super) const REPLAY_APPLY_EVERY: usize = 16 * 1024;
/// Most bytes of records that wait for the index: they are in memory.
const MAX_PENDING_BYTES: u64 = 16 * 1024 * 1024;
/// Newest messages kept in memory: at least sixteen of the longest pages.
pub(super) const RECENT_MESSAGES: usize = 16 * 1024;
/// Newest events other than posts kept in memory.
const RECENT_ACTIVITIES: usize = 16 * 1024;
/// Text in those messages, in bytes.
const RECENT_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// The state of an open store.
#[derive(Debug)]
pub(in crate::store) struct View {
    pub(super) store_id: StoreId,
    pub(super) next_ids: IdAllocator,
    pub(super) table: MemTable,
    /// Entries that are not in the index yet.
    pub(super) entries: EntryMap,
    /// Conversations with messages that are not in the index yet.
    pub(super) counterparts: Counterparts,
    pub(super) index: Index,
    /// Changes that are not in the index yet, each with the point that the index reaches after it,
    /// unless the next record is part of the same batch.
    pub(super) pending: Vec<(IndexChange, Option<Applied>)>,
    /// Messages with revisions that are not in the index yet, as they are now.
    pub(super) revised: BTreeMap<MessageId, Message>,
    pub(super) last: Option<Stamp>,
    /// The length of these records in the log.
    pub(super) pending_bytes: u64,
}

impl View {
    /// Applies a record that was just appended.
    pub(super) fn absorb(&mut self, logged: LogRecord, stamp: Stamp) {
        let LogRecord { record, continues } = logged;
        let position = stamp.position;
        self.last = Some(stamp);
        self.pending_bytes += stamp.end - stamp.position;
        // A batch is written to the index as a whole.
        let applied = (!continues).then_some(self.applied_at(stamp));
        match record {
            Record::User(user) => {
                let (id, name) = (user.id, user.name.clone());
                let change = IndexChange::User { id, name, position };
                self.pending.push((change, applied));
                self.table.insert_user(user);
            }
            Record::Message(message) => {
                let Message { id, from, to, .. } = message;
                let change = IndexChange::Message { id, from, to, position };
                self.pending.push((change, applied));
                self.counterparts.note(&message);
                self.table.push(message);
            }
            Record::Revision(message) => {
                let Message { id, from, to, .. } = message;
                let event = message.event();
                let change = IndexChange::Revision { event, id, from, to, position };
                self.pending.push((change, applied));
                self.table.revise(&message);
                self.revised.insert(id, message);
            }
            Record::Moderation(moderation) => {
                let change = IndexChange::Moderation { event: moderation.event, position };
                self.pending.push((change, applied));
                self.table.note(Activity::moderation(&moderation));
            }
            Record::NextIds(_) => {}
            Record::Entry(entry) => {
                let key: Box<[u8]> = entry.key_bytes().into();
                let value: Option<Box<[u8]>> = entry.value_bytes().map(Into::into);
                self.entries.note(key.clone(), value.clone());
                self.pending.push((IndexChange::Entry { key, value }, applied));
            }
        }
    }

    /// Applies a record that was read from the log, which brings its own id.
    pub(super) fn replay(&mut self, logged: LogRecord, stamp: Stamp) -> Result<(), RestoreError> {
        self.next_ids.admit(logged.record.advance())?;
        self.absorb(logged, stamp);
        Ok(())
    }

    /// The point that the index reaches with the record that was applied last.
    fn applied_at(&self, stamp: Stamp) -> Applied {
        Applied { store_id: self.store_id, stamp, next_ids: self.next_ids }
    }

    /// Applies the waiting changes to the index, if there are at least `threshold`, or many bytes
    /// of them. Only after they were synced.
    pub(super) fn apply(&mut self, threshold: usize) -> Result<(), StoreError> {
        let enough = self.pending.len() >= threshold || self.pending_bytes >= MAX_PENDING_BYTES;
        let Some(stamp) = self.last.filter(|_| enough) else { return Ok(()) };
        let applied = self.applied_at(stamp);
        self.index.apply(self.pending.drain(..), applied)?;
        self.entries.clear();
        self.counterparts.clear();
        self.last = None;
        self.pending_bytes = 0;
        self.revised.clear();
        if let Some(newest) = UserId::new(self.next_ids.next_user.saturating_sub(1)) {
            self.table.evict_users(newest);
        }
        self.trim();
        Ok(())
    }

    /// Removes old messages and activities from memory, but none that are missing in the index.
    pub(super) fn trim(&mut self) {
        let unindexed = self.pending.len();
        while self.table.activity_count() > RECENT_ACTIVITIES.max(unindexed) {
            self.table.evict_oldest_activity();
        }
        loop {
            let (messages, text_bytes) = self.table.size();
            let too_many = messages > RECENT_MESSAGES || text_bytes > RECENT_TEXT_BYTES;
            if !too_many || messages <= unindexed {
                return;
            }
            self.table.evict_oldest();
        }
    }

    /// The message as it is now, if memory has it.
    pub(super) fn newest(&self, id: MessageId) -> Option<&Message> {
        self.table.message(id).or_else(|| self.revised.get(&id))
    }

    /// The id from which on the table holds every message.
    pub(super) fn table_start(&self) -> u64 {
        self.table.first_message().map_or(self.next_ids.next_event, MessageId::get)
    }

    /// The event from which on the table holds every activity.
    pub(super) fn activities_start(&self) -> u64 {
        self.table.activities_start()
    }

    /// The id from which on the table holds every account.
    pub(super) fn users_start(&self) -> u64 {
        self.table.first_user().map_or(self.next_ids.next_user, UserId::get)
    }
}
