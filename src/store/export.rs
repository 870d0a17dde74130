//! A store as JSON lines, ids and hashes kept.
//!
//! The first line says what follows, then come all accounts in order of id, then all that happened,
//! to messages and in the house, in order, then all facts in order of subject, and at last a line with
//! the counts and two digests. One is of every byte before it: a file that was cut short or changed is
//! refused. The other says what is in the store, and so leaves out what passes by itself: the time of
//! the export, which is in the first line, and the keys under which messages were sent, of which an
//! export has those that are not over at that time. So a store has one digest, whenever it is
//! exported, imported and exported again.
//!
//! A text that was replaced or deleted is not in an export: of a message's lines only the last has
//! its text, those before it an empty one.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::mem;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audit::Audit;
use super::record::Record;
use super::retry::{RetentionFilter, is_passing};
use super::transfer::{ExportOrigin, Purpose, Summary, TransferError};
use super::{
    Backend, Entry, IdAllocator, IdKind, Lineage, ModerationEvent, Progress, Restored, lineage,
};
use crate::model::{
    Cursor, Event, EventId, EventKind, Message, MessageChange, MessageContent, MessageId,
    MessageText, ModerationAction, Revision, StoreId, Timestamp, User, UserId, Username, Window,
};

/// The version of the lines below. A higher one is refused, at the first line. The first had no
/// revisions and no facts, and its digest did not cover the counters. The first two had one digest, of
/// every byte, and did not say what they were for.
pub(super) const FORMAT_VERSION: u32 = 3;
/// The oldest that is still read.
pub(super) const OLDEST_FORMAT_VERSION: u32 = 1;
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// When it was made: keys that were over then are not in it.
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
    Act {
        event: EventId,
        by_user: UserId,
        at: Timestamp,
        what: ModerationAction,
    },
    Fact(Entry),
    End {
        users: u64,
        messages: u64,
        #[serde(default)]
        revisions: u64,
        #[serde(default)]
        acts: u64,
        next_user: u64,
        /// The next event, among which messages were once alone.
        next_message: u64,
        /// Of what is in the store.
        sha256: Cow<'a, str>,
        /// Of every byte before this line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_sha256: Option<Cow<'a, str>>,
    },
}

/// Writes all of a store, to move it; see [`export_as`].
pub fn export(
    store: &mut dyn Backend,
    out: &mut dyn Write,
    cut: Timestamp,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let origin = ExportOrigin { epoch: store.epoch(), purpose: Purpose::Move };
    export_as(origin, store, out, cut, progress)
}

/// Writes all of a store, which says of itself what `origin` says, but of keys under which messages
/// were sent only those that are not over at `cut`, and whose accounts have not ended.
pub fn export_as(
    origin: ExportOrigin,
    store: &mut dyn Backend,
    out: &mut dyn Write,
    cut: Timestamp,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let (counters, epochs) = (store.counters(), Lineage::of(store)?);
    let mut writer = Writer::begin(out, origin, cut)?;
    let users = epochs.dense(IdKind::Users, counters.next_user);
    let events = epochs.dense(IdKind::Events, counters.next_event);
    progress.begin("exporting", users + events);
    export_users(store, &mut writer, &epochs, progress)?;
    export_events(store, &mut writer, &epochs, progress, users)?;
    export_facts(store, &mut writer, cut)?;
    progress.end();
    writer.end(counters)
}

fn export_users(
    store: &mut dyn Backend,
    writer: &mut Writer<impl Write>,
    epochs: &Lineage,
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
        progress.advance(epochs.dense(IdKind::Users, next));
    }
}

fn export_events(
    store: &mut dyn Backend,
    writer: &mut Writer<impl Write>,
    epochs: &Lineage,
    progress: &mut dyn Progress,
    done_before: u64,
) -> Result<(), TransferError> {
    let mut next = Some(EventId::from(MessageId::FIRST));
    while let Some(from) = next {
        let page = store.history(from, BATCH)?;
        let Some(last) = page.last() else { break };
        next = EventId::new(last.id.get() + 1);
        progress.advance(done_before + epochs.dense(IdKind::Events, last.id.get()));
        for event in &page {
            writer.event(event)?;
        }
    }
    Ok(())
}

