//! Where in the log things lie: a sled tree that can be thrown away and made again.
//!
//! One tree, so that one batch is atomic; the first byte of a key says what it is:
//!
//! | key | value |
//! |---|---|
//! | `m` | up to which frame the log is indexed |
//! | `u` user id | position of the account's record |
//! | `n` folded name | user id |
//! | `b` mailbox, first message id | postings: ids and positions of up to 128 messages |
//! | `p` message id | position of that message; one in every 16 KiB of log |
//!
//! Only what the log has synced is ever indexed, so an index that knows more than the log proves
//! that the log has lost something.

mod audit;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::sled::{Batch, Db, IVec};

use super::log::Stamp;
use super::{Counters, StoreError};
use crate::model::{Epoch, Mailbox, MessageId, UserId, Username};
pub(super) use audit::IndexAudit;

/// The version of the layout below. Another one is rebuilt, not converted.
const FORMAT_VERSION: u32 = 1;
/// What sled keeps of its pages in memory; its own default is a gigabyte.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// How often sled writes in the background. Losing what it did not write costs a catch-up.
const FLUSH_EVERY_MS: u64 = 1000;
/// Postings in one value. A chunk is read and written as a whole whenever it grows.
const CHUNK_POSTINGS: usize = 128;
/// Distance of the sparse positions: a lookup by id reads at most this much and one record.
const MARK_EVERY_BYTES: u64 = 16 * 1024;

const META: &[u8] = b"m";

/// Up to where the log is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) epoch: Epoch,
    /// The last frame that is.
    pub(super) stamp: Stamp,
    /// The store's counters behind it.
    pub(super) counters: Counters,
}

/// What the index has to know of a record.
#[derive(Debug, Clone)]
pub(super) enum Change {
    User { id: UserId, name: Username, position: u64 },
    Message { id: MessageId, from: UserId, to: Option<UserId>, position: u64 },
}

/// A message of a mailbox and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) id: u64,
    pub(super) position: u64,
}

/// The index of one store.
#[derive(Debug)]
pub(super) struct Index {
    db: Db,
    dir: PathBuf,
    applied: Option<Applied>,
    last_mark: Option<u64>,
}

