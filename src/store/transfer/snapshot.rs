//! A snapshot: the log at an instant, which can be read while the log grows. A backup is made of it.
//!
//! A backup is the log's address space from 0 to the end that the disk has, segment headers and
//! all, and after it a trailer, so that a copy that was cut between two records is noticed:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VECHEEND` |
//! | 4 | the version of this layout |
//! | 8 | the number of bytes of log before it |
//! | 4 | CRC32C of them |
//! | 4 | CRC32C of the trailer up to here |
//!
//! Numbers are little-endian. No frame begins like a header or a trailer: the bytes there would be
//! a length beyond the limit. A checksum is enough, as each frame has its own. Against deliberate
//! changes of a copy not even a digest that is kept with it would help.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::store::error::StoreError;
use crate::store::log::frame::{u32_at, u64_at};

pub(in crate::store) const TRAILER_MAGIC: &[u8; 8] = b"VECHEEND";
pub(in crate::store) const TRAILER_BYTES: usize = 8 + 4 + 8 + 4 + 4;
/// The version of the trailer's layout. A higher one is refused.
pub(in crate::store) const FORMAT_VERSION: u32 = 1;

/// A consistent copy of a store, which is read from its beginning to its end: [`Snapshot::length`]
/// bytes. It is independent of the store, which may change meanwhile.
#[derive(Debug)]
pub struct Snapshot {
    /// The files that are still to be read.
    parts: VecDeque<SnapshotFile>,
    log_bytes: u64,
    crc: u32,
    /// The number of bytes of the trailer that were read.
    trailer_read: usize,
}

#[derive(Debug)]
struct SnapshotFile {
    file: File,
    path: PathBuf,
    left: u64,
}

impl Snapshot {
    /// A snapshot of the first bytes of each file, as many as are given.
    pub(in crate::store) fn of<'a>(
        files: impl Iterator<Item = (&'a Path, u64)>,
    ) -> Result<Snapshot, StoreError> {
        let mut log_bytes = 0;
        let parts = files.map(|(path, left)| {
            log_bytes += left;
            // A separate handle, so that the advice does not affect other reads.
            let file = File::open(path).map_err(|e| StoreError::failed("opening", path, e))?;
            // Data that a backup reads once should not evict data that the chat reads often. It is only
            // advice: without it the backup is the same.
            let _ = fadvise(&file, 0, None, Advice::Sequential);
            let _ = fadvise(&file, 0, None, Advice::NoReuse);
            Ok(SnapshotFile { file, path: path.to_owned(), left })
        });
        let parts = parts.collect::<Result<_, StoreError>>()?;
        Ok(Snapshot { parts, log_bytes, crc: 0, trailer_read: 0 })
    }

    /// The length in bytes, with the trailer.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.log_bytes + TRAILER_BYTES as u64
    }
}

impl Read for Snapshot {
    /// Fails if a file cannot be read or is shorter than before. The bytes until then are no
    /// backup, as they have no trailer.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(part) = self.parts.front_mut() {
            if part.left == 0 {
                self.parts.pop_front();
                continue;
            }
            let len = usize::try_from(part.left).unwrap_or(usize::MAX).min(buffer.len());
            let read = part.file.read(&mut buffer[..len]).map_err(|e| part.error(&e))?;
            if read == 0 {
                return Err(part.error(&io::ErrorKind::UnexpectedEof.into()));
            }
            part.left -= read as u64;
            self.crc = crc32c::crc32c_append(self.crc, &buffer[..read]);
            return Ok(read);
        }
        let trailer = Trailer { log_bytes: self.log_bytes, crc: self.crc }.encode();
        let read = (&trailer[self.trailer_read..]).read(buffer)?;
        self.trailer_read += read;
        Ok(read)
    }
}

impl SnapshotFile {
    fn error(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("reading {} failed: {error}", self.path.display()))
    }
}

/// The end of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Trailer {
    pub(in crate::store) log_bytes: u64,
    pub(in crate::store) crc: u32,
}

impl Trailer {
    pub(in crate::store) fn encode(self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(TRAILER_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.log_bytes.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The reason, where `bytes` are none.
    pub(in crate::store) fn parse(bytes: &[u8; TRAILER_BYTES]) -> Result<Trailer, String> {
        if bytes[..8] != *TRAILER_MAGIC {
            return Err("the end mark is unreadable".to_owned());
        }
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(format!(
                "it was written by a newer version of veche (format {version}, this one knows {FORMAT_VERSION})"
            ));
        }
        if version != FORMAT_VERSION || crc32c::crc32c(&bytes[..24]) != u32_at(bytes, 24) {
            return Err("the end mark is unreadable".to_owned());
        }
        Ok(Trailer { log_bytes: u64_at(bytes, 12), crc: u32_at(bytes, 20) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// The bytes on every disk out there: this literal never changes.
    #[test]
    fn golden() {
        let trailer = Trailer { log_bytes: 0x0102_0304, crc: 0x0506_0708 };
        assert_eq!(
            hex(&trailer.encode()),
            "5645434845454e44010000000403020100000000080706054ebeed56"
        );
    }

    #[test]
    fn a_trailer_comes_back_and_nothing_else_is_one() {
        let trailer = Trailer { log_bytes: 7, crc: 9 };
        let good = trailer.encode();
        assert_eq!(Trailer::parse(&good), Ok(trailer));
        for at in 0..TRAILER_BYTES {
            let mut bad = good;
            bad[at] ^= 4;
            let newer = (8..12).contains(&at);
            assert_eq!(Trailer::parse(&bad).unwrap_err().contains("newer"), newer, "at {at}");
        }
    }

    #[test]
    fn there_is_no_version_before_the_first() {
        let mut bytes = Trailer { log_bytes: 7, crc: 9 }.encode();
        bytes[8..12].fill(0);
        let crc = crc32c::crc32c(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Trailer::parse(&bytes).unwrap_err(), "the end mark is unreadable");
    }

    #[test]
    fn a_file_that_lost_something_gives_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        fs::write(&first, "abcdef").unwrap();
        fs::write(&second, "ghij").unwrap();
        let files = || [(&*first, 6), (&*second, 3)].into_iter();
        let mut whole = Vec::new();
        let mut snapshot = Snapshot::of(files()).unwrap();
        assert_eq!(snapshot.length(), 9 + TRAILER_BYTES as u64);
        snapshot.read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len() as u64, snapshot.length());
        let (log, trailer) = whole.split_at(9);
        assert_eq!(log, b"abcdefghi");
        let trailer = Trailer::parse(trailer.try_into().unwrap()).unwrap();
        assert_eq!(trailer, Trailer { log_bytes: 9, crc: crc32c::crc32c(log) });

        let mut snapshot = Snapshot::of(files()).unwrap();
        File::options().write(true).open(&second).unwrap().set_len(2).unwrap();
        let mut part = Vec::new();
        let error = snapshot.read_to_end(&mut part).unwrap_err();
        assert_eq!((&*part, error.kind()), (&b"abcdefgh"[..], io::ErrorKind::UnexpectedEof));
        assert!(error.to_string().contains("second"), "{error}");
        let missing = dir.path().join("missing");
        assert!(Snapshot::of([(&*missing, 1)].into_iter()).is_err());
    }
}
