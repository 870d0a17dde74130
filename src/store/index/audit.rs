//! Compares an index with the log that it was made from, entry by entry in both directions.
//!
//! The audit keeps a checksum for each list instead of its contents, one for each key of entries,
//! and of messages only those that were revised.

use std::collections::{BTreeMap, HashMap};

use super::conversations::conversation;
use super::entries::untagged;
use super::layout::{
    Applied, CONVERSATION, ENTRY, List, META, Posting, decode_chunk, mark_key, number, user_key,
};
use super::tree::{Index, is_marked};
use crate::model::{Mailbox, Message, MessageId, User, UserId};
use crate::store::entries::keyspaces::Entry;
use crate::store::error::StoreError;
use crate::store::log::frame::Stamp;
use crate::store::record::Record;

/// The expected contents of an index, as far as the log has been read.
pub(in crate::store) struct IndexAudit {
    index: Index,
    users: u64,
    marks: u64,
    last_mark: Option<u64>,
    lists: HashMap<List, Postings>,
    /// The last message by user and counterpart.
    conversations: HashMap<(UserId, UserId), MessageId>,
    /// The position of the last revision of each message that has one.
    revised: HashMap<MessageId, u64>,
    /// The checksum of the value of each key.
    entries: BTreeMap<Vec<u8>, u32>,
}

/// A list's postings in order: how many, and a checksum of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Postings {
    count: u64,
    crc: u32,
}

impl Postings {
    fn push(&mut self, posting: Posting) {
        self.count += 1;
        for number in [posting.id, posting.position] {
            self.crc = crc32c::crc32c_append(self.crc, &number.to_le_bytes());
        }
    }
}

impl IndexAudit {
    pub(in crate::store) fn new(index: Index) -> IndexAudit {
        IndexAudit {
            index,
            users: 0,
            marks: 0,
            last_mark: None,
            lists: HashMap::new(),
            conversations: HashMap::new(),
            revised: HashMap::new(),
            entries: BTreeMap::new(),
        }
    }

    pub(in crate::store) fn applied(&self) -> Option<Applied> {
        self.index.applied
    }

    /// The next record of those that are indexed.
    pub(in crate::store) fn take(
        &mut self,
        record: &Record,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        match record {
            Record::User(user) => self.user(user, stamp.position),
            Record::Message(message) => self.message(message, stamp.position),
            Record::NextIds(_) => Ok(()),
            Record::Revision(message) => self.revision(message, stamp.position),
            Record::Moderation(moderation) => {
                let posting = Posting { id: moderation.event.get(), position: stamp.position };
                self.lists.entry(List::Activity(Mailbox::General)).or_default().push(posting);
                self.mark(posting)
            }
            Record::Entry(entry) => {
                self.entry(entry);
                Ok(())
            }
        }
    }

    /// An event, whose position may have to be kept.
    fn mark(&mut self, event: Posting) -> Result<(), StoreError> {
        let Posting { id, position } = event;
        if is_marked(self.last_mark, position) {
            self.last_mark = Some(position);
            self.marks += 1;
            if self.index.get(&mark_key(id))?.as_deref() != Some(&position.to_be_bytes()) {
                return Err(wrong(format!("the position of event {id} is wrong")));
            }
        }
        Ok(())
    }

    fn revision(&mut self, message: &Message, position: u64) -> Result<(), StoreError> {
        let posting = Posting { id: message.event().get(), position };
        for feed in Mailbox::feeds(message.from, message.to) {
            self.lists.entry(List::Activity(feed)).or_default().push(posting);
        }
        self.revised.insert(message.id, position);
        self.mark(posting)
    }

    /// Notes the latest value of an entry. It is compared with the index after the last record.
    fn entry(&mut self, entry: &Entry) {
        match entry.value_bytes() {
            Some(value) => self.entries.insert(entry.key_bytes(), crc32c::crc32c(&value)),
            None => self.entries.remove(&entry.key_bytes()),
        };
    }

    fn user(&mut self, user: &User, position: u64) -> Result<(), StoreError> {
        self.users += 1;
        let id = user.id;
        if self.index.get(&user_key(id.get()))?.as_deref() != Some(&position.to_be_bytes()) {
            return Err(wrong(format!("the position of user {id} is wrong")));
        }
        if self.index.user_named(&user.name)? != Some(id) {
            return Err(wrong(format!("the name of user {id} does not lead to it")));
        }
        Ok(())
    }

