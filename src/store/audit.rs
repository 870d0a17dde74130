//! The validation of records, each by itself and by those before it. A check of a store, an import
//! and the verification of a backup share it. It refuses records that no server has written, and that
//! would break later requests of their users or of others.
//!
//! It holds all names, the ids of all sessions and of all messages in memory, and no text.
//!
//! # What is tolerated
//!
//! Limits become stricter, and records from before stay readable and importable:
//!
//! * names of up to [`rules::MAX_NAME_BYTES`] that cannot be registered any more, in any script, unless they
//!   hold control characters or are the names that ended accounts are shown with;
//! * texts that cannot be posted any more: blank ones, and those with U+0000. Only the length is
//!   limited, because it limits a page's length;
//! * password hashes of fewer passes or less memory, of another variant, and strings that are no hash:
//!   nobody can log in with them;
//! * read marks of conversations without messages, and beyond the last message of one, up to
//!   the highest id that was given out;
//! * blocks, read marks and keys of accounts that have ended, and keys of messages that are deleted;
//! * revisions after a deletion, and deletions by others than the author: the store does not know
//!   the operators;
//! * times in any order and in the future, as clocks are changed: sessions that have expired or last for
//!   years, messages from before their authors' registration or from after their end. In a log the end
//!   of an account is judged by the order of records, which an export does not keep.

mod rules;

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::id_allocator::IdAllocator;
use super::record::{LogRecord, Record};
use crate::model::{
    MAX_ID, MAX_SESSIONS, Message, MessageId, MessageText, ModerationEvent, Revision, SessionId,
    StoreId, UserId,
};
use crate::store::audit::rules::Why;
use crate::store::entries::account::AccountValue;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::past_store_id::PastStoreIdValue;
use crate::store::rules::lineage::{Lineage, MAX_PAST_STORE_IDS};
use crate::store::rules::retry::MAX_RETRIES;

/// Entries before the last record of a write batch, at most. To remember an idempotency key takes
/// six; to change a password or block an account takes the most, [`MAX_SESSIONS`] and two.
pub(super) const MAX_BATCH_ENTRIES: usize = 64;
const _: () = assert!(MAX_SESSIONS + 2 <= MAX_BATCH_ENTRIES);

/// Numbers of records by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub users: u64,
    /// Messages of the general chat.
    pub general: u64,
    /// Messages between two users.
    pub private: u64,
    /// Edits and deletions.
    pub revisions: u64,
    /// Moderations by operators.
    pub moderations: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { users, general, private, revisions, moderations } = self;
        let messages = general + private;
        write!(f, "{users} users, {messages} messages ({general} general, {private} private)")?;
        write!(f, ", {revisions} edits and deletions, {moderations} moderations")
    }
}

/// The records so far.
#[derive(Debug, Default)]
pub(super) struct Audit {
    next_ids: IdAllocator,
    counts: Counts,
    names: HashSet<String>,
    /// Ascending.
    users: Vec<UserId>,
    messages: RevisionBase,
    /// Messages whose text was erased, so that a later revision must have the text.
    erased: HashSet<MessageId>,
    sessions: HashMap<UserId, HashSet<SessionId>>,
    past_store_ids: HashMap<StoreId, PastStoreIdValue>,
    /// The first and the last place in the order of each user's keys.
    turns: HashMap<UserId, (u64, u64)>,
    ended: HashSet<UserId>,
    blocked: HashSet<UserId>,
    /// Entries so far of a write batch whose last record has not come yet.
    batch_entries: usize,
    /// True once records are missing.
    has_gaps: bool,
}

/// Checksums of the parts of messages that no revision changes.
#[derive(Debug, Default)]
struct RevisionBase {
    /// Ascending.
    ids: Vec<MessageId>,
    checksums: Vec<u32>,
    authors: Vec<UserId>,
}

impl RevisionBase {
    fn push(&mut self, message: &Message) {
        self.ids.push(message.id);
        self.checksums.push(RevisionBase::checksum(message));
        self.authors.push(message.from);
    }

    fn get(&self, id: MessageId) -> Option<u32> {
        self.ids.binary_search(&id).ok().map(|place| self.checksums[place])
    }

    fn author(&self, id: MessageId) -> Option<UserId> {
        self.ids.binary_search(&id).ok().map(|place| self.authors[place])
    }

    fn checksum(message: &Message) -> u32 {
        let to = message.to.map_or(0, UserId::get);
        let fields = [message.from.get(), to, message.sent_at.millis()];
        fields.iter().fold(0, |crc, field| crc32c::crc32c_append(crc, &field.to_le_bytes()))
    }
}