fn export_facts(
    store: &mut dyn Backend,
    writer: &mut Writer<impl Write>,
    cut: Timestamp,
) -> Result<(), TransferError> {
    let sieve = RetentionFilter::new(cut);
    let mut last = None;
    loop {
        let mut page = store.facts(last.as_ref(), BATCH)?;
        for fact in &page {
            let kept = sieve.keeps(fact, |user| {
                Ok(store.user(user)?.is_some_and(|user| user.ended_at.is_some()))
            });
            if kept? {
                writer.fact(fact)?;
            }
        }
        last = page.pop();
        if last.is_none() {
            return Ok(());
        }
    }
}

/// Reads an export into an empty store. `len` is the source's length in bytes, where known. After
/// an error the store holds a part and must be thrown away.
pub(super) fn restore(
    source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    epoch_for: &dyn Fn(ExportOrigin) -> StoreId,
    progress: &mut dyn Progress,
) -> Result<(Summary, ExportOrigin), TransferError> {
    let mut reader =
        Reader { source, hashers: LineHashers::default(), line: Vec::new(), number: 0, bytes: 0 };
    let (version, origin) = match reader.next()? {
        Line::VecheExport {
            version: version @ OLDEST_FORMAT_VERSION..=FORMAT_VERSION,
            epoch,
            purpose,
            cut,
        } => {
            let purpose = purpose_of(version, purpose)?;
            if cut.is_some() != (version > 2) {
                let why = "the time of the export is in another format".to_owned();
                return Err(TransferError::Line(1, why));
            }
            let epoch = StoreId::parse(&epoch);
            let epoch = epoch.ok_or_else(|| TransferError::Line(1, "a bad epoch".to_owned()))?;
            let origin = ExportOrigin { epoch, purpose };
            store.adopt(epoch_for(origin)).map_err(|e| TransferError::Restore(1, e))?;
            (version, origin)
        }
        Line::VecheExport { version, .. } => {
            let why = format!("format {version}, but this version of veche reads {FORMAT_VERSION}");
            return Err(TransferError::Line(1, why));
        }
        _ => return Err(TransferError::Line(1, "not the beginning of an export".to_owned())),
    };
    progress.begin("importing", len.unwrap_or(0));
    let mut counts = LineCounts::default();
    let mut audit = Audit::default();
    let mut part = ExportSection::Users;
    let mut last_subject = Vec::new();
    loop {
        let before = reader.hashers.clone();
        let record = match reader.next()? {
            Line::End {
                users,
                messages,
                revisions,
                acts,
                next_user,
                next_message,
                sha256,
                bytes_sha256,
            } => {
                let counters = IdAllocator { next_user, next_event: next_message };
                let LineHashers { content, bytes } = before;
                let digest = hex(match version {
                    1 => bytes.clone(),
                    2 => with_counters(bytes.clone(), counters),
                    _ => with_counters(content, counters),
                });
                let of_bytes = (version > 2).then(|| Cow::Owned(hex(bytes)));
                let said = LineCounts { users, messages, revisions, acts, ..counts };
                if said != counts || sha256 != digest || bytes_sha256 != of_bytes {
                    let why = "the counts or the digest do not fit what came before".to_owned();
                    return Err(TransferError::Line(reader.number, why));
                }
                let complete = audit.finish();
                complete.map_err(|why| TransferError::Line(reader.number, why.to_owned()))?;
                let restored = store.restore(Restored::Counters(counters));
                let restored = restored.and_then(|()| lineage::expect_sense(store, origin.epoch));
                restored.map_err(|e| TransferError::Restore(reader.number, e))?;
                reader.expect_end()?;
                store.sync()?;
                progress.end();
                return Ok((counts.summary(digest), origin));
            }
            line => {
                let record = record(line, store);
                record.map_err(|why| TransferError::Line(reader.number, why))?
            }
        };
        let refused = |why: &str| TransferError::Line(reader.number, why.to_owned());
        let before = mem::replace(&mut part, ExportSection::of(&record));
        if part < before {
            return Err(refused("the record is out of order: users, events and facts follow"));
        }
        if let Record::Fact { fact, .. } = &record {
            let before = mem::replace(&mut last_subject, fact.subject());
            let complaint = match () {
                () if version == 1 => Some("a fact in format 1"),
                () if before >= last_subject => Some("the fact is out of order"),
                () => None,
            };
            if let Some(why) = complaint {
                return Err(refused(why));
            }
        }
        audit.take(&record).map_err(refused)?;
        let record = Restored::from(record);
        counts.add(&record);
        store.restore(record).map_err(|e| TransferError::Restore(reader.number, e))?;
        if counts.sum() % BATCH as u64 == 0 {
            store.sync()?;
            progress.advance(reader.bytes);
        }
    }
}

