//! Pages: each is exactly the part of the mailbox that was asked for, and following them misses
//! nothing and shows nothing twice.

use veche::model::{Cursor, MAX_PAGE_LIMIT, Mailbox, Window};

use crate::pair::{
    Pair, event_id, message_id, new_message, restored_message, restored_user, user_id, windows,
};
use crate::seed::Random;
use crate::subject::Subject;

/// Every mailbox of a few users, and one of a user who does not exist.
pub(crate) fn mailboxes(users: u64) -> Vec<Mailbox> {
    let mut all = vec![Mailbox::General];
    for a in 1..=users + 1 {
        all.push(Mailbox::Private(user_id(a)));
        all.extend((a..=users + 1).map(|b| Mailbox::between(user_id(b), user_id(a))));
    }
    all
}

/// Some messages among three users, to themselves as well.
pub(crate) fn chatter<S: Subject>(pair: &mut Pair<S>, count: u64, random: &mut Random) {
    for _ in 0..count {
        if random.once_in(8) {
            let id = random.below(pair.reference.next_ids().next_event + 1);
            let text = if random.once_in(3) { None } else { Some("other words") };
            if pair.revise(id, text).is_some() {
                continue;
            }
        }
        let (from, to) = (1 + random.below(3), random.below(4));
        pair.post(new_message(from, to, "some words"));
    }
}

pub(crate) fn an_empty_store_has_empty_pages<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    pair.expect_every_window(&mailboxes(1), 2);
    for window in windows(2) {
        pair.reference.expect_users(pair.subject.store(), window);
    }
    pair.expect_all();
}

/// The rule itself, spelled out; the other cases rely on the reference for it.
pub(crate) fn messages_lie_in_their_mailboxes<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    for (from, to) in [(1, 0), (1, 2), (2, 1), (2, 2), (3, 2), (3, 0)] {
        pair.post(new_message(from, to, "hello"));
    }
    let between = |a, b| Mailbox::between(user_id(a), user_id(b));
    for (mailbox, expected) in [
        (Mailbox::General, &[0, 5][..]),
        (Mailbox::Private(user_id(1)), &[1, 2]),
        (Mailbox::Private(user_id(2)), &[1, 2, 3, 4]),
        (Mailbox::Private(user_id(3)), &[4]),
        (Mailbox::Private(user_id(4)), &[]),
        (between(1, 1), &[]),
        (between(1, 2), &[1, 2]),
        (between(2, 1), &[1, 2]),
        (between(2, 2), &[3]),
        (between(2, 3), &[4]),
        (between(1, 3), &[]),
    ] {
        let window = Window { cursor: Cursor::Newest, limit: 10 };
        let page = pair.store().messages(mailbox, window).unwrap();
        let ids: Vec<u64> = page.items.iter().map(|message| message.id.get()).collect();
        assert_eq!((&*ids, page.older), (expected, false), "{mailbox:?}");
    }
}

pub(crate) fn every_window_is_exact<S: Subject>() {
    let mut random = Random::new(1);
    let mut pair = Pair::<S>::with_users(3);
    // The second round is on top of what was synced, the third on what a store may have moved out
    // of memory.
    for count in [15, 10, 600] {
        chatter(&mut pair, count, &mut random);
        let ids = if count == 600 { 40 } else { 28 };
        pair.expect_every_window(&mailboxes(3), ids);
        pair.sync();
        pair.expect_every_window(&mailboxes(3), ids);
    }
}

/// Unused ids, below, between and above those that exist.
pub(crate) fn every_window_is_exact_between_gaps<S: Subject>() {
    let mut random = Random::new(2);
    let mut pair = Pair::<S>::begin();
    for id in 1..=3 {
        pair.restore(restored_user(id, &format!("u{id}")));
    }
    let mut id = 5;
    while id < 40 {
        pair.restore(restored_message(id, 1 + random.below(3), random.below(4)));
        id += 1 + random.low_below(4);
    }
    for _ in 0..2 {
        pair.expect_every_window(&mailboxes(3), 45);
        for id in 0..45 {
            let found = pair.subject.store().message(message_id(id)).unwrap();
            assert_eq!(found.as_deref(), pair.reference.message(message_id(id)));
        }
        pair.sync();
    }
}

pub(crate) fn every_window_of_users_is_exact<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    for round in 0..3 {
        // Enough for a store to move some of them out of memory, and then a few on top.
        for n in 0..[5, 300, 5][round] {
            pair.create_user(&format!("u{round}.{n}"));
        }
        for _ in 0..2 {
            for window in windows([8, 8, 320][round]) {
                pair.reference.expect_users(pair.subject.store(), window);
            }
            pair.sync();
        }
    }
    let mut pair = Pair::<S>::begin();
    for id in [2, 3, 7, 8, 12] {
        pair.restore(restored_user(id, &format!("u{id}")));
    }
    for window in windows(15) {
        pair.reference.expect_users(pair.subject.store(), window);
    }
}

