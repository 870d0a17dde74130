//! Small state by subject: what is so about each, until something else is.
//!
//! A fact says of a subject what is so, or that nothing is any more; the last word on a subject
//! counts. Subjects come in families, in the table below. As bytes a subject is its family's number
//! and then its fields, the user first and all of them big-endian, so that all that a family has of
//! a user is one range in order. A value's fields are laid out as those of a record.
//!
//! A family's number and layouts never change, and no number is used again. A number that this
//! version does not know means that a newer one wrote the store.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::account::{AccountKey, AccountValue};
use super::act::RegistrationKey;
use super::block::{AccountBlockKey, ModerationValue, SenderBlockKey, SenderBlockValue};
use super::lineage::{PastStoreIdKey, PastStoreIdValue};
use super::record::{DecodeError, Fields};
use super::retry::{KeyedRetryKey, KeyedRetryValue};
use super::session::{SessionKey, SessionValue, StrayTokensKey, StrayTokensValue};
use crate::model::{MessageId, Timestamp, UserId, digits};

/// Something with a fixed layout in bytes.
pub(super) trait Layout: Sized {
    fn put(&self, out: &mut Vec<u8>);
    /// Reads what `put` wrote, and nothing else.
    fn take(fields: &mut Fields<'_>) -> Result<Self, DecodeError>;
}

/// What something can be so about.
pub(super) trait Key: Layout {
    /// The number of its family.
    const KEYSPACE: u8;
    /// What can be so about it.
    type Value: Layout;

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![Self::KEYSPACE];
        self.put(&mut bytes);
        bytes
    }
}

/// Declares [`Entry`] and which value belongs to which subject.
macro_rules! families {
    ($($number:literal $name:ident: $subject:ident => $value:ident, $about:literal;)*) => {
        /// What is so about a subject.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum Entry {
            $(#[doc = $about]
            $name {
                /// The subject.
                of: $subject,
                /// What is so; `None` if nothing is any more.
                is: Option<$value>,
            },)*
        }

        $(impl Key for $subject {
            const KEYSPACE: u8 = $number;
            type Value = $value;
        })*

        impl Entry {
            /// The bytes of its subject.
            pub(super) fn subject(&self) -> Vec<u8> {
                match self {
                    $(Entry::$name { of, .. } => of.bytes(),)*
                }
            }

            /// The bytes of what is so, if anything is.
            pub(super) fn value(&self) -> Option<Vec<u8>> {
                let mut bytes = Vec::new();
                match self {
                    $(Entry::$name { is, .. } => is.as_ref()?.put(&mut bytes),)*
                }
                Some(bytes)
            }

            /// Reads a subject, then whether anything is so by `is_something`, then what it is.
            pub(super) fn take(
                fields: &mut Fields<'_>,
                is_something: impl FnOnce(&mut Fields<'_>) -> Result<bool, DecodeError>,
            ) -> Result<Entry, DecodeError> {
                match fields.u8()? {
                    $($number => {
                        let of = <$subject>::take(fields)?;
                        let is = is_something(fields)?.then(|| Layout::take(fields)).transpose()?;
                        Ok(Entry::$name { of, is })
                    })*
                    unknown => Err(DecodeError::UnknownFamily(unknown)),
                }
            }
        }
    };
}

families! {
    1 Retry: RetryKey => FirstAnswer, "What became of the first request with an idempotency key: of versions that hashed without a secret.";
    2 RetryOrder: RetryOrderKey => RetryOrderValue, "In which order a user's keys came.";
    3 Session: SessionKey => SessionValue, "A session, until it ends.";
    4 Account: AccountKey => AccountValue, "What has become of an account since it was registered.";
    5 StrayTokens: StrayTokensKey => StrayTokensValue, "What is of a user's tokens that are of no session.";
    6 AccountBlock: AccountBlockKey => ModerationValue, "That nobody can log in to an account.";
    7 SenderBlock: SenderBlockKey => SenderBlockValue, "That a user refuses another's private messages.";
    8 ReadMark: ReadMarkKey => ReadMarkValue, "How far a user has read a conversation.";
    9 Registration: RegistrationKey => ModerationValue, "That nobody can register.";
    10 KeyedRetry: KeyedRetryKey => KeyedRetryValue, "The same as [`Fact::Retry`], by hashes that need a secret.";
    12 PastEpoch: PastStoreIdKey => PastStoreIdValue, "An epoch that ended when a backup of it was restored.";
}

