//! The index that is lost, broken, foreign or false, and how much of the log a start reads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::check::{IndexState, check};
use super::*;
use crate::model::{EventId, MessageId, ModerationAction, StoreId, Timestamp};
use crate::store::Hash;
use crate::store::backend::{IdempotencyKey, NewMessage, NewRevision};
use crate::store::engine::Engine as _;
use crate::store::error::StoreError;
use crate::store::id_allocator::IdAllocator;
use crate::store::log::Log;
use crate::store::log_store::store::LogStore;
use crate::store::record::Record;
use std::collections::BTreeSet;

/// The tree of an index, once an earlier handle is closed.
pub(super) fn tree(index: &Path) -> ::sled::Db {
    File::open(index.join("db")).unwrap().lock().unwrap();
    ::sled::open(index).unwrap()
}

/// The key of an index for an id.
pub(super) fn key(kind: &str, id: u64) -> Vec<u8> {
    [kind.as_bytes(), &id.to_be_bytes()].concat()
}

/// A change that is made to an index.
type Change = fn(&Path);

#[test]
fn an_index_that_is_no_use_is_made_again() {
    let changes: [(&str, Change); 13] = [
        ("gone", |index| fs::remove_dir_all(index).unwrap()),
        ("empty", |index| {
            fs::remove_dir_all(index).unwrap();
            fs::create_dir(index).unwrap();
        }),
        ("noise", |index| {
            for entry in fs::read_dir(index).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    fs::write(path, [0xa5; 3000]).unwrap();
                }
            }
        }),
        ("cut", |index| cut(&index.join("db"), 700)),
        ("half a snapshot", |index| {
            fs::write(index.join("snap.00000000000fffff.generating"), [0; 300]).unwrap();
        }),
        ("found broken before", |index| fs::write(index.with_extension("broken"), "").unwrap()),
        ("without its end", |index| {
            tree(index).remove("m").unwrap();
        }),
        ("with an end that was tampered with", |index| {
            let tree = tree(index);
            let mut end = tree.get("m").unwrap().unwrap();
            end[60] ^= 1;
            tree.insert("m", end).unwrap();
        }),
        ("without a name", |index| {
            let gone = tree(index).remove("nu2").unwrap();
            assert!(gone.is_some());
        }),
        ("with a name that leads to somebody else", |index| {
            tree(index).insert("nu2", &1u64.to_be_bytes()).unwrap();
        }),
        ("without the list of a mailbox", |index| {
            let first = tree(index).scan_prefix("b").keys().next_back().unwrap().unwrap();
            tree(index).remove(first).unwrap();
        }),
        ("with an entry too many", |index| {
            tree(index).insert(key("u", 4), &40u64.to_be_bytes()).unwrap();
        }),
        ("with a false mark", |index| {
            let third = 302u64;
            tree(index).insert(key("p", 0), &third.to_be_bytes()).unwrap();
        }),
    ];
    for (what, change) in changes {
        println!("{what}");
        let sample = Sample::new(30);
        change(&sample.index());
        let mut watch = Watch::default();
        let mut store = LogStore::open(&sample.dir(), EPOCH, &mut watch).unwrap();
        assert_eq!(watch.total, store.log.end() - Log::START, "all of it is read");
        forget(&mut store);
        expect(&mut store, 30);
        drop(store);
        sample.expect_messages(30);
        assert!(!sample.dir().join("index.broken").exists());
    }
}

/// Another store's index says nothing about this one's log, however far it goes.
#[test]
fn an_index_of_another_store_is_made_again() {
    for messages in [0, 5, 50] {
        let other = Sample { root: tempfile::tempdir().unwrap() };
        fill(&mut LogStore::open(&other.dir(), StoreId(8), &mut ()).unwrap(), messages);
        let sample = Sample::new(30);
        Index::discard(&sample.index()).unwrap();
        fs::rename(other.index(), sample.index()).unwrap();
        sample.expect_messages_by_index(30);
    }
}

/// The log was put back from a backup and went on from there, and then the index of before came
/// back as well: as long as what it describes, but of other records.
#[test]
fn an_index_of_another_past_is_made_again() {
    let sample = Sample::new(10);
    let before = sample.root.path().join("before");
    fs::rename(sample.index(), &before).unwrap();
    cut(&sample.log_file(), 302);
    let mut store = sample.open().unwrap();
    for number in 2..20 {
        store.post(NewMessage { to: None, ..new_message(number) }).unwrap();
    }
    store.sync().unwrap();
    let expected = read_all(&mut store).unwrap();
    drop(store);
    Index::discard(&sample.index()).unwrap();
    fs::rename(before, sample.index()).unwrap();
    let mut store = sample.open().unwrap();
    forget(&mut store);
    expect_same(&read_all(&mut store).unwrap(), &expected);
}

