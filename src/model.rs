//! The types of a chat: ids, users, messages, events, sessions, pages, and the limits on each.
//!
//! Values are validated when they are made ([`Username::parse`], [`MessageText::parse`]), so that
//! no other module checks them again. The module depends on serde, for the JSON form of its types,
//! and on jiff, for the calendar.

pub(crate) mod digits;
mod event;
mod id;
mod mailbox;
mod message;
mod page;
mod password_hash;
mod session;
mod timestamp;
mod user;

pub use self::event::{Event, EventKind, MessageChange, ModerationAction, ModerationEvent};
pub use self::id::{EventId, MAX_ID, MessageId, StoreId, UserId};
pub use self::mailbox::Mailbox;
pub use self::message::{MAX_TEXT_BYTES, Message, MessageContent, MessageText, Revision};
pub use self::page::{Cursor, DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Page, Window};
pub use self::password_hash::{
    HASH_LANES, HASH_MEMORY_KIB, HASH_PASSES, MAX_PASSWORD_HASH_LEN, asks_too_much,
    check_password_hash,
};
pub use self::session::{MAX_SESSIONS, MAX_USER_AGENT_LEN, Session, SessionId, shortened};
pub use self::timestamp::Timestamp;
pub use self::user::{
    Block, MAX_PASSWORD_BYTES, MAX_USERNAME_LEN, TOMBSTONE_PREFIX, User, Username,
};
