//! Reports of checks, which change nothing of the store.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::super::check::{CheckReport, IndexState, check};
use super::index::{key, tree};
use super::*;
use crate::model::{Message, MessageContent, MessageId, Timestamp, User, Username};
use crate::store::Counts;
use crate::store::record::Record;

/// Every file with its bytes and the time of its last change.
fn state(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let mut state = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let metadata = fs::metadata(&dir).unwrap();
        state.insert(dir.clone(), (Vec::new(), metadata.mtime(), metadata.mtime_nsec()));
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let metadata = fs::metadata(&path).unwrap();
                let bytes = fs::read(&path).unwrap();
                state.insert(path, (bytes, metadata.mtime(), metadata.mtime_nsec()));
            }
        }
    }
    state
}

/// The report of a check that leaves no trace.
fn found(dir: &Path) -> CheckReport {
    let before = state(dir);
    let found = check(dir, &mut ()).unwrap();
    assert!(state(dir) == before, "a check changes nothing");
    found
}

fn damages(found: &CheckReport) -> Vec<(u64, &str)> {
    assert!(!found.is_sound());
    found.damages.iter().map(|damage| (damage.offset, damage.what)).collect()
}

#[test]
fn a_good_store_is_counted() {
    let sample = Sample::new(400);
    let whole = found(&sample.dir());
    assert_eq!(
        whole.counts,
        Counts { users: 3, general: 100, private: 300, revisions: 0, moderations: 0 }
    );
    assert_eq!((whole.segments, whole.index), (1, IndexState::Agrees { unindexed: 0 }));
    assert_eq!(whole.bytes, fs::metadata(sample.log_file()).unwrap().len());

    let many = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = many.open().unwrap();
    store.end_segments_at(1000);
    fill(&mut store, 400);
    drop(store);
    let many = found(&many.dir());
    assert!(many.is_sound() && many.segments > 20, "{many}");
    assert_eq!(many.counts, whole.counts);
}

/// The next start makes it again by itself, as it does at every change of versions.
#[test]
fn an_index_of_another_version_is_no_damage() {
    let sample = Sample::new(30);
    let tree = tree(&sample.index());
    let mut end = tree.get("m").unwrap().unwrap().to_vec();
    end[3] -= 1;
    let covered = end.len() - 4;
    let crc = crc32c::crc32c(&end[..covered]);
    end[covered..].copy_from_slice(&crc.to_be_bytes());
    tree.insert("m", end).unwrap();
    tree.flush().unwrap();
    drop(tree);
    let other = found(&sample.dir());
    assert!(matches!(other.index, IndexState::ToBeMade(_)), "{other}");
    assert!(other.is_sound());
    sample.expect_messages(30);
}

/// A check says of a flipped bit what a start makes of it.
#[test]
fn one_flipped_bit_in_the_newest_group_is_no_damage() {
    let sample = Sample::new(300);
    let mut store = sample.open().unwrap();
    store.post(new_message(300)).unwrap();
    store.sync().unwrap();
    let killed = sample.root.path().join("killed");
    fs::create_dir_all(killed.join("log")).unwrap();
    let log = killed.join("log/00000000000000000000.log");
    let mut bytes = fs::read(sample.log_file()).unwrap();
    drop(store);
    fs::write(&log, &bytes).unwrap();
    let whole = found(&killed);
    let last = bytes.len() - 1;
    bytes[last] ^= 0x10;
    fs::write(&log, &bytes).unwrap();
    let flipped = found(&killed);
    assert!(flipped.is_sound(), "{flipped}");
    assert_eq!(flipped.counts, whole.counts);
    assert_eq!(flipped.torn.map(|torn| torn.offset), Some(last as u64));
    bytes[last] ^= 0x03;
    fs::write(&log, &bytes).unwrap();
    let torn = found(&killed);
    assert_ne!(torn.counts, whole.counts, "{torn}");
}

/// A killed server leaves an index that lacks records, a torn tail, or a file just begun.
#[test]
fn the_remains_of_a_crash_are_no_damage() {
    let sample = Sample::new(300);
    let mut store = sample.open().unwrap();
    for number in 300..310 {
        store.post(new_message(number)).unwrap();
    }
    store.sync().unwrap();
    let killed = sample.root.path().join("killed");
    fs::create_dir_all(killed.join("log")).unwrap();
    let log = killed.join("log/00000000000000000000.log");
    fs::copy(sample.log_file(), &log).unwrap();
    drop(store);
    let unindexed = found(&killed);
    assert_eq!(unindexed.index, IndexState::ToBeMade("there is none"));
    assert!(unindexed.is_sound());

    let whole = fs::metadata(&log).unwrap().len();
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([0x5a; 30]);
    fs::write(&log, &bytes).unwrap();
    let next = killed.join(format!("log/{:020}.log", bytes.len()));
    fs::write(&next, b"VECHE").unwrap();
    let torn = found(&killed);
    assert_eq!(damages(&torn), [(whole, "a record is unreadable")], "another file follows it");
    fs::remove_file(&next).unwrap();
    let torn = found(&killed);
    assert!(torn.is_sound(), "{torn}");
    assert_eq!(torn.torn.map(|torn| (torn.file, torn.offset)), Some((log.clone(), whole)));
    fs::write(&log, &bytes[..bytes.len() - 30]).unwrap();
    let next = killed.join(format!("log/{whole:020}.log"));
    fs::write(&next, b"VECHE").unwrap();
    let begun = found(&killed);
    assert!(begun.is_sound(), "{begun}");
    assert_eq!(begun.torn.map(|torn| (torn.file, torn.offset)), Some((next, 0)));
}

