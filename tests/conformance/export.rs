//! Export and import between stores, and the backup.

use veche::model::{StoreId, Timestamp};
use veche::store::{self, Backend, IdAllocator, LogStore, MemoryStore, Record, TransferError};

use crate::pages::chatter;
use crate::pair::{Pair, new_message, restored_message, restored_user};
use crate::retries;
use crate::seed::Random;
use crate::subject::{Memory, Sled, Subject};

/// A store with gaps between the ids, and with ids that were given out and are unused.
fn sample<S: Subject>() -> Pair<S> {
    let mut random = Random::new(31);
    let mut pair = Pair::<S>::begin();
    for id in [1, 2, 3, 7] {
        pair.restore(restored_user(id, &format!("User.{id}")));
    }
    for id in [2, 3, 9] {
        pair.restore(restored_message(id, 7, 0));
    }
    chatter(&mut pair, 2500, &mut random);
    pair.post(new_message(1, 2, &"\u{1}".repeat(4096)));
    for number in 0..1500 {
        pair.post_once(retries::at(1 + number % 3, number), retries::once(number / 2));
    }
    pair.restore(Record::NextIds(IdAllocator { next_user: 20, next_event: 5000 }));
    pair.sync();
    pair
}

fn export(store: &mut dyn Backend) -> (Vec<u8>, store::Summary) {
    let mut bytes = Vec::new();
    let summary = store::export(store, &mut bytes, Timestamp::from_millis(0), &mut ()).unwrap();
    (bytes, summary)
}

fn import(bytes: &[u8], store: &mut dyn Backend) -> Result<store::Summary, TransferError> {
    store::import(bytes, Some(bytes.len() as u64), store, &mut ())
}

#[test]
fn from_memory_to_sled_and_back_it_is_the_same() {
    let mut first = sample::<Memory>();
    let (bytes, summary) = export(first.store());
    assert_eq!((summary.users, summary.messages + summary.revisions), (4, 4004));
    assert!(summary.revisions > 100);

    let dir = tempfile::tempdir().unwrap();
    let built = LogStore::build(dir.path(), StoreId(1), |store| import(&bytes, store)).unwrap();
    assert_eq!(built, summary);
    // The store in the state that its next process finds.
    let mut second = LogStore::open(dir.path(), StoreId(2), &mut ()).unwrap();
    assert_eq!(second.store_id(), first.store().store_id());
    first.reference.expect_all(&mut second);
    assert!(export(&mut second) == (bytes.clone(), summary.clone()));

    let mut third = MemoryStore::new(StoreId(3));
    assert_eq!(import(&bytes, &mut third).unwrap(), summary);
    first.reference.expect_all(&mut third);
    assert!(export(&mut third) == (bytes, summary));
}

#[test]
fn from_sled_to_memory_it_is_the_same_after_every_restart() {
    let mut random = Random::new(32);
    let mut first = sample::<Sled>();
    let (bytes, summary) = export(first.store());
    for restart in Sled::RESTARTS {
        first.restart(restart, &mut random);
        assert!(export(first.store()) == (bytes.clone(), summary.clone()), "{}", restart.name);
    }
    let mut second = MemoryStore::new(StoreId(3));
    assert_eq!(import(&bytes, &mut second).unwrap(), summary);
    assert!(export(&mut second) == (bytes, summary));
}

/// Writes that were not synced yet are exported as well.
#[test]
fn unsynced_writes_are_exported() {
    let mut sled = sample::<Sled>();
    let mut random = Random::new(33);
    chatter(&mut sled, 50, &mut random);
    let (bytes, _) = export(sled.store());
    let mut copy = MemoryStore::new(StoreId(3));
    import(&bytes, &mut copy).unwrap();
    sled.reference.expect_all(&mut copy);
}

#[test]
fn an_import_that_fails_leaves_no_store() {
    let (bytes, summary) = export(sample::<Memory>().store());
    let dir = tempfile::tempdir().unwrap();
    for part in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let error = LogStore::build(dir.path(), StoreId(1), |store| import(&bytes[..part], store));
        assert!(matches!(error, Err(TransferError::Line(_, _))));
    }
    let built = LogStore::build(dir.path(), StoreId(1), |store| import(&bytes, store));
    assert_eq!(built.unwrap(), summary);
    let again = LogStore::build(dir.path(), StoreId(1), |store| import(&bytes, store));
    assert!(matches!(again, Err(TransferError::Store(_))));
}
