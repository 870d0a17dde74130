//! Idempotency entries: the first answer to each key, and the order in which a user's keys came.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{MessageId, Timestamp, UserId, digits};
use crate::store::codec::{DecodeError, Fields, Layout, key_user};

/// The first half of a SHA-256, or of an HMAC; in JSON 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 16]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits::write(self.0, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        digits::parse(&text)
            .map(Hash)
            .ok_or_else(|| D::Error::custom("a hash is 32 lower-case hexadecimal digits"))
    }
}

/// A hashed idempotency key of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryKey {
    /// The user who sent it.
    pub user: UserId,
    /// The key's hash.
    pub key: Hash,
}

/// The answer to the first request with an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstAnswer {
    /// The hash of the request, for comparison with later ones.
    pub fingerprint: Hash,
    /// The message that was posted.
    pub message: MessageId,
    /// The time of the message.
    pub at: Timestamp,
}

/// An idempotency key of a user, hashed with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyedRetryKey {
    /// The user who sent it.
    pub user: UserId,
    /// The key's hash.
    pub key: Hash,
}

/// The answer to the first request with an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyedRetryValue {
    /// The id of the secret that the hashes were made with.
    pub secret: Hash,
    /// The hash of the request, for comparison with later ones.
    pub fingerprint: Hash,
    /// The message that was posted.
    pub message: MessageId,
    /// The time of the message.
    pub at: Timestamp,
}

impl From<RetryKey> for KeyedRetryKey {
    fn from(RetryKey { user, key }: RetryKey) -> Self {
        KeyedRetryKey { user, key }
    }
}

impl From<KeyedRetryValue> for FirstAnswer {
    fn from(KeyedRetryValue { secret: _, fingerprint, message, at }: KeyedRetryValue) -> Self {
        FirstAnswer { fingerprint, message, at }
    }
}

/// A place in the order of a user's keys. The numbers in use have no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryOrderKey {
    /// The user who sent the keys.
    pub user: UserId,
    /// Ascending.
    pub number: u64,
}

/// The key that is remembered there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryOrderValue {
    /// The key's hash.
    pub key: Hash,
    /// The time of the request.
    pub at: Timestamp,
}

/// user · key
impl Layout for RetryKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.key.0);
    }

    fn take(fields: &mut Fields<'_>) -> Result<RetryKey, DecodeError> {
        Ok(RetryKey { user: key_user(fields)?, key: Hash(fields.array()?) })
    }
}

/// fingerprint · message · time
impl Layout for FirstAnswer {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.fingerprint.0);
        out.extend(self.message.get().to_le_bytes());
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<FirstAnswer, DecodeError> {
        let fingerprint = Hash(fields.array()?);
        let message = MessageId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        Ok(FirstAnswer { fingerprint, message, at: fields.timestamp()? })
    }
}

/// user · key
impl Layout for KeyedRetryKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.key.0);
    }

    fn take(fields: &mut Fields<'_>) -> Result<KeyedRetryKey, DecodeError> {
        Ok(KeyedRetryKey { user: key_user(fields)?, key: Hash(fields.array()?) })
    }
}

/// secret · fingerprint · message · time
impl Layout for KeyedRetryValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.secret.0);
        out.extend(self.fingerprint.0);
        out.extend(self.message.get().to_le_bytes());
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<KeyedRetryValue, DecodeError> {
        let (secret, fingerprint) = (Hash(fields.array()?), Hash(fields.array()?));
        let message = MessageId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        Ok(KeyedRetryValue { secret, fingerprint, message, at: fields.timestamp()? })
    }
}

/// user · number
impl Layout for RetryOrderKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.number.to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<RetryOrderKey, DecodeError> {
        let user = key_user(fields)?;
        Ok(RetryOrderKey { user, number: u64::from_be_bytes(fields.array()?) })
    }
}

/// key · time
impl Layout for RetryOrderValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.key.0);
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<RetryOrderValue, DecodeError> {
        Ok(RetryOrderValue { key: Hash(fields.array()?), at: fields.timestamp()? })
    }
}
