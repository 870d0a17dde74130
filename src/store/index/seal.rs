//! What says that an index is byte for byte what a clean stop left, so that a start need not
//! compare its digest.
//!
//! It lies beside the index, from its closing to its next opening, and is true of the bytes that
//! it lists wherever they are and whatever became of them meanwhile. So it is neither synced nor
//! renamed into place: one that is torn, or of other bytes, does not match, and the digest is
//! compared.
//!
//! A bit that flips on the disk while the index is open is sealed with the rest. sled notices it
//! where it reads a page; where it cuts its log instead, `m` is not the one it was last given. So
//! the seal has the digest that the index had in memory, and `m` must come back with the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use crate::store::dirs;

/// The version of this layout. Another one does not match.
const FORMAT_VERSION: u32 = 1;
/// An index of more files has no seal. sled has four, and one for each value that is very long.
const MAX_FILES: usize = 256;
/// A longer index has no seal, in bytes: a stop is not to read for minutes.
const MAX_INDEX_BYTES: u64 = 1024 * 1024 * 1024;
/// What is read of a seal, in bytes: more than so many files with the longest names make.
const MAX_BYTES: u64 = 128 * 1024;
/// What is read of a file at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Each file of an index by its path in there.
type Files = BTreeMap<PathBuf, SealedFiles>;

/// The length of a file and its CRC32C.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct SealedFiles {
    len: u64,
    crc: u32,
}

/// Where the seal of the index in `dir` is.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.with_extension("seal")
}

/// Seals the index in `dir`, which nobody has open.
pub(super) fn write(dir: &Path, digest: Digest) -> io::Result<()> {
    let bytes = encode(digest, &files(dir)?);
    dirs::new_file().open(path(dir))?.write_all(&bytes)
}

/// Removes the seal of the index in `dir`, and says of what digest it was if it matches. One that
/// cannot be removed is no harm: it will not match what the index becomes.
pub(super) fn take(dir: &Path) -> Option<Digest> {
    let path = path(dir);
    // Opening a pipe would wait for who writes to it.
    let is_file = fs::symlink_metadata(&path).ok()?.is_file();
    let mut bytes = Vec::new();
    let read = is_file.then(|| File::open(&path)?.take(MAX_BYTES).read_to_end(&mut bytes));
    let _ = fs::remove_file(&path);
    read?.ok()?;
    let digest = Digest(u64::from_be_bytes(*bytes.get(4..)?.first_chunk()?));
    (bytes == encode(digest, &files(dir).ok()?)).then_some(digest)
}

/// version · digest · of each file: length of its path, path, length, CRC32C · CRC32C of it all
fn encode(digest: Digest, files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(FORMAT_VERSION.to_be_bytes());
    bytes.extend(digest.0.to_be_bytes());
    for (path, content) in files {
        let path = path.as_os_str().as_bytes();
        bytes.extend((path.len() as u64).to_be_bytes());
        bytes.extend(path);
        bytes.extend(content.len.to_be_bytes());
        bytes.extend(content.crc.to_be_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

/// Reads every file of the index in `dir`. What is not sled's is an error.
fn files(dir: &Path) -> io::Result<Files> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = MAX_INDEX_BYTES;
    let mut files = Files::new();
    for below in ["", "blobs"] {
        for entry in fs::read_dir(dir.join(below))? {
            let entry = entry?;
            let name = Path::new(below).join(entry.file_name());
            match entry.file_type()? {
                kind if kind.is_file() && files.len() < MAX_FILES => {
                    let content = read(&entry.path(), &mut left, &mut buffer)?;
                    files.insert(name, content);
                }
                kind if kind.is_dir() && name == Path::new("blobs") => {}
                _ => return Err(io::Error::other("it has files that are not to be sealed")),
            }
        }
    }
    Ok(files)
}

/// Takes what it reads off `left`.
fn read(path: &Path, left: &mut u64, buffer: &mut [u8]) -> io::Result<SealedFiles> {
    let mut file = File::open(path)?;
    let mut content = SealedFiles::default();
    loop {
        let count = match file.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            return Ok(content);
        }
        content.len += count as u64;
        content.crc = crc32c::crc32c_append(content.crc, &buffer[..count]);
        let rest = left.checked_sub(count as u64);
        *left = rest.ok_or_else(|| io::Error::other("it is too long to be sealed"))?;
    }
}

#[cfg(test)]
mod tests;
