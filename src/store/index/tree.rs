//! The sled tree: opening, reading, and writing a batch of changes.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::ops::RangeBounds;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::sled::{Batch, IVec};
use rustix::io::Errno;

use super::digest::Digest;
use super::handle::{Handle, await_earlier_handle};
use super::layout::{
    Applied, AppliedError, List, META, Posting, decode_applied, encode_applied, mark_key, name_key,
    number, user_key,
};
use super::part::{IndexBatch, IndexChange, free_replaced_pages};
use super::seal;
use crate::model::{Mailbox, UserId, Username};
use crate::store::dirs;
use crate::store::error::StoreError;

/// The size of sled's page cache, in bytes on the disk. With entries as short as an account's it
/// takes five times as much memory. sled's default is a gigabyte.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Interval at which sled writes in the background. What it has not written costs a catch-up.
const FLUSH_EVERY_MS: u64 = 1000;
/// Distance of the sparse positions: a lookup by number reads at most this much and one record.
const MARK_EVERY_BYTES: u64 = 16 * 1024;
/// The reason why an index of another version cannot be used.
pub(in crate::store) const OTHER_VERSION: &str = "its format is another version's";

/// The index of one store.
#[derive(Debug)]
pub(in crate::store) struct Index {
    pub(super) db: Handle,
    dir: PathBuf,
    pub(super) applied: Option<Applied>,
    /// The digest of all entries but [`META`].
    digest: Digest,
    last_mark: Option<u64>,
    /// The lowest and the highest message that was ever revised: ids outside need not be
    /// looked up.
    pub(super) revised: Option<(u64, u64)>,
}

