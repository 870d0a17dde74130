//! Reading of a backup, whose layout is described in [`super::snapshot`]: a record is used only
//! after its checksum, its place and its meaning were checked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

use super::export;
use super::export::ExportWriter;
use super::outcome::{ExportOrigin, Purpose, Summary, TransferError};
use super::snapshot::{TRAILER_BYTES, TRAILER_MAGIC, Trailer};
use crate::model::{Event, EventId, MessageId, StoreId, Timestamp};
use crate::store::audit::Audit;
use crate::store::backend::Backend;
use crate::store::entries::entry_map::EntryMap;
use crate::store::entries::keyspaces;
use crate::store::error::RestoreError;
use crate::store::log::frame;
use crate::store::log::frame::{FRAME_HEADER_BYTES, MAX_FRAME_BYTES};
use crate::store::log::segment::{HEADER_BYTES, Header, HeaderError, MAGIC};
use crate::store::log::sequence::Sequence;
use crate::store::log::stream::LogStream;
use crate::store::progress::Progress;
use crate::store::record::{LogRecord, Record};
use crate::store::rules::{account, lineage};

/// Bytes that are synced at once. The index is faster the more records it gets at a time.
const SYNC_BYTES: u64 = 1024 * 1024;
/// The time of an export of which only the digest is needed: the digest does not depend on it.
const NO_TIME: Timestamp = Timestamp::MAX;

/// Reads a backup; returns its contents, or the error in it. `again` returns the backup once more,
/// from its beginning: the digest is that of an export, in which all accounts come first, each with
/// its later changes.
pub fn verify<R: Read>(
    source: impl Read,
    len: Option<u64>,
    mut again: impl FnMut() -> io::Result<R>,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let mut reader = BackupReader::begin(source)?;
    let origin = ExportOrigin { store_id: reader.store_id, purpose: Purpose::Move };
    let mut lines = ExportWriter::begin(io::sink(), origin, NO_TIME)?;
    let (mut audit, mut entries) = (Audit::default(), EntryMap::default());
    let mut revised: HashMap<MessageId, EventId> = HashMap::new();
    progress.begin("verifying", len.unwrap_or(0));
    while let Some((at, logged)) = reader.next()? {
        audit.take_logged(&logged).map_err(|why| TransferError::Offset(at, why.to_owned()))?;
        match &logged.record {
            Record::Revision(message) => {
                revised.insert(message.id, message.event());
            }
            Record::Entry(entry) => entries.take(entry),
            Record::User(_) | Record::Message(_) | Record::Moderation(_) | Record::NextIds(_) => {}
        }
        progress.advance(reader.stream.position());
    }
    audit.finish().map_err(|why| wrong(reader.stream.position(), why))?;
    progress.end();
    audit.expect_lineage(origin.store_id).map_err(|why| wrong(reader.stream.position(), why))?;
    let mut reader = BackupReader::begin(again()?)?;
    while let Some((_, logged)) = reader.next()? {
        if let Record::User(user) = logged.record {
            lines.user(&*account::present(&entries, Cow::Owned(user))?)?;
        }
    }
    let len = reader.stream.position();
    let mut reader = BackupReader::begin(again()?)?;
    progress.begin("reading it back", len);
    while let Some((_, logged)) = reader.next()? {
        match logged.record {
            Record::Message(mut message) | Record::Revision(mut message) => {
                if revised.get(&message.id).is_some_and(|last| *last != message.event()) {
                    message.erase_text();
                }
                lines.event(&Event::latest(Cow::Owned(message)))?;
            }
            Record::Moderation(moderation) => lines.event(&moderation.into())?,
            Record::User(_) | Record::NextIds(_) | Record::Entry(_) => {}
        }
        progress.advance(reader.stream.position());
    }
    progress.end();
    for entry in keyspaces::page(&entries, None, usize::MAX)? {
        lines.entry(&entry)?;
    }
    lines.end(audit.next_ids())
}

/// Reads a backup into an empty store; returns the contents of the store, as an export of the store
/// that the backup is of describes them. After an error the store holds a part of the backup and
/// must be thrown away.
pub(in crate::store) fn restore(
    source: impl Read,
    len: Option<u64>,
    store: &mut dyn Backend,
    store_id_for: &dyn Fn(ExportOrigin) -> StoreId,
    progress: &mut dyn Progress,
) -> Result<(Summary, ExportOrigin), TransferError> {
    let refused = |at, why| match why {
        RestoreError::Store(error) => TransferError::Store(error),
        why => TransferError::Offset(at, why.to_string()),
    };
    let mut reader = BackupReader::begin(source)?;
    let origin = ExportOrigin { store_id: reader.store_id, purpose: Purpose::Backup };
    store.adopt(store_id_for(origin)).map_err(|why| refused(0, why))?;
    progress.begin("importing", len.unwrap_or(0));
    let mut synced = 0;
    let mut audit = Audit::default();
    while let Some((at, logged)) = reader.next()? {
        audit.take_logged(&logged).map_err(|why| wrong(at, why))?;
        store.restore(logged.record).map_err(|why| refused(at, why))?;
        if at - synced >= SYNC_BYTES {
            synced = at;
            store.sync()?;
            progress.advance(at);
        }
    }
    let end = reader.stream.position();
    audit.finish().map_err(|why| wrong(end, why))?;
    lineage::expect_sense(store, origin.store_id).map_err(|why| refused(end, why))?;
    store.sync()?;
    progress.end();
    let summary = export::export_as(origin, store, &mut io::sink(), NO_TIME, progress)?;
    Ok((summary, origin))
}

