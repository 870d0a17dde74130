//! A backup as it is written, and everything that may become of it.

use std::fs;
use std::io::Cursor;

use tempfile::TempDir;

use super::*;
use crate::model::{Message, MessageContent, MessageText, Timestamp, User, UserId, Username};
use crate::store::log::Log;
use crate::store::log::frame::u32_at;
use crate::store::{IdAllocator, LogStore, MemoryStore, Snapshot, StoreError, import};

const EPOCH: StoreId = StoreId(0x0123_4567_89ab_cdef);

fn user(id: u64, name: &str) -> Record {
    Record::User(User {
        id: UserId::new(id).unwrap(),
        name: Username::parse(name).unwrap(),
        password_hash: "a hash".into(),
        created_at: Timestamp::from_millis(id),
        ended_at: None,
    })
}

fn message(id: u64, from: u64, to: u64) -> Record {
    Record::Message(Message {
        id: MessageId::new(id).unwrap(),
        from: UserId::new(from).unwrap(),
        to: UserId::new(to),
        content: MessageContent::Original(
            MessageText::parse(format!("message {id}").into()).unwrap(),
        ),
        sent_at: Timestamp::from_millis(id),
    })
}

fn next_ids(next_user: u64, next_event: u64) -> Record {
    Record::NextIds(IdAllocator { next_user, next_event })
}

/// A store of several segments, with gaps between the ids and ids that are not in use any more.
fn sample() -> (TempDir, LogStore) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(&dir.path().join("store"), EPOCH, &mut ()).unwrap();
    store.end_segments_at(400);
    let mut records = vec![user(1, "ann"), message(0, 1, 0), user(3, "bob"), next_ids(5, 4)];
    let to = |id| if id % 3 == 2 { 3 } else { id % 3 };
    records.extend((4..24).map(|id| message(id, 1 + id % 2 * 2, to(id))));
    records.extend([user(7, "carol"), message(30, 7, 1), next_ids(20, 50)]);
    for (number, record) in records.into_iter().enumerate() {
        store.restore(record).unwrap();
        if number % 3 == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    (dir, store)
}

fn backup(store: &mut LogStore) -> Vec<u8> {
    let snapshot = store.snapshot().unwrap().unwrap();
    read(snapshot)
}

fn read(mut snapshot: Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, snapshot.length());
    bytes
}

/// A backup of these bytes of log, whatever they are.
fn closed(log: &[u8]) -> Vec<u8> {
    let trailer = Trailer { log_bytes: log.len() as u64, crc: crc32c::crc32c(log) };
    [log, &trailer.encode()].concat()
}

/// A backup of a log with these records.
fn of_records(records: &[Record]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::create(dir.path(), EPOCH).unwrap();
    for record in records {
        log.append(|out| record.encode(false, out)).unwrap();
    }
    log.sync().unwrap();
    read(Snapshot::of(log.synced_files()).unwrap())
}

fn verified(bytes: &[u8]) -> Result<Summary, TransferError> {
    verify(bytes, Some(bytes.len() as u64), || Ok(bytes), &mut ())
}

fn export(store: &mut dyn Backend) -> (Vec<u8>, Summary) {
    let mut lines = Vec::new();
    let summary = export::export(store, &mut lines, Timestamp::from_millis(0), &mut ()).unwrap();
    (lines, summary)
}

/// The offset at which a backup is refused, and the reason, which must be the same for verification
/// and import.
fn refused(bytes: &[u8]) -> (u64, String) {
    let imported = import(bytes, None, &mut MemoryStore::new(StoreId(1)), &mut ());
    let Err(TransferError::Offset(at, why)) = verified(bytes) else { panic!("it is accepted") };
    match imported {
        Err(TransferError::Offset(its_at, _)) => assert_eq!(its_at, at, "{why}"),
        // What begins otherwise is read as an export.
        Err(TransferError::Line(1, _)) => assert_eq!(at, 0),
        other => panic!("{why}: {other:?}"),
    }
    (at, why)
}

