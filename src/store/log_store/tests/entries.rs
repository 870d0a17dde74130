//! Idempotency keys: beside messages, through crashes, and in the index.

use std::collections::BTreeSet;

use super::super::check::{IndexState, check};
use super::super::compact::compact;
use super::index::tree;
use super::*;
use crate::model::{
    Block, MAX_SESSIONS, MessageId, ModerationAction, Session, SessionId, Timestamp,
};
use crate::store::backend::{IdempotencyKey, NewMessage, NewRevision, PostOutcome};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::retry::RetryKey;
use crate::store::error::StoreError;
use crate::store::log::Log;
use crate::store::log_store::store::LogStore;
use crate::store::log_store::store::decode;
use crate::store::record::Record;
use crate::store::rules::retry::is_passing;
use crate::store::{Hash, RetryOrderKey};

const HOUR: u64 = 60 * 60 * 1000;

fn of(user: u64, key: u8) -> RetryKey {
    RetryKey { user: user_id(user), key: Hash([key; 16]) }
}

/// Posts a message under a key of its author's.
fn send(store: &mut LogStore, key: u8, number: u64) -> PostOutcome {
    let once = IdempotencyKey::for_tests([key; 16], [key; 16]);
    store.post_once(NewMessage { to: None, ..new_message(number) }, once).unwrap().unwrap()
}

fn all(store: &mut LogStore) -> Vec<Entry> {
    store.entries(None, usize::MAX).unwrap()
}

/// Users, and messages under keys, some of which are over.
fn fill_with_keys(store: &mut LogStore) {
    fill(store, 0);
    for number in 0..200 {
        let at = number / 100 * 30 * HOUR + number;
        let new = NewMessage { to: None, ..new_message(number) };
        let new = NewMessage { sent_at: Timestamp::from_millis(at), ..new };
        let key = Hash([u8::try_from(number % 150).unwrap(); 16]);
        let once = IdempotencyKey::for_tests(key.0, [1; 16]);
        assert!(
            matches!(store.post_once(new, once).unwrap(), Some(PostOutcome::Posted(_))),
            "{number}"
        );
        store.sync().unwrap();
    }
}

fn sample() -> (Sample, Vec<Entry>) {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    fill_with_keys(&mut store);
    let entries = all(&mut store);
    let mut memory = MemoryStore::new(EPOCH);
    fill(&mut memory, 0);
    for entry in &entries {
        memory.restore(Record::Entry(entry.clone())).unwrap();
    }
    assert_eq!(memory.entries(None, usize::MAX).unwrap(), entries, "in the same order");
    (sample, entries)
}

fn agrees(sample: &Sample) {
    let found = check(&sample.dir(), &mut ()).unwrap();
    assert_eq!(found.index, IndexState::Agrees { unindexed: 0 });
}

/// The entries are the same in memory, in the index, partly in both, and after a rebuild.
#[test]
fn entries_are_the_same_wherever_they_are() {
    let (sample, entries) = sample();
    assert!((200..400).contains(&entries.len()), "{}", entries.len());
    for apply_every in [usize::MAX, 1, 7] {
        let other = Sample { root: tempfile::tempdir().unwrap() };
        let mut store = other.open().unwrap();
        fill(&mut store, 0);
        for number in 0..200 {
            let at = number / 100 * 30 * HOUR + number;
            let new = NewMessage { to: None, ..new_message(number) };
            let new = NewMessage { sent_at: Timestamp::from_millis(at), ..new };
            let key = Hash([u8::try_from(number % 150).unwrap(); 16]);
            store.post_once(new, IdempotencyKey::for_tests(key.0, [1; 16])).unwrap();
            store.log.sync().unwrap();
            store.view.apply(apply_every).unwrap();
        }
        assert_eq!(all(&mut store), entries, "applied every {apply_every}");
        for page in 1..20 {
            let (mut found, mut last) = (Vec::new(), None);
            loop {
                let page = store.entries(last.as_ref(), page).unwrap();
                last = page.last().cloned();
                found.extend(page);
                if last.is_none() {
                    break;
                }
            }
            assert_eq!(found, entries);
        }
    }
    // Before a start has made again what is not right.
    agrees(&sample);
    for index_remains in [true, false] {
        if !index_remains {
            Index::discard(&sample.index()).unwrap();
        }
        assert_eq!(all(&mut sample.open().unwrap()), entries);
        agrees(&sample);
    }
}