impl Index {
    /// Opens or begins the index in `dir`. One that cannot be read is an error, also where sled
    /// itself panics over it, and where it was found broken before. Where the system refuses to
    /// open it the error is another one: it may be a good index.
    pub(in crate::store) fn open(dir: &Path) -> Result<Index, StoreError> {
        let unreadable = |why: String| StoreError::Index(why);
        if broken_marker(dir).exists() {
            return Err(unreadable("it was found broken before".to_owned()));
        }
        await_earlier_handle(&dir.join("db"))?;
        let sealed = seal::take(dir);
        // Where it cannot be made, sled says why.
        let _ = dirs::create_dir_all(dir);
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let db = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| unreadable("sled panicked at opening it".to_owned()))?
            .map_err(|e| match e {
                ::sled::Error::Io(e) if is_from_the_system(&e) => {
                    StoreError::failed("opening", dir, e)
                }
                e => unreadable(e.to_string()),
            })?;
        let mut index = Index {
            db: Handle::of(db),
            dir: dir.to_owned(),
            applied: None,
            digest: Digest::default(),
            last_mark: None,
            revised: None,
        };
        index.digest = match sealed {
            Some(digest) => digest,
            None => index.digest_of_entries()?,
        };
        match index.get(META)? {
            None if index.digest == Digest::default() => {}
            None => return Err(unreadable("it does not say how far it goes".to_owned())),
            Some(value) => match decode_applied(&value) {
                Ok((applied, digest)) if digest == index.digest => index.applied = Some(applied),
                Ok(_) => {
                    return Err(unreadable("its entries are not those it was given".to_owned()));
                }
                Err(AppliedError::OtherVersion) => {
                    return Err(unreadable(OTHER_VERSION.to_owned()));
                }
                Err(AppliedError::Unreadable) => {
                    return Err(unreadable("how far it goes is unreadable".to_owned()));
                }
            },
        }
        index.last_mark = index.mark_below(u64::MAX)?.map(|mark| mark.position);
        index.revised = index.revised_bounds()?;
        Ok(index)
    }

    /// Removes the index in `dir`.
    pub(in crate::store) fn discard(dir: &Path) -> Result<(), StoreError> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::failed("removing", dir, e));
            }
            _ => {}
        }
        // Without its index it matches nothing.
        let _ = fs::remove_file(seal::path(dir));
        let marker = broken_marker(dir);
        match fs::remove_file(&marker) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::failed("removing", &marker, e))
            }
            _ => Ok(()),
        }
    }

    /// Moves an index that is closed.
    pub(in crate::store) fn relocate(from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        // Without its seal it is compared.
        let _ = fs::rename(seal::path(from), seal::path(to));
        Ok(())
    }

    /// The error for an index that is wrong. Also makes sure that the next start rebuilds it; if
    /// even that fails, the operator is still told to stop the server.
    pub(in crate::store) fn mark_broken(&self, why: impl fmt::Display) -> StoreError {
        let marker = broken_marker(&self.dir);
        let mut options = File::options();
        let made = options.write(true).create(true).truncate(true).mode(dirs::FILE_MODE);
        if let Err(e) = made.open(&marker) {
            ::log::error!(
                "cannot create {}: {e}; remove {} by hand",
                marker.display(),
                self.dir.display()
            );
        }
        StoreError::Index(why.to_string())
    }

    fn digest_of_entries(&self) -> Result<Digest, StoreError> {
        let mut digest = Digest::default();
        let mut entries = self.scan::<&[u8]>(..);
        while let Some((key, value)) = entries.next()? {
            if *key != *META {
                digest.add(&key, &value);
            }
        }
        Ok(digest)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.guarded(|| self.db.get(key))
    }

    /// Calls sled, which panics on some data that it cannot read.
    pub(super) fn guarded<T>(
        &self,
        ask: impl FnOnce() -> ::sled::Result<T>,
    ) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(ask))
            .map_err(|_| self.mark_broken("sled panicked"))?
            .map_err(|e| self.mark_broken(e))
    }

    pub(super) fn scan<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> TreeIter<'_> {
        TreeIter { index: self, iter: self.db.range(range) }
    }

    pub(super) fn number(&self, bytes: &[u8]) -> Result<u64, StoreError> {
        number(bytes).ok_or_else(|| self.mark_broken("an entry has the wrong length"))
    }

    pub(in crate::store) fn applied(&self) -> Option<Applied> {
        self.applied
    }

    /// Applies the changes for records that the log has synced, in order, the last of which is
    /// `upto`. Changes that the index already has are skipped. Each change comes with the point
    /// that the index reaches after it, unless the next one is part of the same batch: at such
    /// points a long series is divided.
    pub(in crate::store) fn apply(
        &mut self,
        changes: impl IntoIterator<Item = (IndexChange, Option<Applied>)>,
        upto: Applied,
    ) -> Result<(), StoreError> {
        let mut part = IndexBatch::default();
        for (change, applied) in changes {
            part.take(change);
            if let Some(applied) = applied.filter(|_| part.is_full()) {
                self.write(mem::take(&mut part), applied)?;
            }
        }
        self.write(part, upto)
    }

    fn write(&mut self, part: IndexBatch, upto: Applied) -> Result<(), StoreError> {
        let IndexBatch { users, events, postings, revised, entries, .. } = part;
        let mut batch = Writes { batch: Batch::default(), digest: self.digest };
        for (id, name, position) in users {
            batch.insert(&user_key(id.get()), &position.to_be_bytes());
            batch.insert(&name_key(&name), &id.get().to_be_bytes());
        }
        for event in events {
            self.mark(event, &mut batch);
        }
        self.put_entries(entries, &mut batch)?;
        for (list, new) in postings {
            let last = new.last().map(|posting| posting.id);
            let known = self.append_postings(list, new, &mut batch)?;
            if let List::Messages(Mailbox::Conversation(a, b)) = list {
                batch.put_conversation((a, b), known, last);
            }
        }
        self.put_revisions(&revised, &mut batch)?;
        let Writes { mut batch, digest } = batch;
        batch.insert(META, encode_applied(&upto, digest));
        self.guarded(|| self.db.apply_batch(batch))?;
        self.digest = digest;
        self.applied = Some(upto);
        self.widen_bounds(&revised);
        free_replaced_pages();
        Ok(())
    }

    /// Keeps the position of an event's record, if the last that was kept is far enough before it.
    fn mark(&mut self, event: Posting, batch: &mut Writes) {
        if is_marked(self.last_mark, event.position) {
            batch.insert(&mark_key(event.id), &event.position.to_be_bytes());
            self.last_mark = Some(event.position);
        }
    }

    /// The position of an account's record.
    pub(in crate::store) fn user(&self, id: UserId) -> Result<Option<u64>, StoreError> {
        self.get(&user_key(id.get()))?.map(|value| self.number(&value)).transpose()
    }

    /// The id of the account with a name.
    pub(in crate::store) fn user_named(
        &self,
        name: &Username,
    ) -> Result<Option<UserId>, StoreError> {
        let Some(value) = self.get(&name_key(name))? else { return Ok(None) };
        let id = UserId::new(self.number(&value)?);
        id.map(Some).ok_or_else(|| self.mark_broken("a name leads to no user"))
    }

    /// The positions of the first `limit` accounts from `start` on, below `end`.
    pub(in crate::store) fn users_from(
        &self,
        start: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let mut entries = self.scan(user_key(start.min(end))..user_key(end));
        let mut positions = Vec::new();
        while positions.len() < limit
            && let Some((_, value)) = entries.next()?
        {
            positions.push(self.number(&value)?);
        }
        Ok(positions)
    }

    /// The positions of the last `limit` accounts below `end`, ascending.
    pub(in crate::store) fn users_below(
        &self,
        end: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let mut entries = self.scan(user_key(0)..user_key(end));
        let mut positions = Vec::new();
        while positions.len() < limit
            && let Some((_, value)) = entries.next_back()?
        {
            positions.push(self.number(&value)?);
        }
        positions.reverse();
        Ok(positions)
    }

    /// The last marked event at or below a number. The target is after its position.
    pub(in crate::store) fn mark_below(&self, id: u64) -> Result<Option<Posting>, StoreError> {
        let mark = self.scan(mark_key(0)..=mark_key(id)).next_back()?;
        let Some((key, value)) = mark else { return Ok(None) };
        Ok(Some(Posting { id: self.number(&key[1..])?, position: self.number(&value)? }))
    }

    /// Hands everything to the disk and seals it; for a clean stop, after which nothing may be
    /// asked of it.
    pub(in crate::store) fn close(&mut self) -> Result<(), StoreError> {
        if self.db.close().map_err(|e| self.mark_broken(e))? {
            // After a failure, sled's threads may not let go at all.
            let released = await_earlier_handle(&self.dir.join("db")).map_err(io::Error::other);
            if let Err(e) = released.and_then(|()| seal::write(&self.dir, self.digest)) {
                ::log::debug!("no seal for {}: {e}", self.dir.display());
            }
        }
        Ok(())
    }

    /// Seals the index in `dir` with the digest of its present seal, for corruption tests.
    #[cfg(test)]
    pub(in crate::store) fn seal_again(dir: &Path) {
        let path = seal::path(dir);
        let bytes = fs::read(&path).expect("a seal");
        fs::remove_file(&path).expect("a seal");
        let digest = number(&bytes[4..12]).expect("a digest");
        seal::write(dir, Digest(digest)).expect("another seal");
    }

    /// True if there was a seal that matched.
    #[cfg(test)]
    pub(in crate::store) fn take_seal(dir: &Path) -> bool {
        seal::take(dir).is_some()
    }

    /// The tree, for corruption tests.
    #[cfg(test)]
    pub(in crate::store) fn tree(&self) -> &::sled::Db {
        &self.db
    }
}

