//! Small state by subject: what is so about each, until something else is.
//!
//! A fact says of a subject what is so, or that nothing is any more; the last word on a subject
//! counts. Subjects come in families, in the table below. As bytes a subject is its family's number
//! and then its fields, the user first and all of them big-endian, so that all that a family has of
//! a user is one range in order. A value's fields are laid out as those of a record.
//!
//! A family's number and layouts never change, and no number is used again. A number that this
//! version does not know means that a newer one wrote the store.

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
            pub(in crate::store) fn subject(&self) -> Vec<u8> {
                match self {
                    $(Entry::$name { of, .. } => of.bytes(),)*
                }
            }

            /// The bytes of what is so, if anything is.
            pub(in crate::store) fn value(&self) -> Option<Vec<u8>> {
                let mut bytes = Vec::new();
                match self {
                    $(Entry::$name { is, .. } => is.as_ref()?.put(&mut bytes),)*
                }
                Some(bytes)
            }

            /// Reads a subject, then whether anything is so by `is_something`, then what it is.
            pub(in crate::store) fn take(
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
    pub(in crate::store) fn users(&self) -> [Option<UserId>; 2] {
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
    pub(in crate::store) fn decode(subject: &[u8], value: &[u8]) -> Result<Entry, DecodeError> {
        let bytes = [subject, value].concat();
        let mut fields = Fields(&bytes);
        let fact = Entry::take(&mut fields, |_| Ok(true))?;
        fields.end().map(|()| fact)
    }

    /// The same, if it says what can be stored and that something is so: other formats have no
    /// limits of their own.
    pub(in crate::store) fn checked(self) -> Option<Entry> {
        Entry::decode(&self.subject(), &self.value()?).ok().filter(|fact| *fact == self)
    }
}

/// The first facts behind `after`, in order of subject: all that is so, page by page.
pub(in crate::store) fn page(
    state: &impl EntryReader,
    after: Option<&Entry>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    // The next subject there can be has one more byte, of the least.
    let start = after.map_or_else(Vec::new, |fact| [fact.subject(), vec![0]].concat());
    let entries = state.entries(&start[..]..&[u8::MAX][..], RangeEnd::First, limit)?;
    let decoded = entries.iter().map(|(subject, value)| Entry::decode(subject, value));
    decoded.map(|fact| fact.map_err(|_| state.malformed())).collect()
}
