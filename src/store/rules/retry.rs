//! Idempotency keys: a message that was sent under one is remembered, so that a client that never
//! saw the answer can send it again (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! Only hashes of the key and the message are kept, made with a secret that no store has: see
//! [`IdempotencyKey::secret`]. Earlier versions made them without one, in [`Entry::Retry`]; those
//! are found until they expire.
//!
//! Each key has two entries: the first answer, by key, and the place in the order of the user's
//! keys, by which the oldest is found when it has to give way. Both are written in one batch with
//! the message. Expired keys are removed when their user sends under a key again, a few at a time,
//! so that no request waits for a scan. A user who never does leaves at most [`MAX_RETRIES`] of
//! them until the next compaction. Neither a compaction nor an export keeps what a
//! [`RetentionFilter`] holds back.

use std::time::Duration;

use crate::model::{EventId, MessageId, Timestamp, UserId};
use crate::store::backend::{Backend, IdempotencyKey};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::reader;
use crate::store::entries::reader::{EntryReader, RangeEnd};
use crate::store::entries::retry::{
    FirstAnswer, Hash, KeyedRetryKey, KeyedRetryValue, RetryKey, RetryOrderKey, RetryOrderValue,
};
use crate::store::error::StoreError;

/// For how long a first answer is given again.
pub const RETRY_LIFETIME: Duration = Duration::from_hours(24);
/// Keys of a user that are remembered; with one more the oldest is forgotten.
pub const MAX_RETRIES: u64 = 1000;
/// Keys that are forgotten at most when one is added. More than one, so that expired keys become
/// fewer.
const FORGOTTEN_AT_ONCE: usize = 2;
/// Entries read at once.
const KEYS_AT_ONCE: usize = 100;

/// The first answer to a key, if it has not expired at `now`.
pub(in crate::store) fn find(
    state: &impl EntryReader,
    retry_key: &RetryKey,
    now: Timestamp,
) -> Result<Option<FirstAnswer>, StoreError> {
    let keyed = reader::get(state, &KeyedRetryKey::from(*retry_key))?.map(FirstAnswer::from);
    let found = match keyed {
        Some(first) => Some(first),
        None => reader::get(state, retry_key)?,
    };
    Ok(found.filter(|first| !is_over(first.at, now)))
}

/// The entries that remember a message that was posted under a key of its author's, of which
/// nothing is remembered at that time. They also remove a few of the keys that have expired by
/// then, if they have expired at [`IdempotencyKey::settled`] as well.
pub(in crate::store) fn remember(
    state: &impl EntryReader,
    user: UserId,
    once: IdempotencyKey,
    message: MessageId,
    now: Timestamp,
) -> Result<Vec<Entry>, StoreError> {
    let IdempotencyKey { key, fingerprint, secret, settled } = once;
    let retry_key = RetryKey { user, key };
    let order = |end, limit| reader::of_user::<RetryOrderKey>(state, user, end, limit);
    let last = order(RangeEnd::Last, 1)?.pop().map(|(turn, _)| turn.number);
    let number = match last {
        Some(last) => last.checked_add(1).ok_or(StoreError::OutOfIds)?,
        None => 0,
    };
    let mut entries = Vec::with_capacity(2 + 2 * FORGOTTEN_AT_ONCE);
    let oldest =
        if last.is_some() { order(RangeEnd::First, FORGOTTEN_AT_ONCE)? } else { Vec::new() };
    for (turn, RetryOrderValue { key: old, at }) in oldest {
        if number - turn.number < MAX_RETRIES && !is_over(at, settled.min(now)) {
            break;
        }
        entries.push(Entry::RetryOrder { key: turn, value: None });
        // One that was used again since it was over has a later turn, too, and is kept for that.
        let old = RetryKey { user, key: old };
        if old == retry_key {
            continue;
        }
        let keyed = KeyedRetryKey::from(old);
        if reader::get(state, &keyed)?.is_some_and(|first| first.at == at) {
            entries.push(Entry::KeyedRetry { key: keyed, value: None });
        } else if reader::get(state, &old)?.is_some_and(|first| first.at == at) {
            entries.push(Entry::Retry { key: old, value: None });
        }
    }
    let remembered = RetryOrderValue { key, at: now };
    entries
        .push(Entry::RetryOrder { key: RetryOrderKey { user, number }, value: Some(remembered) });
    let first = KeyedRetryValue { secret, fingerprint, message, at: now };
    entries.push(Entry::KeyedRetry { key: retry_key.into(), value: Some(first) });
    Ok(entries)
}

