//! Free space on the disk: writes are refused before the disk is full.
//!
//! On a full disk a write fails half-way, which ends the server. A write that is refused early
//! changes nothing, and reading and logging in stay possible, down to a reserve.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::StoreError;

/// The time for which the file system's last answer about its free space is used.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes that may be written until the file system is asked again. The index takes about as much as
/// the log, so a floor of several times this value is never crossed by this store alone.
const LOOK_EVERY_BYTES: u64 = 4 * 1024 * 1024;
/// Fraction of the floor that is kept from the reserve. The other parts are for logging in and out,
/// and for moderation.
const RESERVE: u64 = 8;

/// The free space of a directory, and the space that is to stay free.
#[derive(Debug)]
pub(super) struct FreeSpace {
    dir: PathBuf,
    /// Zero to never ask.
    floor: u64,
    free: fn(&Path) -> io::Result<u64>,
    looked: Option<Instant>,
    /// Bytes written since then.
    written: u64,
    /// The free bytes then, if they were too few.
    too_little: Option<u64>,
}

impl FreeSpace {
    /// Nothing has to stay free.
    pub(super) fn in_dir(dir: &Path) -> FreeSpace {
        let dir = dir.to_owned();
        FreeSpace { dir, floor: 0, free, looked: None, written: 0, too_little: None }
    }

    /// Refuses writes from now on while fewer bytes than these are free.
    pub(super) fn keep(&mut self, floor: u64) {
        self.floor = floor;
        self.looked = None;
        self.too_little = None;
    }

    /// Refuses a write of about `bytes` bytes if too little space is free.
    pub(super) fn admit(&mut self, bytes: usize, now: Instant) -> Result<(), StoreError> {
        if self.floor == 0 {
            return Ok(());
        }
        let fresh = self.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_EVERY);
        if !fresh || self.written >= LOOK_EVERY_BYTES {
            self.look();
            self.looked = Some(now);
            self.written = 0;
        }
        if let Some(free) = self.too_little {
            return Err(StoreError::Full { dir: self.dir.clone(), free, floor: self.floor });
        }
        self.written += bytes as u64;
        Ok(())
    }

    /// Like [`FreeSpace::admit`], for writes that stay possible when others are refused, such as
    /// logging in and out: down to a part of the floor.
    pub(super) fn admit_to_reserve(
        &mut self,
        bytes: usize,
        now: Instant,
    ) -> Result<(), StoreError> {
        match self.admit(bytes, now) {
            Err(StoreError::Full { free, .. }) if free >= self.floor / RESERVE => {
                self.written += bytes as u64;
                Ok(())
            }
            other => other,
        }
    }

    fn look(&mut self) {
        let was_low = self.too_little.is_some();
        // A file system that does not know its free space may have some: the write shows it.
        self.too_little = (self.free)(&self.dir).ok().filter(|free| *free < self.floor);
        let (dir, floor) = (self.dir.display(), self.floor);
        match self.too_little {
            Some(free) if !was_low => ::log::warn!(
                "{free} bytes are free in {dir}, and {floor} are to be kept: writes are refused"
            ),
            None if was_low => ::log::warn!("there is room in {dir} again: writes are taken"),
            _ => {}
        }
    }
}

/// The bytes that are free to users other than root.
pub(super) fn free(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 1000;

    fn room(free: fn(&Path) -> io::Result<u64>) -> FreeSpace {
        let mut room = FreeSpace { free, ..FreeSpace::in_dir(Path::new("there")) };
        room.keep(FLOOR);
        room
    }

    #[test]
    fn a_byte_below_the_floor_is_too_little() {
        let now = Instant::now();
        assert!(room(|_| Ok(FLOOR)).admit(1, now).is_ok());
        assert!(room(|_| Ok(FLOOR / RESERVE)).admit_to_reserve(1, now).is_ok());
        assert!(room(|_| Ok(FLOOR / RESERVE - 1)).admit_to_reserve(1, now).is_err());
        let refused = room(|_| Ok(FLOOR - 1)).admit(1, now).unwrap_err();
        assert!(matches!(refused, StoreError::Full { free: 999, floor: FLOOR, .. }), "{refused}");
        assert!(!refused.is_fatal());
        let mut without = room(|_| Ok(0));
        without.keep(0);
        assert!(without.admit(1, now).is_ok());
    }

    #[test]
    fn free_space_is_read_again_after_a_time_and_after_some_bytes() {
        let (now, much) = (Instant::now(), usize::try_from(LOOK_EVERY_BYTES).unwrap());
        let mut room = room(|_| Ok(FLOOR));
        room.admit(much, now).unwrap();
        room.free = |_| Ok(0);
        assert!(room.admit(1, now).is_err(), "as much was written as may be");
        room.free = |_| Ok(FLOOR);
        assert!(room.admit(1, now).is_err(), "it was low a moment ago");
        room.admit(1, now + LOOK_EVERY).unwrap();
        room.free = |_| Ok(0);
        room.admit(1, now + LOOK_EVERY).unwrap();
        assert!(room.admit(1, now + 2 * LOOK_EVERY).is_err());
    }

    #[test]
    fn a_file_system_that_cannot_say_is_written_to() {
        assert!(room(|_| Err(io::Error::other("no"))).admit(1, Instant::now()).is_ok());
    }

    #[test]
    fn the_system_knows_how_much_is_free() {
        assert!(free(&std::env::temp_dir()).unwrap() > 0);
    }
}
