//! A store as JSON lines, ids and hashes kept.
//!
//! The first line says what follows, then come all accounts, then all messages, in order of id,
//! and at last a line with the counts and the SHA-256 of every byte before it. A file that was
//! cut short or changed is refused.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::transfer::{Summary, TransferError};
use super::{Backend, Counters, Progress, Restored};
use crate::model::{
    Cursor, Epoch, Message, MessageId, MessageText, Timestamp, User, UserId, Username, Window,
};

/// The version of the lines below. A higher one is refused.
const FORMAT_VERSION: u32 = 1;
/// Records read from the store, or synced to it, at once.
const BATCH: usize = 1000;
/// Longest line, in bytes. The longest text takes six times its length when JSON escapes it all.
const MAX_LINE_BYTES: u64 = 64 * 1024;

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

/// Reads an export into an empty store. `len` is the source's length in bytes, where known. After
/// an error the store holds a part and must be thrown away.
pub(super) fn restore(
    source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let mut reader =
        Reader { source, hasher: Sha256::new(), line: Vec::new(), number: 0, bytes: 0 };
    match reader.next()? {
        Line::VecheExport { version: FORMAT_VERSION, epoch } => {
            let epoch = Epoch::parse(&epoch);
            let epoch = epoch.ok_or_else(|| TransferError::Line(1, "a bad epoch".to_owned()))?;
            store.adopt(epoch).map_err(|e| TransferError::Restore(1, e))?;
        }
        Line::VecheExport { version, .. } => {
            let why = format!("format {version}, but this version of veche reads {FORMAT_VERSION}");
            return Err(TransferError::Line(1, why));
        }
        _ => return Err(TransferError::Line(1, "not the beginning of an export".to_owned())),
    }
    progress.begin("importing", len.unwrap_or(0));
    let (mut users, mut messages) = (0, 0);
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
        match record {
            Restored::Message(_) => messages += 1,
            _ => users += 1,
        }
        store.restore(record).map_err(|e| TransferError::Restore(reader.number, e))?;
        if (users + messages) % BATCH as u64 == 0 {
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
