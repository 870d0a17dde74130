//! The state of a store after every kind of restart: what must be there, and what may be.

use veche::model::StoreId;
use veche::store::{IdAllocator, Record};

use crate::pages::{chatter, expect_buried, mailboxes};
use crate::pair::{Pair, message_id, new_message, restored_user, user_id};
use crate::seed::Random;
use crate::subject::Subject;

pub(crate) fn what_was_synced_survives<S: Subject>() {
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut random = Random::new(11);
        let mut pair = Pair::<S>::with_users(3);
        for round in 0..3 {
            chatter(&mut pair, [10, 300, 5][round], &mut random);
            let name = format!("round{round}");
            pair.create_user(&name);
            pair.sync();
            pair.restart(restart, &mut random);
            pair.expect_all();
            pair.expect_every_window(&mailboxes(3), 20);
            assert_eq!(pair.create_user(&name.to_uppercase()), None, "the name is still taken");
        }
        let next = pair.reference.next_ids();
        assert_eq!(pair.create_user("next"), Some(user_id(next.next_user)));
        let id = pair.post(new_message(next.next_user, 1, "hello"));
        assert_eq!(id, Some(message_id(next.next_event)));
        pair.expect_all();
    }
}

/// A prefix of the writes survives, and nothing of it is lost afterwards.
pub(crate) fn a_prefix_of_the_unsynced_writes_survives<S: Subject>() {
    let mut random = Random::new(12);
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut pair = Pair::<S>::with_users(3);
        for _ in 0..10 {
            pair.sync();
            let mut reached = vec![pair.reference.next_ids()];
            for _ in 0..random.below(20) {
                chatter(&mut pair, 1, &mut random);
                reached.push(pair.reference.next_ids());
            }
            pair.restart(restart, &mut random);
            let survived = pair.store().next_ids();
            assert!(reached.contains(&survived), "{survived:?} of {reached:?}");
            pair.reference.go_back(survived);
            pair.expect_all();
            pair.restart(restart, &mut random);
            pair.expect_all();
        }
    }
}

pub(crate) fn identity_and_counters_survive<S: Subject>() {
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut random = Random::new(13);
        let mut pair = Pair::<S>::begin();
        let epoch = pair.store().store_id();
        pair.restart(restart, &mut random);
        assert_eq!(pair.store().store_id(), epoch);
        pair.store().adopt(StoreId(98)).unwrap();
        pair.restart(restart, &mut random);
        assert_eq!(pair.store().store_id(), StoreId(98));
        // After the import of an empty store the store is still empty.
        pair.restore(Record::NextIds(IdAllocator::default()));
        pair.sync();
        pair.store().adopt(StoreId(99)).unwrap();
        for counters in [
            IdAllocator { next_user: 1, next_event: 8 },
            IdAllocator { next_user: 9, next_event: 8 },
        ] {
            pair.restore(Record::NextIds(counters));
            pair.sync();
            pair.restart(restart, &mut random);
            assert_eq!(pair.store().store_id(), StoreId(99));
            pair.expect_all();
        }
        assert!(pair.store().adopt(StoreId(5)).is_err());
        pair.restore(restored_user(10, "ten"));
        pair.restore(Record::NextIds(IdAllocator { next_user: 20, next_event: 30 }));
        pair.sync();
        pair.restart(restart, &mut random);
        assert_eq!(pair.store().store_id(), StoreId(99));
        pair.expect_all();
    }
}

/// With more than a store keeps in memory, and so more than it reads at the start.
pub(crate) fn buried_messages_survive<S: Subject>() {
    let mut random = Random::new(14);
    let mut pair = Pair::<S>::with_users(3);
    chatter(&mut pair, 400, &mut random);
    pair.bury();
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        chatter(&mut pair, 10, &mut random);
        pair.sync();
        pair.restart(restart, &mut random);
        expect_buried(&mut pair);
        pair.expect_all();
    }
}
