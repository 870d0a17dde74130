//! The ids of users, messages, events and stores.

use std::fmt;
use std::num::NonZeroU64;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest id there can be: the largest integer that a JSON reader that keeps numbers as doubles
/// reads exactly (RFC 8259, section 6).
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

/// An event's number. One sequence counts all that happens; a message's id is the number of its
/// creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(u64);

impl EventId {
    /// `None` above [`MAX_ID`].
    #[must_use]
    pub fn new(id: u64) -> Option<EventId> {
        (id <= MAX_ID).then_some(EventId(id))
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<MessageId> for EventId {
    fn from(id: MessageId) -> EventId {
        EventId(id.get())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a store, which the wire calls its epoch. It is random, and drawn when the store
/// is created or restored from a backup.
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
