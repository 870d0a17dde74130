//! Export and import: a store as JSON lines, ids and hashes kept. What an import is given may be a
//! backup too, which is [`backup`]'s to read.
//!
//! The first line says what follows, then come all accounts, then all messages, in order of id,
//! then all facts, in order of subject, and at last a line with the counts and the SHA-256 of every
//! byte before it. A file that was cut short or changed is refused.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, BufRead, Read, Write};
use std::mem;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::log::segment::MAGIC;
use super::{Backend, Counters, Fact, Progress, RestoreError, Restored, StoreError, backup};
use crate::model::{
    Cursor, Epoch, Message, MessageId, MessageText, Timestamp, User, UserId, Username, Window,
};

/// The version of the lines below. A higher one is refused, at the first line. An earlier one has
/// no facts.
const FORMAT_VERSION: u32 = 2;
/// Records read from the store, or synced to it, at once.
const BATCH: usize = 1000;
/// Longest line, in bytes. The longest text takes six times its length when JSON escapes it all.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// What an export or import moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many accounts.
    pub users: u64,
    /// How many messages.
    pub messages: u64,
    /// SHA-256, in hexadecimal, of everything but the last line.
    pub digest: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { users, messages, digest } = self;
        write!(f, "{users} users, {messages} messages, sha256 {digest}")
    }
}

/// Why an export or import did not come to its end.
#[derive(Debug)]
pub enum TransferError {
    /// The file could not be read or written.
    Io(io::Error),
    /// A line is not what an export holds.
    Line(u64, String),
    /// The store refused a record.
    Restore(u64, RestoreError),
    /// What is at an offset of the file is not what a backup holds there.
    Offset(u64, String),
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Io(error) => error.fmt(f),
            TransferError::Line(line, why) => write!(f, "line {line}: {why}"),
            TransferError::Restore(line, why) => write!(f, "line {line}: {why}"),
            TransferError::Offset(offset, why) => write!(f, "offset {offset}: {why}"),
            TransferError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransferError {}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        TransferError::Io(error)
    }
}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        TransferError::Store(error)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line<'a> {
    VecheExport {
        version: u32,
        epoch: Cow<'a, str>,
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
    Fact(Fact),
    End {
        users: u64,
        messages: u64,
        next_user: u64,
        next_message: u64,
        sha256: Cow<'a, str>,
    },
}

/// Writes all of a store.
pub fn export(
    store: &mut dyn Backend,
    out: &mut dyn Write,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let counters = store.counters();
    let mut writer = Writer::begin(out, store.epoch())?;
    progress.begin("exporting", counters.next_user + counters.next_message);
    export_users(store, &mut writer, progress)?;
    export_messages(store, &mut writer, progress, counters.next_user)?;
    export_facts(store, &mut writer)?;
    progress.end();
    writer.end(counters)
}

fn export_users(
    store: &mut dyn Backend,
    writer: &mut Writer<impl Write>,
    progress: &mut dyn Progress,
) -> Result<(), TransferError> {
    let mut next = 0;
    loop {
        let page = store.users(Window { cursor: Cursor::From(next), limit: BATCH })?;
        let Some(last) = page.items.last() else { return Ok(()) };
        next = last.id.get() + 1;
        for user in &page.items {
            writer.user(user)?;
        }
        progress.advance(next);
    }
}

fn export_messages(
    store: &mut dyn Backend,
    writer: &mut Writer<impl Write>,
    progress: &mut dyn Progress,
    done_before: u64,
) -> Result<(), TransferError> {
    let mut next = Some(MessageId::FIRST);
    while let Some(from) = next {
        let page = store.history(from, BATCH)?;
        let Some(last) = page.last() else { break };
        next = MessageId::new(last.id.get() + 1);
        progress.advance(done_before + last.id.get());
        for message in &page {
            writer.message(message)?;
        }
    }
    Ok(())
}

fn export_facts(
    store: &mut dyn Backend,
    writer: &mut Writer<impl Write>,
) -> Result<(), TransferError> {
    let mut last = None;
    loop {
        let mut page = store.facts(last.as_ref(), BATCH)?;
        for fact in &page {
            writer.fact(fact)?;
        }
        last = page.pop();
        if last.is_none() {
            return Ok(());
        }
    }
}

