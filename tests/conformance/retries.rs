//! A message sent under a key is posted once, for a day, through every kind of restart.

use veche::model::{MAX_ID, MessageId, Timestamp};
use veche::store::{
    Entry, FirstAnswer, Hash, IdempotencyKey, MAX_RETRIES, NewMessage, PostOutcome, RETRY_LIFETIME,
    Record, RetryKey, RetryOrderKey, RetryOrderValue, sent_under_other_secrets,
};

use crate::pair::{Pair, message_id, new_message, user_id};
use crate::seed::Random;
use crate::subject::Subject;

pub(crate) const DAY: u64 = 24 * 60 * 60 * 1000;
const START: u64 = 1_700_000_000_000;

/// A key by its number.
pub(crate) fn key(number: u64) -> Hash {
    Hash((0xabcd << 64 | u128::from(number)).to_be_bytes())
}

pub(crate) fn once(number: u64) -> IdempotencyKey {
    let (secret, settled) = (Hash([2; 16]), Timestamp::MAX);
    IdempotencyKey { key: key(number), fingerprint: Hash([7; 16]), secret, settled }
}

/// A message to the general chat at a given time.
pub(crate) fn at(from: u64, millis: u64) -> NewMessage {
    let sent_at = Timestamp::from_millis(START + millis);
    NewMessage { sent_at, ..new_message(from, 0, "once") }
}

fn first(id: u64, millis: u64) -> FirstAnswer {
    let at = Timestamp::from_millis(START + millis);
    FirstAnswer { fingerprint: Hash([7; 16]), message: message_id(id), at }
}

pub(crate) fn a_message_sent_twice_is_posted_once<S: Subject>() {
    assert_eq!(RETRY_LIFETIME.as_millis(), u128::from(DAY));
    let mut pair = Pair::<S>::with_users(2);
    let posted = |id| Some(PostOutcome::Posted(message_id(id)));
    assert_eq!(pair.post_once(at(1, 0), once(5)), posted(0));
    // Before the sync and after it, with the same message or another: comparing them is not the
    // store's task.
    assert_eq!(pair.post_once(at(1, 10), once(5)), Some(PostOutcome::Replayed(first(0, 0))));
    pair.sync();
    let other = NewMessage { to: Some(user_id(2)), ..at(1, 20) };
    assert_eq!(pair.post_once(other, once(5)), Some(PostOutcome::Replayed(first(0, 0))));
    assert_eq!(pair.post_once(at(2, 20), once(5)), posted(1), "another user's key");
    assert_eq!(pair.post_once(at(1, 20), once(6)), posted(2));
    pair.expect_all();
    // A message that was not posted is not remembered.
    for nobody in [3, MAX_ID] {
        let new = NewMessage { to: Some(user_id(nobody)), ..at(1, 30) };
        assert_eq!(pair.post_once(new, once(7)), None);
        let of = RetryKey { user: user_id(1), key: key(7) };
        let found = pair.store().first_answer(of, Timestamp::from_millis(START + 30)).unwrap();
        assert_eq!(found, None);
    }
    assert_eq!(pair.post_once(at(1, 40), once(7)), posted(3));
    // For a day.
    assert_eq!(pair.post_once(at(1, DAY - 1), once(5)), Some(PostOutcome::Replayed(first(0, 0))));
    assert_eq!(pair.post_once(at(1, DAY), once(5)), posted(4));
    assert_eq!(
        pair.post_once(at(1, 2 * DAY - 1), once(5)),
        Some(PostOutcome::Replayed(first(4, DAY)))
    );
    pair.sync();
    pair.expect_all();
}

/// More keys of a user than are remembered.
pub(crate) fn the_oldest_key_gives_way<S: Subject>() {
    let mut pair = Pair::<S>::with_users(2);
    pair.post_once(at(2, 0), once(0));
    for number in 0..MAX_RETRIES + 10 {
        assert!(matches!(
            pair.post_once(at(1, number), once(number)),
            Some(PostOutcome::Posted(_))
        ));
        if number % 100 == 0 {
            pair.sync();
        }
    }
    for oldest in 10..13 {
        let of = |number| RetryKey { user: user_id(1), key: key(number) };
        let now = Timestamp::from_millis(START + 5000);
        assert_eq!(pair.store().first_answer(of(oldest - 1), now).unwrap(), None);
        assert!(pair.store().first_answer(of(oldest), now).unwrap().is_some());
        let again = pair.post_once(at(1, 5000), once(oldest - 1));
        assert!(matches!(again, Some(PostOutcome::Posted(_))), "{again:?}");
        pair.expect_all();
    }
    let facts = pair.store().entries(None, usize::MAX).unwrap().len();
    assert_eq!(facts as u64, 2 * (MAX_RETRIES + 1), "two for each that is remembered");
    assert!(matches!(pair.post_once(at(2, 5000), once(0)), Some(PostOutcome::Replayed(_))));
}

