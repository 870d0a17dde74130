//! The keyspaces, and [`Entry`], which is an entry of any of them.
//!
//! An entry sets the value of a key, or removes it; the last entry for a key counts. As bytes a key
//! is the number of its keyspace and then its fields, the user first and all of them big-endian, so
//! that the keys of a user in a keyspace are one range in order. The fields of a value are laid out
//! as those of a record.
//!
//! A keyspace's number, layouts and JSON name never change, and no number is used again. A number
//! that this version does not know means that a newer one wrote the store.

use serde::{Deserialize, Serialize};

use super::account::{AccountKey, AccountValue};
use super::block::{AccountBlockKey, ModerationValue, SenderBlockKey, SenderBlockValue};
use super::past_store_id::{PastStoreIdKey, PastStoreIdValue};
use super::read_mark::{ReadMarkKey, ReadMarkValue};
use super::reader::{EntryReader, Key, RangeEnd};
use super::registration::RegistrationKey;
use super::retry::{
    FirstAnswer, KeyedRetryKey, KeyedRetryValue, RetryKey, RetryOrderKey, RetryOrderValue,
};
use super::session::{SessionKey, SessionValue, StrayTokensKey, StrayTokensValue};
use crate::model::UserId;
use crate::store::codec::{DecodeError, Fields, Layout};
use crate::store::error::StoreError;

/// Declares [`Entry`], and the keyspace and the value of each key type.
macro_rules! keyspaces {
    ($($number:literal $json:literal $name:ident: $key:ident => $value:ident, $about:literal;)*) => {
        /// A key with its value, or without one if the key is removed. In JSON the two are `of` and
        /// `is`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum Entry {
            $(#[doc = $about]
            #[serde(rename = $json)]
            $name {
                /// The key.
                #[serde(rename = "of")]
                key: $key,
                /// The value; `None` removes the key.
                #[serde(rename = "is")]
                value: Option<$value>,
            },)*
        }

        $(impl Key for $key {
            const KEYSPACE: u8 = $number;
            type Value = $value;
        })*

        impl Entry {
            /// The bytes of the key, the number of its keyspace first.
            pub(in crate::store) fn key_bytes(&self) -> Vec<u8> {
                match self {
                    $(Entry::$name { key, .. } => key.bytes(),)*
                }
            }

            /// The bytes of the value, if there is one.
            pub(in crate::store) fn value_bytes(&self) -> Option<Vec<u8>> {
                let mut bytes = Vec::new();
                match self {
                    $(Entry::$name { value, .. } => value.as_ref()?.put(&mut bytes),)*
                }
                Some(bytes)
            }

            /// Reads a key, then whether a value follows by `has_value`, then the value.
            pub(in crate::store) fn take(
                fields: &mut Fields<'_>,
                has_value: impl FnOnce(&mut Fields<'_>) -> Result<bool, DecodeError>,
            ) -> Result<Entry, DecodeError> {
                match fields.u8()? {
                    $($number => {
                        let key = <$key>::take(fields)?;
                        let value = has_value(fields)?.then(|| Layout::take(fields)).transpose()?;
                        Ok(Entry::$name { key, value })
                    })*
                    unknown => Err(DecodeError::UnknownKeyspace(unknown)),
                }
            }
        }
    };
}

keyspaces! {
    1 "retry" Retry: RetryKey => FirstAnswer, "The answer to the first request with an idempotency key, by hashes without a secret, as earlier versions wrote them.";
    2 "retry_order" RetryOrder: RetryOrderKey => RetryOrderValue, "A place in the order of a user's idempotency keys.";
    3 "session" Session: SessionKey => SessionValue, "A session, until it ends.";
    4 "account" Account: AccountKey => AccountValue, "The change of an account since it was registered.";
    5 "stray_tokens" StrayTokens: StrayTokensKey => StrayTokensValue, "The end of a user's tokens that are of no session.";
    6 "account_block" AccountBlock: AccountBlockKey => ModerationValue, "A block of an account: nobody can log in to it.";
    7 "sender_block" SenderBlock: SenderBlockKey => SenderBlockValue, "A block of a sender: a user refuses another's private messages.";
    8 "read_mark" ReadMark: ReadMarkKey => ReadMarkValue, "How far a user has read a conversation.";
    9 "registration" Registration: RegistrationKey => ModerationValue, "The closing of registration.";
    10 "keyed_retry" KeyedRetry: KeyedRetryKey => KeyedRetryValue, "The same as [`Entry::Retry`], by hashes that need a secret.";
    12 "past_epoch" PastStoreId: PastStoreIdKey => PastStoreIdValue, "A store id that ended when a backup of it was restored.";
}

impl Entry {
    /// The users that the entry is about, and the one who made it: they must exist.
    pub(in crate::store) fn users(&self) -> [Option<UserId>; 2] {
        match self {
            Entry::Retry { key, .. } => [Some(key.user), None],
            Entry::RetryOrder { key, .. } => [Some(key.user), None],
            Entry::Session { key, .. } => [Some(key.user), None],
            Entry::Account { key, .. } => [Some(key.user), None],
            Entry::StrayTokens { key, .. } => [Some(key.user), None],
            Entry::AccountBlock { key, value } => [Some(key.user), value.map(|value| value.by)],
            Entry::SenderBlock { key, .. } => [Some(key.by), Some(key.user)],
            Entry::ReadMark { key, .. } => [Some(key.user), key.with],
            Entry::KeyedRetry { key, .. } => [Some(key.user), None],
            Entry::Registration { value, .. } => [value.map(|value| value.by), None],
            Entry::PastStoreId { .. } => [None, None],
        }
    }

    /// Reads a key and its value, as an index holds them.
    pub(in crate::store) fn decode(key: &[u8], value: &[u8]) -> Result<Entry, DecodeError> {
        let bytes = [key, value].concat();
        let mut fields = Fields(&bytes);
        let entry = Entry::take(&mut fields, |_| Ok(true))?;
        fields.end().map(|()| entry)
    }

    /// The entry, if it has a value and can be stored as it is: other formats have no limits of
    /// their own.
    pub(in crate::store) fn checked(self) -> Option<Entry> {
        let decoded = Entry::decode(&self.key_bytes(), &self.value_bytes()?);
        decoded.ok().filter(|entry| *entry == self)
    }
}

/// The first `limit` entries after the key of `after`, in order of key, in all keyspaces.
pub(in crate::store) fn page(
    reader: &impl EntryReader,
    after: Option<&Entry>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    // The next key there can be has one more byte, of the least.
    let start = after.map_or_else(Vec::new, |entry| [entry.key_bytes(), vec![0]].concat());
    let found = reader.entries(&start[..]..&[u8::MAX][..], RangeEnd::First, limit)?;
    let decoded = found.iter().map(|(key, value)| Entry::decode(key, value));
    decoded.map(|entry| entry.map_err(|_| reader.malformed())).collect()
}
