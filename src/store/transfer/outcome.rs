//! The outcome of an export, an import or a backup: its contents, its purpose, and the reason of a
//! failure.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::model::StoreId;
use crate::store::error::{RestoreError, StoreError};

/// The contents of an export or import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Number of accounts.
    pub users: u64,
    /// Number of messages.
    pub messages: u64,
    /// Number of edits and deletions.
    pub revisions: u64,
    /// Number of moderations by operators.
    pub moderations: u64,
    /// SHA-256, in hexadecimal, of everything but the last line, and of the next ids in that.
    pub digest: String,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { users, messages, revisions, moderations, digest } = self;
        write!(f, "{users} users, {messages} messages, ")?;
        if *revisions > 0 {
            write!(f, "{revisions} edits and deletions, ")?;
        }
        if *moderations > 0 {
            write!(f, "{moderations} moderations, ")?;
        }
        write!(f, "sha256 {digest}")
    }
}

/// The reason why an export or import did not come to its end.
#[derive(Debug)]
pub enum TransferError {
    /// The file could not be read or written.
    Io(io::Error),
    /// A line is not one of an export.
    Line(u64, String),
    /// The store refused a record.
    Restore(u64, RestoreError),
    /// The bytes at an offset of the file are not those of a backup.
    Offset(u64, String),
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Io(error) => error.fmt(f),
            TransferError::Line(line, why) => write!(f, "line {line}: {why}"),
            TransferError::Restore(line, why) => write!(f, "line {line}: {why}"),
            TransferError::Offset(offset, why) => write!(f, "offset {offset}: {why}"),
            TransferError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransferError {}

impl From<io::Error> for TransferError {
    fn from(error: io::Error) -> Self {
        TransferError::Io(error)
    }
}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        TransferError::Store(error)
    }
}

/// The purpose of a file, which depends on whether its store stays in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The store moves: it continues where the file is imported, and nowhere else, with the same
    /// store id and the next ids.
    Move,
    /// The store stayed in use. Ids that it gave out later are lost with a restore, and must not be
    /// given out again.
    Backup,
}

impl Purpose {
    /// The purpose as an article and a noun.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Move => "a move",
            Purpose::Backup => "a backup",
        }
    }
}

/// The origin of a file, as the file states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOrigin {
    /// The store id of the store that it is of.
    pub store_id: StoreId,
    /// The purpose of the file. A backup's is implied; an export states it in its first line, and
    /// one that does not is from a time when an export was always a move.
    pub purpose: Purpose,
}
