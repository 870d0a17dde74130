//! What the chat is made of: ids, users, messages, pages, and the limits on each.
//!
//! Values are validated when they are made ([`Username::parse`], [`MessageText::parse`]), so that
//! nothing behind this module checks them again. Knows JSON's view of them (serde) and the
//! calendar (jiff), and nothing else.

pub(crate) mod digits;
mod event;
mod password_hash;
mod session;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::event::{
    Event, EventId, EventKind, MessageChange, ModerationAction, ModerationEvent,
};
pub use self::password_hash::{
    HASH_LANES, HASH_MEMORY_KIB, HASH_PASSES, MAX_PASSWORD_HASH_LEN, asks_too_much,
    check_password_hash,
};
pub use self::session::{MAX_SESSIONS, MAX_USER_AGENT_LEN, Session, SessionId, shortened};

/// Longest user name, in ASCII characters.
pub const MAX_USERNAME_LEN: usize = 32;
/// Longest password, in bytes of UTF-8.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Longest message text, in bytes of UTF-8 after JSON decoding.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Items on a page when the client does not say.
pub const DEFAULT_PAGE_LIMIT: usize = 100;
/// Items on a page at most.
pub const MAX_PAGE_LIMIT: usize = 1000;
/// Largest id there can be: what a JSON reader that keeps numbers as doubles still reads exactly
/// (RFC 8259, section 6).
pub const MAX_ID: u64 = (1 << 53) - 1;

/// A user's id. The first user is 1; 0 on the wire stands for the general chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(NonZeroU64);

impl UserId {
    /// The id of the first user of a store.
    pub const FIRST: UserId = UserId(NonZeroU64::MIN);

    /// `None` for 0 and above [`MAX_ID`].
    #[must_use]
    pub fn new(id: u64) -> Option<UserId> {
        NonZeroU64::new(id).filter(|id| id.get() <= MAX_ID).map(UserId)
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message's id, from one sequence for the general chat and all private messages. The first
/// is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(u64);

impl MessageId {
    /// The id of the first message of a store.
    pub const FIRST: MessageId = MessageId(0);

    /// `None` above [`MAX_ID`].
    #[must_use]
    pub fn new(id: u64) -> Option<MessageId> {
        (id <= MAX_ID).then_some(MessageId(id))
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z; in JSON and in words as RFC 3339 in UTC, with three
/// decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-30T22:00:00Z, the last millisecond that jiff takes for one.
    pub const MAX: Timestamp = Timestamp(253_402_207_200_000);

    /// Anything past [`Timestamp::MAX`] becomes it: a clock that far off is not worth an error.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Timestamp {
        if millis < Timestamp::MAX.0 { Timestamp(millis) } else { Timestamp::MAX }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as JWT's `NumericDate` counts them (RFC 7519).
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let millis = u64::try_from(time.as_millisecond()).map_err(D::Error::custom)?;
        let time = Timestamp::from_millis(millis);
        // What it would be cut, rounded or moved to is not what was said.
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(D::Error::custom("a time is in UTC, with three decimals and a Z"))
        }
    }
}

/// Which store an id or a cursor belongs to: random at the store's creation, and kept until a backup
/// of it is restored, which is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub u64);

impl StoreId {
    /// Reads what [`Display`](fmt::Display) writes: 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<StoreId> {
        let hex = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(StoreId)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for StoreId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StoreId, D::Error> {
        let text = String::deserialize(deserializer)?;
        StoreId::parse(&text)
            .ok_or_else(|| D::Error::custom("an epoch is 16 lower-case hexadecimal digits"))
    }
}

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

/// 1 to [`MAX_TEXT_BYTES`] of UTF-8, not blank, without U+0000.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageText(Box<str>);

impl MessageText {
    /// The reason, in words for the client, when `text` cannot be a message.
    pub fn parse(text: Cow<'_, str>) -> Result<MessageText, &'static str> {
        if text.len() > MAX_TEXT_BYTES {
            return Err("must be at most 4096 bytes of UTF-8");
        }
        if text.trim().is_empty() {
            return Err("must not be blank");
        }
        if text.contains('\0') {
            return Err("must not contain U+0000");
        }
        Ok(MessageText(text.into()))
    }

    /// A text that was parsed before it was stored; the limits may have been others then.
    pub(crate) fn from_store(text: &str) -> MessageText {
        MessageText(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the name begins with under which an account is shown that has ended.
pub const TOMBSTONE_PREFIX: &str = "deleted~";

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

/// A message of the general chat or between two users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Given out by the store, ascending.
    pub id: MessageId,
    /// The author.
    pub from: UserId,
    /// The receiver of a private message; `None` is the general chat.
    pub to: Option<UserId>,
    /// What it says.
    pub content: MessageContent,
    /// When the server took it.
    pub sent_at: Timestamp,
}

/// What a message says. As large as the text alone: nearly all are never revised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageContent {
    /// What was sent.
    Original(MessageText),
    /// What the last revision left of it.
    Revised(Box<Revision>),
}

/// A message was edited or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its own number.
    pub event: EventId,
    /// Who did it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// The new text; `None` if the message was deleted.
    pub text: Option<MessageText>,
}

impl Message {
    /// What it says; nothing once it is deleted.
    #[must_use]
    pub fn text(&self) -> &str {
        match &self.content {
            MessageContent::Original(text) => text.as_str(),
            MessageContent::Revised(revision) => {
                revision.text.as_ref().map_or("", MessageText::as_str)
            }
        }
    }

