//! sled's own handle: what it does when it goes, and how long its file stays taken behind it.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use ::sled::Db;
use rustix::event::{Timespec, poll};

use crate::store::StoreError;

/// How long sled's threads may hold its file beyond its handle's life.
const HANDLE_PATIENCE: Duration = Duration::from_secs(5);
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

    /// Whether sled could write everything. What it could not costs the next start a catch-up, or
    /// a rebuild.
    pub(super) fn close(&mut self) -> bool {
        let db = self.0.take();
        let closed = catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok();
        if !closed {
            ::log::warn!("sled panicked at closing the index");
        }
        closed
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// sled's threads hold its file a little longer than its handle lives, and opening it meanwhile
/// fails as if it were broken. Only a handle of this process can be meant: the store's lock is ours.
pub(super) fn await_earlier_handle(file: &Path) -> Result<(), StoreError> {
    let deadline = Instant::now() + HANDLE_PATIENCE;
    let awaited = File::open(file).and_then(|file| {
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::Error(error) => return Err(error),
                // For nothing but the time to pass.
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