#[test]
fn an_index_that_lacks_records_agrees() {
    let sample = Sample::new(300);
    let old = sample.root.path().join("old");
    fs::rename(sample.index(), &old).unwrap();
    let mut store = sample.open().unwrap();
    for number in 300..600 {
        store.post(new_message(number)).unwrap();
        store.sync().unwrap();
    }
    drop(store);
    fs::remove_dir_all(sample.index()).unwrap();
    fs::rename(&old, sample.index()).unwrap();
    assert_eq!(found(&sample.dir()).index, IndexState::Agrees { unindexed: 300 });
    // It has seen what is cut off now.
    sample.expect_messages_by_index(600);
    let frames = frames(&sample.open().unwrap().log);
    let last = frames[frames.len() - 2];
    cut(&sample.log_file(), last);
    let shorter = found(&sample.dir());
    assert_eq!(
        damages(&shorter),
        [(last, "records that the index has seen synced are missing here")]
    );
    assert_eq!(shorter.index, IndexState::Unjudged);
}

/// By file and offset, every one of them up to a limit.
#[test]
fn damage_is_reported_with_its_place() {
    let sample = Sample::new(100);
    let frames = frames(&sample.open().unwrap().log);
    let whole = fs::read(sample.log_file()).unwrap();
    for number in [0, 1, 2, 50, 102] {
        for within in [0, 5, 9, 13, 25] {
            flip(&sample.log_file(), frames[number] + within);
            let expected = if number == 102 {
                "records that the index has seen synced are missing here"
            } else {
                "a record is unreadable"
            };
            let found = found(&sample.dir());
            assert_eq!(damages(&found), [(frames[number], expected)], "{number}, {within}");
            assert_eq!(found.index, IndexState::Unjudged);
            fs::write(sample.log_file(), &whole).unwrap();
        }
    }
    for number in (0..60).step_by(2) {
        flip(&sample.log_file(), frames[number] + 22);
    }
    let many = found(&sample.dir());
    let expected: Vec<u64> = frames.iter().step_by(2).take(20).copied().collect();
    assert_eq!(damages(&many).into_iter().map(|(at, _)| at).collect::<Vec<_>>(), expected);
    assert_eq!(many.more_damages, 10);
    assert_eq!(many.counts.users, 1);
    fs::write(sample.log_file(), &whole).unwrap();

    flip(&sample.log_file(), 20);
    assert_eq!(damages(&found(&sample.dir())), [(0, "the file's header is unreadable")]);
    fs::write(sample.log_file(), &whole).unwrap();
    let hole = usize::try_from(frames[20]).unwrap()..usize::try_from(frames[21]).unwrap();
    fs::write(sample.log_file(), [&whole[..hole.start], &whole[hole.end..]].concat()).unwrap();
    assert_eq!(
        damages(&found(&sample.dir())),
        [(frames[20], "records are missing before this one")]
    );
}

#[test]
fn a_missing_segment_is_reported() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    store.end_segments_at(1000);
    fill(&mut store, 100);
    let files = log::segment::files(&sample.dir().join("log")).unwrap();
    let files: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
    drop(store);
    fs::remove_file(&files[2]).unwrap();
    let found = found(&sample.dir());
    let told: Vec<_> = found.damages.iter().map(|damage| (&damage.file, damage.offset)).collect();
    assert_eq!(told, [(&files[3], 0)], "{found}");
}

/// Good frames with records that do not fit together.
#[test]
fn records_are_held_to_each_other() {
    let sample = Sample::new(3);
    let mut store = sample.open().unwrap();
    let message = Message {
        id: MessageId::new(70).unwrap(),
        from: user_id(9),
        to: None,
        content: MessageContent::Original(MessageText::parse("from nobody".into()).unwrap()),
        sent_at: Timestamp::from_millis(1),
    };
    let bad = [
        (Record::Message(message.clone()), "the message's author does not exist"),
        (
            Record::Message(Message { from: user_id(1), to: Some(user_id(8)), ..message.clone() }),
            "an id is out of order",
        ),
        (
            Record::User(User {
                id: user_id(40),
                name: Username::parse("U1").unwrap(),
                password_hash: "-".into(),
                created_at: Timestamp::from_millis(1),
                ended_at: None,
            }),
            "the user's name is taken",
        ),
        (
            Record::User(User {
                id: user_id(41),
                name: Username::parse("costly").unwrap(),
                password_hash: "$argon2id$v=19$m=19457,t=2,p=1$AAAAAAAAAAA$AAAAAAAA".into(),
                created_at: Timestamp::from_millis(1),
                ended_at: None,
            }),
            "the password hash asks for more memory, passes or lanes than this server's own",
        ),
    ];
    let mut expected = Vec::new();
    for (record, why) in bad {
        let stamp = store.log.append(|out| record.encode(false, out)).unwrap();
        expected.push((stamp.position, why));
    }
    store.log.append(|out| out.extend(b"\x02?")).unwrap();
    store.log.sync().unwrap();
    drop(store);
    let found = found(&sample.dir());
    assert_eq!(damages(&found)[..4], expected);
    assert_eq!(damages(&found)[4].1, "a record is malformed");
}

