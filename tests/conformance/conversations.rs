//! Conversations, in order of the last message, and their unread messages.

use veche::model::{MAX_ID, MAX_PAGE_LIMIT, UserId};
use veche::store::{MarkOutcome, UNREAD_LOOK, Unread};

use crate::pages::chatter;
use crate::pair::{Pair, message_id, new_message, restored_message, restored_user, user_id};
use crate::seed::Random;
use crate::subject::Subject;

/// Every possible page of some users' conversations: below each id, with each limit.
fn expect_every_page<S: Subject>(pair: &mut Pair<S>, users: u64, ids: impl Iterator<Item = u64>) {
    let far = [MAX_ID, MAX_ID + 1, u64::MAX];
    let befores: Vec<_> = ids.chain(far).map(Some).chain([None]).collect();
    for user in 1..=users {
        for &before in &befores {
            for limit in [1, 2, 3, 10, MAX_PAGE_LIMIT] {
                let store = pair.subject.store();
                pair.reference.expect_conversations(store, user_id(user), before, limit);
            }
        }
    }
}

fn unread<S: Subject>(pair: &mut Pair<S>, of: u64, with: u64) -> Unread {
    let (of, with) = (user_id(of), UserId::new(with));
    let found = pair.subject.store().conversation(of, with).unwrap();
    assert_eq!(found, pair.reference.conversation(of, with));
    found.unwrap().unread
}

/// Marks of some users, up to some message.
fn mark_some<S: Subject>(pair: &mut Pair<S>, random: &mut Random) {
    let end = pair.reference.next_ids().next_event;
    for user in 1..=4 {
        let with = random.below(6);
        pair.mark_read(user, with, random.below(end + 3));
    }
}

pub(crate) fn every_page_is_exact<S: Subject>() {
    let mut random = Random::new(31);
    let mut pair = Pair::<S>::with_users(4);
    expect_every_page(&mut pair, 5, 0..3);
    // The second round is on top of what was synced, the third on what a store may have moved out
    // of memory.
    for count in [15, 10, 600, 20] {
        chatter(&mut pair, count, &mut random);
        for _ in 0..2 {
            mark_some(&mut pair, &mut random);
            let end = pair.reference.next_ids().next_event;
            expect_every_page(&mut pair, 5, (0..10).chain(end.saturating_sub(40)..end + 2));
            pair.sync();
        }
    }
    // Between gaps in the ids.
    let mut pair = Pair::<S>::begin();
    for id in [2, 3, 7] {
        pair.restore(restored_user(id, &format!("u{id}")));
    }
    let mut id = 5;
    while id < 60 {
        let [from, to] = [0, 0].map(|_| *random.pick(&[2, 3, 7]));
        pair.restore(restored_message(id, from, if random.once_in(4) { 0 } else { to }));
        id += 1 + random.low_below(4);
    }
    for _ in 0..2 {
        expect_every_page(&mut pair, 8, 0..65);
        pair.sync();
    }
}

pub(crate) fn marks_only_move_forwards<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    assert_eq!(pair.mark_read(1, 2, 0), None, "nothing was said");
    assert_eq!(pair.mark_read(1, 0, 0), None, "nor to everybody");
    assert_eq!(pair.mark_read(1, 9, 0), None, "and nobody is there");
    for text in ["zero", "two", "four"] {
        pair.post(new_message(2, 1, text));
        pair.post(new_message(3, 0, text));
    }
    let marked = |up_to, moved| Some(MarkOutcome { up_to: message_id(up_to), moved });
    for synced in [false, true] {
        if synced {
            pair.sync();
        }
        let first = !synced;
        assert_eq!(pair.mark_read(1, 2, 2), marked(if first { 2 } else { 4 }, first));
        assert_eq!(pair.mark_read(1, 2, 0), marked(if first { 2 } else { 4 }, false));
        assert_eq!(pair.mark_read(1, 2, MAX_ID), marked(4, first), "not beyond the last");
        assert_eq!(pair.mark_read(1, 2, 4), marked(4, false));
        // Marks of another user, and of the general chat, are separate.
        assert_eq!(pair.mark_read(2, 1, 1), marked(1, first));
        assert_eq!(pair.mark_read(1, 0, 3), marked(3, first));
        assert_eq!(unread(&mut pair, 1, 0), Unread { count: 1, more: false });
        assert_eq!(unread(&mut pair, 3, 0), Unread::default(), "one's own are not unread");
        expect_every_page(&mut pair, 3, 0..8);
    }
    pair.post(new_message(2, 1, "six"));
    assert_eq!(unread(&mut pair, 1, 2), Unread { count: 1, more: false });
    // Messages to oneself are never unread.
    pair.post(new_message(1, 1, "note"));
    assert_eq!(unread(&mut pair, 1, 1), Unread::default());
    assert_eq!(pair.mark_read(1, 1, 7), marked(7, true));
}

/// More messages than are examined, in memory and beyond, some of them one's own.
pub(crate) fn unread_messages_are_counted_up_to_a_bound<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    let mut said = 0;
    for round in 0..3 {
        while said < [UNREAD_LOOK, UNREAD_LOOK + 1, UNREAD_LOOK + 300][round] {
            let author = if said % 5 == 0 { 1 } else { 2 };
            pair.post(new_message(author, 3 - author, "private"));
            pair.post(new_message(author, 0, "general"));
            said += 1;
        }
        for _ in 0..2 {
            for with in [0, 2] {
                let found = unread(&mut pair, 1, with);
                assert_eq!(found.more, round > 0, "{found:?}");
                assert_eq!(found.count, UNREAD_LOOK * 4 / 5, "{found:?}");
            }
            pair.sync();
        }
    }
    pair.bury();
    for up_to in (0..2 * said as u64).step_by(97) {
        for with in [0, 2] {
            pair.mark_read(1, with, up_to);
            unread(&mut pair, 1, with);
        }
    }
    // Some messages are buried and some are not.
    for _ in 0..50 {
        pair.post(new_message(2, 1, "private"));
        pair.post(new_message(2, 0, "general"));
    }
    for user in 1..=3 {
        unread(&mut pair, user, 0);
    }
    for (of, with) in [(1, 2), (2, 1)] {
        unread(&mut pair, of, with);
        expect_every_page(&mut pair, 3, (0..20).chain(2590..2620));
    }
}

pub(crate) fn buried_conversations_are_found<S: Subject>() {
    let mut random = Random::new(32);
    let mut pair = Pair::<S>::with_users(5);
    chatter(&mut pair, 400, &mut random);
    mark_some(&mut pair, &mut random);
    pair.bury();
    let end = pair.reference.next_ids().next_event;
    for _ in 0..2 {
        expect_every_page(&mut pair, 6, (380..404).chain([0, 1, end - 1, end]));
        // One of them moves to the front again.
        pair.post(new_message(2, 3, "again"));
        mark_some(&mut pair, &mut random);
    }
}

pub(crate) fn conversations_and_marks_survive<S: Subject>() {
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut random = Random::new(33);
        let mut pair = Pair::<S>::with_users(4);
        for count in [10, 400, 5, 0] {
            chatter(&mut pair, count, &mut random);
            mark_some(&mut pair, &mut random);
            pair.sync();
            pair.restart(restart, &mut random);
            let end = pair.reference.next_ids().next_event;
            expect_every_page(&mut pair, 5, end.saturating_sub(15)..end + 2);
            pair.expect_all();
        }
    }
}
