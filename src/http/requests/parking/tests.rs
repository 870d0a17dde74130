use std::time::Duration;

use super::*;
use crate::model::Mailbox;

/// Who waits is a number here.
type Lot = Parking<u16>;

const SECOND: Duration = Duration::from_secs(1);

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn peer(number: u16) -> SocketAddr {
    ([127, 0, 0, 1], number).into()
}

fn id(id: u64) -> EventId {
    EventId::new(id).unwrap()
}

fn wait(owner: u64, mailboxes: &[Mailbox], from: u64, seconds: u64) -> Wait {
    Wait::for_tests(
        user(owner),
        Duration::from_secs(seconds),
        mailboxes.iter().copied().map(Topic::Posted).collect(),
        from,
    )
}

fn lot() -> Lot {
    Parking::new(usize::MAX)
}

/// Parks one on the general chat, of a user of its own.
fn park(lot: &mut Lot, number: u16, from: u64, seconds: u64, now: Instant) {
    let wait = wait(u64::from(number), &[Mailbox::General], from, seconds);
    assert!(lot.park(peer(number), number, wait, now).is_ok());
}

/// All that are due, in order: who is to be looked after, and with `!` who is to be answered.
fn due(lot: &mut Lot) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(due) = lot.next_due() {
        found.push(match due {
            Due::Look(parked) => parked.exchange.to_string(),
            Due::Answer(parked) => format!("{}!", parked.exchange),
        });
    }
    found
}

/// Nothing is left of who has gone.
fn is_empty(lot: &Lot) -> bool {
    lot.parked.is_empty()
        && lot.waiting.is_empty()
        && lot.deadlines.is_empty()
        && lot.by_peer.is_empty()
        && lot.by_user.is_empty()
        && lot.due.is_empty()
}

#[test]
fn only_who_waits_for_it_is_woken() {
    let (mut lot, now) = (lot(), Instant::now());
    park(&mut lot, 1, 5, 10, now);
    park(&mut lot, 2, 0, 10, now);
    park(&mut lot, 3, 6, 10, now);
    let private = wait(4, &[Mailbox::Private(user(4))], 0, 10);
    assert!(lot.park(peer(4), 4, private, now).is_ok());
    lot.wake(Topic::Posted(Mailbox::General), id(4));
    assert_eq!(due(&mut lot), ["2"]);
    lot.wake(Topic::Posted(Mailbox::General), id(5));
    // It has its place already.
    lot.wake(Topic::Posted(Mailbox::General), id(6));
    assert_eq!(due(&mut lot), ["1", "3"]);
    lot.wake(Topic::Posted(Mailbox::Private(user(3))), id(9));
    assert_eq!(due(&mut lot), [""; 0]);
    lot.wake(Topic::Posted(Mailbox::Private(user(4))), id(9));
    assert_eq!(due(&mut lot), ["4"]);
    assert!(is_empty(&lot));
}

#[test]
fn several_mailboxes_wake_once() {
    let (mut lot, now) = (lot(), Instant::now());
    let both = wait(1, &[Mailbox::General, Mailbox::Private(user(1))], 0, 10);
    assert!(lot.park(peer(1), 1, both, now).is_ok());
    lot.wake(Topic::Posted(Mailbox::Private(user(1))), id(0));
    lot.wake(Topic::Posted(Mailbox::General), id(1));
    let Some(Due::Look(parked)) = lot.next_due() else { panic!("nobody is due") };
    assert!(lot.next_due().is_none());
    // There was nothing after all: it is woken again, by either.
    lot.wait_on(parked);
    assert_eq!(lot.len(), 1);
    lot.wake(Topic::Posted(Mailbox::General), id(2));
    assert_eq!(due(&mut lot), ["1"]);
    assert!(is_empty(&lot));
}

