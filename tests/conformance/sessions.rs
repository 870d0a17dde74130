//! Sessions, changed passwords and ended accounts, through every kind of restart.

use veche::model::{MAX_ID, MAX_SESSIONS, Session, SessionId, Timestamp};
use veche::store::{Entry, for_each_session};

use crate::pair::{Pair, name, new_message, user_id};
use crate::seed::Random;
use crate::subject::Subject;

const HOUR: u64 = 60 * 60 * 1000;

/// A session by its number, begun at a given time and valid for an hour.
pub(crate) fn session(user: u64, number: u64, at: u64) -> Session {
    Session {
        user: user_id(user),
        id: SessionId((0xfeed << 64 | u128::from(number)).to_be_bytes()),
        created_at: Timestamp::from_millis(at),
        expires_at: Timestamp::from_millis(at + HOUR),
        user_agent: format!("agent {number}").into(),
    }
}

/// The hash that [`Pair::with_users`] gives a user.
pub(crate) fn hash(user: u64) -> String {
    format!("hash of u{user}")
}

fn ids(sessions: &[Session]) -> Vec<SessionId> {
    sessions.iter().map(|session| session.id).collect()
}

pub(crate) fn a_session_is_there_until_it_ends<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    let (first, second) = (session(1, 7, 10), session(1, 3, 5));
    for new in [&first, &second, &session(2, 8, 0)] {
        let seen = hash(new.user.get());
        assert_eq!(pair.begin_session(new.clone(), &seen), Some(Vec::new()));
    }
    assert_eq!(pair.store().sessions(user_id(1)).unwrap(), [second.clone(), first.clone()]);
    pair.sync();
    pair.expect_all();
    // With a hash that is not the account's, or without an account.
    for (user, seen) in [(1, "another"), (1, ""), (9, ""), (MAX_ID, "hash of u1")] {
        assert_eq!(pair.begin_session(session(user, 99, 0), seen), None);
    }
    assert!(!pair.end_session(2, first.id), "somebody else's");
    assert!(pair.end_session(1, first.id));
    assert!(!pair.end_session(1, first.id), "once");
    pair.expect_all();
    pair.end_sessions(1);
    pair.end_sessions(3);
    assert_eq!(pair.store().sessions(user_id(1)).unwrap(), []);
    assert_eq!(pair.store().sessions(user_id(2)).unwrap().len(), 1);
    pair.sync();
    pair.expect_all();
}

pub(crate) fn of_too_many_sessions_the_oldest_ends<S: Subject>() {
    let mut pair = Pair::<S>::with_users(2);
    let max = MAX_SESSIONS as u64;
    pair.begin_session(session(2, 500, 0), &hash(2));
    for number in 0..max {
        assert_eq!(pair.begin_session(session(1, 100 - number, number), &hash(1)), Some(vec![]));
    }
    let oldest = session(1, 100, 0).id;
    assert_eq!(pair.begin_session(session(1, 200, max), &hash(1)), Some(vec![oldest]));
    pair.expect_all();
    // By a clock that may be wrong, all have expired but the last: one has to give way.
    let next = session(1, 99, 1).id;
    let late = session(1, 201, max + HOUR - 1);
    assert_eq!(pair.begin_session(late, &hash(1)), Some(vec![next]));
    assert_eq!(pair.store().sessions(user_id(1)).unwrap().len(), MAX_SESSIONS);
    pair.expect_all();
    // An expired session gives way before one that has not expired, even if it began later.
    let mut short = session(2, 501, 1);
    short.expires_at = Timestamp::from_millis(2);
    let id = short.id;
    pair.begin_session(short, &hash(2));
    for number in 2..max {
        assert_eq!(pair.begin_session(session(2, 500 + number, number), &hash(2)), Some(vec![]));
    }
    assert_eq!(pair.begin_session(session(2, 600, max), &hash(2)), Some(vec![id]));
    pair.expect_all();
}

