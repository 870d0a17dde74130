//! Users, and who has blocked whom.

use std::borrow::Cow;

use super::id::UserId;
use super::timestamp::Timestamp;

/// Longest user name, in ASCII characters.
pub const MAX_USERNAME_LEN: usize = 32;
/// Longest password, in bytes of UTF-8.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// What the name begins with under which an account is shown that has ended.
pub const TOMBSTONE_PREFIX: &str = "deleted~";

/// 1 to [`MAX_USERNAME_LEN`] of ASCII letters, digits, `_`, `.` and `-`; two names that differ
/// only in case are the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Username(Box<str>);

impl Username {
    /// The reason, in words for the client, when `name` is not a user name.
    pub fn parse(name: &str) -> Result<Username, &'static str> {
        if name.is_empty() || name.len() > MAX_USERNAME_LEN {
            return Err("must be 1 to 32 characters long");
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            return Err("may only hold ASCII letters, digits, '_', '.' and '-'");
        }
        Ok(Username(name.into()))
    }

    /// A name that was parsed before it was stored; the limits may have been others then.
    pub(crate) fn from_store(name: &str) -> Username {
        Username(name.into())
    }

    /// As its owner wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What uniqueness is decided by: the name in lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Given out by the store.
    pub id: UserId,
    /// Unique whatever the case.
    pub name: Username,
    /// In the PHC string format, with its own parameters and salt. Empty once the account has
    /// ended.
    pub password_hash: Box<str>,
    /// When the account was registered.
    pub created_at: Timestamp,
    /// When it ended, if it did: then nobody can log in to it or write to it any more, and its name
    /// is given to nobody else.
    pub ended_at: Option<Timestamp>,
}

impl User {
    /// What others are shown: the name, or of an account that has ended one that nobody can have.
    #[must_use]
    pub fn shown_name(&self) -> Cow<'_, str> {
        match self.ended_at {
            None => self.name.as_str().into(),
            Some(_) => format!("{TOMBSTONE_PREFIX}{}", self.id).into(),
        }
    }
}

/// That a user is blocked: from the whole house, or from writing to another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Who is blocked.
    pub user: UserId,
    /// Who did it: an operator, or the other user.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
}