/// The same after the messages have left every store's memory.
pub(crate) fn buried_messages_are_found<S: Subject>() {
    let mut random = Random::new(3);
    let mut pair = Pair::<S>::with_users(3);
    chatter(&mut pair, 400, &mut random);
    pair.bury();
    expect_buried(&mut pair);
    // A page that begins among the old messages and ends among the new.
    chatter(&mut pair, 20, &mut random);
    expect_buried(&mut pair);
    pair.expect_all();
}

/// Windows around the ends of what was buried.
pub(crate) fn expect_buried<S: Subject>(pair: &mut Pair<S>) {
    let next = pair.reference.next_ids().next_event;
    let limits = [1, 2, 30, MAX_PAGE_LIMIT];
    for mailbox in mailboxes(3) {
        let ids = (0..420).step_by(7).chain([next - 40, next - 2, next, next + 1]);
        for at in ids.chain([MAX_PAGE_LIMIT as u64, u64::MAX]) {
            for cursor in [Cursor::Before(at), Cursor::From(at), Cursor::Newest] {
                let limit = *limits.iter().cycle().nth(usize::try_from(at % 4).unwrap()).unwrap();
                let window = Window { cursor, limit };
                pair.reference.expect_messages(pair.subject.store(), mailbox, window);
            }
        }
    }
    for id in (0..next + 3).step_by(131) {
        let found = pair.subject.store().message(message_id(id)).unwrap();
        assert_eq!(found.as_deref(), pair.reference.message(message_id(id)));
        for limit in [0, 1, 7] {
            pair.reference.expect_history(pair.subject.store(), event_id(id), limit);
        }
    }
}

/// A client that goes on after the last id it saw, while others write.
pub(crate) fn following_sees_everything_once<S: Subject>() {
    let mut random = Random::new(4);
    let mut pair = Pair::<S>::with_users(3);
    let mailboxes = mailboxes(3);
    let mut seen = vec![Vec::new(); mailboxes.len()];
    for turn in 0..600 {
        let busy = turn < 500;
        let posts = if busy { random.below(8) } else { 0 };
        chatter(&mut pair, posts, &mut random);
        if random.once_in(3) {
            pair.sync();
        }
        for (mailbox, seen) in mailboxes.iter().zip(&mut seen) {
            if busy && random.once_in(2) {
                continue;
            }
            let cursor = Cursor::From(seen.last().map_or(0, |last| last + 1));
            // Slower than the writers, so that the reader lags behind until they stop.
            let limit = if busy { 1 + usize::try_from(random.below(3)).unwrap() } else { 100 };
            let page = pair.store().messages(*mailbox, Window { cursor, limit }).unwrap();
            assert_eq!(page.older, !seen.is_empty(), "{mailbox:?}");
            seen.extend(page.items.iter().map(|message| message.id.get()));
        }
    }
    for (mailbox, seen) in mailboxes.into_iter().zip(seen) {
        assert_eq!(seen, all_ids(&pair, mailbox), "{mailbox:?}");
    }
}

/// A client that scrolls back from the newest page, while others write.
pub(crate) fn going_back_sees_everything_once<S: Subject>() {
    let mut random = Random::new(5);
    let mut pair = Pair::<S>::with_users(3);
    chatter(&mut pair, 700, &mut random);
    for mailbox in mailboxes(3) {
        let expected = all_ids(&pair, mailbox);
        let mut seen: Vec<u64> = Vec::new();
        loop {
            let cursor = seen.first().map_or(Cursor::Newest, |first| Cursor::Before(*first));
            let limit = 1 + usize::try_from(random.below(50)).unwrap();
            let page = pair.store().messages(mailbox, Window { cursor, limit }).unwrap();
            seen.splice(..0, page.items.iter().map(|message| message.id.get()));
            if !page.older {
                break;
            }
            assert_eq!(page.items.len(), limit, "a page is full unless it is the last");
            chatter(&mut pair, 3, &mut random);
            if random.once_in(3) {
                pair.sync();
            }
        }
        assert_eq!(seen, expected, "{mailbox:?}");
    }
}

fn all_ids<S: Subject>(pair: &Pair<S>, mailbox: Mailbox) -> Vec<u64> {
    let window = Window { cursor: Cursor::From(0), limit: usize::MAX };
    let page = pair.reference.messages(mailbox, window);
    page.items.iter().map(|message| message.id.get()).collect()
}