impl Entry {
    /// Whom it is about, and who made it so: they must exist.
    pub(super) fn users(&self) -> [Option<UserId>; 2] {
        match self {
            Entry::Retry { of, .. } => [Some(of.user), None],
            Entry::RetryOrder { of, .. } => [Some(of.user), None],
            Entry::Session { of, .. } => [Some(of.user), None],
            Entry::Account { of, .. } => [Some(of.user), None],
            Entry::StrayTokens { of, .. } => [Some(of.user), None],
            Entry::AccountBlock { of, is } => [Some(of.user), is.map(|is| is.by)],
            Entry::SenderBlock { of, .. } => [Some(of.by), Some(of.user)],
            Entry::ReadMark { of, .. } => [Some(of.user), of.with],
            Entry::KeyedRetry { of, .. } => [Some(of.user), None],
            Entry::Registration { is, .. } => [is.map(|is| is.by), None],
            Entry::PastEpoch { .. } => [None, None],
        }
    }

    /// Reads what an index holds.
    pub(super) fn decode(subject: &[u8], value: &[u8]) -> Result<Entry, DecodeError> {
        let bytes = [subject, value].concat();
        let mut fields = Fields(&bytes);
        let fact = Entry::take(&mut fields, |_| Ok(true))?;
        fields.end().map(|()| fact)
    }

    /// The same, if it says what can be stored and that something is so: other formats have no
    /// limits of their own.
    pub(super) fn checked(self) -> Option<Entry> {
        Entry::decode(&self.subject(), &self.value()?).ok().filter(|fact| *fact == self)
    }
}

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

/// A key under which a user has sent something, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryKey {
    /// Whose it is.
    pub user: UserId,
    /// The key's hash.
    pub key: Hash,
}

/// What became of what was sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstAnswer {
    /// What tells whether another request asks for the same.
    pub fingerprint: Hash,
    /// The message that was posted.
    pub message: MessageId,
    /// When it was.
    pub at: Timestamp,
}

/// A place in the order of a user's keys. The numbers in use have no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryOrderKey {
    /// Whose order it is.
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
    /// When it came.
    pub at: Timestamp,
}

/// A user's conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadMarkKey {
    /// Who reads.
    pub user: UserId,
    /// The other one; `None` is the general chat.
    pub with: Option<UserId>,
}

/// How far it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadMarkValue {
    /// The last message that is.
    pub up_to: MessageId,
    /// When it was marked so.
    pub at: Timestamp,
}

/// user · key
impl Layout for RetryKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.key.0);
    }

    fn take(fields: &mut Fields<'_>) -> Result<RetryKey, DecodeError> {
        Ok(RetryKey { user: subject_user(fields)?, key: Hash(fields.array()?) })
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

/// user · number
impl Layout for RetryOrderKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.number.to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<RetryOrderKey, DecodeError> {
        let user = subject_user(fields)?;
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

/// user · counterpart, 0 for the general chat
impl Layout for ReadMarkKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.with.map_or(0, UserId::get).to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<ReadMarkKey, DecodeError> {
        let user = subject_user(fields)?;
        let with = match u64::from_be_bytes(fields.array()?) {
            0 => None,
            id => Some(UserId::new(id).ok_or(DecodeError::Malformed)?),
        };
        Ok(ReadMarkKey { user, with })
    }
}

/// message · time
impl Layout for ReadMarkValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.up_to.get().to_le_bytes());
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<ReadMarkValue, DecodeError> {
        let up_to = MessageId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        Ok(ReadMarkValue { up_to, at: fields.timestamp()? })
    }
}