impl Index {
    /// Opens or begins the index in `dir`. One that cannot be read is an error, also where sled
    /// itself panics over it, and where it was found broken before.
    pub(super) fn open(dir: &Path) -> Result<Index, StoreError> {
        let unreadable = |why: String| StoreError::Index(why);
        if broken_marker(dir).exists() {
            return Err(unreadable("it was found broken before".to_owned()));
        }
        await_earlier_handle(&dir.join("db"))?;
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| unreadable("sled panicked at opening it".to_owned()))?
            .map_err(|e| unreadable(e.to_string()))?;
        let mut index = Index { db, dir: dir.to_owned(), applied: None, last_mark: None };
        index.applied = match index.get(META)? {
            None if index.db.is_empty() => None,
            None => return Err(unreadable("it does not say how far it goes".to_owned())),
            Some(value) => match decode_applied(&value) {
                Some(applied) => Some(applied),
                None => return Err(unreadable("its format is another one".to_owned())),
            },
        };
        index.last_mark = index.mark_below(u64::MAX)?.map(|mark| mark.position);
        Ok(index)
    }

    /// Removes the index in `dir`.
    pub(super) fn discard(dir: &Path) -> Result<(), StoreError> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::failed("removing", dir, e));
            }
            _ => {}
        }
        let marker = broken_marker(dir);
        match fs::remove_file(&marker) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::failed("removing", &marker, e))
            }
            _ => Ok(()),
        }
    }

    /// The error for an index that is not what it should be. Also makes sure that the next start
    /// rebuilds it; where even that fails, the operator is still told to stop.
    pub(super) fn broken(&self, why: impl fmt::Display) -> StoreError {
        let marker = broken_marker(&self.dir);
        if let Err(e) = File::create(&marker) {
            ::log::error!(
                "cannot create {}: {e}; remove {} by hand",
                marker.display(),
                self.dir.display()
            );
        }
        StoreError::Index(why.to_string())
    }

    fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.db.get(key).map_err(|e| self.broken(e))
    }

    fn number(&self, bytes: &[u8]) -> Result<u64, StoreError> {
        number(bytes).ok_or_else(|| self.broken("an entry has the wrong length"))
    }

    fn chunk(&self, entry: ::sled::Result<(IVec, IVec)>) -> Result<Vec<Posting>, StoreError> {
        let (key, value) = entry.map_err(|e| self.broken(e))?;
        decode_chunk(&key, &value).ok_or_else(|| self.broken("a list of postings is malformed"))
    }

    pub(super) fn applied(&self) -> Option<Applied> {
        self.applied
    }

    /// Takes in records that the log has synced, in order, the last of which is `upto`. What the
    /// index already knows is passed over.
    pub(super) fn apply(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        upto: Applied,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let mut postings: BTreeMap<Mailbox, Vec<Posting>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::User { id, name, position } => {
                    batch.insert(user_key(id.get()).as_slice(), &position.to_be_bytes());
                    batch.insert(name_key(&name), &id.get().to_be_bytes());
                }
                Change::Message { id, from, to, position } => {
                    let posting = Posting { id: id.get(), position };
                    for mailbox in Mailbox::of(from, to) {
                        postings.entry(mailbox).or_default().push(posting);
                    }
                    if self.last_mark.is_none_or(|mark| position >= mark + MARK_EVERY_BYTES) {
                        batch.insert(mark_key(id.get()).as_slice(), &position.to_be_bytes());
                        self.last_mark = Some(position);
                    }
                }
            }
        }
        for (mailbox, new) in postings {
            self.append_postings(mailbox, new, &mut batch)?;
        }
        batch.insert(META, encode_applied(&upto));
        // This runs outside of any handler, where a panic would take the whole server along.
        catch_unwind(AssertUnwindSafe(|| self.db.apply_batch(batch)))
            .map_err(|_| self.broken("sled panicked at a write"))?
            .map_err(|e| self.broken(e))?;
        self.applied = Some(upto);
        Ok(())
    }

    fn append_postings(
        &self,
        mailbox: Mailbox,
        new: Vec<Posting>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let mut chunk = match self.chunks_below(mailbox, u64::MAX).next() {
            Some(last) => last?,
            None => Vec::new(),
        };
        let known = chunk.last().map(|posting| posting.id);
        let mut changed = false;
        for posting in new {
            if known.is_some_and(|known| posting.id <= known) {
                continue;
            }
            if chunk.len() >= CHUNK_POSTINGS {
                write_chunk(mailbox, &chunk, changed, batch);
                chunk.clear();
            }
            chunk.push(posting);
            changed = true;
        }
        write_chunk(mailbox, &chunk, changed, batch);
        Ok(())
    }

    /// The position of an account's record.
    pub(super) fn user(&self, id: UserId) -> Result<Option<u64>, StoreError> {
        self.get(&user_key(id.get()))?.map(|value| self.number(&value)).transpose()
    }

    /// The id behind a name.
    pub(super) fn user_named(&self, name: &Username) -> Result<Option<UserId>, StoreError> {
        let Some(value) = self.get(&name_key(name))? else { return Ok(None) };
        let id = UserId::new(self.number(&value)?);
        id.map(Some).ok_or_else(|| self.broken("a name leads to no user"))
    }

    /// The positions of the first `limit` accounts from `start` on, below `end`.
    pub(super) fn users_from(
        &self,
        start: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let range = self.db.range(user_key(start.min(end))..user_key(end));
        self.positions(range.values().take(limit))
    }

    /// The positions of the last `limit` accounts below `end`, ascending.
    pub(super) fn users_below(&self, end: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let range = self.db.range(user_key(0)..user_key(end)).rev();
        let mut positions =
            self.positions(range.map(|entry| entry.map(|(_, value)| value)).take(limit))?;
        positions.reverse();
        Ok(positions)
    }

    fn positions(
        &self,
        values: impl Iterator<Item = ::sled::Result<IVec>>,
    ) -> Result<Vec<u64>, StoreError> {
        values.map(|value| self.number(&value.map_err(|e| self.broken(e))?)).collect()
    }

    /// The first `limit` messages of a mailbox from `start` on, below `end`.
    pub(super) fn postings_from(
        &self,
        mailbox: Mailbox,
        start: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<Posting>, StoreError> {
        let mut found = Vec::new();
        if start >= end {
            return Ok(found);
        }
        // The chunk that `start` falls into begins at or below it.
        let first_chunk = match self.chunks_below(mailbox, start.saturating_add(1)).next() {
            Some(chunk) => chunk?.first().map_or(start, |posting| posting.id),
            None => start,
        };
        let chunks = self.db.range(posting_key(mailbox, first_chunk)..posting_key(mailbox, end));
        for chunk in chunks {
            let wanted = self.chunk(chunk)?.into_iter().filter(|it| it.id >= start && it.id < end);
            found.extend(wanted.take(limit - found.len()));
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// The last `limit` messages of a mailbox below `end`, ascending.
    pub(super) fn postings_below(
        &self,
        mailbox: Mailbox,
        end: u64,
        limit: usize,
    ) -> Result<Vec<Posting>, StoreError> {
        let mut found = Vec::new();
        for chunk in self.chunks_below(mailbox, end) {
            let chunk = chunk?;
            let wanted = chunk.into_iter().rev().filter(|posting| posting.id < end);
            found.extend(wanted.take(limit - found.len()));
            if found.len() == limit {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Whether a mailbox has a message below `end`.
    pub(super) fn any_below(&self, mailbox: Mailbox, end: u64) -> Result<bool, StoreError> {
        let first = self.db.range(posting_key(mailbox, 0)..posting_key(mailbox, end)).next();
        first.transpose().map(|first| first.is_some()).map_err(|e| self.broken(e))
    }

    /// The last marked message at or below an id: from its position on lies what is sought.
    pub(super) fn mark_below(&self, id: u64) -> Result<Option<Posting>, StoreError> {
        let mark = self.db.range(mark_key(0)..=mark_key(id)).next_back();
        let mark = mark.transpose().map_err(|e| self.broken(e))?;
        let Some((key, value)) = mark else { return Ok(None) };
        Ok(Some(Posting { id: self.number(&key[1..])?, position: self.number(&value)? }))
    }

    /// The chunks of a mailbox that begin below `end`, newest first.
    fn chunks_below(
        &self,
        mailbox: Mailbox,
        end: u64,
    ) -> impl Iterator<Item = Result<Vec<Posting>, StoreError>> {
        let range = self.db.range(posting_key(mailbox, 0)..posting_key(mailbox, end));
        range.rev().map(|chunk| self.chunk(chunk))
    }

    /// Hands everything to the operating system; for a clean stop.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(drop).map_err(|e| self.broken(e))
    }
}

/// sled's threads hold its file a little longer than its handle lives, and opening it meanwhile
/// fails as if it were broken. Only a handle of this process can be meant: the store's lock is ours.
fn await_earlier_handle(file: &Path) -> Result<(), StoreError> {
    let awaited = File::open(file).and_then(|file| {
        file.lock()?;
        file.unlock()
    });
    match awaited {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::failed("locking", file, e))
        }
        _ => Ok(()),
    }
}

/// Its presence tells the next start to rebuild the index.
fn broken_marker(dir: &Path) -> PathBuf {
    dir.with_extension("broken")
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn id_key(kind: u8, id: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn user_key(id: u64) -> [u8; 9] {
    id_key(b'u', id)
}

fn mark_key(id: u64) -> [u8; 9] {
    id_key(b'p', id)
}

fn name_key(name: &Username) -> Vec<u8> {
    [b"n", name.folded().as_bytes()].concat()
}

fn posting_key(mailbox: Mailbox, id: u64) -> [u8; 26] {
    let (kind, a, b) = match mailbox {
        Mailbox::General => (0, 0, 0),
        Mailbox::Private(user) => (1, user.get(), 0),
        Mailbox::Conversation(a, b) => (2, a.get(), b.get()),
    };
    let mut key = [b'b'; 26];
    key[1] = kind;
    key[2..10].copy_from_slice(&a.to_be_bytes());
    key[10..18].copy_from_slice(&b.to_be_bytes());
    key[18..].copy_from_slice(&id.to_be_bytes());
    key
}

fn write_chunk(mailbox: Mailbox, chunk: &[Posting], changed: bool, batch: &mut Batch) {
    if let (Some(first), true) = (chunk.first(), changed) {
        batch.insert(posting_key(mailbox, first.id).as_slice(), encode_chunk(chunk));
    }
}

/// The first id stands in the key; what follows are differences as LEB128: position, then for
/// each further posting id and position.
fn encode_chunk(chunk: &[Posting]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(chunk.len() * 4);
    let mut last: Option<&Posting> = None;
    for posting in chunk {
        if let Some(last) = last {
            push_varint(posting.id - last.id, &mut bytes);
        }
        push_varint(posting.position - last.map_or(0, |last| last.position), &mut bytes);
        last = Some(posting);
    }
    bytes
}

fn decode_chunk(key: &[u8], value: &[u8]) -> Option<Vec<Posting>> {
    let mut id = number(key.get(18..)?)?;
    let mut bytes = value;
    let mut position = take_varint(&mut bytes)?;
    let mut chunk = Vec::with_capacity(CHUNK_POSTINGS);
    chunk.push(Posting { id, position });
    while !bytes.is_empty() {
        id = id.checked_add(take_varint(&mut bytes)?)?;
        position = position.checked_add(take_varint(&mut bytes)?)?;
        chunk.push(Posting { id, position });
    }
    Some(chunk)
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn encode_applied(applied: &Applied) -> Vec<u8> {
    let Applied { epoch, stamp, counters } = applied;
    let mut bytes = Vec::new();
    bytes.extend(FORMAT_VERSION.to_be_bytes());
    bytes.extend(stamp.crc.to_be_bytes());
    for field in
        [epoch.0, stamp.position, stamp.end, stamp.lsn, counters.next_user, counters.next_message]
    {
        bytes.extend(field.to_be_bytes());
    }
    bytes
}

fn decode_applied(bytes: &[u8]) -> Option<Applied> {
    let (version, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    if u32::from_be_bytes(*version) != FORMAT_VERSION {
        return None;
    }
    let (fields, []) = rest.as_chunks::<8>() else { return None };
    let &[epoch, position, end, lsn, next_user, next_message] = fields else { return None };
    let field = u64::from_be_bytes;
    Some(Applied {
        epoch: Epoch(field(epoch)),
        stamp: Stamp {
            position: field(position),
            end: field(end),
            lsn: field(lsn),
            crc: u32::from_be_bytes(*crc),
        },
        counters: Counters { next_user: field(next_user), next_message: field(next_message) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back() {
        let chunk: Vec<Posting> =
            (0..200u64).map(|i| Posting { id: 5 + i * i, position: 40 + i * 1_000_003 }).collect();
        let key = posting_key(Mailbox::General, 5);
        assert_eq!(decode_chunk(&key, &encode_chunk(&chunk)), Some(chunk));
    }

    #[test]
    fn a_cut_chunk_is_noticed() {
        let chunk = [Posting { id: 1, position: 40 }, Posting { id: 2, position: 1_000_000 }];
        let key = posting_key(Mailbox::General, 1);
        let mut bytes = encode_chunk(&chunk);
        bytes.pop();
        assert_eq!(decode_chunk(&key, &bytes), None);
    }

    #[test]
    fn applied_comes_back_and_other_versions_do_not() {
        let applied = Applied {
            epoch: Epoch(7),
            stamp: Stamp { position: 40, end: 100, lsn: 3, crc: 9 },
            counters: Counters { next_user: 2, next_message: 1 },
        };
        let mut bytes = encode_applied(&applied);
        assert_eq!(decode_applied(&bytes), Some(applied));
        bytes[3] += 1;
        assert_eq!(decode_applied(&bytes), None);
    }
}