/// A change that is made to the tree of an index.
type Wrong<'a> = &'a dyn Fn(&::sled::Db);

/// A wrong index is reported, and the next start rebuilds it.
#[test]
fn an_index_that_is_found_wrong_is_made_again_at_the_next_start() {
    let message = 178u64;
    let general = [b"b", &[0; 17][..]].concat();
    let of_general = |id: u64| [&general, &id.to_be_bytes()[..]].concat();
    let wrongs: [(&str, Wrong); 5] = [
        ("an account's position holds something else", &|tree| {
            tree.insert(key("u", 1), &message.to_be_bytes()).unwrap();
        }),
        ("an entry has the wrong length", &|tree| {
            tree.insert(key("u", 1), b"short").unwrap();
        }),
        ("a name leads to no user", &|tree| {
            tree.remove(key("u", 2)).unwrap();
        }),
        ("a message's position holds something else", &|tree| {
            let chunk = tree.remove(of_general(0)).unwrap().unwrap();
            tree.insert(of_general(1), chunk).unwrap();
        }),
        ("a list of postings is malformed", &|tree| {
            tree.insert(of_general(0), &[0x80]).unwrap();
        }),
    ];
    for (what, wrong) in wrongs {
        let sample = Sample::new(30);
        let mut store = sample.open().unwrap();
        forget(&mut store);
        wrong(store.view.index.tree());
        let told = read_all(&mut store).unwrap_err();
        assert!(matches!(&told, StoreError::Index(why) if why == what), "{told}");
        assert!(told.is_fatal());
        drop(store);
        let mut watch = Watch::default();
        let mut store = LogStore::open(&sample.dir(), EPOCH, &mut watch).unwrap();
        assert_eq!(watch.total, store.log.end() - Log::START);
        forget(&mut store);
        expect(&mut store, 30);
    }
}

#[test]
fn an_index_whose_log_is_gone_is_refused() {
    let sample = Sample::new(3);
    let away = sample.root.path().join("away");
    fs::rename(sample.dir().join("log"), &away).unwrap();
    for _ in 0..2 {
        let refused = sample.open().unwrap_err();
        assert!(matches!(refused, StoreError::Refused(_)));
        assert_eq!(
            refused.to_string(),
            format!(
                "{} is gone, but {} remains: put the log back, or remove the index to begin anew",
                sample.dir().join("log").display(),
                sample.index().display()
            )
        );
    }
    fs::rename(&away, sample.dir().join("log")).unwrap();
    sample.expect_messages(3);
}

/// It may be the only witness that there was a log.
#[test]
fn an_index_that_cannot_be_read_and_whose_log_is_gone_is_refused() {
    let changes: [(&str, Change); 4] = [
        ("emptied", |index| {
            Index::discard(index).unwrap();
            drop(Index::open(index).unwrap());
        }),
        ("found broken", |index| fs::write(index.with_extension("broken"), "").unwrap()),
        ("noise", |index| fs::write(index.join("db"), [0xa5; 3000]).unwrap()),
        ("without its end", |index| {
            tree(index).remove("m").unwrap();
        }),
    ];
    for (what, change) in changes {
        let sample = Sample::new(3);
        let away = sample.root.path().join("away");
        fs::rename(sample.dir().join("log"), &away).unwrap();
        change(&sample.index());
        for _ in 0..2 {
            let refused = sample.open().unwrap_err();
            assert!(matches!(&refused, StoreError::Refused(_)), "{what}: {refused}");
            assert!(refused.to_string().contains("is gone, but"), "{what}: {refused}");
        }
        assert!(!sample.dir().join("log").exists());
        fs::rename(&away, sample.dir().join("log")).unwrap();
        sample.expect_messages(3);
    }
}