#[test]
fn a_backup_is_the_log_and_an_end_mark() {
    let (dir, mut store) = sample();
    let bytes = backup(&mut store);
    let mut files: Vec<_> = fs::read_dir(dir.path().join("store/log")).unwrap().collect();
    files.sort_by_key(|entry| entry.as_ref().unwrap().path());
    assert!(files.len() > 3);
    let log: Vec<u8> =
        files.into_iter().flat_map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(bytes == closed(&log));
}

#[test]
fn a_restored_store_has_the_same_contents() {
    let (dir, mut store) = sample();
    let bytes = backup(&mut store);
    let (lines, summary) = export(&mut store);
    assert_eq!((summary.users, summary.messages), (3, 22));
    assert_eq!(verified(&bytes).unwrap(), summary);

    let mut memory = MemoryStore::new(StoreId(1));
    assert_eq!(import(&*bytes, None, &mut memory, &mut ()).unwrap(), summary);
    assert!(export(&mut memory).0 == lines);
    assert_eq!(memory.next_ids(), IdAllocator { next_user: 20, next_event: 50 });

    let again = dir.path().join("again");
    let built = LogStore::build(&again, StoreId(1), |store| import(&*bytes, None, store, &mut ()));
    assert_eq!(built.unwrap(), summary);
    let mut again = LogStore::open(&again, StoreId(2), &mut ()).unwrap();
    assert_eq!((again.store_id(), again.next_ids()), (EPOCH, store.next_ids()));
    assert!(export(&mut again).0 == lines);
    // And once more, through a backup of the copy.
    assert_eq!(verified(&backup(&mut again)).unwrap(), summary);
}

#[test]
fn a_store_without_records_is_backed_up() {
    let bytes = of_records(&[]);
    let summary = verified(&bytes).unwrap();
    assert_eq!((summary.users, summary.messages), (0, 0));
    assert_eq!(summary, export(&mut MemoryStore::new(EPOCH)).1);
}

/// Between two records too, where everything before is good.
#[test]
fn a_backup_that_was_cut_anywhere_is_refused() {
    let (_dir, mut store) = sample();
    let bytes = backup(&mut store);
    for len in 1..bytes.len() {
        let (at, why) = refused(&bytes[..len]);
        assert!(at <= len as u64 && why.contains("cut short"), "{len}: {at}: {why}");
    }
    assert!(matches!(verified(&[]), Err(TransferError::Offset(0, _))));
}

#[test]
fn a_backup_with_a_wrong_byte_anywhere_is_refused() {
    let (_dir, mut store) = sample();
    let good = backup(&mut store);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let (told, why) = refused(&bad);
        assert!(told <= at as u64, "{at}: {told}: {why}");
        // No further back than the record, or header, that the byte is in.
        assert!(told + 200 > at as u64, "{at}: {told}: {why}");
    }
}