/// The messages that a user has sent under keys that were hashed with another secret than this one,
/// and that have not expired. They cannot be compared with keys of today.
pub fn sent_under_other_secrets(
    store: &mut dyn Backend,
    user: UserId,
    secret: Hash,
    now: Timestamp,
) -> Result<Vec<FirstAnswer>, StoreError> {
    let mut found = Vec::new();
    // No hash is lower.
    let before = KeyedRetryKey { user, key: Hash([0; 16]) };
    let mut last = Entry::KeyedRetry { key: before, value: None };
    loop {
        let page = store.entries(Some(&last), KEYS_AT_ONCE)?;
        for entry in &page {
            let Entry::KeyedRetry { key, value: Some(value) } = entry else { return Ok(found) };
            if key.user != user {
                return Ok(found);
            }
            if value.secret != secret && !is_over(value.at, now) {
                found.push(FirstAnswer::from(*value));
            }
        }
        match page.into_iter().last() {
            Some(entry) => last = entry,
            None => return Ok(found),
        }
    }
}

/// The time by which a process that has just begun can judge which keys have expired: the present,
/// or the time of the last event if that is earlier, as the clock may be ahead. `None` for a store
/// that does not know its last event: it has none, or was restored and gave out nothing since.
pub fn settled_at_start(
    store: &mut dyn Backend,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let last = store.next_ids().next_event.checked_sub(1).and_then(EventId::new);
    let Some(last) = last else { return Ok(None) };
    Ok(store.history(last, 1)?.first().map(|event| event.at.min(now)))
}

/// A filter that leaves out entries that need not be kept when all of a store is written again.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct RetentionFilter {
    now: Timestamp,
}

impl RetentionFilter {
    /// A filter for keys that have expired at `now`.
    pub(in crate::store) fn new(now: Timestamp) -> RetentionFilter {
        RetentionFilter { now }
    }

    /// Returns whether an entry is kept: any but those of keys that have expired, or of accounts
    /// that have ended. A key of a deleted message stays for its day, so that a client that sends
    /// the message again does not post it again.
    pub(in crate::store) fn keeps(
        self,
        entry: &Entry,
        has_ended: impl FnOnce(UserId) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let (user, at) = match entry {
            Entry::Retry { key, value: Some(value) } => (key.user, value.at),
            Entry::RetryOrder { key, value: Some(value) } => (key.user, value.at),
            Entry::KeyedRetry { key, value: Some(value) } => (key.user, value.at),
            _ => return Ok(true),
        };
        Ok(!is_over(at, self.now) && !has_ended(user)?)
    }
}

/// True for an entry about an idempotency key, which expires after 24 h.
pub(in crate::store) fn is_passing(entry: &Entry) -> bool {
    matches!(entry, Entry::Retry { .. } | Entry::RetryOrder { .. } | Entry::KeyedRetry { .. })
}