#[test]
fn a_record_of_a_newer_version_is_refused() {
    let sample = Sample::new(3);
    let mut store = sample.open().unwrap();
    store.log.append(|out| out.extend(b"\x09?")).unwrap();
    store.log.sync().unwrap();
    drop(store);
    let refused = check(&sample.dir(), &mut ()).unwrap_err().to_string();
    assert!(refused.contains("newer version"), "{refused}");
}

#[test]
fn an_index_is_held_to_the_log() {
    type Spoil = fn(&::sled::Db);
    let spoils: [(&str, Spoil); 13] = [
        ("a user elsewhere", |tree| drop(tree.insert(key("u", 2), &[0; 8]))),
        ("a user that is missing", |tree| drop(tree.remove(key("u", 2)))),
        ("a user too many", |tree| drop(tree.insert(key("u", 20), &[0; 8]))),
        ("a name of another", |tree| drop(tree.insert("nu2", &1u64.to_be_bytes()))),
        ("a name that is missing", |tree| drop(tree.remove("nu3"))),
        ("a position that is missing", |tree| drop(tree.remove(key("p", 0)))),
        ("an unknown kind", |tree| drop(tree.insert("x", "y"))),
        ("a list that is missing", |tree| {
            let (list, _) = tree.range(&b"b"[..]..&b"c"[..]).next().unwrap().unwrap();
            drop(tree.remove(list));
        }),
        ("a list that is changed", |tree| {
            let (list, value) = tree.range(&b"b"[..]..&b"c"[..]).next().unwrap().unwrap();
            let mut value = value.to_vec();
            value[0] ^= 1;
            drop(tree.insert(list, value));
        }),
        ("what was received that is missing", |tree| {
            let (list, _) = tree.range(&b"d"[..]..&b"e"[..]).next().unwrap().unwrap();
            drop(tree.remove(list));
        }),
        ("a conversation that is missing", |tree| {
            let (key, _) = tree.range(&b"l"[..]..&b"m"[..]).next().unwrap().unwrap();
            drop(tree.remove(key));
        }),
        ("a conversation with another", |tree| {
            let (key, value) = tree.range(&b"l"[..]..&b"m"[..]).next().unwrap().unwrap();
            let mut value = value.to_vec();
            value[7] ^= 4;
            drop(tree.insert(key, value));
        }),
        ("a conversation that ends twice", |tree| {
            let (key, value) = tree.range(&b"l"[..]..&b"m"[..]).next().unwrap().unwrap();
            let mut key = key.to_vec();
            key[16] ^= 1;
            drop(tree.insert(key, value));
        }),
    ];
    for (what, spoil) in spoils {
        let sample = Sample::new(50);
        assert_eq!(found(&sample.dir()).index, IndexState::Agrees { unindexed: 0 }, "{what}");
        let db = tree(&sample.index());
        spoil(&db);
        db.flush().unwrap();
        drop(db);
        let found = found(&sample.dir());
        assert!(matches!(found.index, IndexState::Wrong(_)), "{what}: {found}");
        assert!(found.damages.is_empty() && !found.is_sound(), "{what}: {found}");
        println!("{what}: {:?}", found.index);
    }
    let sample = Sample::new(50);
    fs::write(sample.dir().join("index.broken"), "").unwrap();
    assert_eq!(found(&sample.dir()).index, IndexState::ToBeMade("found wrong by the server"));
    let other = Sample::new(60);
    Index::discard(&sample.index()).unwrap();
    fs::rename(other.index(), sample.index()).unwrap();
    assert!(!found(&sample.dir()).is_sound(), "an index of more than there is");
    Index::discard(&sample.index()).unwrap();
    fs::create_dir(sample.index()).unwrap();
    fs::write(sample.index().join("db"), "no database").unwrap();
    fs::write(sample.index().join("conf"), "no configuration").unwrap();
    assert!(matches!(found(&sample.dir()).index, IndexState::Wrong(_)));
}

#[test]
fn a_store_in_use_or_missing_is_refused() {
    let sample = Sample::new(3);
    let store = sample.open().unwrap();
    let refused = check(&sample.dir(), &mut ()).unwrap_err().to_string();
    assert!(refused.contains("in use"), "{refused}");
    drop(store);
    fs::remove_file(sample.dir().join("LOCK")).unwrap();
    assert!(found(&sample.dir()).is_sound(), "and no LOCK is made");
    let nowhere = sample.root.path().join("nowhere");
    let refused = check(&nowhere, &mut ()).unwrap_err().to_string();
    assert!(refused.contains("no store") && !nowhere.exists(), "{refused}");
}
