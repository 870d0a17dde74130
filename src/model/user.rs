//! Users, and blocks of users.

use std::borrow::Cow;

use super::id::UserId;
use super::timestamp::Timestamp;

/// Longest user name, in ASCII characters.
pub const MAX_USERNAME_LEN: usize = 32;
/// Longest password, in bytes of UTF-8.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// The beginning of the name that is shown for a deleted account.
pub const TOMBSTONE_PREFIX: &str = "deleted~";

/// 1 to [`MAX_USERNAME_LEN`] of ASCII letters, digits, `_`, `.` and `-`; two names that differ
/// only in case are the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Username(Box<str>);

impl Username {
    /// Checks a name. The error says what is wrong, in words for the client.
    pub fn parse(name: &str) -> Result<Username, &'static str> {
        if name.is_empty() || name.len() > MAX_USERNAME_LEN {
            return Err("must be 1 to 32 characters long");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            return Err("may only hold ASCII letters, digits, '_', '.' and '-'");
        }
        Ok(Username(name.into()))
    }

    /// A name from the store. It was parsed when it was stored, perhaps under other limits.
    pub(crate) fn from_store(name: &str) -> Username {
        Username(name.into())
    }

    /// The name as its owner wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in lower case. Two names that are equal in lower case are the same name.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id, assigned by the store.
    pub id: UserId,
    /// Unique whatever the case.
    pub name: Username,
    /// The password hash, in the PHC string format with its own parameters and salt. Empty once the
    /// account is deleted.
    pub password_hash: Box<str>,
    /// The time of registration.
    pub created_at: Timestamp,
    /// The time of its deletion, if it is deleted. Then nobody can log in to it or write to it, and
    /// nobody else gets its name.
    pub ended_at: Option<Timestamp>,
}

impl User {
    /// The name that others see. For a deleted account it is a name that nobody can register.
    #[must_use]
    pub fn shown_name(&self) -> Cow<'_, str> {
        match self.ended_at {
            None => self.name.as_str().into(),
            Some(_) => format!("{TOMBSTONE_PREFIX}{}", self.id).into(),
        }
    }
}

/// A block of a user: from the server, or from writing to another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The user who is blocked.
    pub user: UserId,
    /// The operator, or the other user.
    pub by: UserId,
    /// The time at which it began.
    pub at: Timestamp,
}
