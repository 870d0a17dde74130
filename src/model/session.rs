//! Sessions: from a login to a logout.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digits;
use super::id::UserId;
use super::timestamp::Timestamp;

/// Most sessions of a user; with one more, the oldest ends. A change of all of them is one group in
/// the log, whose length is limited.
pub const MAX_SESSIONS: usize = 50;
/// Longest `User-Agent` that is kept, in characters.
pub const MAX_USER_AGENT_LEN: usize = 80;

/// A session's id: random, and the claim `sid` of its token (`OpenID` Connect Front-Channel Logout
/// 1.0, section 3). In JSON and in text it has 32 lower-case hexadecimal digits. It identifies the
/// session, but does not suffice to make its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// Reads what [`Display`](fmt::Display) writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<SessionId> {
        digits::parse(text).map(SessionId)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits::write(self.0, f)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SessionId, D::Error> {
        let text = String::deserialize(deserializer)?;
        SessionId::parse(&text)
            .ok_or_else(|| D::Error::custom("a session is 32 lower-case hexadecimal digits"))
    }
}

/// One login, until its token expires or it is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user: UserId,
    /// The id of the session.
    pub id: SessionId,
    /// The time of the login.
    pub created_at: Timestamp,
    /// The time at which its token expires.
    pub expires_at: Timestamp,
    /// The client's `User-Agent`, [`shortened`]; empty if it sent none.
    pub user_agent: Box<str>,
}

/// A `User-Agent` as it is kept: the first [`MAX_USER_AGENT_LEN`] characters, with `?` in place of
/// those that are not printable ASCII.
#[must_use]
pub fn shortened(user_agent: &str) -> Box<str> {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let kept: String = user_agent.trim().chars().map(printable).take(MAX_USER_AGENT_LEN).collect();
    kept.trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_one_form_only() {
        let id = SessionId([0x0a; 16]);
        let text = "0a".repeat(16);
        assert_eq!(id.to_string(), text);
        assert_eq!(SessionId::parse(&text), Some(id));
        for other in [&text.to_uppercase(), &text[1..], &format!("+{}", &text[1..]), "", "zz"] {
            assert_eq!(SessionId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_user_agent_is_short_and_printable() {
        assert_eq!(&*shortened(" curl/8.5.0 "), "curl/8.5.0");
        assert_eq!(&*shortened("a\u{7}\nпривет\u{202e}b"), "a?????????b");
        assert_eq!(shortened(&"x".repeat(81)).len(), MAX_USER_AGENT_LEN);
        assert_eq!(&*shortened(""), "");
    }
}
