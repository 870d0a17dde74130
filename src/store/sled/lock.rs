//! One process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::store::StoreError;

/// The right to a store's directory, held by one process at a time.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn of(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("LOCK");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        Lock::by(file.map_err(|e| StoreError::failed("locking", &path, e))?, dir)
    }

    /// The same without making anything: `None` where no process has had the store open yet.
    pub(super) fn of_existing(dir: &Path) -> Result<Option<Lock>, StoreError> {
        let path = dir.join("LOCK");
        match File::open(&path) {
            Ok(file) => Lock::by(file, dir).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::failed("locking", &path, e)),
        }
    }

    /// Removes a directory that was made for a store and never held one, unless somebody has put
    /// something into it. Whoever waits for its lock finds nothing to open.
    pub(super) fn remove(dir: &Path) {
        let _ = fs::remove_file(dir.join("LOCK"));
        let _ = fs::remove_dir(dir);
    }

    fn by(file: File, dir: &Path) -> Result<Lock, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::Refused(format!("{} is in use by another process", dir.display())))
            }
            Err(TryLockError::Error(e)) => Err(StoreError::failed("locking", dir, e)),
        }
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a process forked meanwhile has it open too, until it execs.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
