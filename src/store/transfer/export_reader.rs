//! Reads an export into an empty store.

use std::borrow::Cow;
use std::io::BufRead;
use std::io::Read;
use std::mem;

use super::export_format::{
    BATCH, FORMAT_VERSION, Line, LineCounts, LineHashers, OLDEST_FORMAT_VERSION, hex, with_next_ids,
};
use super::outcome::{ExportOrigin, Purpose, Summary, TransferError};
use crate::model::{
    EventId, Message, MessageContent, MessageId, MessageText, ModerationAction, ModerationEvent,
    Revision, StoreId, User, UserId, Username,
};
use crate::store::audit::Audit;
use crate::store::backend::Backend;
use crate::store::id_allocator::IdAllocator;
use crate::store::progress::Progress;
use crate::store::record::Record;
use crate::store::rules::lineage;

/// Longest line, in bytes. The longest text takes six times its length when JSON escapes it all.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Reads an export into an empty store. `len` is the source's length in bytes, where known. After
/// an error the store holds a part and must be thrown away.
pub(in crate::store) fn restore(
    source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    store_id_for: &dyn Fn(ExportOrigin) -> StoreId,
    progress: &mut dyn Progress,
) -> Result<(Summary, ExportOrigin), TransferError> {
    let mut reader =
        Reader { source, hashers: LineHashers::default(), line: Vec::new(), number: 0, bytes: 0 };
    let (version, origin) = match reader.next()? {
        Line::VecheExport {
            version: version @ OLDEST_FORMAT_VERSION..=FORMAT_VERSION,
            store_id,
            purpose,
            cut,
        } => {
            let purpose = purpose_of(version, purpose)?;
            if cut.is_some() != (version > 2) {
                let why = "the time of the export is in another format".to_owned();
                return Err(TransferError::Line(1, why));
            }
            let store_id = StoreId::parse(&store_id);
            let store_id =
                store_id.ok_or_else(|| TransferError::Line(1, "a bad epoch".to_owned()))?;
            let origin = ExportOrigin { store_id, purpose };
            store.adopt(store_id_for(origin)).map_err(|e| TransferError::Restore(1, e))?;
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
    let mut last_key = Vec::new();
    loop {
        let before = reader.hashers.clone();
        let record = match reader.next()? {
            Line::End {
                users,
                messages,
                revisions,
                moderations,
                next_user,
                next_message,
                sha256,
                bytes_sha256,
            } => {
                let next_ids = IdAllocator { next_user, next_event: next_message };
                let LineHashers { content, bytes } = before;
                let digest = hex(match version {
                    1 => bytes.clone(),
                    2 => with_next_ids(bytes.clone(), next_ids),
                    _ => with_next_ids(content, next_ids),
                });
                let of_bytes = (version > 2).then(|| Cow::Owned(hex(bytes)));
                let said = LineCounts { users, messages, revisions, moderations, ..counts };
                if said != counts || sha256 != digest || bytes_sha256 != of_bytes {
                    let why = "the counts or the digest do not fit what came before".to_owned();
                    return Err(TransferError::Line(reader.number, why));
                }
                let complete = audit.finish();
                complete.map_err(|why| TransferError::Line(reader.number, why.to_owned()))?;
                let restored = store.restore(Record::NextIds(next_ids));
                let restored =
                    restored.and_then(|()| lineage::expect_sense(store, origin.store_id));
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
            return Err(refused("the record is out of order: users, events and entries follow"));
        }
        if let Record::Entry(entry) = &record {
            let before = mem::replace(&mut last_key, entry.key_bytes());
            let complaint = match () {
                () if version == 1 => Some("an entry in format 1"),
                () if before >= last_key => Some("the entry is out of order"),
                () => None,
            };
            if let Some(why) = complaint {
                return Err(refused(why));
            }
        }
        audit.take(&record).map_err(refused)?;
        counts.add(&record);
        store.restore(record).map_err(|e| TransferError::Restore(reader.number, e))?;
        if counts.sum() % BATCH as u64 == 0 {
            store.sync()?;
            progress.advance(reader.bytes);
        }
    }
}

/// The purpose of a file, given its version and its stated purpose, if it states one.
fn purpose_of(version: u32, said: Option<Purpose>) -> Result<Purpose, TransferError> {
    match (version, said) {
        (..=2, None) => Ok(Purpose::Move),
        (3.., Some(purpose)) => Ok(purpose),
        _ => Err(TransferError::Line(1, "a file of this format must state its purpose".to_owned())),
    }
}

/// The sections of an export, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ExportSection {
    Users,
    Events,
    Entries,
}

impl ExportSection {
    fn of(record: &Record) -> ExportSection {
        match record {
            Record::User(_) => ExportSection::Users,
            Record::Message(_) | Record::Revision(_) | Record::Moderation(_) => {
                ExportSection::Events
            }
            Record::Entry(_) | Record::NextIds(_) => ExportSection::Entries,
        }
    }
}

/// Converts a line to a record, as it would be read from a log. The audit judges its meaning.
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
        Line::Moderation { event, by_user, at, what: action } => {
            let event = EventId::new(event.get()).ok_or("the event is out of range")?;
            let by = UserId::new(by_user.get()).ok_or("by_user is out of range")?;
            if let ModerationAction::Block(user) | ModerationAction::Unblock(user) = action {
                UserId::new(user.get()).ok_or("the user is out of range")?;
            }
            Ok(Record::Moderation(ModerationEvent { event, by, at, action }))
        }
        Line::Entry(entry) => {
            let entry = entry.checked().ok_or("the entry has an impossible value")?;
            Ok(Record::Entry(entry))
        }
        Line::VecheExport { .. } | Line::End { .. } => Err("a second beginning".to_owned()),
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