/// Keys that earlier versions wrote are found for their day, and give way like others.
pub(crate) fn keys_without_a_secret_are_found<S: Subject>() {
    let mut pair = Pair::<S>::with_users(1);
    pair.post(new_message(1, 0, "before"));
    let (user, is) = (user_id(1), first(0, 0));
    for number in 0..3 {
        let of = RetryKey { user, key: key(number) };
        let remembered = RetryOrderValue { key: key(number), at: is.at };
        let store = pair.store();
        store.restore(Record::Entry(Entry::Retry { key: of, value: Some(is) })).unwrap();
        let of = RetryOrderKey { user, number };
        store
            .restore(Record::Entry(Entry::RetryOrder { key: of, value: Some(remembered) }))
            .unwrap();
    }
    let store = pair.store();
    let now = |millis| Timestamp::from_millis(START + millis);
    let of = |number| RetryKey { user, key: key(number) };
    assert_eq!(store.first_answer(of(1), now(DAY - 1)).unwrap(), Some(is));
    assert_eq!(store.first_answer(of(1), now(DAY)).unwrap(), None);
    assert_eq!(store.post_once(at(1, 5), once(1)).unwrap(), Some(PostOutcome::Replayed(is)));
    for (number, left) in [(10, 4), (11, 4)] {
        let sent = store.post_once(at(1, DAY + number), once(number)).unwrap();
        assert!(matches!(sent, Some(PostOutcome::Posted(_))));
        assert_eq!(store.entries(None, usize::MAX).unwrap().len(), left, "{number}");
    }
}

/// With another secret than the one they were hashed with, keys are found by their messages only.
pub(crate) fn keys_of_other_secrets_are_told<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    let secret = once(0).secret;
    for number in 0..450 {
        let secret = if number % 3 == 0 { Hash([3; 16]) } else { secret };
        pair.post_once(at(1 + number % 2, number), IdempotencyKey { secret, ..once(number) });
    }
    let mut told = |user, secret, millis| {
        let now = Timestamp::from_millis(START + millis);
        let found = sent_under_other_secrets(pair.store(), user_id(user), secret, now).unwrap();
        let mut ids: Vec<_> = found.into_iter().map(|first| first.message.get()).collect();
        ids.sort_unstable();
        ids
    };
    let of = |user, strange: bool| {
        (0..450).filter(|id| 1 + id % 2 == user && (id % 3 == 0) == strange).collect::<Vec<u64>>()
    };
    for user in [1, 2] {
        assert_eq!(told(user, secret, 450), of(user, true));
        assert_eq!(told(user, Hash([3; 16]), 450), of(user, false));
    }
    assert_eq!(told(3, secret, 450), [] as [u64; 0]);
    assert_eq!(told(1, secret, DAY + 440), [444]);
}

pub(crate) fn keys_survive<S: Subject>() {
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut random = Random::new(15);
        let mut pair = Pair::<S>::with_users(3);
        for round in 0..4 {
            let now = round * DAY * 2 / 3;
            for number in 0..[5, 400, 3, 200][usize::try_from(round).unwrap()] {
                pair.post_once(at(1 + number % 3, now + number), once(number / 2));
            }
            pair.sync();
            pair.restart(restart, &mut random);
            pair.expect_all();
            for number in 0..5 {
                pair.post_once(at(1 + number % 3, now + 500), once(number / 2));
            }
            pair.sync();
            pair.expect_all();
        }
    }
}

/// A prefix of what was not synced survives; of a message and its key, both or neither.
pub(crate) fn a_message_and_its_key_survive_together<S: Subject>() {
    let mut random = Random::new(16);
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut pair = Pair::<S>::with_users(3);
        let mut number = 0;
        for _ in 0..20 {
            pair.sync();
            let before = pair.reference.next_ids();
            let mut reached = vec![before];
            for _ in 0..random.below(6) {
                number += 1;
                // Some of those before it are over, and forgotten with it.
                pair.post_once(at(1 + number % 2, number * DAY / 20), once(number));
                reached.push(pair.reference.next_ids());
            }
            pair.restart(restart, &mut random);
            let survived = pair.store().next_ids();
            assert!(reached.contains(&survived), "{survived:?} of {reached:?}");
            pair.reference.go_back(survived);
            pair.expect_all();
            let all =
                pair.store().history(MessageId::FIRST.into(), usize::MAX).unwrap().len() as u64;
            assert_eq!(all, survived.next_event);
        }
    }
}