/// The records of a backup in order.
struct BackupReader<R> {
    stream: LogStream<R>,
    store_id: StoreId,
    sequence: Sequence,
}

impl<R: Read> BackupReader<R> {
    fn begin(source: R) -> Result<BackupReader<R>, TransferError> {
        let mut stream = LogStream::new(source);
        let header = header(&mut stream)?;
        let mut sequence = Sequence::default();
        sequence.begin_segment(header.first_lsn).map_err(|why| wrong(0, why))?;
        if header.first_lsn != 0 {
            return Err(wrong(0, "it begins in the midst of a log"));
        }
        Ok(BackupReader { stream, store_id: header.store_id, sequence })
    }

    /// The next record and where it is; `None` when the backup has ended as it should.
    fn next(&mut self) -> Result<Option<(u64, LogRecord)>, TransferError> {
        loop {
            let at = self.stream.position();
            let bytes = self.stream.peek(MAX_FRAME_BYTES)?;
            if bytes.starts_with(MAGIC) {
                self.segment(at)?;
                continue;
            }
            if bytes.starts_with(TRAILER_MAGIC) {
                return self.end(at).map(|()| None);
            }
            let Some(frame) = frame::parse(bytes, at) else {
                let cut = is_cut(bytes);
                let why = if cut { "the backup is cut short" } else { "a record is unreadable" };
                return Err(wrong(at, why));
            };
            self.sequence.take(&frame).map_err(|why| wrong(at, why))?;
            let logged = LogRecord::decode(frame.payload).map_err(|error| match error.newer() {
                None => wrong(at, "a record is malformed"),
                Some(what) => {
                    TransferError::Offset(at, format!("{what}: a newer version of veche wrote it"))
                }
            })?;
            let len = FRAME_HEADER_BYTES + frame.payload.len();
            self.stream.pass(len);
            return Ok(Some((at, logged)));
        }
    }

    fn segment(&mut self, at: u64) -> Result<(), TransferError> {
        let header = header(&mut self.stream)?;
        if header.store_id != self.store_id {
            return Err(wrong(at, "the segment belongs to another store"));
        }
        self.sequence.begin_segment(header.first_lsn).map_err(|why| wrong(at, why))
    }

    fn end(&mut self, at: u64) -> Result<(), TransferError> {
        let crc = self.stream.crc();
        let bytes = self.stream.peek(TRAILER_BYTES)?;
        let bytes = bytes.first_chunk().ok_or_else(|| wrong(at, "the backup is cut short"))?;
        let trailer = Trailer::parse(bytes).map_err(|why| TransferError::Offset(at, why))?;
        if trailer != (Trailer { log_bytes: at, crc }) {
            return Err(wrong(at, "the end mark does not fit what came before"));
        }
        self.stream.pass(TRAILER_BYTES);
        let end = self.stream.position();
        if self.stream.peek(1)?.is_empty() {
            Ok(())
        } else {
            Err(wrong(end, "something follows the end"))
        }
    }
}

/// Passes over a segment's header, which has to be the next.
fn header(stream: &mut LogStream<impl Read>) -> Result<Header, TransferError> {
    let at = stream.position();
    let bytes = stream.peek(HEADER_BYTES)?;
    let bytes = bytes.first_chunk().ok_or_else(|| wrong(at, "the backup is cut short"))?;
    let header = Header::parse(bytes).map_err(|error| match error {
        HeaderError::Unreadable if at == 0 => wrong(at, "not the beginning of a backup"),
        HeaderError::Unreadable => wrong(at, "a segment's header is unreadable"),
        HeaderError::Newer(version) => TransferError::Offset(
            at,
            format!("format {version}: a newer version of veche wrote it"),
        ),
    })?;
    if header.base != at {
        return Err(wrong(at, "a segment's header belongs elsewhere"));
    }
    stream.pass(HEADER_BYTES);
    Ok(header)
}

/// Returns whether a record begins here that is cut off.
fn is_cut(rest: &[u8]) -> bool {
    let Some(len) = rest.get(4..8).map(|len| frame::u32_at(len, 0) as usize) else { return true };
    let frame = FRAME_HEADER_BYTES + len;
    frame <= MAX_FRAME_BYTES && rest.len() < frame
}

fn wrong(at: u64, why: &str) -> TransferError {
    TransferError::Offset(at, why.to_owned())
}

#[cfg(test)]
mod tests;