/// What a file of a version is for that says so, or does not.
fn purpose_of(version: u32, said: Option<Purpose>) -> Result<Purpose, TransferError> {
    match (version, said) {
        (..=2, None) => Ok(Purpose::Move),
        (3.., Some(purpose)) => Ok(purpose),
        _ => Err(TransferError::Line(1, "a file of this format says what it is for".to_owned())),
    }
}

/// What was moved so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct LineCounts {
    users: u64,
    messages: u64,
    revisions: u64,
    acts: u64,
    facts: u64,
}

impl LineCounts {
    fn add(&mut self, record: &Restored) {
        match record {
            Restored::User(_) => self.users += 1,
            Restored::Message(_) => self.messages += 1,
            Restored::Revision(_) => self.revisions += 1,
            Restored::Act(_) => self.acts += 1,
            Restored::Fact(_) => self.facts += 1,
            Restored::Counters(_) => {}
        }
    }

    fn sum(self) -> u64 {
        self.users + self.messages + self.revisions + self.acts + self.facts
    }

    fn summary(self, digest: String) -> Summary {
        let LineCounts { users, messages, revisions, acts, facts: _ } = self;
        Summary { users, messages, revisions, acts, digest }
    }
}

/// What is in an export one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ExportSection {
    Users,
    Events,
    Facts,
}

impl ExportSection {
    fn of(record: &Record) -> ExportSection {
        match record {
            Record::User(_) => ExportSection::Users,
            Record::Message(_) | Record::Revision(_) | Record::Act(_) => ExportSection::Events,
            Record::Fact { .. } | Record::Counters(_) => ExportSection::Facts,
        }
    }
}

/// What a line says, read as it would be from a log: of its sense the audit judges.
fn record(line: Line<'_>, store: &mut dyn Backend) -> Result<Record, String> {
    match line {
        Line::User { id, username, password_hash, created_at } => {
            let id = UserId::new(id.get()).ok_or("the id is out of range")?;
            let name = Username::from_store(&username);
            let password_hash = password_hash.into();
            let ended_at = None;
            Ok(Record::User(User { id, name, password_hash, created_at, ended_at }))
        }
        Line::Message { id, from_user: from, to_user, text, sent_at } => {
            let id = MessageId::new(id.get()).ok_or("the id is out of range")?;
            let from = UserId::new(from.get()).ok_or("from_user is out of range")?;
            let to = match to_user {
                0 => None,
                to => Some(UserId::new(to).ok_or("to_user is out of range")?),
            };
            let content = MessageContent::Original(MessageText::from_store(&text));
            Ok(Record::Message(Message { id, from, to, content, sent_at }))
        }
        Line::Revision { event, message: id, by_user, at, text } => {
            let event = EventId::new(event.get()).ok_or("the event is out of range")?;
            let id = MessageId::new(id.get()).ok_or("the id is out of range")?;
            let by = UserId::new(by_user.get()).ok_or("by_user is out of range")?;
            let text = text.map(|text| MessageText::from_store(&text));
            let there = store.message(id).map_err(|error| error.to_string())?;
            let mut message = there.ok_or("there is no such message")?.into_owned();
            message.content = MessageContent::Revised(Box::new(Revision { event, by, at, text }));
            Ok(Record::Revision(message))
        }
        Line::Act { event, by_user, at, what: act } => {
            let event = EventId::new(event.get()).ok_or("the event is out of range")?;
            let by = UserId::new(by_user.get()).ok_or("by_user is out of range")?;
            if let ModerationAction::Block(user) | ModerationAction::Unblock(user) = act {
                UserId::new(user.get()).ok_or("the user is out of range")?;
            }
            Ok(Record::Act(ModerationEvent { event, by, at, act }))
        }
        Line::Fact(fact) => {
            let fact = fact.checked().ok_or("the fact says what cannot be so")?;
            Ok(Record::Fact { fact, joined: false })
        }
        Line::VecheExport { .. } | Line::End { .. } => Err("a second beginning".to_owned()),
    }
}

/// Writes an export, accounts before messages.
pub(super) struct Writer<W> {
    out: W,
    hashers: LineHashers,
    line: Vec<u8>,
    counts: LineCounts,
}

/// The two digests so far.
#[derive(Debug, Default, Clone)]
struct LineHashers {
    /// Of what is in the store.
    content: Sha256,
    /// Of every byte.
    bytes: Sha256,
}

