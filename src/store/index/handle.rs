//! The handle of the sled database: how it is closed, and how long its file stays locked after
//! that.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ::sled::Db;
use rustix::event::{Timespec, poll};

use crate::store::error::StoreError;

/// The longest time for which sled's threads may hold its file after its handle is dropped.
const HANDLE_PATIENCE: Duration = Duration::from_secs(5);
/// The longest time that sled may take to write what it has and to close. After a failed write it
/// can wait forever for one of its own threads.
const CLOSE_PATIENCE: Duration = Duration::from_secs(20);
const HANDLE_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// sled, which syncs its file when the last handle goes, and panics where that fails.
#[derive(Debug)]
pub(super) struct Handle(Option<Db>);

impl Deref for Handle {
    type Target = Db;

    fn deref(&self) -> &Db {
        match &self.0 {
            Some(db) => db,
            None => unreachable!("it is there until it is closed"),
        }
    }
}

impl Handle {
    pub(super) fn of(db: Db) -> Handle {
        Handle(Some(db))
    }

    /// Makes sled write everything and close; returns whether both are done in time. What is not
    /// written costs the next start a catch-up or a rebuild.
    pub(super) fn close(&mut self) -> ::sled::Result<bool> {
        let Some(db) = self.0.take() else { return Ok(false) };
        let closed = in_time(CLOSE_PATIENCE, move || {
            let flushed = db.flush();
            drop(db);
            flushed
        });
        let Some(flushed) = closed else {
            ::log::warn!("sled did not close the index");
            return Ok(false);
        };
        flushed.map(|_| true)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            ::log::warn!("sled could not close the index: {e}");
        }
    }
}

/// Does a task in a thread of its own. `None` if it panics, or is not done in time: then the thread
/// stays until the process ends.
fn in_time<T: Send + 'static>(
    patience: Duration,
    task: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, is_done) = mpsc::channel();
    let task = move || {
        if let Ok(done_with) = catch_unwind(AssertUnwindSafe(task)) {
            // The waiting thread may have given up.
            let _ = done.send(done_with);
        }
    };
    // Without a thread the task is dropped, and sled with it, which may panic.
    let spawned = || thread::Builder::new().name("index-close".to_owned()).spawn(task);
    catch_unwind(AssertUnwindSafe(spawned)).ok()?.ok()?;
    is_done.recv_timeout(patience).ok()
}

/// Waits for an earlier handle of this process. sled's threads hold its file a little longer than
/// its handle lives, and an opening in that time fails as if the file were broken. No other process
/// can hold it, as the store's lock is ours.
pub(super) fn await_earlier_handle(file: &Path) -> Result<(), StoreError> {
    let deadline = Instant::now() + HANDLE_PATIENCE;
    let awaited = File::open(file).and_then(|file| {
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::Error(error) => return Err(error),
                // Only waits for time to pass.
                TryLockError::WouldBlock if Instant::now() < deadline => {
                    let _ = poll(&mut [], Some(&HANDLE_INTERVAL));
                }
                TryLockError::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        file.unlock()
    });
    match awaited {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::failed("locking", file, e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_takes_too_long_is_not_waited_for() {
        let (_never, nothing) = mpsc::channel::<()>();
        assert_eq!(in_time(Duration::from_millis(1), move || nothing.recv()), None);
        assert_eq!(in_time(Duration::from_mins(1), || 1), Some(1));
        assert_eq!(in_time(Duration::from_mins(1), || panic!("as sled does")), None::<()>);
    }
}
