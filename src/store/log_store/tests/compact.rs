//! A log that is written anew, and every instant at which that may end.

use std::io;

use super::super::check::{IndexState, check};
use super::super::compact::{UNFINISHED, compact, exchange, expect_room, rewrite, switch};
use super::*;
use crate::model::{MessageId, Timestamp, UserId};
use crate::store::backend::NewRevision;
use crate::store::error::StoreError;
use crate::store::id_allocator::IdAllocator;
use crate::store::log_store::store::LogStore;
use crate::store::record::Record;
use crate::store::{Summary, export};

fn exported(store: &mut LogStore) -> Summary {
    export(store, &mut io::sink(), Timestamp::from_millis(0), &mut ()).unwrap()
}

/// A store with several segments, and something after the last record.
fn lived_in() -> Sample {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    store.end_segments_at(1000);
    fill(&mut store, 300);
    sample
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_compacted_store_is_the_same() {
    let sample = lived_in();
    let mut store = sample.open().unwrap();
    let ahead = IdAllocator { next_user: 9, next_event: 500 };
    store.restore(Record::NextIds(ahead)).unwrap();
    store.sync().unwrap();
    let before = exported(&mut store);
    drop(store);
    let segments = names(&sample.dir().join("log")).len();
    assert!(segments > 10);
    let compaction = compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap();
    assert!(compaction.after < compaction.before, "{compaction:?}");
    assert_eq!(names(&sample.dir()), ["LOCK", "index", "index.seal", "log"]);
    assert_eq!(names(&sample.dir().join("log")).len(), 1);
    let found = check(&sample.dir(), &mut ()).unwrap();
    assert_eq!(found.index, IndexState::Agrees { unindexed: 0 }, "the index is the new log's");
    assert_eq!(found.bytes, compaction.after);

    let mut store = sample.open().unwrap();
    assert_eq!((store.next_ids(), store.store_id()), (ahead, EPOCH));
    assert_eq!(exported(&mut store), before);
    assert_eq!(store.post(new_message(1)).unwrap().unwrap().get(), 500, "no id is used again");
    store.sync().unwrap();
    drop(store);
    let again = compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap();
    assert_eq!(again.before, again.after);
    drop(sample.open().unwrap());
}

/// Texts that were replaced or deleted are gone from the disk, and nothing else is.
#[test]
fn revised_messages_leave_no_older_text() {
    let sample = lived_in();
    let mut store = sample.open().unwrap();
    for (id, text) in [(3, Some("edited once")), (3, Some("edited twice")), (4, None), (290, None)]
    {
        let id = MessageId::new(id).unwrap();
        let seen = store.message(id).unwrap().unwrap().event();
        let text = text.map(|text| MessageText::parse(text.into()).unwrap());
        let (by, at) = (UserId::FIRST, Timestamp::from_millis(1));
        store.revise(id, seen, NewRevision { by, at, text }).unwrap().unwrap();
    }
    store.sync().unwrap();
    let (before, next_ids) = (exported(&mut store), store.next_ids());
    drop(store);
    let log = || {
        let segments = fs::read_dir(sample.dir().join("log")).unwrap();
        segments.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect::<Vec<u8>>()
    };
    let holds = |log: &[u8], text: &str| log.windows(text.len()).any(|it| it == text.as_bytes());
    let erased = ["message 3", "edited once", "message 4", "message 290"];
    assert!(erased.iter().all(|text| holds(&log(), text)));
    for _ in 0..2 {
        compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap();
        let log = log();
        for text in &erased {
            // Other messages begin like the shorter ones.
            let rest = log.windows(text.len() + 1).filter(|it| it.starts_with(text.as_bytes()));
            assert!(rest.clone().all(|it| it[text.len()].is_ascii_digit()), "{text}");
        }
        assert!(holds(&log, "edited twice") && holds(&log, "message 5"));
        check(&sample.dir(), &mut ()).map(|found| assert!(found.is_sound(), "{found}")).unwrap();
        let mut store = sample.open().unwrap();
        assert_eq!((exported(&mut store), store.next_ids()), (before.clone(), next_ids));
    }
}

/// Ids of records that are not kept are not given out again.
#[test]
fn ids_of_removed_records_are_not_given_out_again() {
    let sample = lived_in();
    let old = sample.open().unwrap();
    let dir = sample.root.path().join("new");
    let mut new = LogStore::open(&dir, EPOCH, &mut ()).unwrap();
    let erased = |record: &Record| matches!(record, Record::Message(it) if it.id.get() >= 200);
    rewrite(
        &old,
        &mut new,
        |record| Ok((!erased(&record)).then_some(record)),
        Timestamp::from_millis(0),
        &mut (),
    )
    .unwrap();
    assert_eq!(new.next_ids(), old.next_ids());
    let kept = new.history(MessageId::FIRST.into(), 1000).unwrap();
    assert_eq!(kept.len(), 200);
    drop(new);
    let log = fs::read(dir.join("log/00000000000000000000.log")).unwrap();
    let holds = |text: &[u8]| log.windows(text.len()).any(|window| window == text);
    assert!(holds(b"message 199") && !holds(b"message 200") && !holds(b"message 299"));
    let mut new = LogStore::open(&dir, EPOCH, &mut ()).unwrap();
    assert_eq!(new.post(new_message(0)).unwrap().unwrap().get(), 300);
}

/// Each state of the directory that a kill can leave, as made by the steps themselves.
#[test]
fn an_interruption_at_any_step_leaves_the_store() {
    let steps = ["the copy is begun", "it is complete", "no index", "exchanged", "a new index"];
    for (reached, step) in steps.iter().enumerate() {
        println!("{step}");
        let sample = lived_in();
        let dir = sample.dir();
        let unfinished = dir.join(UNFINISHED);
        let old = sample.open().unwrap();
        let mut new = LogStore::open(&unfinished, EPOCH, &mut ()).unwrap();
        if reached == 0 {
            new.create_user(new_user("u1")).unwrap();
            new.sync().unwrap();
        } else {
            rewrite(&old, &mut new, |record| Ok(Some(record)), Timestamp::from_millis(0), &mut ())
                .unwrap();
        }
        drop((old, new));
        if reached >= 2 {
            fs::rename(dir.join("index"), unfinished.join("old-index")).unwrap();
        }
        if reached >= 3 {
            exchange(&dir.join("log"), &unfinished.join("log")).unwrap();
        }
        if reached >= 4 {
            fs::rename(unfinished.join("index"), dir.join("index")).unwrap();
        }
        check(&dir, &mut ()).map(|found| assert!(found.is_sound(), "{found}")).unwrap();
        sample.expect_messages_by_index(300);
        assert!(!unfinished.exists(), "what was left is removed");
        compact(&dir, Timestamp::from_millis(0), &mut ()).unwrap();
        sample.expect_messages_by_index(300);
    }
}

/// An index that was found broken is replaced as well.
#[test]
fn an_index_that_is_marked_is_made_good() {
    let sample = lived_in();
    fs::write(sample.dir().join("index.broken"), "").unwrap();
    compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap();
    assert_eq!(names(&sample.dir()), ["LOCK", "index", "index.seal", "log"]);
    sample.expect_messages_by_index(300);
}

#[test]
fn a_switch_is_refused_where_a_log_is_missing() {
    let sample = lived_in();
    fs::create_dir(sample.dir().join(UNFINISHED)).unwrap();
    switch(&sample.dir()).unwrap_err();
    sample.expect_messages_by_index(300);
}

#[test]
fn a_store_that_cannot_be_compacted_is_left_unchanged() {
    let sample = lived_in();
    let store = sample.open().unwrap();
    let refused =
        compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap_err().to_string();
    assert!(refused.contains("in use"), "{refused}");
    drop(store);
    let room = expect_room(&sample.dir(), u64::MAX / 2).unwrap_err().to_string();
    assert!(room.contains("free"), "{room}");
    expect_room(&sample.dir(), 1).unwrap();

    // An account, which a start does not look at: found when the copy is half made.
    flip(&sample.log_file(), 50);
    let before = fs::read(sample.log_file()).unwrap();
    for index_remains in [true, false] {
        let refused = compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap_err();
        assert!(matches!(&refused, StoreError::Damaged(it) if it.file == sample.log_file()));
        assert_eq!(fs::read(sample.log_file()).unwrap(), before);
        // One that is half made again is not sealed.
        let seal = index_remains.then_some("index.seal");
        let left: Vec<_> = ["LOCK", "index"].into_iter().chain(seal).chain(["log"]).collect();
        assert_eq!(names(&sample.dir()), left);
        Index::discard(&sample.index()).unwrap();
    }

    let nowhere = sample.root.path().join("nowhere");
    assert!(matches!(
        compact(&nowhere, Timestamp::from_millis(0), &mut ()),
        Err(StoreError::Refused(_))
    ));
    assert!(!nowhere.exists());
}
