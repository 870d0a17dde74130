//! A store restored from a backup is a new store, which gives out no id again.

use std::collections::HashSet;
use std::io::Read;

use veche::model::{Cursor, MAX_ID, Session, SessionId, StoreId, Timestamp, UserId};
use veche::store::{
    self, Backend, ExportOrigin, IdAllocator, IdKind, Imported, Lineage, LostRange,
    MAX_PAST_STORE_IDS, MIN_JUMP, MemoryStore, PastStoreIdValue, Purpose, Record, StoreIdChange,
    TransferError,
};
use veche::sys::{SeededEntropy, random};

use crate::pair::{new_message, new_user};
use crate::seed::Random;
use crate::subject::{EPOCH, Subject};

const SEQUENCES: [IdKind; 2] = [IdKind::Users, IdKind::Events];

/// Two users, three messages and a session.
fn begun<S: Subject>() -> S {
    let mut subject = S::begin();
    fill(subject.store());
    subject
}

fn fill(store: &mut dyn Backend) {
    for name in ["ann", "bob"] {
        store.create_user(new_user(name)).unwrap().unwrap();
    }
    for to in [0, 2, 0] {
        store.post(new_message(1, to, "before the backup")).unwrap().unwrap();
    }
    let hash = store.user(UserId::FIRST).unwrap().unwrap().password_hash.clone();
    store.begin_session(session(1), &hash).unwrap().unwrap();
    store.sync().unwrap();
}

fn session(number: u8) -> Session {
    Session {
        user: UserId::FIRST,
        id: SessionId([number; 16]),
        created_at: Timestamp::from_millis(1),
        expires_at: Timestamp::MAX,
        user_agent: "".into(),
    }
}

/// An export that is a backup.
fn backup_of(store: &mut dyn Backend) -> Vec<u8> {
    let mut bytes = Vec::new();
    let origin = ExportOrigin { store_id: store.store_id(), purpose: Purpose::Backup };
    store::export_as(origin, store, &mut bytes, Timestamp::from_millis(0), &mut ()).unwrap();
    bytes
}

fn try_restore(
    bytes: &[u8],
    taken_for: Option<Purpose>,
    seed: u64,
    store: &mut dyn Backend,
) -> Result<Imported, TransferError> {
    let mut entropy = SeededEntropy(seed);
    let draw = &mut || u64::from_le_bytes(random(&mut entropy));
    store::restore(bytes, None, store, taken_for, draw, &mut ())
}

fn restored<S: Subject>(bytes: &[u8], seed: u64) -> (S, StoreIdChange) {
    let mut subject = S::begin();
    let imported = try_restore(bytes, None, seed, subject.store()).unwrap();
    (subject, imported.renewal.unwrap())
}

/// The answer of the server's lists to a cursor.
fn judge(
    store: &mut dyn Backend,
    sequence: IdKind,
    cursor: Cursor,
    epoch: Option<StoreId>,
) -> Result<(), LostRange> {
    let epochs = Lineage::of(store).unwrap();
    epochs.judge((sequence, cursor), epoch, store.store_id(), store.next_ids())
}

pub(crate) fn a_backup_restored_twice_gives_nothing_out_again<S: Subject>() {
    let mut first = begun::<S>();
    let bytes = backup_of(first.store());
    let height = first.store().next_ids();
    // The part that the backup does not have.
    let (mut users, mut events) = (HashSet::new(), HashSet::new());
    let mut go_on = |store: &mut dyn Backend, epoch: StoreId| {
        for name in ["carol", "dave"] {
            let user = store.create_user(new_user(name)).unwrap().unwrap();
            assert!(users.insert(user), "{user} in {epoch}");
            let event = store.post(new_message(user.get(), 1, "after it")).unwrap().unwrap();
            assert!(events.insert(event), "{event} in {epoch}");
        }
        store.sync().unwrap();
    };
    go_on(first.store(), EPOCH);
    let mut epochs = HashSet::from([EPOCH]);
    for seed in [1, 2] {
        let (mut subject, renewal) = restored::<S>(&bytes, seed);
        let store = subject.store();
        assert!(epochs.insert(store.store_id()), "a new epoch");
        assert_eq!((renewal.store_id, renewal.past), (store.store_id(), EPOCH));
        let PastStoreIdValue { reached, resumed } = renewal.ended;
        assert_eq!((reached, resumed), (height, store.next_ids()));
        for sequence in SEQUENCES {
            let jump = sequence.of(resumed) - sequence.of(reached);
            assert!(jump >= MIN_JUMP && sequence.of(resumed) <= MAX_ID, "{jump}");
        }
        go_on(store, renewal.store_id);
        assert!(store.create_user(new_user("carol")).unwrap().is_none(), "hers now");
    }
}