pub(crate) fn a_password_is_changed_with_all_sessions<S: Subject>() {
    let mut pair = Pair::<S>::with_users(2);
    for number in 0..MAX_SESSIONS as u64 {
        pair.begin_session(session(1, number, number), &hash(1));
    }
    assert!(!pair.change_password(session(1, 100, 60), "another", "new"));
    assert!(pair.change_password(session(1, 100, 60), &hash(1), "new"));
    let sessions = pair.store().sessions(user_id(1)).unwrap();
    assert_eq!(ids(&sessions), [session(1, 100, 60).id], "the fresh one only");
    assert_eq!(&*pair.store().user(user_id(1)).unwrap().unwrap().password_hash, "new");
    assert_eq!(&*pair.store().user_named(&name("U1")).unwrap().unwrap().password_hash, "new");
    pair.expect_all();
    assert!(!pair.change_password(session(1, 101, 61), &hash(1), "newer"));
    assert!(pair.change_password(session(1, 101, 61), "new", "newer"));
    pair.sync();
    pair.expect_all();
    let mut found = Vec::new();
    for_each_session(pair.store(), |session| found.push((session.user, session.id))).unwrap();
    assert_eq!(found, [(user_id(1), session(1, 101, 61).id)]);
    // No new entry is about tokens without a session.
    let entries = pair.store().entries(None, 10).unwrap();
    assert!(!entries.iter().any(|entry| matches!(entry, Entry::StrayTokens { .. })), "{entries:?}");
}

pub(crate) fn an_account_that_has_ended_is_a_tombstone<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    pair.post(new_message(1, 2, "before"));
    pair.begin_session(session(1, 1, 0), &hash(1));
    assert!(!pair.end_account(1, "another", 50));
    assert!(pair.end_account(1, &hash(1), 50));
    assert!(!pair.end_account(1, &hash(1), 51), "once");
    assert!(!pair.end_account(1, "", 51), "its hash is empty, but nobody's");
    assert_eq!(pair.begin_session(session(1, 2, 60), ""), None);
    assert!(!pair.change_password(session(1, 2, 60), "", "new"));
    pair.expect_all();
    let user = pair.store().user(user_id(1)).unwrap().unwrap().into_owned();
    assert_eq!((&*user.password_hash, user.shown_name().as_ref()), ("", "deleted~1"));
    assert_eq!(pair.create_user("U1"), None, "the name stays taken");
    assert_eq!(pair.post(new_message(2, 1, "after")), None);
    assert_eq!(pair.post_once(new_message(2, 1, "after"), crate::retries::once(1)), None);
    assert_eq!(pair.store().sessions(user_id(1)).unwrap(), []);
    pair.sync();
    pair.expect_all();
}

/// A prefix of what was not synced survives; of a batch, all or nothing.
pub(crate) fn a_change_survives_whole<S: Subject>() {
    let mut random = Random::new(17);
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut pair = Pair::<S>::with_users(2);
        let mut seen = hash(1);
        for round in 0..12 {
            let at = round * 100;
            for number in 0..4 {
                pair.begin_session(session(1, at + number, at + number), &seen);
            }
            pair.sync();
            let before = pair.store().sessions(user_id(1)).unwrap();
            let (fresh, new) = (session(1, at + 50, at + 50), format!("hash {round}"));
            pair.store().change_password(fresh.clone(), &seen, new.clone().into()).unwrap();
            pair.restart(restart, &mut random);
            let found = pair.store().sessions(user_id(1)).unwrap();
            let stored = pair.store().user(user_id(1)).unwrap().unwrap().password_hash.clone();
            if *stored == *new {
                assert_eq!(found, std::slice::from_ref(&fresh));
                assert!(pair.reference.change_password(fresh, &seen, new.clone().into()));
                seen = new;
            } else {
                assert_eq!((&*stored, found), (&*seen, before));
            }
            pair.expect_all();
        }
        pair.store().end_account(user_id(1), &seen, Timestamp::from_millis(5000)).unwrap();
        pair.sync();
        pair.reference.end_account(user_id(1), &seen, Timestamp::from_millis(5000));
        pair.restart(restart, &mut random);
        pair.expect_all();
    }
}
