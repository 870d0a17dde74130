//! Removes permissions of other users from a store: an earlier version made files and directories
//! that everybody could read.
//!
//! Only files and directories with the name and kind of a store's are changed: the operator may
//! have made the data directory, or put a link or another disk in a directory's place.

use std::ffi::OsStr;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use crate::store::dirs::{DIR_MODE, FILE_MODE};
use crate::store::log::segment;

/// The directory in which an import is made, in the data directory.
pub(super) const UNFINISHED_IMPORT: &str = "unfinished-import";
/// The permissions of everyone but the owner.
const OTHERS: u32 = 0o077;
/// A directory and the first file in it were made by one process if they are no further apart.
const ONE_START: Duration = Duration::from_secs(1);

/// Removes permissions of other users that an earlier version left on the store in `dir`. Files
/// that cannot be changed are logged.
pub(super) fn mend(dir: &Path) {
    if was_made_with_store(dir) {
        restrict(dir, DIR_MODE);
    }
    mend_within(dir);
    let unfinished = dir.join(UNFINISHED_IMPORT);
    if unfinished.is_dir() {
        restrict(&unfinished, DIR_MODE);
        mend_within(&unfinished);
    }
}

fn mend_within(dir: &Path) {
    for name in ["LOCK", "index.seal", "index.broken"] {
        restrict(&dir.join(name), FILE_MODE);
    }
    let (log, index) = (dir.join("log"), dir.join("index"));
    let blobs = index.join("blobs");
    // What is another disk, the operator has put there.
    let disk = |dir: &Path| fs::symlink_metadata(dir).map(|there| there.dev()).ok();
    for made in [&log, &index, &blobs] {
        if disk(made) == disk(dir) {
            restrict(made, DIR_MODE);
        }
    }
    for (_, path) in segment::files(&log).unwrap_or_default() {
        restrict(&path, FILE_MODE);
    }
    for (dir, is_ours) in [(&index, is_sleds as fn(&OsStr) -> bool), (&blobs, is_blob)] {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries.flatten().filter(|entry| is_ours(&entry.file_name())) {
            restrict(&entry.path(), FILE_MODE);
        }
    }
}

/// Returns whether a data directory was made by the version that made the store in it, and was not
/// changed since: at the same time and with the same umask as its first file, which shows that it
/// has not been mended yet. After that its mode is the operator's business.
fn was_made_with_store(dir: &Path) -> bool {
    let made = |path: &Path| -> io::Result<(Metadata, u32)> {
        let metadata = fs::symlink_metadata(path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        Ok((metadata, mode))
    };
    let (Ok((dir, dir_mode)), Ok((lock, lock_mode))) = (made(dir), made(&dir.join("LOCK"))) else {
        return false;
    };
    let (Ok(dir_time), Ok(lock_time)) = (dir.created(), lock.created()) else { return false };
    let at_once = lock_time.duration_since(dir_time).is_ok_and(|between| between <= ONE_START);
    lock_mode & OTHERS != 0 && dir_mode & !0o111 == lock_mode && at_once
}

/// The names of sled's files and directories.
fn is_sleds(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| matches!(name, "conf" | "db") || name.starts_with("snap."))
}

fn is_blob(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes all permissions of other users from `path`, if it is a directory and `mode` is
/// [`DIR_MODE`], or a file and `mode` is another one.
fn restrict(path: &Path, mode: u32) {
    let Ok(there) = fs::symlink_metadata(path) else { return };
    let is_kind = if mode == DIR_MODE { there.is_dir() } else { there.is_file() };
    let now = there.permissions().mode() & 0o7777;
    if is_kind
        && now & OTHERS != 0
        && let Err(e) = fs::set_permissions(path, Permissions::from_mode(now & !OTHERS))
    {
        ::log::warn!("others can read {} (mode {now:o}): {e}", path.display());
    }
}