/// A clock that was set back makes nothing expire sooner.
fn is_over(at: Timestamp, now: Timestamp) -> bool {
    u128::from(now.millis().saturating_sub(at.millis())) >= RETRY_LIFETIME.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entries::entry_map::EntryMap;
    use crate::store::entries::keyspaces;

    const HOUR: u64 = 60 * 60 * 1000;

    fn of(user: u64, key: u64) -> RetryKey {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&key.to_le_bytes());
        RetryKey { user: UserId::new(user).unwrap(), key: Hash(hash) }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn add(entries: &mut EntryMap, retry_key: RetryKey, message: u64, millis: u64) -> usize {
        let message = MessageId::new(message).unwrap();
        let once = IdempotencyKey::for_tests(retry_key.key.0, [1; 16]);
        let new = remember(entries, retry_key.user, once, message, at(millis)).unwrap();
        for entry in &new {
            entries.take(entry);
        }
        new.len()
    }

    fn found(entries: &EntryMap, retry_key: RetryKey, millis: u64) -> Option<u64> {
        find(entries, &retry_key, at(millis)).unwrap().map(|first| first.message.get())
    }

    fn count(entries: &EntryMap) -> usize {
        keyspaces::page(entries, None, usize::MAX).unwrap().len()
    }

    #[test]
    fn an_answer_is_found_for_a_day() {
        let mut entries = EntryMap::default();
        add(&mut entries, of(1, 7), 3, 1000);
        assert_eq!(found(&entries, of(1, 7), 0), Some(3), "a clock that was set back");
        assert_eq!(found(&entries, of(1, 7), 1000 + 24 * HOUR - 1), Some(3));
        assert_eq!(found(&entries, of(1, 7), 1000 + 24 * HOUR), None);
        assert_eq!(found(&entries, of(1, 8), 1000), None);
        assert_eq!(found(&entries, of(2, 7), 1000), None, "another user's");
    }

    #[test]
    fn the_oldest_of_too_many_gives_way() {
        let mut entries = EntryMap::default();
        add(&mut entries, of(1, 5), 0, 5);
        add(&mut entries, of(3, 5), 0, 5);
        for key in 0..MAX_RETRIES + 50 {
            add(&mut entries, of(2, key), key, key);
            assert_eq!(found(&entries, of(2, key), key), Some(key));
            let given_way = key.checked_sub(MAX_RETRIES);
            assert_eq!(given_way.and_then(|old| found(&entries, of(2, old), key)), None);
            let oldest = (key + 1).saturating_sub(MAX_RETRIES);
            assert_eq!(found(&entries, of(2, oldest), key), Some(oldest));
        }
        assert_eq!(count(&entries), 2 * (2 + usize::try_from(MAX_RETRIES).unwrap()));
        assert_eq!(found(&entries, of(1, 5), 5), Some(0));
        assert_eq!(found(&entries, of(3, 5), 5), Some(0));
    }

    #[test]
    fn expired_keys_are_removed_a_few_at_a_time() {
        let mut entries = EntryMap::default();
        for key in 0..100 {
            assert_eq!(add(&mut entries, of(1, key), key, key), 2);
        }
        for key in 100..200 {
            assert_eq!(add(&mut entries, of(1, key), key, 30 * HOUR), 6, "two are forgotten");
            if key == 149 {
                assert_eq!(count(&entries), 100, "all of the first are");
                break;
            }
        }
        assert_eq!(add(&mut entries, of(1, 200), 200, 30 * HOUR), 2);
        assert_eq!(found(&entries, of(1, 149), 30 * HOUR), Some(149));
    }

    #[test]
    fn a_key_that_is_used_again_is_not_forgotten_with_its_first_use() {
        let mut entries = EntryMap::default();
        // Three are over, of which two are forgotten at once; the third is used again first.
        for key in [0, 1, 2, 3] {
            add(&mut entries, of(1, key), key, key);
        }
        add(&mut entries, of(1, 2), 10, 25 * HOUR);
        assert_eq!(found(&entries, of(1, 2), 25 * HOUR), Some(10));
        add(&mut entries, of(1, 9), 11, 25 * HOUR);
        assert_eq!(found(&entries, of(1, 2), 25 * HOUR), Some(10), "only its first turn is gone");
        // The one that is added is itself the oldest.
        let mut entries = EntryMap::default();
        add(&mut entries, of(1, 2), 0, 0);
        add(&mut entries, of(1, 2), 1, 25 * HOUR);
        assert_eq!(found(&entries, of(1, 2), 25 * HOUR), Some(1));
        assert_eq!(count(&entries), 2);
    }
}
