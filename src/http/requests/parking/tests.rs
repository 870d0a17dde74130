use std::time::Duration;

use super::*;
use crate::model::Mailbox;

/// Numbers stand for the waiting requests.
type TestParking = Parking<u16>;

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

fn parking() -> TestParking {
    Parking::new(usize::MAX)
}

/// Parks one on the general chat, of its own user.
fn park(parking: &mut TestParking, number: u16, from: u64, seconds: u64, now: Instant) {
    let wait = wait(u64::from(number), &[Mailbox::General], from, seconds);
    assert!(parking.park(peer(number), number, wait, now).is_ok());
}

/// All due requests in order; `!` marks those that are to be answered.
fn due(parking: &mut TestParking) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(due) = parking.next_due() {
        found.push(match due {
            Due::Look(parked) => parked.exchange.to_string(),
            Due::Answer(parked) => format!("{}!", parked.exchange),
        });
    }
    found
}

/// True if nothing of the removed requests is left.
fn is_empty(parking: &TestParking) -> bool {
    parking.parked.is_empty()
        && parking.waiting.is_empty()
        && parking.deadlines.is_empty()
        && parking.by_peer.is_empty()
        && parking.by_user.is_empty()
        && parking.due.is_empty()
}

#[test]
fn only_requests_that_wait_for_it_are_woken() {
    let (mut parking, now) = (parking(), Instant::now());
    park(&mut parking, 1, 5, 10, now);
    park(&mut parking, 2, 0, 10, now);
    park(&mut parking, 3, 6, 10, now);
    let private = wait(4, &[Mailbox::Private(user(4))], 0, 10);
    assert!(parking.park(peer(4), 4, private, now).is_ok());
    parking.wake(Topic::Posted(Mailbox::General), id(4));
    assert_eq!(due(&mut parking), ["2"]);
    parking.wake(Topic::Posted(Mailbox::General), id(5));
    // It is in the queue already.
    parking.wake(Topic::Posted(Mailbox::General), id(6));
    assert_eq!(due(&mut parking), ["1", "3"]);
    parking.wake(Topic::Posted(Mailbox::Private(user(3))), id(9));
    assert_eq!(due(&mut parking), [""; 0]);
    parking.wake(Topic::Posted(Mailbox::Private(user(4))), id(9));
    assert_eq!(due(&mut parking), ["4"]);
    assert!(is_empty(&parking));
}

#[test]
fn several_mailboxes_wake_once() {
    let (mut parking, now) = (parking(), Instant::now());
    let both = wait(1, &[Mailbox::General, Mailbox::Private(user(1))], 0, 10);
    assert!(parking.park(peer(1), 1, both, now).is_ok());
    parking.wake(Topic::Posted(Mailbox::Private(user(1))), id(0));
    parking.wake(Topic::Posted(Mailbox::General), id(1));
    let Some(Due::Look(parked)) = parking.next_due() else { panic!("no request is due") };
    assert!(parking.next_due().is_none());
    // There was no message: it can be woken again.
    parking.wait_on(parked);
    assert_eq!(parking.len(), 1);
    parking.wake(Topic::Posted(Mailbox::General), id(2));
    assert_eq!(due(&mut parking), ["1"]);
    assert!(is_empty(&parking));
}

#[test]
fn deadlines_come_in_order() {
    let (mut parking, now) = (parking(), Instant::now());
    for (number, seconds) in [(1, 3), (2, 1), (3, 2), (4, 2)] {
        park(&mut parking, number, 0, seconds, now);
    }
    assert_eq!(parking.next_deadline(), Some(now + SECOND));
    parking.expire(now + Duration::from_millis(999));
    assert!(!parking.is_due());
    parking.expire(now + 2 * SECOND);
    assert_eq!(parking.next_deadline(), Some(now + 3 * SECOND));
    assert_eq!(due(&mut parking), ["2!", "3!", "4!"]);
    // A request that waits on keeps its deadline.
    parking.wake(Topic::Posted(Mailbox::General), id(0));
    let Some(Due::Look(parked)) = parking.next_due() else { panic!("no request is due") };
    parking.wait_on(parked);
    assert_eq!(parking.next_deadline(), Some(now + 3 * SECOND));
    parking.expire(now + 3 * SECOND);
    assert_eq!(due(&mut parking), ["1!"]);
    assert!(is_empty(&parking));
}

/// A woken request that is then ended keeps its place, and is answered.
#[test]
fn a_woken_request_can_still_be_ended() {
    let (mut parking, now) = (parking(), Instant::now());
    for number in 1..=3 {
        park(&mut parking, number, 0, 10, now);
    }
    parking.wake(Topic::Posted(Mailbox::General), id(0));
    parking.end(peer(2));
    parking.end(peer(2));
    parking.expire(now + 10 * SECOND);
    assert_eq!(due(&mut parking), ["1!", "2!", "3!"]);
    assert!(is_empty(&parking));
}

#[test]
fn a_connection_is_found_by_its_peer() {
    let (mut parking, now) = (parking(), Instant::now());
    for number in 1..=5 {
        park(&mut parking, number, 0, 10, now);
    }
    park(&mut parking, 6, 0, 10, now + 2 * SECOND);
    parking.end(peer(9));
    assert!(parking.holds(peer(3)) && !parking.holds(peer(9)));
    assert_eq!(parking.remove(peer(3)).map(|parked| parked.exchange), Some(3));
    assert!(parking.remove(peer(3)).is_none());
    parking.end_and_close(peer(2));
    let Some(Due::Answer(parked)) = parking.next_due() else { panic!("no request is due") };
    assert!(parked.close_after && parked.exchange == 2);
    // A request that was parked after the look is kept.
    parking.end_all_but(&HashSet::from([peer(1), peer(4)]), now + SECOND);
    assert_eq!(due(&mut parking), ["5!"]);
    parking.end_all();
    // A request that was removed is skipped.
    assert!(parking.remove(peer(4)).is_some());
    assert_eq!(due(&mut parking), ["1!", "6!"]);
    assert!(is_empty(&parking));
}

#[test]
fn a_users_waits_are_limited() {
    let (mut parking, now) = (parking(), Instant::now());
    let general = |owner| wait(owner, &[Mailbox::General], 0, 10);
    let max = u16::try_from(MAX_PARKED_PER_USER).unwrap();
    for number in 0..max {
        assert!(parking.park(peer(number), number, general(1), now).is_ok());
    }
    assert_eq!(parking.park(peer(max), max, general(1), now), Err((max, ParkingFull::ForUser)));
    assert!(parking.park(peer(max), max, general(2), now).is_ok(), "another user");
    assert!(parking.remove(peer(7)).is_some());
    assert!(parking.park(peer(7), 7, general(1), now).is_ok(), "there is room again");
}

#[test]
fn all_waits_are_limited() {
    let now = Instant::now();
    for (descriptors, max) in [(30, 10), (20_000, 6_666), (usize::MAX, MAX_PARKED)] {
        let mut parking: TestParking = Parking::new(descriptors);
        for number in 0..u16::try_from(max).unwrap() {
            park(&mut parking, number + 1, 0, 10, now);
        }
        let one_more = wait(u64::from(u16::MAX), &[Mailbox::General], 0, 10);
        let refused = parking.park(peer(u16::MAX), 0, one_more, now);
        assert_eq!(refused, Err((0, ParkingFull::ForAll)), "{descriptors}");
        assert_eq!(parking.len(), max);
    }
}