/// Reads stay few even if more accounts between the requested ones have changed.
#[test]
fn names_are_read_together() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    for id in 1..=400 {
        store.create_user(new_user(&format!("u{id}"))).unwrap();
    }
    for id in (1..=400).filter(|id| id % 4 != 1) {
        store.end_account(user_id(id), "a hash", Timestamp::from_millis(2)).unwrap();
    }
    store.sync().unwrap();
    store.view.apply(1).unwrap();
    for every in [1, 2, 30, 100] {
        let asked: BTreeSet<_> = (1..=410).step_by(every).map(user_id).collect();
        let (named, calls, _) = reading(|| store.usernames(&asked).unwrap());
        assert!(calls <= 2, "{calls} reads");
        for id in asked {
            let is_there = id.get() <= 400;
            let name = match id.get() % 4 {
                1 => format!("u{id}"),
                _ => format!("deleted~{id}"),
            };
            assert_eq!(named.get(&id).map(|name| &**name), is_there.then_some(&*name));
        }
    }
}

/// A power cut leaves all of a message and its key, or nothing.
#[test]
fn a_message_and_its_key_are_one() {
    let sample = Sample::new(5);
    let before = fs::metadata(sample.log_file()).unwrap().len();
    let mut store = sample.open().unwrap();
    assert_eq!(send(&mut store, 1, 0), PostOutcome::Posted(MessageId::new(5).unwrap()));
    assert_eq!(send(&mut store, 2, 3), PostOutcome::Posted(MessageId::new(6).unwrap()));
    store.sync().unwrap();
    let frames = frames(&store.log);
    let cut_off = sample.root.path().join("cut off");
    fs::create_dir_all(cut_off.join("log")).unwrap();
    let log = cut_off.join("log/00000000000000000000.log");
    let bytes = fs::read(sample.log_file()).unwrap();
    let whole = u64::try_from(bytes.len()).unwrap();
    drop(store);
    let index = sample.root.path().join("index before");
    fs::rename(sample.index(), &index).unwrap();
    for len in (before..=whole).filter(|len| len % 7 == 0 || frames.contains(len)) {
        let messages = match frames.iter().filter(|at| (before + 1..=len).contains(*at)).count() {
            0..3 => 0,
            3..6 => 1,
            _ => 2,
        };
        fs::write(&log, &bytes[..usize::try_from(len).unwrap()]).unwrap();
        let found = check(&cut_off, &mut ());
        let is_whole = [frames[8], frames[11], frames[14]].contains(&len);
        assert_eq!(found.unwrap().torn.is_none(), is_whole, "{len}");
        let mut store = LogStore::open(&cut_off, EPOCH, &mut ()).unwrap();
        assert_eq!(store.next_ids().next_event, 5 + messages, "{len}");
        assert_eq!(all(&mut store).len() as u64, 2 * messages, "{len}");
        for (key, number) in [(1, 0), (2, 3)] {
            let first = store.first_answer(of(1, key), Timestamp::from_millis(5)).unwrap();
            assert_eq!(first.is_some(), u64::from(key) <= messages);
            match send(&mut store, key, number) {
                PostOutcome::Replayed(answer) => assert_eq!(Some(answer), first),
                PostOutcome::Posted(id) => assert_eq!(id.get(), 4 + u64::from(key)),
            }
        }
        store.sync().unwrap();
        assert_eq!(store.next_ids().next_event, 7, "each message is there once");
        drop(store);
        assert!(check(&cut_off, &mut ()).unwrap().is_sound());
        Index::discard(&cut_off.join("index")).unwrap();
    }
}

