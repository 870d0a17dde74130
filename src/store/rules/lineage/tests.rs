use super::*;
use crate::model::{MessageId, UserId};
use crate::store::MemoryStore;

fn next_ids(next_user: u64, next_event: u64) -> IdAllocator {
    IdAllocator { next_user, next_event }
}

/// Files are made up, too.
#[test]
fn ids_that_no_chain_produces_are_refused() {
    let ended = |reached, resumed| PastStoreIdValue { reached, resumed };
    let (first, second) = (
        ended(next_ids(2, 5), next_ids(100, 200)),
        ended(next_ids(100, 201), next_ids(1000, 2000)),
    );
    let sense = |past: &[(u64, PastStoreIdValue)], next| {
        let past = past.iter().map(|(store_id, ended)| (StoreId(*store_id), *ended)).collect();
        Lineage::new(past).expect_sense(StoreId(9), next)
    };
    let next = next_ids(1000, 2000);
    assert_eq!(sense(&[], next_ids(1, 0)), Ok(()));
    assert_eq!(sense(&[(1, second), (2, first)], next), Ok(()), "in any order");
    for (past, next) in [
        (vec![(1, first), (2, second)], next_ids(1000, 1999)),
        (vec![(1, first), (2, second)], next_ids(999, 2000)),
        (vec![(1, first), (2, first)], next),
        (vec![(1, first), (9, second)], next),
        (vec![(1, first), (2, ended(next_ids(99, 201), next_ids(1000, 2000)))], next),
    ] {
        assert!(sense(&past, next).is_err(), "{past:?}");
    }
}

/// Nothing was restored: what was good stays so, and of nothing only the first id.
#[test]
fn a_store_that_goes_on_judges_by_its_own_next_ids() {
    let lineage = Lineage::default();
    let judge = |cursor, next_event| {
        let next = next_ids(1, next_event);
        lineage.judge((IdKind::Events, cursor), None, StoreId(1), next)
    };
    for (next, place, expected) in [
        (0, 0, Ok(())),
        (0, 1, Ok(())),
        (0, 2, Err(LostRange::Ahead)),
        (1, 1, Ok(())),
        (1, 2, Err(LostRange::Ahead)),
        (7, 7, Ok(())),
        (7, 8, Err(LostRange::Ahead)),
        (MAX_ID + 1, MAX_ID + 1, Ok(())),
    ] {
        assert_eq!(judge(Cursor::From(place), next), expected, "{place} of {next}");
        assert_eq!(judge(Cursor::Before(place), next), Ok(()));
    }
}

#[test]
fn skipped_ids_are_not_counted() {
    let first = PastStoreIdValue { reached: next_ids(3, 5), resumed: next_ids(100, 200) };
    let second = PastStoreIdValue { reached: next_ids(102, 201), resumed: next_ids(1000, 2000) };
    let lineage = Lineage::new(vec![(StoreId(2), second), (StoreId(1), first)]);
    for (id, expected) in [(0, 0), (5, 5), (9, 5), (200, 5), (201, 6), (2000, 6), (2007, 13)] {
        assert_eq!(lineage.dense(IdKind::Events, id), expected, "{id}");
    }
    assert_eq!(lineage.dense(IdKind::Users, 1000), 5);
    assert_eq!(Lineage::default().dense(IdKind::Users, 7), 7);
}

/// Whatever comes out of a generator, the jump is long enough, and never too long.
#[test]
fn a_jump_leaves_half_of_the_rest() {
    for reached in [1, 1 << 30, MAX_ID / 2, MAX_ID - (1 << 40), MAX_ID - 3 * MIN_JUMP] {
        for drawn in [0, 1, u64::MAX / 2, u64::MAX] {
            let resumed = jump(next_ids(reached, reached), &mut || drawn).unwrap();
            for sequence in [IdKind::Users, IdKind::Events] {
                let resumed = sequence.of(resumed);
                assert!(resumed >= reached + MIN_JUMP, "{reached} {resumed}");
                assert!(resumed - reached < MIN_JUMP + JUMP_SPREAD, "{reached} {resumed}");
                assert!(MAX_ID - resumed >= (MAX_ID - reached - MIN_JUMP) / 2, "{resumed}");
            }
        }
    }
    for reached in [MAX_ID + 1, MAX_ID, MAX_ID - MIN_JUMP, MAX_ID - 3 * MIN_JUMP + 1] {
        for (user, event) in [(reached, 1), (1, reached)] {
            let refused = jump(next_ids(user, event), &mut || 0).unwrap_err();
            assert!(refused.to_string().contains("too few are left"), "{refused}");
        }
    }
}

/// A store that has given out its last ids stays what it was.
#[test]
fn a_renewal_that_cannot_end_is_not_begun() {
    let mut store = MemoryStore::new(StoreId(2));
    let far = next_ids(MAX_ID, MAX_ID);
    store.restore(Record::NextIds(far)).unwrap();
    renew(&mut store, StoreId(1), &mut || 1).unwrap_err();
    assert_eq!((store.next_ids(), store.past_store_ids().unwrap()), (far, vec![]));
    assert!(UserId::new(MAX_ID).is_some() && MessageId::new(MAX_ID).is_some());
}
