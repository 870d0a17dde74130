//! What is remembered of messages that were sent under an idempotency key, so that who never saw the
//! answer can ask again (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! Two facts each: what the first answer was, by its key, and in which order a user's keys came, so
//! that the oldest is found when it has to give way. Both are written with the message, as one with
//! it. What is over is forgotten when its user sends under a key again, a few at a time, so that nobody
//! waits for a scan. Who never does leaves [`MAX_RETRIES`] behind at most.

use std::time::Duration;

use super::StoreError;
use super::fact::{Fact, FirstAnswer, Hash, Remembered, RetryOf, RetryTurn};
use super::facts::{self, End, State};
use crate::model::{MessageId, Timestamp};

/// For how long a first answer is given again.
pub const RETRY_LIFETIME: Duration = Duration::from_hours(24);
/// How many keys of a user are remembered; then the oldest gives way.
pub const MAX_RETRIES: u64 = 1000;
/// How many are forgotten at most when one is added: with more than one, what is over becomes less.
const FORGOTTEN_AT_ONCE: usize = 2;

/// What is sent under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// The key's hash.
    pub key: Hash,
    /// The hash of what is asked for.
    pub fingerprint: Hash,
    /// Only what is over at this time, too, is forgotten for it, as the present may be wrong.
    pub settled: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is posted.
    Now(MessageId),
    /// Something was sent under the key before, and nothing now.
    Before(FirstAnswer),
}

/// What was sent first under a key, if that is not over at `now`.
pub(super) fn find(
    state: &impl State,
    of: &RetryOf,
    now: Timestamp,
) -> Result<Option<FirstAnswer>, StoreError> {
    Ok(facts::get(state, of)?.filter(|first| !is_over(first.at, now)))
}

/// What is to be written to remember `first`, of which nothing is remembered at its time. Of what is
/// over by then a few are forgotten, if they are over at `settled` as well.
pub(super) fn remember(
    state: &impl State,
    of: RetryOf,
    first: FirstAnswer,
    settled: Timestamp,
) -> Result<Vec<Fact>, StoreError> {
    let RetryOf { user, key } = of;
    let order = |end, limit| facts::of_user::<RetryTurn>(state, user, end, limit);
    let last = order(End::Last, 1)?.pop().map(|(turn, _)| turn.number);
    let number = match last {
        Some(last) => last.checked_add(1).ok_or(StoreError::OutOfIds)?,
        None => 0,
    };
    let mut facts = Vec::with_capacity(2 + 2 * FORGOTTEN_AT_ONCE);
    let oldest = if last.is_some() { order(End::First, FORGOTTEN_AT_ONCE)? } else { Vec::new() };
    for (turn, Remembered { key: old, at }) in oldest {
        if number - turn.number < MAX_RETRIES && !is_over(at, settled.min(first.at)) {
            break;
        }
        facts.push(Fact::RetryOrder { of: turn, is: None });
        // One that was used again since it was over has a later turn, too, and is kept for that.
        let old = RetryOf { user, key: old };
        if old != of && facts::get(state, &old)?.is_some_and(|first| first.at == at) {
            facts.push(Fact::Retry { of: old, is: None });
        }
    }
    let remembered = Remembered { key, at: first.at };
    facts.push(Fact::RetryOrder { of: RetryTurn { user, number }, is: Some(remembered) });
    facts.push(Fact::Retry { of, is: Some(first) });
    Ok(facts)
}