/// All sessions that there can be end as one with what ends them, and a start takes it.
#[test]
fn the_longest_batch_is_accepted() {
    for by_block in [false, true] {
        let sample = Sample::new(3);
        let mut store = sample.open().unwrap();
        let begun = |number: usize| Session {
            user: user_id(1),
            id: SessionId([u8::try_from(number).unwrap(); 16]),
            created_at: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(99),
            user_agent: "".into(),
        };
        for number in 0..MAX_SESSIONS {
            assert_eq!(store.begin_session(begun(number), "a hash").unwrap(), Some(vec![]));
        }
        store.sync().unwrap();
        let before = frames(&store.log).len();
        if by_block {
            let action = ModerationAction::Block(user_id(1));
            store.moderate(user_id(2), Timestamp::from_millis(2), action).unwrap().unwrap();
        } else {
            assert!(store.change_password(begun(99), "a hash", "other".into()).unwrap());
        }
        store.sync().unwrap();
        assert_eq!(frames(&store.log).len() - before, MAX_SESSIONS + 2);
        let left = store.sessions(user_id(1)).unwrap();
        drop(store);
        Index::discard(&sample.index()).unwrap();
        assert_eq!(sample.open().unwrap().sessions(user_id(1)).unwrap(), left);
        agrees(&sample);
    }
}

/// Nobody writes so much that is one.
#[test]
fn too_many_that_are_one_are_damage() {
    let sample = Sample::new(5);
    let mut store = sample.open().unwrap();
    let mut position = 0;
    for number in 0..66 {
        let entry =
            Entry::RetryOrder { key: RetryOrderKey { user: user_id(1), number }, value: None };
        position = store.log.append(|out| Record::Entry(entry).encode(true, out)).unwrap().position;
    }
    store.log.sync().unwrap();
    drop(store);
    sample.expect_damage(position, "a write batch has too many records");
}

#[test]
fn an_entry_of_a_newer_version_is_refused() {
    let sample = Sample::new(3);
    let mut store = sample.open().unwrap();
    store.log.append(|out| out.extend([6, 99, 2, 3])).unwrap();
    store.log.sync().unwrap();
    drop(store);
    let why = "the log holds an entry of keyspace 99: it was written by a newer version of veche";
    assert_eq!(sample.open().unwrap_err().to_string(), why);
    let refused = check(&sample.dir(), &mut ()).unwrap_err().to_string();
    assert!(refused.contains("an entry of keyspace 99"), "{refused}");
}