/// Entries of the tree in order, from both ends.
pub(in crate::store) struct TreeIter<'a> {
    index: &'a Index,
    iter: ::sled::Iter,
}

impl TreeIter<'_> {
    pub(in crate::store) fn next(&mut self) -> Result<Option<(IVec, IVec)>, StoreError> {
        self.index.guarded(|| self.iter.next().transpose())
    }

    pub(in crate::store) fn next_back(&mut self) -> Result<Option<(IVec, IVec)>, StoreError> {
        self.index.guarded(|| self.iter.next_back().transpose())
    }
}

/// A batch, and the digest of the index once it is applied.
pub(super) struct Writes {
    batch: Batch,
    digest: Digest,
}

impl Writes {
    /// An entry that was not there.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.digest.add(key, value);
        self.batch.insert(key, value);
    }

    /// An entry in the place of another, where there was one; `None` leaves nothing there.
    pub(super) fn replace(&mut self, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        if let Some(before) = before {
            self.digest.remove(key, before);
        }
        match after {
            Some(after) => self.insert(key, after),
            None => self.batch.remove(key),
        }
    }
}

/// Returns whether the position of an event's record is kept, given the last one that is.
pub(super) fn is_marked(last: Option<u64>, position: u64) -> bool {
    last.is_none_or(|last| position >= last + MARK_EVERY_BYTES)
}

/// Returns whether an error comes from the system, for a reason other than the bytes on the disk.
fn is_from_the_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|raw| raw != Errno::IO.raw_os_error())
}

/// The path of the marker file that makes the next start rebuild the index.
fn broken_marker(dir: &Path) -> PathBuf {
    dir.with_extension("broken")
}