/// Reads an export or a backup, whichever it is, into an empty store. `len` is the source's length
/// in bytes, where known. After an error the store holds a part and must be thrown away.
pub fn import(
    mut source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    // A pipe may have given one byte only, which is enough: an export begins with a brace.
    if source.fill_buf()?.first() == MAGIC.first() {
        return backup::restore(source, len, store, progress);
    }
    let mut reader =
        Reader { source, hasher: Sha256::new(), line: Vec::new(), number: 0, bytes: 0 };
    let version = match reader.next()? {
        Line::VecheExport { version: version @ 1..=FORMAT_VERSION, epoch } => {
            let epoch = Epoch::parse(&epoch);
            let epoch = epoch.ok_or_else(|| TransferError::Line(1, "a bad epoch".to_owned()))?;
            store.adopt(epoch).map_err(|e| TransferError::Restore(1, e))?;
            version
        }
        Line::VecheExport { version, .. } => {
            let why = format!("format {version}, but this version of veche reads {FORMAT_VERSION}");
            return Err(TransferError::Line(1, why));
        }
        _ => return Err(TransferError::Line(1, "not the beginning of an export".to_owned())),
    };
    progress.begin("importing", len.unwrap_or(0));
    let (mut users, mut messages, mut facts) = (0, 0, 0);
    let mut last_subject = Vec::new();
    loop {
        let digest_before = reader.hasher.clone();
        let record = match reader.next()? {
            Line::End { users: u, messages: m, next_user, next_message, sha256 } => {
                let digest = hex(digest_before);
                if (u, m) != (users, messages) || sha256 != digest {
                    let why = "the counts or the digest do not fit what came before".to_owned();
                    return Err(TransferError::Line(reader.number, why));
                }
                let counters = Restored::Counters(Counters { next_user, next_message });
                store.restore(counters).map_err(|e| TransferError::Restore(reader.number, e))?;
                reader.expect_end()?;
                store.sync()?;
                progress.end();
                return Ok(Summary { users, messages, digest });
            }
            line => restored(line).map_err(|why| TransferError::Line(reader.number, why))?,
        };
        match &record {
            Restored::Message(_) => messages += 1,
            Restored::Fact(_) if version == 1 => {
                let why = "a fact in format 1".to_owned();
                return Err(TransferError::Line(reader.number, why));
            }
            Restored::Fact(fact) => {
                let before = mem::replace(&mut last_subject, fact.subject());
                if before >= last_subject {
                    let why = "the fact is out of order".to_owned();
                    return Err(TransferError::Line(reader.number, why));
                }
                facts += 1;
            }
            _ => users += 1,
        }
        store.restore(record).map_err(|e| TransferError::Restore(reader.number, e))?;
        if (users + messages + facts) % BATCH as u64 == 0 {
            store.sync()?;
            progress.advance(reader.bytes);
        }
    }
}

fn restored(line: Line<'_>) -> Result<Restored, String> {
    match line {
        Line::User { id, username, password_hash, created_at } => {
            let id = UserId::new(id.get()).ok_or("the id is out of range")?;
            let name = Username::parse(&username).map_err(|why| format!("the username {why}"))?;
            let password_hash = password_hash.into();
            Ok(Restored::User(User { id, name, password_hash, created_at }))
        }
        Line::Message { id, from_user: from, to_user, text, sent_at } => {
            let id = MessageId::new(id.get()).ok_or("the id is out of range")?;
            let from = UserId::new(from.get()).ok_or("from_user is out of range")?;
            let to = match to_user {
                0 => None,
                to => Some(UserId::new(to).ok_or("to_user is out of range")?),
            };
            let text = MessageText::parse(text).map_err(|why| format!("the text {why}"))?;
            Ok(Restored::Message(Message { id, from, to, text, sent_at }))
        }
        Line::Fact(fact) => {
            let fact = fact.checked().ok_or("the fact says what cannot be so")?;
            Ok(Restored::Fact(fact))
        }
        Line::VecheExport { .. } | Line::End { .. } => Err("a second beginning".to_owned()),
    }
}

/// Writes an export, accounts before messages.
pub(super) struct Writer<W> {
    out: W,
    hasher: Sha256,
    line: Vec<u8>,
    users: u64,
    messages: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, epoch: Epoch) -> Result<Writer<W>, TransferError> {
        let mut writer =
            Writer { out, hasher: Sha256::new(), line: Vec::new(), users: 0, messages: 0 };
        let epoch = epoch.to_string();
        writer.write(&Line::VecheExport { version: FORMAT_VERSION, epoch: epoch.into() })?;
        Ok(writer)
    }

    pub(super) fn user(&mut self, user: &User) -> Result<(), TransferError> {
        self.users += 1;
        self.write(&Line::User {
            id: user.id,
            username: user.name.as_str().into(),
            password_hash: (&*user.password_hash).into(),
            created_at: user.created_at,
        })
    }

    pub(super) fn message(&mut self, message: &Message) -> Result<(), TransferError> {
        self.messages += 1;
        self.write(&Line::Message {
            id: message.id,
            from_user: message.from,
            to_user: message.to.map_or(0, UserId::get),
            text: message.text.as_str().into(),
            sent_at: message.sent_at,
        })
    }

    /// Facts come in order of subject.
    pub(super) fn fact(&mut self, fact: &Fact) -> Result<(), TransferError> {
        self.write(&Line::Fact(fact.clone()))
    }

    pub(super) fn end(mut self, counters: Counters) -> Result<Summary, TransferError> {
        let (users, messages) = (self.users, self.messages);
        let Counters { next_user, next_message } = counters;
        let digest = hex(self.hasher.clone());
        let sha256 = Cow::Borrowed(digest.as_str());
        self.write(&Line::End { users, messages, next_user, next_message, sha256 })?;
        self.out.flush()?;
        Ok(Summary { users, messages, digest })
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), TransferError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(io::Error::from)?;
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        Ok(self.out.write_all(&self.line)?)
    }
}

struct Reader<R> {
    source: R,
    hasher: Sha256,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Reader<R> {
    fn next(&mut self) -> Result<Line<'_>, TransferError> {
        self.number += 1;
        self.line.clear();
        let read = self.source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
        self.bytes += read as u64;
        self.hasher.update(&self.line);
        let complain = |why: &str| TransferError::Line(self.number, why.to_owned());
        if self.line.is_empty() {
            return Err(complain("the file ends before the export does"));
        }
        if self.line.last() != Some(&b'\n') {
            return Err(complain("the line is cut short or too long"));
        }
        serde_json::from_slice(&self.line).map_err(|e| complain(&format!("not a record: {e}")))
    }

    fn expect_end(&mut self) -> Result<(), TransferError> {
        let mut byte = [0];
        match self.source.read(&mut byte)? {
            0 => Ok(()),
            _ => Err(TransferError::Line(self.number + 1, "something follows the end".to_owned())),
        }
    }
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
