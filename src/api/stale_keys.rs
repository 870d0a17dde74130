//! Idempotency keys that were hashed with another secret than the current one.
//!
//! They are stale: they cannot be compared with the key of a request. The messages that were posted
//! under them are compared instead.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::model::{MessageText, Timestamp, UserId};
use crate::store::{Backend, Hash, RETRY_LIFETIME, StoreError, sent_under_other_secrets};

/// Most entries in memory: posts under stale keys, and users without any. They take 5 MB. With more,
/// the cache is emptied and the store is asked again.
const MAX_ENTRIES: usize = 64 * 1024;

/// A cache of the messages that users posted under stale keys.
#[derive(Default)]
pub(super) struct StaleKeys {
    by_user: HashMap<UserId, Vec<StalePost>>,
    /// The number of posts, and of users without any.
    entries: usize,
}

/// A message that was posted under a stale key.
struct StalePost {
    at: Timestamp,
    to: Option<UserId>,
    /// The hash of its text; `None` if the message was revised, so that the text is not known.
    text: Option<Hash>,
}

impl StalePost {
    fn may_be(&self, to: Option<UserId>, text: Hash, now: Timestamp) -> bool {
        let age = u128::from(now.millis().saturating_sub(self.at.millis()));
        let has_expired = age >= RETRY_LIFETIME.as_millis();
        !has_expired && self.to == to && self.text.is_none_or(|posted| posted == text)
    }
}

impl StaleKeys {
    /// `true` if the message may be one that the user posted under a stale key that has not
    /// expired.
    pub(super) fn may_have_posted(
        &mut self,
        store: &mut dyn Backend,
        (user, secret): (UserId, Hash),
        (to, text): (Option<UserId>, &MessageText),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let posts = self.posts_of(store, user, secret, now)?;
        if posts.is_empty() {
            return Ok(false);
        }
        let text = hash_of(text.as_str());
        Ok(posts.iter().any(|post| post.may_be(to, text, now)))
    }

    /// The posts of a user. They are read once: nothing is posted under a stale key any more.
    fn posts_of(
        &mut self,
        store: &mut dyn Backend,
        user: UserId,
        secret: Hash,
        now: Timestamp,
    ) -> Result<&[StalePost], StoreError> {
        if !self.by_user.contains_key(&user) {
            let mut found = Vec::new();
            for first in sent_under_other_secrets(store, user, secret, now)? {
                let Some(message) = store.message(first.message)? else { continue };
                let is_original = message.revision().is_none();
                let text = is_original.then(|| hash_of(message.text()));
                found.push(StalePost { at: first.at, to: message.to, text });
            }
            self.entries += found.len().max(1);
            if self.entries > MAX_ENTRIES {
                *self = StaleKeys { entries: found.len().max(1), ..StaleKeys::default() };
            }
            self.by_user.insert(user, found);
        }
        Ok(self.by_user.get(&user).map_or(&[], Vec::as_slice))
    }
}

/// The first 16 bytes of a SHA-256 digest.
pub(super) fn truncated_sha256(hasher: Sha256) -> Hash {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    Hash(bytes)
}

fn hash_of(text: &str) -> Hash {
    truncated_sha256(Sha256::new().chain_update(text))
}
