//! The errors of a store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error of a store. The message is the operator's; clients see a 500, or
/// a 507 where there is no room.
#[derive(Debug)]
pub enum StoreError {
    /// Writing or syncing failed, or whatever else a store cannot do without, such as opening a
    /// file at its start: nothing since the last sync may be acknowledged, and the store is done
    /// for.
    Failed {
        /// The operation.
        doing: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A record of the log differs from the one that was written.
    Damaged(LogDamage),
    /// A part of the log could not be read. Nothing was changed, and the other parts are still
    /// readable.
    Unread {
        /// The segment file.
        file: PathBuf,
        /// Bytes from the start of the file.
        offset: u64,
        /// The error of the system.
        source: io::Error,
    },
    /// The index disagrees with the log or cannot be read; the next start rebuilds it.
    Index(String),
    /// The store cannot be opened as it is; the text says why and what to do.
    Refused(String),
    /// Too little room is left on the disk to begin a write; nothing was changed.
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// The free bytes there.
        free: u64,
        /// The bytes that are to stay free.
        floor: u64,
    },
    /// All of the ids up to [`crate::model::MAX_ID`] are given out.
    OutOfIds,
}

impl StoreError {
    pub(crate) fn failed(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Failed { doing, path: path.to_owned(), source }
    }

    /// False for an error after which the store can go on.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            StoreError::Damaged(_)
                | StoreError::Unread { .. }
                | StoreError::Full { .. }
                | StoreError::OutOfIds
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Failed { doing, path, source } => {
                write!(f, "{doing} {} failed: {source}", path.display())
            }
            StoreError::Damaged(damage) => damage.fmt(f),
            StoreError::Unread { file, offset, source } => {
                write!(f, "reading {} at offset {offset} failed: {source}", file.display())
            }
            StoreError::Index(what) => {
                write!(f, "the index is unusable ({what}); the next start rebuilds it from the log")
            }
            StoreError::Refused(why) => f.write_str(why),
            StoreError::Full { dir, free, floor } => {
                write!(f, "{free} bytes are free in {}, and {floor} are to be kept", dir.display())
            }
            StoreError::OutOfIds => f.write_str("no ids are left"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Failed { source, .. } | StoreError::Unread { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A place in the log at which it differs from what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDamage {
    /// The segment file.
    pub file: PathBuf,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The kind of damage.
    pub what: &'static str,
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at offset {}: {}", self.file.display(), self.offset, self.what)
    }
}

/// The reason why an import was refused.
#[derive(Debug)]
pub enum RestoreError {
    /// The store already holds something.
    NotEmpty,
    /// An id or name that is taken, or an id lower than its predecessor's.
    Conflict(String),
    /// The store itself failed.
    Store(StoreError),
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        RestoreError::Store(error)
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NotEmpty => f.write_str("the store is not empty"),
            RestoreError::Conflict(what) => f.write_str(what),
            RestoreError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}