/// The user with whom a subject begins.
pub(super) fn subject_user(fields: &mut Fields<'_>) -> Result<UserId, DecodeError> {
    UserId::new(u64::from_be_bytes(fields.array()?)).ok_or(DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MAX_ID;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn facts() -> [Entry; 5] {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let (key, fingerprint) = (Hash([0xab; 16]), Hash([0x01; 16]));
        let message = MessageId::new(0x0403_0201).unwrap();
        [
            Entry::Retry {
                of: RetryKey { user: user(0x0a0b), key },
                is: Some(FirstAnswer { fingerprint, message, at }),
            },
            Entry::RetryOrder {
                of: RetryOrderKey { user: user(0x0a0b), number: 0x0102 },
                is: Some(RetryOrderValue { key, at }),
            },
            Entry::ReadMark {
                of: ReadMarkKey { user: user(0x0a0b), with: Some(user(0x0c0d)) },
                is: Some(ReadMarkValue { up_to: message, at }),
            },
            Entry::ReadMark {
                of: ReadMarkKey { user: user(0x0a0b), with: None },
                is: Some(ReadMarkValue { up_to: message, at }),
            },
            Entry::KeyedRetry {
                of: KeyedRetryKey { user: user(0x0a0b), key },
                is: Some(KeyedRetryValue { secret: Hash([0xcd; 16]), fingerprint, message, at }),
            },
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// The bytes on every disk out there: these literals never change.
    #[test]
    fn golden() {
        let golden = [
            (
                "010000000000000a0babababababababababababababababab",
                "01010101010101010101010101010101\
                 01020304000000007b68e5cf8b010000",
            ),
            (
                "020000000000000a0b0000000000000102",
                "abababababababababababababababab7b68e5cf8b010000",
            ),
            ("080000000000000a0b0000000000000c0d", "01020304000000007b68e5cf8b010000"),
            ("080000000000000a0b0000000000000000", "01020304000000007b68e5cf8b010000"),
            (
                "0a0000000000000a0babababababababababababababababab",
                "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd01010101010101010101010101010101\
                 01020304000000007b68e5cf8b010000",
            ),
        ];
        for (fact, (subject, value)) in facts().into_iter().zip(golden) {
            assert_eq!(hex(&fact.subject()), subject);
            assert_eq!(hex(&fact.value().unwrap()), value);
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        for fact in facts() {
            let (subject, value) = (fact.subject(), fact.value().unwrap());
            assert_eq!(Entry::decode(&subject, &value), Ok(fact.clone()));
            assert_eq!(fact.clone().checked(), Some(fact));
            let whole = [&subject[..], &value].concat();
            for len in 1..whole.len() {
                assert_eq!(Entry::decode(&whole[..len], &[]), Err(DecodeError::Malformed), "{len}");
            }
            assert_eq!(Entry::decode(&whole, &[0]), Err(DecodeError::Malformed));
            let mut nobody = whole.clone();
            nobody[1..9].fill(0);
            assert_eq!(Entry::decode(&nobody, &[]), Err(DecodeError::Malformed));
            let mut far = whole.clone();
            let millis = far.len() - 8;
            far[millis..].copy_from_slice(&(Timestamp::MAX.millis() + 1).to_le_bytes());
            assert_eq!(Entry::decode(&far, &[]), Err(DecodeError::Malformed));
            let mut unknown = whole;
            unknown[0] = 200;
            assert_eq!(Entry::decode(&unknown, &[]), Err(DecodeError::UnknownFamily(200)));
        }
    }

    #[test]
    fn the_subjects_of_a_user_are_one_range_in_order() {
        let turn = |user_id, number| RetryOrderKey { user: user(user_id), number }.bytes();
        let subjects =
            [turn(1, u64::MAX), turn(2, 0), turn(2, 1), turn(2, 256), turn(2, 1 << 40), turn(3, 0)];
        assert!(subjects.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn facts_are_json() {
        let [retry, order, read, read_general, keyed] = facts();
        let lines = [
            r#"{"retry":{"of":{"user":2571,"key":"abababababababababababababababab"},"is":{"fingerprint":"01010101010101010101010101010101","message":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
            r#"{"retry_order":{"of":{"user":2571,"number":258},"is":{"key":"abababababababababababababababab","at":"2023-11-14T22:13:20.123Z"}}}"#,
            r#"{"read_mark":{"of":{"user":2571,"with":3085},"is":{"up_to":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
            r#"{"read_mark":{"of":{"user":2571,"with":null},"is":{"up_to":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
            r#"{"keyed_retry":{"of":{"user":2571,"key":"abababababababababababababababab"},"is":{"secret":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","fingerprint":"01010101010101010101010101010101","message":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
        ];
        for (fact, line) in [retry, order, read, read_general, keyed].into_iter().zip(lines) {
            assert_eq!(serde_json::to_string(&fact).unwrap(), line);
            assert_eq!(serde_json::from_str::<Entry>(line).unwrap(), fact);
            for (from, to) in [("ab\"", "AB\""), ("ab\"", "a\""), ("ab\"", "g\""), ("\"of", "\"x")]
            {
                if !line.contains(from) {
                    continue;
                }
                let other = line.replacen(from, to, 1);
                assert!(serde_json::from_str::<Entry>(&other).is_err(), "{other}");
            }
        }
        let far = lines[1].replace("2571", &(MAX_ID + 1).to_string());
        assert_eq!(serde_json::from_str::<Entry>(&far).unwrap().checked(), None);
        let nothing =
            Entry::RetryOrder { of: RetryOrderKey { user: user(1), number: 0 }, is: None };
        assert_eq!(nothing.checked(), None);
    }
}
