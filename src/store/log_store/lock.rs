//! One process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::store::dirs::FILE_MODE;
use crate::store::error::StoreError;

/// The right to a store's directory, held by one process at a time.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn of(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("LOCK");
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(|e| StoreError::failed("locking", &path, e))?;
        Lock::after(file.try_lock(), file, dir)
    }

    /// Takes the lock without writing anything. `None` if no process has had the store open yet, or
    /// if a file that is open for reading cannot be locked, as on some network file systems.
    pub(super) fn of_existing(dir: &Path) -> Result<Option<Lock>, StoreError> {
        let path = dir.join("LOCK");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::failed("locking", &path, e)),
        };
        match file.try_lock() {
            Err(TryLockError::Error(e)) => {
                ::log::warn!("{} cannot be locked: no server may use it now: {e}", dir.display());
                Ok(None)
            }
            tried => Lock::after(tried, file, dir).map(Some),
        }
    }

    /// Removes a directory that was made for a store and never held one, unless somebody has put
    /// something into it. Whoever waits for its lock finds nothing to open.
    pub(super) fn remove(dir: &Path) {
        let _ = fs::remove_file(dir.join("LOCK"));
        let _ = fs::remove_dir(dir);
    }

    fn after(tried: Result<(), TryLockError>, file: File, dir: &Path) -> Result<Lock, StoreError> {
        match tried {
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
