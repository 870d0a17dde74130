//! The byte layout of values: fixed-width fields, with text last.

use crate::model::{Timestamp, UserId};

/// Something with a fixed layout in bytes.
pub(super) trait Layout: Sized {
    fn put(&self, out: &mut Vec<u8>);
    /// Reads exactly the bytes that `put` wrote.
    fn take(fields: &mut Fields<'_>) -> Result<Self, DecodeError>;
}

/// The reason for which bytes with a good checksum are no record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// A kind of record of a newer version.
    UnknownKind(u8),
    /// A keyspace of a newer version.
    UnknownKeyspace(u8),
    /// The bytes are not of the form that [`Record::encode`] writes.
    Malformed,
}

impl DecodeError {
    /// Names the part that only a newer version can have written, if that is the reason.
    pub(super) fn newer(&self) -> Option<String> {
        match self {
            DecodeError::UnknownKind(kind) => Some(format!("a record of kind {kind}")),
            DecodeError::UnknownKeyspace(keyspace) => {
                Some(format!("an entry of keyspace {keyspace}"))
            }
            DecodeError::Malformed => None,
        }
    }
}

/// The bytes of a record that are still to be read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn timestamp(&mut self) -> Result<Timestamp, DecodeError> {
        let millis = self.u64()?;
        // A clock beyond the last is taken for it, so nothing beyond was written.
        let timestamp = Timestamp::from_millis(millis);
        if timestamp.millis() == millis { Ok(timestamp) } else { Err(DecodeError::Malformed) }
    }

    /// All that is left, as a text.
    pub(super) fn rest(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.0.len();
        text(self.take(len)?)
    }

    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Malformed) }
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)
}

/// The user with whom a key begins.
pub(super) fn key_user(fields: &mut Fields<'_>) -> Result<UserId, DecodeError> {
    UserId::new(u64::from_be_bytes(fields.array()?)).ok_or(DecodeError::Malformed)
}