    fn message(&mut self, message: &Message, position: u64) -> Result<(), StoreError> {
        let id = message.id.get();
        for mailbox in Mailbox::of(message.from, message.to) {
            let list = List::Messages(mailbox);
            self.lists.entry(list).or_default().push(Posting { id, position });
        }
        if let Some(list) = List::received(message.from, message.to) {
            self.lists.entry(list).or_default().push(Posting { id, position });
        }
        if let Some(to) = message.to {
            self.conversations.insert((message.from, to), message.id);
            self.conversations.insert((to, message.from), message.id);
        }
        self.mark(Posting { id, position })
    }

    /// Every record that is indexed was taken: the index must hold them, and nothing else.
    pub(in crate::store) fn finish(mut self) -> Result<(), StoreError> {
        let (mut users, mut names, mut marks) = (0, 0, 0);
        let mut found: HashMap<List, Postings> = HashMap::new();
        for entry in self.index.db.iter() {
            let (key, value) = entry.map_err(|e| self.index.mark_broken(e))?;
            match key.first() {
                Some(b'u') => users += 1,
                Some(b'n') => names += 1,
                Some(b'p') => marks += 1,
                Some(b'r') => {
                    let id = number(&key[1..]).and_then(MessageId::new);
                    let position = id.and_then(|id| self.revised.remove(&id));
                    if position.is_none() || position != number(&value) {
                        return Err(wrong("a message is said to be revised elsewhere".to_owned()));
                    }
                }
                Some(b'b' | b'd' | b'e') => {
                    let malformed = || wrong("a list of postings is malformed".to_owned());
                    let list = list(&key).ok_or_else(malformed)?;
                    let postings = found.entry(list).or_default();
                    let chunk = decode_chunk(&key, &value).ok_or_else(malformed)?;
                    for posting in chunk {
                        postings.push(posting);
                    }
                }
                Some(&CONVERSATION) => {
                    let entry = conversation(&key, &value);
                    let expected =
                        entry.and_then(|(user, _, with)| self.conversations.remove(&(user, with)));
                    if expected.is_none() || expected != entry.map(|(_, last, _)| last) {
                        return Err(wrong("a conversation is said to end elsewhere".to_owned()));
                    }
                }
                Some(&ENTRY) => {
                    if self.entries.remove(untagged(&key)) != Some(crc32c::crc32c(&value)) {
                        return Err(wrong("it holds an entry that the log does not".to_owned()));
                    }
                }
                _ if key == META => {}
                _ => return Err(wrong("it holds an entry of an unknown kind".to_owned())),
            }
        }
        if (users, names, marks) != (self.users, self.users, self.marks) {
            return Err(wrong("it holds users or positions that the log does not".to_owned()));
        }
        if let Some(id) = self.revised.into_keys().next() {
            return Err(wrong(format!("the last revision of message {id} is missing")));
        }
        for (list, postings) in found {
            if self.lists.remove(&list) != Some(postings) {
                return Err(wrong(format!("{} differs from the log", name(list))));
            }
        }
        if let Some((user, with)) = self.conversations.into_keys().next() {
            return Err(wrong(format!("user {user} has no conversation with user {with}")));
        }
        if !self.entries.is_empty() {
            return Err(wrong("an entry is missing".to_owned()));
        }
        match self.lists.into_keys().next() {
            Some(list) => Err(wrong(format!("{} is missing", name(list)))),
            None => Ok(()),
        }
    }
}

fn wrong(what: String) -> StoreError {
    StoreError::Index(what)
}

fn name(list: List) -> String {
    let (what, mailbox) = match list {
        List::Messages(mailbox) => ("", mailbox),
        List::Activity(mailbox) => ("the activity of ", mailbox),
        List::Received { by, from } => {
            return format!("the list of messages from user {from} to user {by}");
        }
    };
    match mailbox {
        Mailbox::General => format!("{what}the general chat"),
        Mailbox::Private(user) => format!("{what}the mailbox of user {user}"),
        Mailbox::Conversation(a, b) => format!("{what}the conversation of users {a} and {b}"),
    }
}

/// The list of a chunk's key.
fn list(key: &[u8]) -> Option<List> {
    let user = |at: usize| UserId::new(number(key.get(at..at + 8)?)?);
    if key.first()? == &b'd' {
        return Some(List::Received { by: user(2)?, from: user(10)? });
    }
    let mailbox = match key.get(1)? {
        0 => Mailbox::General,
        1 => Mailbox::Private(user(2)?),
        2 => Mailbox::Conversation(user(2)?, user(10)?),
        _ => return None,
    };
    match key.first()? {
        b'b' => Some(List::Messages(mailbox)),
        b'e' => Some(List::Activity(mailbox)),
        _ => None,
    }
}