pub(crate) fn every_session_ends<S: Subject>() {
    let mut first = begun::<S>();
    let bytes = backup_of(first.store());
    let (mut subject, renewal) = restored::<S>(&bytes, 1);
    assert_eq!(renewal.sessions, 1);
    assert_eq!(subject.store().sessions(UserId::FIRST).unwrap(), []);
    let mut sessions = 0;
    store::for_each_session(subject.store(), |_| sessions += 1).unwrap();
    assert_eq!(sessions, 0);
    // A move loses nothing and keeps them.
    let mut moved = S::begin();
    assert_eq!(try_restore(&bytes, Some(Purpose::Move), 1, moved.store()).unwrap().renewal, None);
    assert_eq!(moved.store().sessions(UserId::FIRST).unwrap(), [session(1)]);
}

/// Each cursor is checked against the ids that were given out in its epoch.
fn expect_chain(store: &mut dyn Backend, chain: &[StoreIdChange]) {
    let next = store.next_ids();
    for sequence in SEQUENCES {
        let next = sequence.of(next);
        let from = |place, epoch| (Cursor::From(place), epoch);
        let before = |place, epoch| (Cursor::Before(place), epoch);
        let current = Some(store.store_id());
        let mut good = vec![from(0, None), from(next, None), from(next, current)];
        good.extend([before(next + 9, None), before(MAX_ID, current), (Cursor::Newest, current)]);
        let mut lost = vec![
            (from(next + 1, None), LostRange::Ahead),
            (from(MAX_ID + 1, current), LostRange::Ahead),
            (from(0, Some(StoreId(7))), LostRange::OtherStore),
            (before(0, Some(StoreId(7))), LostRange::OtherStore),
            ((Cursor::Newest, Some(StoreId(7))), LostRange::OtherStore),
        ];
        for StoreIdChange { past, ended: PastStoreIdValue { reached, resumed }, .. } in chain {
            let (reached, resumed) = (sequence.of(*reached), sequence.of(*resumed));
            let past = Some(*past);
            for epoch in [past, None, current] {
                good.extend([from(reached, epoch), before(reached, epoch), from(0, epoch)]);
                for place in [reached + 1, reached + MIN_JUMP / 2, resumed - 1] {
                    lost.push((from(place, epoch), LostRange::Undone));
                }
            }
            good.extend([from(resumed, None), before(reached + 1, None), (Cursor::Newest, past)]);
            lost.push((from(resumed, past), LostRange::Undone));
            lost.push((before(reached + 1, past), LostRange::Undone));
        }
        for (cursor, epoch) in good {
            let judged = judge(store, sequence, cursor, epoch);
            assert_eq!(judged, Ok(()), "{sequence:?} {cursor:?} of {epoch:?}");
        }
        for ((cursor, epoch), why) in lost {
            let judged = judge(store, sequence, cursor, epoch);
            assert_eq!(judged, Err(why), "{sequence:?} {cursor:?} of {epoch:?}");
        }
    }
}

pub(crate) fn every_epoch_of_a_chain_is_remembered<S: Subject>() {
    let mut subject = begun::<S>();
    let mut chain = Vec::new();
    expect_chain(subject.store(), &chain);
    for (seed, name) in (1..).zip(["carol", "dave", "erin"]) {
        let bytes = backup_of(subject.store());
        let (next, renewal) = restored::<S>(&bytes, seed);
        subject = next;
        chain.push(renewal);
        expect_chain(subject.store(), &chain);
        let user = subject.store().create_user(new_user(name)).unwrap().unwrap();
        subject.store().post(new_message(user.get(), 0, "hello")).unwrap().unwrap();
        expect_chain(subject.store(), &chain);
    }
    // A move takes all of it along.
    let mut bytes = Vec::new();
    store::export(subject.store(), &mut bytes, Timestamp::from_millis(0), &mut ()).unwrap();
    let mut moved = S::begin();
    assert_eq!(try_restore(&bytes, None, 9, moved.store()).unwrap().renewal, None);
    assert_eq!(moved.store().store_id(), subject.store().store_id());
    expect_chain(moved.store(), &chain);
}