/// Only the latest values stay.
#[test]
fn a_compaction_leaves_the_latest_values() {
    let (sample, entries) = sample();
    let counts = |sample: &Sample| {
        let (mut live, mut entries) = (0, 0);
        let store = sample.open().unwrap();
        let end = store.log.scan(Log::START, |frame| {
            if let Record::Entry(entry) = decode(&store.log, &frame)?.record {
                entries += 1;
                live += u64::from(entry.value_bytes().is_some());
            }
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!(end.unwrap().position, store.log.end());
        (entries, live)
    };
    assert!(counts(&sample).0 > entries.len());
    compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap();
    assert_eq!(counts(&sample), (entries.len(), entries.len() as u64));
    agrees(&sample);
    assert_eq!(all(&mut sample.open().unwrap()), entries);
}

/// No byte of an expired key, or of a key of an ended account, is left on the disk.
#[test]
fn keys_that_are_over_go_with_a_compaction() {
    let (sample, _) = sample();
    let remains = |key: u8| {
        let bytes = fs::read(sample.log_file()).unwrap();
        bytes.windows(16).any(|window| window == [key; 16])
    };
    let keys = |now: u64| {
        compact(&sample.dir(), Timestamp::from_millis(now), &mut ()).unwrap();
        agrees(&sample);
        (1..150).filter(|key| remains(*key)).collect::<Vec<u8>>()
    };
    // Those of the first day, which were not used again.
    assert_eq!(keys(30 * HOUR), (1..50).chain(100..150).collect::<Vec<_>>());
    let mut store = sample.open().unwrap();
    let hash = store.user(user_id(1)).unwrap().unwrap().password_hash.clone();
    assert!(store.end_account(user_id(1), &hash, Timestamp::from_millis(1)).unwrap());
    store.sync().unwrap();
    drop(store);
    let left = keys(30 * HOUR);
    assert!(!left.is_empty() && left.len() < 100, "{left:?}");
    assert_eq!(keys(60 * HOUR), [] as [u8; 0]);
    let mut store = sample.open().unwrap();
    assert!(all(&mut store).iter().all(|entry| !is_passing(entry)));
    fill_again(&mut store);
}

/// Keys are taken as before where all of a user's are gone.
fn fill_again(store: &mut LogStore) {
    let at = Timestamp::from_millis(61 * HOUR);
    let new = NewMessage { from: user_id(2), to: None, sent_at: at, ..new_message(1) };
    let once = IdempotencyKey::for_tests([1; 16], [1; 16]);
    assert!(matches!(store.post_once(new.clone(), once).unwrap(), Some(PostOutcome::Posted(_))));
    assert!(matches!(store.post_once(new, once).unwrap(), Some(PostOutcome::Replayed(_))));
}

#[test]
fn an_index_is_compared_with_the_entries() {
    type Spoil = fn(&::sled::Db, &[u8], &[u8]);
    let spoils: [(&str, Spoil); 4] = [
        ("missing", |tree, key, _| drop(tree.remove(key))),
        ("another", |tree, key, value| {
            let mut other = value.to_vec();
            other[20] ^= 1;
            drop(tree.insert(key, other));
        }),
        ("malformed", |tree, key, value| drop(tree.insert(key, &value[1..]))),
        ("one too many", |tree, key, value| {
            let mut other = key.to_vec();
            other[9] ^= 1;
            drop(tree.insert(other, value));
        }),
    ];
    for (what, spoil) in spoils {
        let (sample, entries) = sample();
        let db = tree(&sample.index());
        let key = [b"f", &entries[3].key_bytes()[..]].concat();
        let value = db.get(&key).unwrap().unwrap();
        spoil(&db, &key, &value);
        db.flush().unwrap();
        drop(db);
        let found = check(&sample.dir(), &mut ()).unwrap();
        assert!(matches!(found.index, IndexState::Wrong(_)), "{what}: {found}");
        assert_eq!(all(&mut sample.open().unwrap()), entries, "{what}: it is made again");
    }
}

#[test]
fn a_malformed_entry_is_reported() {
    let (sample, entries) = sample();
    let store = sample.open().unwrap();
    let first = entries.iter().find(|entry| matches!(entry, Entry::KeyedRetry { .. })).unwrap();
    let key = [b"f", &first.key_bytes()[..]].concat();
    store.view.index.tree().insert(key, b"short").unwrap();
    for told in [
        store.entries(None, usize::MAX).map(drop).unwrap_err(),
        store.first_answer(of(1, 0), Timestamp::from_millis(0)).map(drop).unwrap_err(),
    ] {
        assert!(
            matches!(&told, StoreError::Index(why) if why == "an entry is malformed"),
            "{told}"
        );
    }
    drop(store);
    assert_eq!(all(&mut sample.open().unwrap()), entries);
}

/// Moderation is possible on as little space as logins; blocks of senders are not.
#[test]
fn order_is_kept_on_a_disk_that_is_nearly_full() {
    let sample = Sample::new(3);
    let mut store = sample.open().unwrap();
    let (at, bob) = (Timestamp::from_millis(1), user_id(2));
    let revise = |store: &mut LogStore, text: Option<&str>| {
        let id = MessageId::new(0).unwrap();
        let text = text.map(|text| MessageText::parse(text.into()).unwrap());
        store.revise(id, id.into(), NewRevision { by: user_id(1), at, text })
    };
    store.keep_free(2 * crate::store::free_space::free(&sample.dir()).unwrap());
    let block = Block { user: bob, by: user_id(1), at };
    assert!(matches!(store.refuse_sender(block, true), Err(StoreError::Full { .. })));
    assert!(matches!(revise(&mut store, Some("more")), Err(StoreError::Full { .. })));
    assert!(store.moderate(user_id(1), at, ModerationAction::Block(bob)).unwrap().is_some());
    assert!(revise(&mut store, None).unwrap().is_some());
    store.sync().unwrap();
}