#[test]
fn a_first_start_that_was_interrupted_is_begun_again() {
    for begun in ["", "log"] {
        let sample = Sample { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(sample.dir().join(begun)).unwrap();
        if begun == "log" {
            fs::write(sample.log_file(), "VECHE").unwrap();
        }
        let mut store = sample.open().unwrap();
        assert_eq!(store.next_ids(), IdAllocator::default());
        fill(&mut store, 3);
        drop(store);
        sample.expect_messages(3);
    }
}

/// Too many open files, no right to read: the index may be as good as ever.
#[test]
fn an_index_that_the_system_refuses_to_open_is_left_alone() {
    let sample = Sample::new(3);
    let (conf, away) = (sample.index().join("conf"), sample.root.path().join("conf"));
    fs::rename(&conf, &away).unwrap();
    std::os::unix::fs::symlink(&conf, &conf).unwrap();
    for _ in 0..2 {
        let refused = sample.open().unwrap_err();
        assert!(matches!(&refused, StoreError::Failed { doing: "opening", .. }), "{refused}");
        assert!(sample.index().join("db").exists());
    }
    fs::remove_file(&conf).unwrap();
    fs::rename(&away, &conf).unwrap();
    sample.expect_messages(3);
}

/// Posts one message, then alternates moderations and revisions: 5,000 events next to each other.
fn fill_with_activities(store: &mut LogStore) {
    fill(store, 1);
    let mut seen = EventId::from(MessageId::FIRST);
    for number in 0..2500 {
        let at = Timestamp::from_millis(number);
        let action = [ModerationAction::CloseRegistration, ModerationAction::OpenRegistration]
            [usize::from(number % 2 == 1)];
        store.moderate(user_id(1), at, action).unwrap().unwrap();
        let revision = NewRevision { by: user_id(1), at, text: Some(new_message(number).text) };
        seen = store.revise(MessageId::FIRST, seen, revision).unwrap().unwrap();
    }
    store.sync().unwrap();
}

/// A mark's distance, read with what follows it, and the message that was revised.
const LOOKUP_BYTES: u64 = 48 * 1024;

#[test]
fn any_event_is_found_by_its_number_with_little_reading() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    fill_with_activities(&mut store);
    assert!(store.log.end() > 8 * LOOKUP_BYTES, "{}", store.log.end());
    drop(store);
    for index_remains in [true, false] {
        if !index_remains {
            Index::discard(&sample.index()).unwrap();
        }
        let mut store = sample.open().unwrap();
        forget(&mut store);
        while store.view.table.activity_count() > 0 {
            store.view.table.evict_oldest_activity();
        }
        for number in (1..=5000).step_by(7) {
            let (found, _, bytes) =
                reading(|| store.find_message(MessageId::new(number).unwrap()).unwrap().is_some());
            assert!(!found, "{number} is no message's");
            assert!(bytes <= LOOKUP_BYTES, "{bytes} bytes for {number}");
            let from = EventId::new(number).unwrap();
            let (found, _, bytes) =
                reading(|| store.events_from(from, 1).unwrap().first().map(|event| event.id));
            assert_eq!(found, Some(from));
            assert!(bytes <= LOOKUP_BYTES, "{bytes} bytes for {number}");
        }
        drop(store);
        assert_eq!(
            check(&sample.dir(), &mut ()).unwrap().index,
            IndexState::Agrees { unindexed: 0 }
        );
    }
}

/// Each message was edited and then edited again or deleted, so that the events of the first edits
/// and the present messages are different records.
#[test]
fn the_messages_of_a_page_of_events_are_read_together() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    fill(&mut store, 400);
    let general: Vec<_> = (0..400).filter(|number| number % (USERS + 1) == 0).take(50).collect();
    let mut revise = |id: MessageId, text: Option<u64>| {
        let seen = store.message(id).unwrap().unwrap().event();
        let text = text.map(|number| new_message(number).text);
        let revision = NewRevision { by: user_id(1), at: Timestamp::from_millis(1), text };
        store.revise(id, seen, revision).unwrap().unwrap()
    };
    let ids = general.iter().map(|number| MessageId::new(*number).unwrap());
    let edits: Vec<_> = ids.clone().map(|id| revise(id, Some(1000))).collect();
    let last: Vec<_> = ids.map(|id| revise(id, (id.get() % 3 > 0).then_some(2000))).collect();
    store.sync().unwrap();
    forget(&mut store);
    while store.view.table.activity_count() > 0 {
        store.view.table.evict_oldest_activity();
    }
    for events in [edits, last] {
        let cursor = Cursor::From(events[0].get());
        let window = Window { cursor, limit: events.len() };
        let (page, calls, _) = reading(|| store.events(user_id(1), window).unwrap().items);
        assert!(calls <= 4, "{calls} reads of a page");
        let (history, calls, _) = reading(|| store.history(events[0], events.len()).unwrap());
        assert!(calls <= 4, "{calls} reads of the history");
        assert_eq!(page, history);
        assert_eq!(page.iter().map(|event| event.id).collect::<Vec<_>>(), events);
        for message in page.iter().map(|event| event.message().unwrap()) {
            let expected = if message.id.get() % 3 > 0 { "message 2000" } else { "" };
            assert_eq!(message.text(), expected, "{}", message.id);
        }
    }
}