pub(crate) fn the_oldest_epoch_gives_way<S: Subject>() {
    let mut first = begun::<S>();
    let mut bytes = backup_of(first.store());
    let mut epochs = vec![EPOCH];
    for seed in 0..=MAX_PAST_STORE_IDS as u64 {
        let mut next = MemoryStore::new(StoreId(0));
        try_restore(&bytes, None, seed, &mut next).unwrap();
        epochs.push(next.store_id());
        bytes = backup_of(&mut next);
    }
    let mut subject = S::begin();
    try_restore(&bytes, Some(Purpose::Move), 0, subject.store()).unwrap();
    let store = subject.store();
    assert_eq!(store.past_store_ids().unwrap().len(), MAX_PAST_STORE_IDS);
    for (number, epoch) in epochs.into_iter().enumerate() {
        let judged = judge(store, IdKind::Events, Cursor::From(1), Some(epoch));
        let expected = if number == 0 { Err(LostRange::OtherStore) } else { Ok(()) };
        assert_eq!(judged, expected, "{number}");
    }
    // A made-up epoch does not fit either.
    let more = store::Entry::PastStoreId {
        key: store::PastStoreIdKey { store_id: StoreId(1) },
        value: Some(store.past_store_ids().unwrap()[0].1),
    };
    assert!(store.restore(Record::Entry(more)).is_err());
}

/// Whatever the file says, a move yields the same store.
pub(crate) fn a_move_keeps_what_it_was<S: Subject>() {
    let mut first = begun::<S>();
    let mut bytes = Vec::new();
    let summary =
        store::export(first.store(), &mut bytes, Timestamp::from_millis(0), &mut ()).unwrap();
    let mut second = S::begin();
    let imported = try_restore(&bytes, None, 1, second.store()).unwrap();
    assert_eq!((&imported.summary, imported.renewal), (&summary, None));
    assert_eq!(imported.origin, ExportOrigin { store_id: EPOCH, purpose: Purpose::Move });
    assert_eq!(second.store().store_id(), EPOCH);
    assert_eq!(second.store().next_ids(), IdAllocator { next_user: 3, next_event: 3 });
    assert_eq!(second.store().past_store_ids().unwrap(), []);
    let again =
        store::export(second.store(), &mut std::io::sink(), Timestamp::from_millis(0), &mut ())
            .unwrap();
    assert_eq!(again, summary);
    // The same file, if the store went on after all.
    let mut third = S::begin();
    let imported = try_restore(&bytes, Some(Purpose::Backup), 1, third.store()).unwrap();
    assert_eq!(imported.summary, summary, "it is what was in the file");
    expect_chain(third.store(), &[imported.renewal.unwrap()]);
}

pub(crate) fn too_few_ids_are_refused<S: Subject>() {
    for (room, is_taken) in [(0, false), (3 * MIN_JUMP - 2, false), (3 * MIN_JUMP, true)] {
        for user_room in [room, MAX_ID / 2] {
            let mut first = begun::<S>();
            let next_user = MAX_ID - user_room.max(room);
            let far = IdAllocator { next_user, next_event: MAX_ID - room };
            first.store().restore(Record::NextIds(far)).unwrap();
            let bytes = backup_of(first.store());
            let done = try_restore(&bytes, None, 1, S::begin().store());
            if is_taken {
                done.unwrap();
                continue;
            }
            let why = done.unwrap_err().to_string();
            assert!(why.contains("the backup cannot be restored"), "{room}: {why}");
        }
    }
}

pub(crate) fn past_store_ids_survive<S: Subject>() {
    let mut random = Random::new(61);
    let mut first = begun::<S>();
    let bytes = backup_of(first.store());
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let (mut subject, renewal) = restored::<S>(&bytes, 3);
        (restart.run)(&mut subject, &mut random);
        let store = subject.store();
        assert_eq!((store.store_id(), store.next_ids()), (renewal.store_id, renewal.ended.resumed));
        assert_eq!(store.sessions(UserId::FIRST).unwrap(), []);
        expect_chain(store, &[renewal]);
        let event = store.post(new_message(1, 0, "on")).unwrap().unwrap();
        assert_eq!(event.get(), renewal.ended.resumed.next_event);
    }
}

/// A backup from a server is a file like others, and its store may have been restored before.
pub(crate) fn a_backup_of_a_restored_store_is_restored<S: Subject>() {
    let mut subject = begun::<S>();
    let mut chain = Vec::new();
    for seed in 1..4 {
        let mut bytes = Vec::new();
        let snapshot = subject.store().snapshot().unwrap();
        snapshot.unwrap().read_to_end(&mut bytes).unwrap();
        let again = || Ok(&*bytes);
        let verified = store::verify(&*bytes, None, again, &mut ()).unwrap();
        let mut next = S::begin();
        let imported = try_restore(&bytes, None, seed, next.store()).unwrap();
        assert_eq!(imported.summary, verified);
        assert_eq!(imported.origin.purpose, Purpose::Backup);
        chain.push(imported.renewal.unwrap());
        subject = next;
        subject.store().post(new_message(1, 0, "on")).unwrap().unwrap();
        subject.store().sync().unwrap();
        expect_chain(subject.store(), &chain);
    }
}
