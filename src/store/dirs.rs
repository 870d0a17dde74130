//! Directories and files, which are for their owner only, and durable directory entries.
//!
//! sled makes its files as the process makes files, so that the program has a umask besides.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::error::StoreError;

/// The mode of files.
pub(super) const FILE_MODE: u32 = 0o600;
/// The mode of directories.
pub(super) const DIR_MODE: u32 = 0o700;

/// Creates a directory, which may exist, and its parents.
pub(super) fn create_dir_all(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

/// Options to create a file that must not exist.
pub(super) fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    options
}

/// Copies a directory and its files, but not their modes.
pub(super) fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else {
            io::copy(&mut File::open(entry.path())?, &mut new_file().open(to)?)?;
        }
    }
    Ok(())
}

/// Creates a directory and its parents durably.
pub(super) fn create_dir_synced(dir: &Path) -> Result<(), StoreError> {
    let parent = parent(dir);
    if !parent.exists() {
        create_dir_synced(parent)?;
    }
    create_dir_all(dir).map_err(|e| StoreError::failed("creating", dir, e))?;
    sync_dir(parent)
}

pub(super) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| StoreError::failed("syncing", dir, e))
}

/// Removes a directory, if it exists.
pub(super) fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::failed("removing", dir, e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_copy_is_its_makers_whatever_it_is_of() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("within")).unwrap();
        for (name, mode) in [("open", 0o644), ("read-only", 0o400), ("within/open", 0o666)] {
            fs::write(from.join(name), name).unwrap();
            fs::set_permissions(from.join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(from.join("within"), Permissions::from_mode(0o755)).unwrap();
        copy_dir(&from, &to).unwrap();
        for (name, mode) in [
            ("", DIR_MODE),
            ("within", DIR_MODE),
            ("open", FILE_MODE),
            ("read-only", FILE_MODE),
            ("within/open", FILE_MODE),
        ] {
            let copy = to.join(name);
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, mode, "{name}");
            if mode == FILE_MODE {
                assert_eq!(fs::read_to_string(copy).unwrap(), name);
            }
        }
    }
}