    /// The last time that it was edited or deleted.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        match &self.content {
            MessageContent::Original(_) => None,
            MessageContent::Revised(revision) => Some(revision),
        }
    }

    /// Whether it is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.revision().is_some_and(|revision| revision.text.is_none())
    }

    /// When its text was last changed, if it was and still is there.
    #[must_use]
    pub fn edited_at(&self) -> Option<Timestamp> {
        self.revision().filter(|revision| revision.text.is_some()).map(|revision| revision.at)
    }

    /// The event that made it what it is.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.revision().map_or(self.id.into(), |revision| revision.event)
    }

    /// Leaves an empty text in the place of one that a later revision has taken the place of.
    pub(crate) fn erase_text(&mut self) {
        let text = match &mut self.content {
            MessageContent::Original(text) => text,
            MessageContent::Revised(revision) => match &mut revision.text {
                Some(text) => text,
                None => return,
            },
        };
        *text = MessageText::from_store("");
    }

    /// Whether `user` may read it: everybody the general chat, its two parties a private message.
    #[must_use]
    pub fn is_visible_to(&self, user: UserId) -> bool {
        match self.to {
            None => true,
            Some(to) => self.from == user || to == user,
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

/// A list of messages that is read page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mailbox {
    /// The general chat.
    General,
    /// Every private message a user sent or received.
    Private(UserId),
    /// The private messages between two users; make it with [`Mailbox::between`].
    Conversation(UserId, UserId),
}

impl Mailbox {
    /// The same mailbox whichever of the two is named first.
    #[must_use]
    pub fn between(a: UserId, b: UserId) -> Mailbox {
        Mailbox::Conversation(a.min(b), a.max(b))
    }

    /// The mailboxes a message lies in.
    pub fn of(from: UserId, to: Option<UserId>) -> impl Iterator<Item = Mailbox> {
        let [a, b, c] = match to {
            None => [Some(Mailbox::General), None, None],
            Some(to) => [
                Some(Mailbox::Private(from)),
                (to != from).then_some(Mailbox::Private(to)),
                Some(Mailbox::between(from, to)),
            ],
        };
        [a, b, c].into_iter().flatten()
    }

    /// Those of them that make up what a user may see: the general chat, and each party's own.
    pub fn feeds(from: UserId, to: Option<UserId>) -> impl Iterator<Item = Mailbox> {
        Mailbox::of(from, to).filter(|mailbox| !matches!(mailbox, Mailbox::Conversation(..)))
    }
}

/// Where on a list a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The newest page.
    Newest,
    /// The page that ends just below this id.
    Before(u64),
    /// The oldest page that starts at this id or above.
    From(u64),
}

/// A page as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it lies.
    pub cursor: Cursor,
    /// How many items at most, 1 to [`MAX_PAGE_LIMIT`].
    pub limit: usize,
}

impl Window {
    /// The lowest id on the page, or, of an empty page, the lowest id it could have held: what
    /// lies below it is older.
    #[must_use]
    pub fn start(self, first: Option<u64>) -> u64 {
        first.unwrap_or(match self.cursor {
            Cursor::Newest => u64::MAX,
            Cursor::Before(id) | Cursor::From(id) => id,
        })
    }
}

/// A page as found: items in ascending order of id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as the window's limit.
    pub items: Vec<T>,
    /// Whether the list holds anything below the page.
    pub older: bool,
}

impl<T> Page<T> {
    /// One of a list that has nothing.
    #[must_use]
    pub const fn empty() -> Page<T> {
        Page { items: Vec::new(), older: false }
    }
}

// A message that was never revised costs no more than its text.
const _: () = assert!(size_of::<MessageContent>() == size_of::<MessageText>());