/// The mark that it begins at may be of any kind of event.
#[test]
fn a_start_begins_at_a_moderation_or_a_revision() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    fill_with_activities(&mut store);
    drop(store);
    let mut kinds = [false; 2];
    for number in 0..8 {
        let mut store = sample.open().unwrap();
        let next_event = RECENT_MESSAGES as u64 + 600 * (number + 1);
        store.restore(Record::NextIds(IdAllocator { next_user: 4, next_event })).unwrap();
        store.post(NewMessage { to: None, ..new_message(number) }).unwrap();
        store.sync().unwrap();
        drop(store);
        let mut watch = Watch::default();
        let store = LogStore::open(&sample.dir(), EPOCH, &mut watch).unwrap();
        assert!(watch.total < store.log.end() - Log::START, "a part of it is read");
        let first = store.view.activities_start();
        kinds[usize::from(first % 2 == 1)] = true;
        let first = EventId::new(first).unwrap();
        let events = store.history(first, 9).unwrap();
        assert!(events.iter().map(|event| event.id.get()).eq(first.get()..first.get() + 9));
    }
    assert_eq!(kinds, [true; 2], "revisions and moderations");
}

/// A start reads what was newest, and not the whole log.
#[test]
fn a_start_reads_little_more_than_the_newest() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    store.create_user(new_user("u1")).unwrap();
    let count = 2 * RECENT_MESSAGES as u64;
    for number in 0..count {
        let message = NewMessage { from: user_id(1), to: None, ..new_message(number) };
        store.post(message).unwrap();
        if number % 1000 == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    assert!(store.view.table.size().0 < RECENT_MESSAGES + 1000);
    let half = store.log.end() / 2;
    drop(store);
    let mut watch = Watch::default();
    let store = LogStore::open(&sample.dir(), EPOCH, &mut watch).unwrap();
    assert!((half - 50_000..half + 50_000).contains(&watch.total), "{} {half}", watch.total);
    assert!(store.view.pending.is_empty(), "a clean end has updated the index");
    assert_eq!(store.view.table.size().0, RECENT_MESSAGES);
    for id in [0, 1, count / 2, count - 1] {
        let found = store.message(MessageId::new(id).unwrap()).unwrap().unwrap();
        assert_eq!(found.text(), new_message(id).text.as_str());
    }
}

/// Many changes are written in several batches. After each of them the index has exactly the point
/// that it states, and a write batch is never divided.
#[test]
fn an_index_is_written_in_parts() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    for id in 1..=400 {
        store.create_user(new_user(&format!("u{id}"))).unwrap();
    }
    for number in 0..300u64 {
        let sent_at = Timestamp::from_millis(number);
        let new = NewMessage { to: None, sent_at, ..new_message(number) };
        let fingerprint = Hash([1; 16]);
        let mut key = [2; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        assert!(
            store.post_once(new, IdempotencyKey::for_tests(key, fingerprint.0)).unwrap().is_some()
        );
        let new = NewMessage { to: Some(user_id(number % 400 + 1)), ..new_message(number) };
        store.post(new).unwrap();
    }
    store.log.sync().unwrap();
    let pending = store.view.pending.clone();
    drop(store);
    assert!(
        pending.iter().any(|(_, applied)| applied.is_none()),
        "some are in the batch of the next"
    );
    let (_, end) = pending.last().unwrap();
    let end = end.unwrap();

    let mut heights = BTreeSet::new();
    for told in (100..pending.len()).step_by(97) {
        Index::discard(&sample.index()).unwrap();
        let mut index = Index::open(&sample.index()).unwrap();
        // The process ends there.
        let changes = pending.iter().cloned().enumerate().map(|(number, change)| {
            assert_ne!(number, told, "the end");
            change
        });
        let ended = catch_unwind(AssertUnwindSafe(|| index.apply(changes, end)));
        assert!(ended.is_err());
        heights.insert(index.applied().map(|applied| applied.stamp.lsn));
        index.close().unwrap();
        let found = check(&sample.dir(), &mut ()).unwrap();
        assert!(found.is_sound(), "{told}: {found}");
        let store = sample.open().unwrap();
        assert_eq!(store.next_ids(), end.next_ids);
        drop(store);
        let found = check(&sample.dir(), &mut ()).unwrap();
        assert_eq!(found.index, IndexState::Agrees { unindexed: 0 }, "{told}");
    }
    assert!(heights.len() > 2, "{heights:?}");
}