/// Of a clock that was set back, nothing is over sooner.
fn is_over(at: Timestamp, now: Timestamp) -> bool {
    u128::from(now.millis().saturating_sub(at.millis())) >= RETRY_LIFETIME.as_millis()
}

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::*;
    use crate::model::UserId;

    const HOUR: u64 = 60 * 60 * 1000;

    fn of(user: u64, key: u64) -> RetryOf {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&key.to_le_bytes());
        RetryOf { user: UserId::new(user).unwrap(), key: Hash(hash) }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn add(facts: &mut Facts, of: RetryOf, message: u64, millis: u64) -> usize {
        let message = MessageId::new(message).unwrap();
        let first = FirstAnswer { fingerprint: Hash([1; 16]), message, at: at(millis) };
        let new = remember(facts, of, first, Timestamp::MAX).unwrap();
        for fact in &new {
            facts.take(fact);
        }
        new.len()
    }

    fn found(facts: &Facts, of: RetryOf, millis: u64) -> Option<u64> {
        find(facts, &of, at(millis)).unwrap().map(|first| first.message.get())
    }

    fn count(facts: &Facts) -> usize {
        facts::page(facts, None, usize::MAX).unwrap().len()
    }

    #[test]
    fn an_answer_is_found_for_a_day() {
        let mut facts = Facts::default();
        add(&mut facts, of(1, 7), 3, 1000);
        assert_eq!(found(&facts, of(1, 7), 0), Some(3), "a clock that was set back");
        assert_eq!(found(&facts, of(1, 7), 1000 + 24 * HOUR - 1), Some(3));
        assert_eq!(found(&facts, of(1, 7), 1000 + 24 * HOUR), None);
        assert_eq!(found(&facts, of(1, 8), 1000), None);
        assert_eq!(found(&facts, of(2, 7), 1000), None, "another user's");
    }

    #[test]
    fn the_oldest_of_too_many_gives_way() {
        let mut facts = Facts::default();
        add(&mut facts, of(1, 5), 0, 5);
        add(&mut facts, of(3, 5), 0, 5);
        for key in 0..MAX_RETRIES + 50 {
            add(&mut facts, of(2, key), key, key);
            assert_eq!(found(&facts, of(2, key), key), Some(key));
            let given_way = key.checked_sub(MAX_RETRIES);
            assert_eq!(given_way.and_then(|old| found(&facts, of(2, old), key)), None);
            let oldest = (key + 1).saturating_sub(MAX_RETRIES);
            assert_eq!(found(&facts, of(2, oldest), key), Some(oldest));
        }
        assert_eq!(count(&facts), 2 * (2 + usize::try_from(MAX_RETRIES).unwrap()));
        assert_eq!(found(&facts, of(1, 5), 5), Some(0));
        assert_eq!(found(&facts, of(3, 5), 5), Some(0));
    }

    #[test]
    fn what_is_over_is_forgotten_a_few_at_a_time() {
        let mut facts = Facts::default();
        for key in 0..100 {
            assert_eq!(add(&mut facts, of(1, key), key, key), 2);
        }
        for key in 100..200 {
            assert_eq!(add(&mut facts, of(1, key), key, 30 * HOUR), 6, "two are forgotten");
            if key == 149 {
                assert_eq!(count(&facts), 100, "all of the first are");
                break;
            }
        }
        assert_eq!(add(&mut facts, of(1, 200), 200, 30 * HOUR), 2);
        assert_eq!(found(&facts, of(1, 149), 30 * HOUR), Some(149));
    }

    #[test]
    fn a_key_that_is_used_again_is_not_forgotten_with_its_first_use() {
        let mut facts = Facts::default();
        // Three are over, of which two are forgotten at once; the third is used again first.
        for key in [0, 1, 2, 3] {
            add(&mut facts, of(1, key), key, key);
        }
        add(&mut facts, of(1, 2), 10, 25 * HOUR);
        assert_eq!(found(&facts, of(1, 2), 25 * HOUR), Some(10));
        add(&mut facts, of(1, 9), 11, 25 * HOUR);
        assert_eq!(found(&facts, of(1, 2), 25 * HOUR), Some(10), "only its first turn is gone");
        // The one that is added is itself the oldest.
        let mut facts = Facts::default();
        add(&mut facts, of(1, 2), 0, 0);
        add(&mut facts, of(1, 2), 1, 25 * HOUR);
        assert_eq!(found(&facts, of(1, 2), 25 * HOUR), Some(1));
        assert_eq!(count(&facts), 2);
    }
}