impl Audit {
    /// Takes the next record. A record that is refused counts all the same, for a caller that goes
    /// on.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), Why> {
        self.take_part(record, false)
    }

    /// Takes the next record of a log.
    pub(super) fn take_logged(&mut self, logged: &LogRecord) -> Result<(), Why> {
        self.take_part(&logged.record, logged.continues)
    }

    fn take_part(&mut self, record: &Record, continues: bool) -> Result<(), Why> {
        self.next_ids.admit(record.advance()).map_err(|_| "an id is out of order")?;
        let judged = self.judge(record, continues);
        self.batch_entries = if continues { self.batch_entries + 1 } else { 0 };
        self.note(record);
        judged
    }

    /// Refuses an end at which something is missing that earlier records need.
    pub(super) fn finish(&self) -> Result<(), Why> {
        if self.batch_entries > 0 {
            return Err("the last record of the last write batch is missing");
        }
        self.expect_texts()
    }

    /// Refuses an end at which the text of an erased message was not replaced.
    pub(super) fn expect_texts(&self) -> Result<(), Why> {
        if self.erased.is_empty() || self.has_gaps {
            Ok(())
        } else {
            Err("a message has no text, and nothing took its place")
        }
    }

    /// Notes that records are missing here: rules that depend on them are not checked from now on.
    pub(super) fn lose_track(&mut self) {
        self.has_gaps = true;
    }

    /// Refuses past store ids that no chain of restores produces in the store `current`.
    pub(super) fn expect_lineage(&self, current: StoreId) -> Result<(), Why> {
        if self.has_gaps {
            return Ok(());
        }
        let past =
            self.past_store_ids.iter().map(|(store_id, ended)| (*store_id, *ended)).collect();
        Lineage::new(past).expect_sense(current, self.next_ids)
    }

    pub(super) fn next_ids(&self) -> IdAllocator {
        self.next_ids
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn judge(&self, record: &Record, continues: bool) -> Result<(), Why> {
        if self.batch_entries > MAX_BATCH_ENTRIES {
            return Err("a write batch has too many records");
        }
        match record {
            Record::User(user) => {
                rules::user(user)?;
                let taken = self.names.contains(&user.name.folded());
                if taken { Err("the user's name is taken") } else { Ok(()) }
            }
            Record::Message(message) => {
                rules::text(message.text())?;
                self.parties(message)
            }
            Record::Revision(message) => self.revision(message),
            Record::Moderation(ModerationEvent { by, .. }) => {
                self.expect(
                    record_users(record),
                    "the moderation is by or of a user that does not exist",
                )?;
                self.expect_open(*by, "the moderation is by a user whose account has ended")
            }
            Record::Entry(entry) => {
                rules::entry(entry)?;
                self.expect(record_users(record), "the entry is of a user that does not exist")?;
                if self.has_gaps { Ok(()) } else { self.entry(entry, continues) }
            }
            Record::NextIds(_) => Ok(()),
        }
    }

    fn parties(&self, message: &Message) -> Result<(), Why> {
        let Message { from, to, .. } = *message;
        self.expect([Some(from), None], "the message's author does not exist")?;
        self.expect([to, None], "the message's receiver does not exist")?;
        self.expect_open(from, "the account of the message's author has ended")?;
        let receiver = "the account of the message's receiver has ended";
        to.map_or(Ok(()), |to| self.expect_open(to, receiver))
    }

    fn revision(&self, message: &Message) -> Result<(), Why> {
        rules::text(message.text())?;
        let Some(Revision { by, text, .. }) = message.revision() else {
            return Err("the revision is empty");
        };
        // Operators delete the messages of others, but do not edit them.
        if text.is_some() && *by != message.from {
            return Err("the message was edited by another than its author");
        }
        self.expect([Some(*by), None], "the revision is by a user who does not exist")?;
        self.expect_open(*by, "the revision is by a user whose account has ended")?;
        match self.messages.get(message.id) {
            _ if self.has_gaps => Ok(()),
            None => Err("the revision is of a message that is not there"),
            Some(fixed) if fixed == RevisionBase::checksum(message) => Ok(()),
            Some(_) => Err("the revision is of another message"),
        }
    }

    /// Judges an entry by the records before it.
    fn entry(&self, entry: &Entry, continues: bool) -> Result<(), Why> {
        match entry {
            Entry::Session { key, value: Some(_) } => {
                self.expect_open(key.user, "the session is of an account that has ended")?;
                if self.blocked.contains(&key.user) {
                    return Err("the session is of an account that is blocked");
                }
                let there = self.sessions.get(&key.user);
                if there.is_some_and(|it| it.len() >= MAX_SESSIONS && !it.contains(&key.id)) {
                    return Err("the user has more sessions than there can be");
                }
                Ok(())
            }
            Entry::Account { key, value: Some(AccountValue::Password { .. }) } => {
                self.expect_open(key.user, "the password is of an account that has ended")
            }
            Entry::Account { key, value: Some(AccountValue::Ended { .. }) } => {
                self.expect_no_session(key.user, "an account that has ended has a session")
            }
            Entry::AccountBlock { key, value: Some(_) } => {
                self.expect_no_session(key.user, "an account that is blocked has a session")
            }
            Entry::ReadMark { value: Some(value), .. }
                if value.up_to.get() >= self.next_ids.next_event =>
            {
                Err("the read mark is beyond all messages")
            }
            Entry::Retry { key, value: Some(value) } => {
                self.expect_sent(key.user, value.message, continues)
            }
            Entry::KeyedRetry { key, value: Some(value) } => {
                self.expect_sent(key.user, value.message, continues)
            }
            Entry::RetryOrder { key, value: Some(_) } => self.turn(key.user, key.number),
            Entry::PastStoreId { key, value: Some(_) } => {
                let there = &self.past_store_ids;
                if there.len() >= MAX_PAST_STORE_IDS && !there.contains_key(&key.store_id) {
                    return Err("there are more earlier epochs than are remembered");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Refuses a place out of order, and more than the last [`MAX_RETRIES`] in use. After the
    /// highest number no other could be given out.
    fn turn(&self, user: UserId, number: u64) -> Result<(), Why> {
        let far = "a user's keys are out of order, or more than there can be";
        let fits = match self.turns.get(&user) {
            Some((first, last)) => number > *last && number - first < MAX_RETRIES,
            None => true,
        };
        if fits && number <= MAX_ID { Ok(()) } else { Err(far) }
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::User(user) => {
                self.counts.users += 1;
                self.users.push(user.id);
                self.names.insert(user.name.folded());
            }
            Record::Message(message) => {
                match message.to {
                    None => self.counts.general += 1,
                    Some(_) => self.counts.private += 1,
                }
                self.messages.push(message);
                if message.text().is_empty() {
                    self.erased.insert(message.id);
                }
            }
            Record::Revision(message) => {
                self.counts.revisions += 1;
                let text = message.revision().and_then(|revision| revision.text.as_ref());
                match text.map(MessageText::as_str) {
                    Some("") => self.erased.insert(message.id),
                    _ => self.erased.remove(&message.id),
                };
            }
            Record::Moderation(_) => self.counts.moderations += 1,
            Record::Entry(entry) => self.note_entry(entry),
            Record::NextIds(_) => {}
        }
    }

    fn note_entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Session { key, value } => {
                let there = self.sessions.entry(key.user).or_default();
                match value {
                    Some(_) => there.insert(key.id),
                    None => there.remove(&key.id),
                };
                if there.is_empty() {
                    self.sessions.remove(&key.user);
                }
            }
            Entry::Account { key, value: Some(AccountValue::Ended { .. }) } => {
                self.ended.insert(key.user);
            }
            Entry::AccountBlock { key, value } => {
                match value {
                    Some(_) => self.blocked.insert(key.user),
                    None => self.blocked.remove(&key.user),
                };
            }
            Entry::PastStoreId { key, value } => {
                match value {
                    Some(ended) => self.past_store_ids.insert(key.store_id, *ended),
                    None => self.past_store_ids.remove(&key.store_id),
                };
            }
            Entry::RetryOrder { key, value } => {
                let number = key.number.min(MAX_ID);
                let (first, last) = self.turns.entry(key.user).or_insert((number, number));
                match value {
                    Some(_) => *last = number.max(*last),
                    None => *first = (number + 1).max(*first),
                }
            }
            _ => {}
        }
    }

    fn expect(&self, users: [Option<UserId>; 2], why: Why) -> Result<(), Why> {
        let mut users = users.into_iter().flatten();
        let all_there = users.all(|user| self.users.binary_search(&user).is_ok());
        if all_there || self.has_gaps { Ok(()) } else { Err(why) }
    }

    fn expect_open(&self, user: UserId, why: Why) -> Result<(), Why> {
        if self.ended.contains(&user) && !self.has_gaps { Err(why) } else { Ok(()) }
    }

    /// Refuses a key of a message that its user did not send. A key comes before the message of its
    /// batch, whose author is not known then.
    fn expect_sent(&self, user: UserId, message: MessageId, continues: bool) -> Result<(), Why> {
        let is_theirs = self.messages.author(message) == Some(user);
        let comes_next = continues && message.get() == self.next_ids.next_event;
        if is_theirs || comes_next {
            return Ok(());
        }
        Err("the key is of a message that is not there, or that another user sent")
    }

    fn expect_no_session(&self, user: UserId, why: Why) -> Result<(), Why> {
        if self.sessions.contains_key(&user) { Err(why) } else { Ok(()) }
    }
}

/// The users that a moderation or an entry is about, and the one who made it.
fn record_users(record: &Record) -> [Option<UserId>; 2] {
    match record {
        Record::Moderation(moderation) => moderation.users(),
        Record::Entry(entry) => entry.users(),
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests;