#[test]
fn nothing_else_is_taken_for_a_backup() {
    let (_dir, mut store) = sample();
    let bytes = backup(&mut store);
    let log = &bytes[..bytes.len() - TRAILER_BYTES];
    let starts: Vec<usize> = (0..log.len()).filter(|at| log[*at..].starts_with(MAGIC)).collect();
    let [_, second, third, ..] = starts[..] else { panic!("too few segments") };
    let cut_between = closed(&log[..third]);
    verified(&cut_between).unwrap();
    let first_frame =
        &log[HEADER_BYTES..][..FRAME_HEADER_BYTES + u32_at(log, HEADER_BYTES + 4) as usize];
    let behind_first = HEADER_BYTES + first_frame.len();
    let end = log.len() as u64;
    let other = |store_id: u64| {
        let mut other = log.to_vec();
        other[second + 12..second + 20].copy_from_slice(&store_id.to_le_bytes());
        let crc = crc32c::crc32c(&other[second..second + HEADER_BYTES - 4]);
        other[second + HEADER_BYTES - 4..second + HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        closed(&other)
    };
    verified(&other(EPOCH.0)).unwrap();
    let mut newer = bytes.clone();
    newer[8] = 9;
    let mut newer_end = bytes.clone();
    newer_end[log.len() + 8] = 2;
    let cases: [(&str, Vec<u8>, u64, &str); 12] = [
        ("nothing before the end", closed(&[]), 0, "cut short"),
        ("something after it", [&*bytes, b"x"].concat(), bytes.len() as u64, "something follows"),
        ("a second end", closed(&bytes), end + 28, "something follows"),
        ("no first segment", closed(&log[second..]), 0, "belongs elsewhere"),
        (
            "no second segment",
            closed(&[&log[..second], &log[third..]].concat()),
            second as u64,
            "belongs elsewhere",
        ),
        (
            "a record less",
            closed(&[&log[..HEADER_BYTES], &log[behind_first..]].concat()),
            40,
            "records are missing",
        ),
        (
            "a record twice",
            closed(&[&log[..behind_first], first_frame].concat()),
            behind_first as u64,
            "records are missing",
        ),
        (
            "another one's end",
            [log, &closed(&log[1..])[log.len() - 1..]].concat(),
            end,
            "does not fit",
        ),
        ("another store's segment", other(1), second as u64, "another store"),
        ("a newer version", newer, 0, "newer version"),
        ("a newer end", newer_end, end, "newer version"),
        ("noise", [MAGIC.as_slice(), &[0x5a; 5000]].concat(), 0, "newer version"),
    ];
    for (what, bytes, at, why) in cases {
        let (told, because) = refused(&bytes);
        assert!(told == at && because.contains(why), "{what}: {told}: {because}");
    }
}

/// Intact frames with records that no store has written.
#[test]
fn records_that_do_not_fit_together_are_refused() {
    let at = |record: &Record| {
        let mut bytes = Vec::new();
        record.encode(false, &mut bytes);
        (HEADER_BYTES + FRAME_HEADER_BYTES + bytes.len()) as u64
    };
    let ann = user(1, "ann");
    for (second, why) in [
        (user(2, "ANN"), "is taken"),
        (user(1, "bob"), "out of order"),
        (next_ids(1, 0), "out of order"),
        (message(0, 2, 0), "author does not exist"),
        (message(0, 1, 2), "receiver does not exist"),
    ] {
        let bytes = of_records(&[ann.clone(), second]);
        let (told, _) = refused(&bytes);
        assert_eq!(told, at(&ann), "{why}");
        let mut store = MemoryStore::new(StoreId(1));
        let error = import(&*bytes, None, &mut store, &mut ()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    for (payload, why) in [(&b"\x09what?"[..], "kind 9"), (b"\x02short", "is malformed")] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), EPOCH).unwrap();
        log.append(|out| out.extend(payload)).unwrap();
        log.sync().unwrap();
        let (told, because) = refused(&read(Snapshot::of(log.synced_files()).unwrap()));
        assert!(told == 40 && because.contains(why), "{told}: {because}");
    }
}

/// A restore reads the bytes that were verified.
#[test]
fn a_copy_that_changes_while_it_is_verified_is_refused() {
    let (_dir, mut store) = sample();
    let good = backup(&mut store);
    let mut bad = good.clone();
    bad[100] ^= 1;
    let error = verify(&*good, None, || Ok(Cursor::new(bad.clone())), &mut ()).unwrap_err();
    assert!(matches!(error, TransferError::Offset(..)), "{error}");
    let gone = || Err::<&[u8], _>(io::Error::other("gone"));
    let error = verify(&*good, None, gone, &mut ()).unwrap_err();
    assert!(matches!(error, TransferError::Io(_)), "{error}");
}

/// A backup is for an empty store, as an export is, and a failed restore leaves nothing.
#[test]
fn a_refused_backup_leaves_no_store() {
    let (dir, mut store) = sample();
    let bytes = backup(&mut store);
    let into_full = import(&*bytes, None, &mut store, &mut ()).unwrap_err();
    assert!(into_full.to_string().contains("not empty"), "{into_full}");
    let data = dir.path().join("data");
    for part in [40, bytes.len() / 2, bytes.len() - 1] {
        let cut = &bytes[..part];
        let built = LogStore::build(&data, StoreId(1), |store| import(cut, None, store, &mut ()));
        assert!(matches!(built, Err(TransferError::Offset(..))));
        assert!(!data.exists());
    }
    let failed = LogStore::build(&data, StoreId(1), |_| Err::<(), _>(StoreError::OutOfIds));
    assert!(matches!(failed, Err(StoreError::OutOfIds)));
}
