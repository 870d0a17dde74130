//! Moderation actions and users' blocks, through every kind of restart.

use veche::model::{Cursor, MAX_ID, Mailbox, ModerationAction, Page, Window};
use veche::store::IdAllocator;

use crate::pair::{Pair, event_id, message_id, new_message, user_id};
use crate::seed::Random;
use crate::sessions::{hash, session};
use crate::subject::Subject;

pub(crate) fn a_moderation_action_is_an_event<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    pair.post(new_message(1, 2, "private"));
    assert_eq!(pair.act(3, ModerationAction::Block(user_id(2))), Some(event_id(1)));
    assert_eq!(pair.act(3, ModerationAction::Block(user_id(2))), None, "it is so already");
    assert_eq!(pair.act(3, ModerationAction::CloseRegistration), Some(event_id(2)));
    pair.post(new_message(1, 0, "general"));
    assert_eq!(pair.act(3, ModerationAction::Unblock(user_id(2))), Some(event_id(4)));
    assert_eq!(pair.act(3, ModerationAction::Unblock(user_id(2))), None);
    for nobody in [4, MAX_ID] {
        assert_eq!(pair.act(3, ModerationAction::Block(user_id(nobody))), None);
    }
    pair.revise(3, None);
    for reader in 1..=3 {
        for limit in 1..8 {
            for id in 0..8 {
                for cursor in [Cursor::Newest, Cursor::Before(id), Cursor::From(id)] {
                    let window = Window { cursor, limit };
                    let store = pair.subject.store();
                    pair.reference.expect_events(store, user_id(reader), window);
                }
            }
        }
    }
    let everything = Window { cursor: Cursor::Newest, limit: 9 };
    let Page { items, .. } = pair.store().messages(Mailbox::General, everything).unwrap();
    assert_eq!(items.len(), 1, "an act is no message");
    assert_eq!(pair.store().message(message_id(2)).unwrap(), None);
    pair.sync();
    pair.expect_all();
}

pub(crate) fn a_blocked_account_is_closed<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    for number in 0..5 {
        pair.begin_session(session(2, number, number), &hash(2));
    }
    pair.begin_session(session(1, 9, 0), &hash(1));
    pair.act(3, ModerationAction::Block(user_id(2)));
    assert_eq!(pair.store().sessions(user_id(2)).unwrap(), []);
    assert_eq!(pair.store().sessions(user_id(1)).unwrap().len(), 1);
    assert_eq!(pair.begin_session(session(2, 7, 7), &hash(2)), None);
    assert!(!pair.change_password(session(2, 7, 7), &hash(2), "new"));
    assert!(!pair.end_account(2, &hash(2), 8));
    pair.post(new_message(1, 2, "for when you are back")).unwrap();
    pair.expect_all();
    pair.act(3, ModerationAction::Unblock(user_id(2)));
    assert_eq!(pair.begin_session(session(2, 7, 7), &hash(2)), Some(vec![]));
    assert!(pair.end_account(2, &hash(2), 8));
    assert_eq!(pair.act(3, ModerationAction::Block(user_id(2))), None, "it has ended");
    pair.sync();
    pair.expect_all();
}

pub(crate) fn registration_is_closed_and_opened<S: Subject>() {
    let mut pair = Pair::<S>::with_users(1);
    assert_eq!(pair.act(1, ModerationAction::OpenRegistration), None);
    for round in 0..3 {
        assert_eq!(pair.act(1, ModerationAction::CloseRegistration), Some(event_id(2 * round)));
        assert_eq!(pair.act(1, ModerationAction::CloseRegistration), None);
        pair.sync();
        pair.expect_all();
        assert_eq!(pair.act(1, ModerationAction::OpenRegistration), Some(event_id(2 * round + 1)));
        pair.expect_all();
    }
}

pub(crate) fn every_window_of_blocks_is_exact<S: Subject>() {
    let mut pair = Pair::<S>::with_users(12);
    for user in [3, 4, 7, 11] {
        pair.act(1, ModerationAction::Block(user_id(user)));
        assert!(pair.refuse_sender(5, user + 1, true));
        assert!(!pair.refuse_sender(5, user + 1, true));
    }
    assert!(pair.refuse_sender(4, 5, true));
    assert!(pair.refuse_sender(6, 5, true));
    pair.sync();
    assert!(!pair.refuse_sender(7, 5, false));
    assert!(pair.refuse_sender(5, 5, false));
    assert!(pair.refuse_sender(5, 2, true));
    pair.act(1, ModerationAction::Unblock(user_id(4)));
    pair.act(1, ModerationAction::Block(user_id(1)));
    for by in [4, 5, 6, 7] {
        for limit in 1..6 {
            for id in (0..14).chain([MAX_ID, u64::MAX]) {
                for cursor in [Cursor::Newest, Cursor::Before(id), Cursor::From(id)] {
                    let window = Window { cursor, limit };
                    pair.reference.expect_blocks(pair.subject.store(), user_id(by), window);
                }
            }
        }
    }
    pair.expect_all();
}

/// Any prefix of what was not synced may survive; of a batch, all or nothing.
pub(crate) fn a_block_survives_whole<S: Subject>() {
    let mut random = Random::new(23);
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut pair = Pair::<S>::with_users(3);
        for round in 0..12 {
            for number in 0..4 {
                pair.begin_session(session(2, round * 10 + number, number), &hash(2));
            }
            pair.refuse_sender(1, 2, round % 2 == 0);
            pair.sync();
            let counters = pair.store().next_ids();
            pair.store()
                .moderate(user_id(1), at(round), ModerationAction::Block(user_id(2)))
                .unwrap();
            pair.restart(restart, &mut random);
            if pair.store().next_ids() != counters {
                let IdAllocator { next_event, .. } = counters;
                let event =
                    pair.reference.act(user_id(1), at(round), ModerationAction::Block(user_id(2)));
                assert_eq!(event, Some(event_id(next_event)));
            }
            pair.expect_all();
            pair.act(1, ModerationAction::Unblock(user_id(2)));
            if round % 3 == 0 {
                pair.act(1, ModerationAction::CloseRegistration);
                pair.act(1, ModerationAction::OpenRegistration);
            }
        }
        pair.act(1, ModerationAction::CloseRegistration);
        pair.act(1, ModerationAction::Block(user_id(3)));
        pair.sync();
        pair.restart(restart, &mut random);
        pair.expect_all();
    }
}

fn at(round: u64) -> veche::model::Timestamp {
    veche::model::Timestamp::from_millis(round)
}
