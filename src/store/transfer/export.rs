//! A store as JSON lines, with its ids and hashes.
//!
//! The first line is a header. All accounts follow in order of id, then all events in order, then
//! all entries in order of key, and finally a line with the counts and two digests. One digest is
//! of every byte before it: a file that was cut short or changed is refused. The other is of the
//! contents of the store. It leaves out what changes with time: the time of the export, which is in
//! the first line, and the idempotency keys, of which an export has those that have not expired at
//! that time. So a store always has the same digest, also after an import and another export.
//!
//! A text that was replaced or deleted is not in an export: of a message's lines only the last has
//! its text, those before it have an empty one.

use std::io::{self, Write};

use super::export_format::{
    BATCH, FORMAT_VERSION, Line, LineCounts, LineHashers, hex, with_next_ids,
};
use super::outcome::{ExportOrigin, Purpose, Summary, TransferError};
use crate::model::{
    Cursor, Event, EventId, EventKind, MessageChange, MessageId, Timestamp, User, UserId, Window,
};
use crate::store::backend::Backend;
use crate::store::entries::keyspaces::Entry;
use crate::store::id_allocator::{IdAllocator, IdKind};
use crate::store::progress::Progress;
use crate::store::rules::lineage::Lineage;
use crate::store::rules::retry::RetentionFilter;

/// Writes all of a store, to move it; see [`export_as`].
pub fn export(
    store: &mut dyn Backend,
    out: &mut dyn Write,
    cut: Timestamp,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let origin = ExportOrigin { store_id: store.store_id(), purpose: Purpose::Move };
    export_as(origin, store, out, cut, progress)
}

/// Writes all of a store, with the origin `origin`, but of the idempotency keys only those that
/// have not expired at `cut` and whose accounts have not ended.
pub fn export_as(
    origin: ExportOrigin,
    store: &mut dyn Backend,
    out: &mut dyn Write,
    cut: Timestamp,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    let (next_ids, lineage) = (store.next_ids(), Lineage::of(store)?);
    let mut writer = ExportWriter::begin(out, origin, cut)?;
    let users = lineage.dense(IdKind::Users, next_ids.next_user);
    let events = lineage.dense(IdKind::Events, next_ids.next_event);
    progress.begin("exporting", users + events);
    export_users(store, &mut writer, &lineage, progress)?;
    export_events(store, &mut writer, &lineage, progress, users)?;
    export_entries(store, &mut writer, cut)?;
    progress.end();
    writer.end(next_ids)
}

fn export_users(
    store: &mut dyn Backend,
    writer: &mut ExportWriter<impl Write>,
    lineage: &Lineage,
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
        progress.advance(lineage.dense(IdKind::Users, next));
    }
}

fn export_events(
    store: &mut dyn Backend,
    writer: &mut ExportWriter<impl Write>,
    lineage: &Lineage,
    progress: &mut dyn Progress,
    done_before: u64,
) -> Result<(), TransferError> {
    let mut next = Some(EventId::from(MessageId::FIRST));
    while let Some(from) = next {
        let page = store.history(from, BATCH)?;
        let Some(last) = page.last() else { break };
        next = EventId::new(last.id.get() + 1);
        progress.advance(done_before + lineage.dense(IdKind::Events, last.id.get()));
        for event in &page {
            writer.event(event)?;
        }
    }
    Ok(())
}

fn export_entries(
    store: &mut dyn Backend,
    writer: &mut ExportWriter<impl Write>,
    cut: Timestamp,
) -> Result<(), TransferError> {
    let filter = RetentionFilter::new(cut);
    let mut last = None;
    loop {
        let mut page = store.entries(last.as_ref(), BATCH)?;
        for entry in &page {
            let kept = filter.keeps(entry, |user| {
                Ok(store.user(user)?.is_some_and(|user| user.ended_at.is_some()))
            });
            if kept? {
                writer.entry(entry)?;
            }
        }
        last = page.pop();
        if last.is_none() {
            return Ok(());
        }
    }
}

/// Writes an export, accounts before messages.
pub(in crate::store) struct ExportWriter<W> {
    out: W,
    hashers: LineHashers,
    line: Vec<u8>,
    counts: LineCounts,
}

impl<W: Write> ExportWriter<W> {
    pub(in crate::store) fn begin(
        out: W,
        origin: ExportOrigin,
        cut: Timestamp,
    ) -> Result<ExportWriter<W>, TransferError> {
        let (hashers, counts) = (LineHashers::default(), LineCounts::default());
        let mut writer = ExportWriter { out, hashers, line: Vec::new(), counts };
        let (store_id, purpose) = (origin.store_id.to_string().into(), Some(origin.purpose));
        let version = FORMAT_VERSION;
        writer.write(&Line::VecheExport { version, store_id, purpose, cut: Some(cut) })?;
        Ok(writer)
    }

    pub(in crate::store) fn user(&mut self, user: &User) -> Result<(), TransferError> {
        self.counts.users += 1;
        self.write(&Line::User {
            id: user.id,
            username: user.name.as_str().into(),
            password_hash: (&*user.password_hash).into(),
            created_at: user.created_at,
        })
    }

    pub(in crate::store) fn event(&mut self, event: &Event<'_>) -> Result<(), TransferError> {
        let (change, message) = match &event.what {
            EventKind::Message(change, message) => (*change, message),
            &EventKind::Moderation(what) => {
                self.counts.moderations += 1;
                let &Event { id: event, by: by_user, at, .. } = event;
                return self.write(&Line::Moderation { event, by_user, at, what });
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

    /// Entries come in order of key.
    pub(in crate::store) fn entry(&mut self, entry: &Entry) -> Result<(), TransferError> {
        self.write(&Line::Entry(entry.clone()))
    }

    pub(in crate::store) fn end(mut self, next_ids: IdAllocator) -> Result<Summary, TransferError> {
        let LineCounts { users, messages, revisions, moderations, entries: _ } = self.counts;
        let IdAllocator { next_user, next_event: next_message } = next_ids;
        let LineHashers { content, bytes } = self.hashers.clone();
        let digest = hex(with_next_ids(content, next_ids));
        self.write(&Line::End {
            users,
            messages,
            revisions,
            moderations,
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

#[cfg(test)]
mod tests;
