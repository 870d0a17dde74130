//! The content of a snapshot: all that was synced when it was taken, and nothing else, ever.

use std::io::Read;
use std::thread;

use veche::model::{StoreId, Timestamp};
use veche::store::{self, Backend, MemoryStore, Snapshot, Summary};

use crate::pages::chatter;
use crate::pair::Pair;
use crate::seed::Random;
use crate::subject::Subject;

/// The additional length of a backup after the log in it.
const END_MARK_BYTES: usize = 28;

fn read(mut snapshot: Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, snapshot.length());
    bytes
}

fn exported(store: &mut dyn Backend) -> Summary {
    store::export(store, &mut std::io::sink(), Timestamp::from_millis(0), &mut ()).unwrap()
}

/// A store without a log says so, and goes on; another store gives a snapshot without being
/// disturbed.
pub(crate) fn a_snapshot_changes_nothing<S: Subject>() {
    let mut random = Random::new(41);
    let mut pair = Pair::<S>::with_users(3);
    for _ in 0..5 {
        chatter(&mut pair, 20, &mut random);
        if let Some(snapshot) = pair.store().snapshot().unwrap() {
            read(snapshot);
        }
        pair.expect_all();
        pair.sync();
        drop(pair.store().snapshot().unwrap());
        pair.expect_all();
    }
}

pub(crate) fn a_snapshot_is_what_was_synced<S: Subject>() {
    let mut random = Random::new(42);
    let mut pair = Pair::<S>::with_users(3);
    pair.sync();
    let snapshot = |pair: &mut Pair<S>| pair.store().snapshot().unwrap().unwrap();
    let mut before: Vec<u8> = Vec::new();
    for round in 0..6 {
        chatter(&mut pair, [1, 40, 300, 5, 700, 3][round], &mut random);
        pair.sync();
        let summary = exported(pair.store());
        let mut first = snapshot(&mut pair);
        // Applied, but not synced: the next snapshot does not have it either.
        chatter(&mut pair, 10, &mut random);
        let second = snapshot(&mut pair);
        // The first is read while the store goes on.
        let mut first_bytes = Vec::new();
        let mut part = vec![0; 4097];
        loop {
            let len = first.read(&mut part).unwrap();
            if len == 0 {
                break;
            }
            first_bytes.extend_from_slice(&part[..len]);
            chatter(&mut pair, 2, &mut random);
            pair.sync();
        }
        let second = thread::spawn(move || read(second)).join().unwrap();
        assert!(first_bytes == second, "whenever and wherever it is read");
        let log = &first_bytes[..first_bytes.len() - END_MARK_BYTES];
        assert!(log.starts_with(&before), "a later one goes on where an earlier one ended");
        before = log.to_vec();

        let mut copy = MemoryStore::new(StoreId(1));
        let imported = store::import(&*first_bytes, None, &mut copy, &mut ()).unwrap();
        assert_eq!(imported, summary);
        assert_eq!(exported(&mut copy), summary);
        let again = || Ok(&*first_bytes);
        assert_eq!(store::verify(&*first_bytes, None, again, &mut ()).unwrap(), summary);
    }
}

/// A snapshot before a restart holds what the restart finds.
pub(crate) fn a_snapshot_goes_on_after_a_restart<S: Subject>() {
    let mut random = Random::new(43);
    for restart in S::RESTARTS {
        println!("after a {}", restart.name);
        let mut pair = Pair::<S>::with_users(3);
        chatter(&mut pair, 300, &mut random);
        pair.sync();
        let before = read(pair.store().snapshot().unwrap().unwrap());
        pair.restart(restart, &mut random);
        let after = read(pair.store().snapshot().unwrap().unwrap());
        assert!(after == before);
        chatter(&mut pair, 10, &mut random);
        pair.sync();
        let more = read(pair.store().snapshot().unwrap().unwrap());
        assert!(more.starts_with(&before[..before.len() - END_MARK_BYTES]));
        assert!(more.len() > before.len());
    }
}