impl LineHashers {
    fn take(&mut self, line: &Line<'_>, bytes: &[u8]) -> io::Result<()> {
        self.bytes.update(bytes);
        match line {
            Line::VecheExport { version, epoch, purpose: _, cut: _ } => {
                let (version, epoch) = (*version, epoch.clone());
                let timeless = Line::VecheExport { version, epoch, purpose: None, cut: None };
                self.content.update(serde_json::to_vec(&timeless)?);
                self.content.update(b"\n");
            }
            Line::Fact(fact) if is_passing(fact) => {}
            _ => self.content.update(bytes),
        }
        Ok(())
    }
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(
        out: W,
        origin: ExportOrigin,
        cut: Timestamp,
    ) -> Result<Writer<W>, TransferError> {
        let (hashers, counts) = (LineHashers::default(), LineCounts::default());
        let mut writer = Writer { out, hashers, line: Vec::new(), counts };
        let (epoch, purpose) = (origin.epoch.to_string().into(), Some(origin.purpose));
        let version = FORMAT_VERSION;
        writer.write(&Line::VecheExport { version, epoch, purpose, cut: Some(cut) })?;
        Ok(writer)
    }

    pub(super) fn user(&mut self, user: &User) -> Result<(), TransferError> {
        self.counts.users += 1;
        self.write(&Line::User {
            id: user.id,
            username: user.name.as_str().into(),
            password_hash: (&*user.password_hash).into(),
            created_at: user.created_at,
        })
    }

    pub(super) fn event(&mut self, event: &Event<'_>) -> Result<(), TransferError> {
        let (change, message) = match &event.what {
            EventKind::Message(change, message) => (*change, message),
            &EventKind::Act(what) => {
                self.counts.acts += 1;
                let &Event { id: event, by: by_user, at, .. } = event;
                return self.write(&Line::Act { event, by_user, at, what });
            }
        };
        // What something later has taken the place of has no text any more.
        let text = if message.event() == event.id { message.text() } else { "" };
        if change == MessageChange::Created {
            self.counts.messages += 1;
            return self.write(&Line::Message {
                id: message.id,
                from_user: message.from,
                to_user: message.to.map_or(0, UserId::get),
                text: text.into(),
                sent_at: message.sent_at,
            });
        }
        self.counts.revisions += 1;
        self.write(&Line::Revision {
            event: event.id,
            message: message.id,
            by_user: event.by,
            at: event.at,
            text: (change == MessageChange::Edited).then(|| text.into()),
        })
    }

    /// Facts come in order of subject.
    pub(super) fn fact(&mut self, fact: &Entry) -> Result<(), TransferError> {
        self.write(&Line::Fact(fact.clone()))
    }

    pub(super) fn end(mut self, counters: IdAllocator) -> Result<Summary, TransferError> {
        let LineCounts { users, messages, revisions, acts, facts: _ } = self.counts;
        let IdAllocator { next_user, next_event: next_message } = counters;
        let LineHashers { content, bytes } = self.hashers.clone();
        let digest = hex(with_counters(content, counters));
        self.write(&Line::End {
            users,
            messages,
            revisions,
            acts,
            next_user,
            next_message,
            sha256: digest.as_str().into(),
            bytes_sha256: Some(hex(bytes).into()),
        })?;
        self.out.flush()?;
        Ok(self.counts.summary(digest))
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), TransferError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(io::Error::from)?;
        self.line.push(b'\n');
        self.hashers.take(line, &self.line)?;
        Ok(self.out.write_all(&self.line)?)
    }
}

struct Reader<R> {
    source: R,
    hashers: LineHashers,
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
        let complain = |why: &str| TransferError::Line(self.number, why.to_owned());
        if self.line.is_empty() {
            return Err(complain("the file ends before the export does"));
        }
        if self.line.last() != Some(&b'\n') {
            return Err(complain("the line is cut short or too long"));
        }
        let line = serde_json::from_slice(&self.line);
        let line = line.map_err(|e| complain(&format!("not a record: {e}")))?;
        self.hashers.take(&line, &self.line)?;
        Ok(line)
    }

    fn expect_end(&mut self) -> Result<(), TransferError> {
        let mut byte = [0];
        match self.source.read(&mut byte)? {
            0 => Ok(()),
            _ => Err(TransferError::Line(self.number + 1, "something follows the end".to_owned())),
        }
    }
}

/// The digest goes on with the counters, as digits with a space between.
fn with_counters(hasher: Sha256, counters: IdAllocator) -> Sha256 {
    let IdAllocator { next_user, next_event } = counters;
    hasher.chain_update(format!("{next_user} {next_event}"))
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
