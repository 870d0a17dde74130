//! The lines of an export, and the digests over them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::outcome::{Purpose, Summary};
use crate::model::{EventId, MessageId, ModerationAction, Timestamp, UserId};
use crate::store::entries::keyspaces::Entry;
use crate::store::id_allocator::IdAllocator;
use crate::store::record::Record;
use crate::store::rules::retry::is_passing;

/// The version of the lines below. A higher one is refused, at the first line. Version 1 had no
/// revisions and no entries, and its digest did not cover the next ids. Versions 1 and 2 had one
/// digest, of every byte, and did not state their purpose.
pub(in crate::store) const FORMAT_VERSION: u32 = 3;
/// The oldest version that is still read.
pub(in crate::store) const OLDEST_FORMAT_VERSION: u32 = 1;
/// Records read from the store, or synced to it, at once.
pub(in crate::store) const BATCH: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line<'a> {
    VecheExport {
        version: u32,
        #[serde(rename = "epoch")]
        store_id: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// The time of the export: keys that had expired then are not in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<Timestamp>,
    },
    User {
        id: UserId,
        username: Cow<'a, str>,
        password_hash: Cow<'a, str>,
        created_at: Timestamp,
    },
    Message {
        id: MessageId,
        from_user: UserId,
        /// 0 is the general chat.
        to_user: u64,
        text: Cow<'a, str>,
        sent_at: Timestamp,
    },
    Revision {
        event: EventId,
        message: MessageId,
        by_user: UserId,
        at: Timestamp,
        /// `None` deletes the message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<Cow<'a, str>>,
    },
    #[serde(rename = "act")]
    Moderation {
        event: EventId,
        by_user: UserId,
        at: Timestamp,
        what: ModerationAction,
    },
    #[serde(rename = "fact")]
    Entry(Entry),
    End {
        users: u64,
        messages: u64,
        #[serde(default)]
        revisions: u64,
        #[serde(rename = "acts", default)]
        moderations: u64,
        next_user: u64,
        /// The next event, among which messages were once alone.
        next_message: u64,
        /// The digest of the contents of the store.
        sha256: Cow<'a, str>,
        /// The digest of every byte before this line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_sha256: Option<Cow<'a, str>>,
    },
}

/// The two digests so far.
#[derive(Debug, Default, Clone)]
pub(super) struct LineHashers {
    /// The digest of the contents of the store.
    pub(super) content: Sha256,
    /// The digest of every byte.
    pub(super) bytes: Sha256,
}

impl LineHashers {
    pub(super) fn take(&mut self, line: &Line<'_>, bytes: &[u8]) -> io::Result<()> {
        self.bytes.update(bytes);
        match line {
            Line::VecheExport { version, store_id, purpose: _, cut: _ } => {
                let (version, store_id) = (*version, store_id.clone());
                let timeless = Line::VecheExport { version, store_id, purpose: None, cut: None };
                self.content.update(serde_json::to_vec(&timeless)?);
                self.content.update(b"\n");
            }
            Line::Entry(entry) if is_passing(entry) => {}
            _ => self.content.update(bytes),
        }
        Ok(())
    }
}

/// The numbers of records moved so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineCounts {
    pub(super) users: u64,
    pub(super) messages: u64,
    pub(super) revisions: u64,
    pub(super) moderations: u64,
    pub(super) entries: u64,
}

impl LineCounts {
    pub(super) fn add(&mut self, record: &Record) {
        match record {
            Record::User(_) => self.users += 1,
            Record::Message(_) => self.messages += 1,
            Record::Revision(_) => self.revisions += 1,
            Record::Moderation(_) => self.moderations += 1,
            Record::Entry(_) => self.entries += 1,
            Record::NextIds(_) => {}
        }
    }

    pub(super) fn sum(self) -> u64 {
        self.users + self.messages + self.revisions + self.moderations + self.entries
    }

    pub(super) fn summary(self, digest: String) -> Summary {
        let LineCounts { users, messages, revisions, moderations, entries: _ } = self;
        Summary { users, messages, revisions, moderations, digest }
    }
}

/// The digest goes on with the next ids, as digits with a space between.
pub(super) fn with_next_ids(hasher: Sha256, next_ids: IdAllocator) -> Sha256 {
    let IdAllocator { next_user, next_event } = next_ids;
    hasher.chain_update(format!("{next_user} {next_event}"))
}

pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
