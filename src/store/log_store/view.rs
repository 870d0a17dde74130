//! The contents of a log, to be read: the newest part in memory, all of it through the index.

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

/// So many records wait before the index takes them in, so that a busy mailbox's list is written
/// once for many. What waits is what a start after a crash reads again.
pub(super) const APPLY_EVERY: usize = 256;
/// The same while a whole log is read: the more at once, the faster.
pub(super) const REPLAY_APPLY_EVERY: usize = 16 * 1024;
/// Bytes of records with which the index is told at the latest: what waits is in memory.
const MAX_PENDING_BYTES: u64 = 16 * 1024 * 1024;
/// Newest messages kept in memory: at least sixteen of the longest pages.
pub(super) const RECENT_MESSAGES: usize = 16 * 1024;
/// Newest events other than posts kept in memory.
const RECENT_ACTIVITIES: usize = 16 * 1024;
/// Text in those messages, in bytes.
const RECENT_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// The contents of a log: the newest part in memory, all of it through the index.
#[derive(Debug)]
pub(in crate::store) struct View {
    pub(super) store_id: StoreId,
    pub(super) next_ids: IdAllocator,
    pub(super) table: MemTable,
    /// What the index does not know yet.
    pub(super) entries: EntryMap,
    /// What the index does not know yet of who talked with whom.
    pub(super) counterparts: Counterparts,
    pub(super) index: Index,
    /// What the index does not know yet, each with how far it goes behind that, unless what follows
    /// is one with it; and the last frame of it.
    pub(super) pending: Vec<(IndexChange, Option<Applied>)>,
    /// The messages that were revised in what the index does not know yet, as they are now.
    pub(super) revised: BTreeMap<MessageId, Message>,
    pub(super) last: Option<Stamp>,
    /// The length of these records in the log.
    pub(super) pending_bytes: u64,
}

impl View {
    /// Takes in a record that was appended just now.
    pub(super) fn absorb(&mut self, logged: LogRecord, stamp: Stamp) {
        let LogRecord { record, continues } = logged;
        let position = stamp.position;
        self.last = Some(stamp);
        self.pending_bytes += stamp.end - stamp.position;
        // A batch is written to the index as a whole.
        let behind = (!continues).then_some(self.applied_at(stamp));
        match record {
            Record::User(user) => {
                let (id, name) = (user.id, user.name.clone());
                let change = IndexChange::User { id, name, position };
                self.pending.push((change, behind));
                self.table.insert_user(user);
            }
            Record::Message(message) => {
                let Message { id, from, to, .. } = message;
                let change = IndexChange::Message { id, from, to, position };
                self.pending.push((change, behind));
                self.counterparts.note(&message);
                self.table.push(message);
            }
            Record::Revision(message) => {
                let Message { id, from, to, .. } = message;
                let event = message.event();
                let change = IndexChange::Revision { event, id, from, to, position };
                self.pending.push((change, behind));
                self.table.revise(&message);
                self.revised.insert(id, message);
            }
            Record::Moderation(moderation) => {
                let change = IndexChange::Moderation { event: moderation.event, position };
                self.pending.push((change, behind));
                self.table.note(Activity::moderation(&moderation));
            }
            Record::NextIds(_) => {}
            Record::Entry(entry) => {
                let key: Box<[u8]> = entry.key_bytes().into();
                let value: Option<Box<[u8]>> = entry.value_bytes().map(Into::into);
                self.entries.note(key.clone(), value.clone());
                self.pending.push((IndexChange::Entry { key, value }, behind));
            }
        }
    }

    /// Takes in a record that was read from the log: its ids are not ours to give.
    pub(super) fn replay(&mut self, logged: LogRecord, stamp: Stamp) -> Result<(), RestoreError> {
        self.next_ids.admit(logged.record.advance())?;
        self.absorb(logged, stamp);
        Ok(())
    }

    /// How far the index goes once it knows the record that was taken in last.
    fn applied_at(&self, stamp: Stamp) -> Applied {
        Applied { store_id: self.store_id, stamp, next_ids: self.next_ids }
    }

    /// Tells the index, if at least `threshold` records wait, or many bytes of them. Only after they
    /// were synced.
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

    /// Forgets old messages and activities, but none that the index does not know.
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

    /// The message as it is now, if the index does not know it so.
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
