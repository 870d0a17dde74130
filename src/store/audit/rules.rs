//! Rules for a single record, whatever the others are.

use crate::model::{
    MAX_TEXT_BYTES, MAX_USER_AGENT_LEN, TOMBSTONE_PREFIX, User, check_password_hash,
};
use crate::store::entries::account::AccountValue;
use crate::store::entries::keyspaces::Entry;

/// The reason for which a record is refused.
pub(super) type Why = &'static str;

/// Longest name, in bytes: the limit of the length field in a record.
pub(super) const MAX_NAME_BYTES: usize = 255;

pub(super) fn user(user: &User) -> Result<(), Why> {
    let name = user.name.as_str();
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err("the username is empty or longer than 255 bytes");
    }
    if name.chars().any(char::is_control) {
        return Err("the username holds a control character");
    }
    if name.to_ascii_lowercase().starts_with(TOMBSTONE_PREFIX) {
        return Err("the username is one that ended accounts are shown under");
    }
    check_password_hash(&user.password_hash)
}

/// An empty one says that a later revision has taken its place.
pub(super) fn text(text: &str) -> Result<(), Why> {
    if text.len() > MAX_TEXT_BYTES { Err("the text is longer than 4096 bytes") } else { Ok(()) }
}

pub(super) fn entry(entry: &Entry) -> Result<(), Why> {
    match entry {
        Entry::Account { value: None, .. }
        | Entry::StrayTokens { value: None, .. }
        | Entry::ReadMark { value: None, .. } => Err("the entry removes a value that is final"),
        Entry::Account { value: Some(AccountValue::Password { hash, .. }), .. } => {
            check_password_hash(hash)
        }
        Entry::Session { value: Some(value), .. } => {
            let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if value.user_agent.len() > MAX_USER_AGENT_LEN
                || !value.user_agent.bytes().all(printable)
            {
                return Err("the session's client is not called by 80 printable ASCII characters");
            }
            let ends_first = value.expires_at < value.at;
            if ends_first { Err("the session ends before it begins") } else { Ok(()) }
        }
        _ => Ok(()),
    }
}
