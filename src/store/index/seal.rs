//! The seal of an index: proof that it is byte for byte what a clean stop left, so that a start
//! need not compare its digest.
//!
//! The seal is a file beside the index, from the index's closing to its next opening. It describes
//! the bytes of the files that it lists, whatever happens to them later. So it is neither synced
//! nor renamed into place: a seal that is torn, or is of other bytes, does not match, and the
//! digest is compared.
//!
//! A bit that flips on the disk while the index is open is sealed with the rest. sled notices it
//! where it reads a page. Where sled cuts its log instead, `m` has an older value. So the seal
//! contains the digest that the index had in memory, and `m` must have the same one at the next
//! opening.

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
/// Most files of an index with a seal. sled has four, and one for each very long value.
const MAX_FILES: usize = 256;
/// Most bytes of an index with a seal: a stop must not read for minutes.
const MAX_INDEX_BYTES: u64 = 1024 * 1024 * 1024;
/// Most bytes that are read of a seal: more than [`MAX_FILES`] files with the longest names need.
const MAX_BYTES: u64 = 128 * 1024;
/// Bytes that are read of a file at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Each file of an index by its path in there.
type Files = BTreeMap<PathBuf, SealedFiles>;

/// The length of a file and its CRC32C.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct SealedFiles {
    len: u64,
    crc: u32,
}

/// The path of the seal of the index in `dir`.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.with_extension("seal")
}

/// Seals the index in `dir`, which must not be open.
pub(super) fn write(dir: &Path, digest: Digest) -> io::Result<()> {
    let bytes = encode(digest, &files(dir)?);
    dirs::new_file().open(path(dir))?.write_all(&bytes)
}

/// Removes the seal of the index in `dir`; returns its digest if the seal matches. A seal that
/// cannot be removed does no harm: it does not match the index after the next change.
pub(super) fn take(dir: &Path) -> Option<Digest> {
    let path = path(dir);
    // Opening a pipe would wait for its writer.
    let is_file = fs::symlink_metadata(&path).ok()?.is_file();
    let mut bytes = Vec::new();
    let read = is_file.then(|| File::open(&path)?.take(MAX_BYTES).read_to_end(&mut bytes));
    let _ = fs::remove_file(&path);
    read?.ok()?;
    let digest = Digest(u64::from_be_bytes(*bytes.get(4..)?.first_chunk()?));
    (bytes == encode(digest, &files(dir).ok()?)).then_some(digest)
}

/// Layout: version · digest · for each file: length of its path, path, length, CRC32C · CRC32C of
/// everything before
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

/// Reads every file of the index in `dir`. A file that is not sled's is an error.
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

/// Reads a file, and subtracts its length from `left`.
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
