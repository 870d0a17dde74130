//! A segment: one file of the log. Its header has its store's id and its position.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{u32_at, u64_at};
use crate::model::StoreId;
use crate::store::dirs;
use crate::store::error::{LogDamage, StoreError};

/// The version of the layout of segments, frames and records. A higher one is refused.
pub(in crate::store) const FORMAT_VERSION: u32 = 1;
/// The first bytes of every segment, and so of every log.
pub(in crate::store) const MAGIC: &[u8; 8] = b"VECHELOG";
/// magic · version · store id · base position · first LSN · CRC32C of all that
pub(in crate::store) const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 4;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Header {
    pub(in crate::store) store_id: StoreId,
    pub(in crate::store) base: u64,
    pub(in crate::store) first_lsn: u64,
}

/// The reason why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum HeaderError {
    /// The layout is that of a newer version.
    Newer(u32),
    /// The bytes are not of the form that [`Header::encode`] writes.
    Unreadable,
}

impl Header {
    pub(in crate::store) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.store_id.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.base.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.first_lsn.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(in crate::store) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, HeaderError> {
        let crc_good =
            crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) == u32_at(bytes, HEADER_BYTES - 4);
        if bytes[..8] != *MAGIC {
            return Err(HeaderError::Unreadable);
        }
        match u32_at(bytes, 8) {
            newer if newer > FORMAT_VERSION => Err(HeaderError::Newer(newer)),
            FORMAT_VERSION if crc_good => Ok(Header {
                store_id: StoreId(u64_at(bytes, 12)),
                base: u64_at(bytes, 20),
                first_lsn: u64_at(bytes, 28),
            }),
            _ => Err(HeaderError::Unreadable),
        }
    }
}

/// The error for a file whose header has this version.
pub(in crate::store) fn newer_format(path: &Path, version: u32) -> StoreError {
    StoreError::Refused(format!(
        "{} was written by a newer version of veche (format {version}, this one knows {FORMAT_VERSION})",
        path.display(),
    ))
}

#[cfg(test)]
thread_local! {
    /// The number of reads from segments by this thread, and of bytes read.
    pub(in crate::store) static READ: std::cell::Cell<(u64, u64)> =
        const { std::cell::Cell::new((0, 0)) };
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: u64,
    pub(super) first_lsn: u64,
    /// Bytes that are written and synced. After opening, the part that is not yet recovered may not
    /// be synced.
    pub(super) len: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Segment {
    pub(super) fn end(&self) -> u64 {
        self.base + self.len
    }

    pub(super) fn damage(&self, position: u64, what: &'static str) -> StoreError {
        let offset = position.saturating_sub(self.base);
        StoreError::Damaged(LogDamage { file: self.path.clone(), offset, what })
    }

    /// Fills as much of `buffer` as the segment has from `position` on. An error does not stop a
    /// running store: it may be one bad sector under old history.
    pub(super) fn read(
        &self,
        position: u64,
        buffer: &mut Vec<u8>,
        len: usize,
    ) -> Result<(), StoreError> {
        let rest = usize::try_from(self.end().saturating_sub(position)).unwrap_or(usize::MAX);
        buffer.resize(rest.min(len), 0);
        #[cfg(test)]
        READ.with(|read| read.set((read.get().0 + 1, read.get().1 + buffer.len() as u64)));
        let offset = position - self.base;
        self.file.read_exact_at(buffer, offset).map_err(|source| {
            let file = self.path.clone();
            StoreError::Unread { file, offset, source }
        })
    }

    /// Creates a segment durably.
    pub(super) fn create(
        dir: &Path,
        store_id: StoreId,
        base: u64,
        first_lsn: u64,
    ) -> Result<Segment, StoreError> {
        let path = dir.join(format!("{base:020}.log"));
        let header = Header { store_id, base, first_lsn }.encode();
        let file = dirs::new_file()
            .read(true)
            .open(&path)
            .and_then(|file| {
                file.write_all_at(&header, 0)?;
                file.sync_all()?;
                Ok(file)
            })
            .map_err(|e| StoreError::failed("creating", &path, e))?;
        dirs::sync_dir(dir)?;
        Ok(Segment { base, first_lsn, len: HEADER_BYTES as u64, path, file })
    }

    /// `None` for a segment whose header was never synced, if it `may_be_torn`.
    pub(super) fn open(
        base: u64,
        path: &Path,
        may_be_torn: bool,
    ) -> Result<Option<(Segment, StoreId)>, StoreError> {
        let failed = |e| StoreError::failed("opening", path, e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let damage = |offset, what| {
            Err(StoreError::Damaged(LogDamage { file: path.to_owned(), offset, what }))
        };
        let mut header = [0; HEADER_BYTES];
        if len < HEADER_BYTES as u64 {
            return if may_be_torn {
                Ok(None)
            } else {
                damage(len, "the file's header is cut short")
            };
        }
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        match Header::parse(&header) {
            Ok(Header { store_id, base: its_base, first_lsn }) if its_base == base => {
                Ok(Some((Segment { base, first_lsn, len, path: path.to_owned(), file }, store_id)))
            }
            Err(HeaderError::Newer(version)) => Err(newer_format(path, version)),
            _ if may_be_torn && len == HEADER_BYTES as u64 => Ok(None),
            _ => damage(0, "the file's header is unreadable"),
        }
    }
}

/// The segments of a directory by position. Files with other names are left alone.
pub(in crate::store) fn files(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let base = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".log"))
            .and_then(|digits| digits.parse().ok());
        if let Some(base) = base {
            found.push((base, path));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_none_of_another_version() {
        let header = Header { store_id: StoreId(3), base: 5, first_lsn: 7 };
        let good = header.encode();
        assert_eq!(Header::parse(&good), Ok(header));
        for (version, why) in [(0, HeaderError::Unreadable), (2, HeaderError::Newer(2))] {
            let mut bad = good;
            bad[8..12].copy_from_slice(&u32::to_le_bytes(version));
            let crc = crc32c::crc32c(&bad[..HEADER_BYTES - 4]);
            bad[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Header::parse(&bad), Err(why));
        }
    }
}