#[test]
fn deadlines_come_in_order() {
    let (mut lot, now) = (lot(), Instant::now());
    for (number, seconds) in [(1, 3), (2, 1), (3, 2), (4, 2)] {
        park(&mut lot, number, 0, seconds, now);
    }
    assert_eq!(lot.next_deadline(), Some(now + SECOND));
    lot.expire(now + Duration::from_millis(999));
    assert!(!lot.is_due());
    lot.expire(now + 2 * SECOND);
    assert_eq!(lot.next_deadline(), Some(now + 3 * SECOND));
    assert_eq!(due(&mut lot), ["2!", "3!", "4!"]);
    // Who waits on does so until the same time as before.
    lot.wake(Topic::Posted(Mailbox::General), id(0));
    let Some(Due::Look(parked)) = lot.next_due() else { panic!("nobody is due") };
    lot.wait_on(parked);
    assert_eq!(lot.next_deadline(), Some(now + 3 * SECOND));
    lot.expire(now + 3 * SECOND);
    assert_eq!(due(&mut lot), ["1!"]);
    assert!(is_empty(&lot));
}

/// Whoever is woken and then ended keeps its place, and is answered whatever there is.
#[test]
fn who_is_woken_can_still_be_ended() {
    let (mut lot, now) = (lot(), Instant::now());
    for number in 1..=3 {
        park(&mut lot, number, 0, 10, now);
    }
    lot.wake(Topic::Posted(Mailbox::General), id(0));
    lot.end(peer(2));
    lot.end(peer(2));
    lot.expire(now + 10 * SECOND);
    assert_eq!(due(&mut lot), ["1!", "2!", "3!"]);
    assert!(is_empty(&lot));
}

#[test]
fn a_connection_is_found_by_its_peer() {
    let (mut lot, now) = (lot(), Instant::now());
    for number in 1..=5 {
        park(&mut lot, number, 0, 10, now);
    }
    park(&mut lot, 6, 0, 10, now + 2 * SECOND);
    lot.end(peer(9));
    assert!(lot.holds(peer(3)) && !lot.holds(peer(9)));
    assert_eq!(lot.remove(peer(3)).map(|parked| parked.exchange), Some(3));
    assert!(lot.remove(peer(3)).is_none());
    lot.end_and_close(peer(2));
    let Some(Due::Answer(parked)) = lot.next_due() else { panic!("nobody is due") };
    assert!(parked.close_after && parked.exchange == 2);
    // The one who came since the look is not missed by it.
    lot.end_all_but(&HashSet::from([peer(1), peer(4)]), now + SECOND);
    assert_eq!(due(&mut lot), ["5!"]);
    lot.end_all();
    // Who is removed from the queue is passed over.
    assert!(lot.remove(peer(4)).is_some());
    assert_eq!(due(&mut lot), ["1!", "6!"]);
    assert!(is_empty(&lot));
}

#[test]
fn a_user_has_so_many_and_no_more() {
    let (mut lot, now) = (lot(), Instant::now());
    let general = |owner| wait(owner, &[Mailbox::General], 0, 10);
    let max = u16::try_from(MAX_PARKED_PER_USER).unwrap();
    for number in 0..max {
        assert!(lot.park(peer(number), number, general(1), now).is_ok());
    }
    assert_eq!(lot.park(peer(max), max, general(1), now), Err((max, ParkingFull::ForUser)));
    assert!(lot.park(peer(max), max, general(2), now).is_ok(), "somebody else");
    assert!(lot.remove(peer(7)).is_some());
    assert!(lot.park(peer(7), 7, general(1), now).is_ok(), "there is room again");
}

#[test]
fn there_are_so_many_and_no_more() {
    let now = Instant::now();
    for (descriptors, max) in [(30, 10), (20_000, 6_666), (usize::MAX, MAX_PARKED)] {
        let mut lot: Lot = Parking::new(descriptors);
        for number in 0..u16::try_from(max).unwrap() {
            park(&mut lot, number + 1, 0, 10, now);
        }
        let one_more = wait(u64::from(u16::MAX), &[Mailbox::General], 0, 10);
        let refused = lot.park(peer(u16::MAX), 0, one_more, now);
        assert_eq!(refused, Err((0, ParkingFull::ForAll)), "{descriptors}");
        assert_eq!(lot.len(), max);
    }
}
