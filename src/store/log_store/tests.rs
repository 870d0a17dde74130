//! Damaged logs and indexes.

mod check;
mod compact;
mod entries;
mod flips;
mod index;
mod seal;

use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::view::RECENT_MESSAGES;
use crate::model::{
    Cursor, Mailbox, MessageId, MessageText, StoreId, Timestamp, UserId, Username, Window,
};
use crate::store::backend::{Backend, NewMessage, NewUser};
use crate::store::error::StoreError;
use crate::store::id_allocator::IdAllocator;
use crate::store::index::tree::Index;
use crate::store::log::Log;
use crate::store::log::{self, segment::READ};
use crate::store::log_store::store::LogStore;
use crate::store::record::Record;
use crate::store::{LogDamage, MemoryStore, Progress};

const EPOCH: StoreId = StoreId(7);
const USERS: u64 = 3;

/// A directory with a store that was closed cleanly.
struct Sample {
    root: TempDir,
}

impl Sample {
    /// A store with some messages, each in a group of its own.
    fn new(messages: u64) -> Sample {
        let sample = Sample { root: tempfile::tempdir().unwrap() };
        let mut store = sample.open().unwrap();
        fill(&mut store, messages);
        sample
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn open(&self) -> Result<LogStore, StoreError> {
        LogStore::open(&self.dir(), EPOCH, &mut ())
    }

    /// The log's only file.
    fn log_file(&self) -> PathBuf {
        self.dir().join("log/00000000000000000000.log")
    }

    fn index(&self) -> PathBuf {
        self.dir().join("index")
    }

    fn seal(&self) -> PathBuf {
        self.dir().join("index.seal")
    }

    fn expect_damage(&self, offset: u64, what: &str) {
        // As often as the operator, or a service manager, tries.
        for attempt in 0..3 {
            match self.open() {
                Err(StoreError::Damaged(LogDamage { file, offset: at, what: why })) => {
                    assert_eq!((file, at, why), (self.log_file(), offset, what), "at {attempt}");
                }
                other => panic!("attempt {attempt} found {:?}", other.map(|_| "nothing")),
            }
        }
    }

    /// Opens the store and expects what [`fill`] put in, up to a message.
    fn expect_messages(&self, count: u64) -> LogStore {
        let mut store = self.open().unwrap();
        expect(&mut store, count);
        store
    }

    /// Expects the same with memory and without.
    fn expect_messages_by_index(&self, count: u64) {
        let mut store = self.expect_messages(count);
        forget(&mut store);
        expect(&mut store, count);
    }
}

/// Watches how much of the log an opening reads.
#[derive(Default)]
struct Watch {
    total: u64,
    done: u64,
}

impl Progress for Watch {
    fn begin(&mut self, _: &'static str, total: u64) {
        self.total = total;
    }
    fn advance(&mut self, done: u64) {
        self.done = done;
    }
    fn end(&mut self) {
        assert_eq!(self.done, self.total);
    }
}

fn user_id(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        name: Username::parse(name).unwrap(),
        password_hash: "a hash".into(),
        created_at: Timestamp::from_millis(1),
    }
}

fn new_message(number: u64) -> NewMessage {
    NewMessage {
        from: user_id(1 + number % USERS),
        to: UserId::new(number % (USERS + 1)),
        text: MessageText::parse(format!("message {number}").into()).unwrap(),
        sent_at: Timestamp::from_millis(number),
    }
}

fn fill(store: &mut dyn Backend, messages: u64) {
    for id in 1..=USERS {
        store.create_user(new_user(&format!("u{id}"))).unwrap();
    }
    store.sync().unwrap();
    for number in 0..messages {
        store.post(new_message(number)).unwrap();
        store.sync().unwrap();
    }
}

/// Walks over everything, or stops at the first error.
fn read_all(store: &mut dyn Backend) -> Result<Vec<String>, StoreError> {
    let mut all = Vec::new();
    for id in 1..=USERS {
        all.push(format!("{:?}", store.user(user_id(id))?));
        all.push(format!("{:?}", store.user_named(&new_user(&format!("U{id}")).name)?));
    }
    let window = Window { cursor: Cursor::From(0), limit: 1000 };
    all.push(format!("{:?}", store.users(window)?));
    all.push(format!("{:?}", store.history(MessageId::FIRST.into(), 1000)?));
    let pairs = (1..=USERS).flat_map(|a| (a..=USERS).map(move |b| (user_id(a), user_id(b))));
    let private = (1..=USERS).map(|id| Mailbox::Private(user_id(id)));
    let between = pairs.map(|(a, b)| Mailbox::between(a, b));
    for mailbox in [Mailbox::General].into_iter().chain(private).chain(between) {
        for cursor in [Cursor::From(0), Cursor::Newest, Cursor::Before(3), Cursor::From(2)] {
            all.push(format!("{:?}", store.messages(mailbox, Window { cursor, ..window })?));
        }
    }
    Ok(all)
}

fn expect(store: &mut LogStore, messages: u64) {
    let mut memory = MemoryStore::new(EPOCH);
    fill(&mut memory, messages);
    assert_eq!(store.next_ids(), memory.next_ids());
    expect_same(&read_all(store).unwrap(), &read_all(&mut memory).unwrap());
}

/// Shows the first difference only.
fn expect_same(found: &[String], expected: &[String]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// Makes the index the only way to everything.
fn forget(store: &mut LogStore) {
    store.view.apply(1).unwrap();
    while store.view.table.first_message().is_some() {
        store.view.table.evict_oldest();
    }
}

/// Runs an action; returns its result, the number of reads from the log, and the number of bytes
/// read.
fn reading<T>(action: impl FnOnce() -> T) -> (T, u64, u64) {
    let (calls, bytes) = READ.get();
    let done = action();
    (done, READ.get().0 - calls, READ.get().1 - bytes)
}

/// The positions of the log's frames, and the end of the last one.
fn frames(log: &Log) -> Vec<u64> {
    let mut positions = vec![];
    let end = log.scan(Log::START, |frame| {
        positions.push(frame.stamp.position);
        Ok(ControlFlow::Continue(()))
    });
    positions.push(end.unwrap().position);
    positions
}

fn flip(file: &Path, offset: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 1 << (offset % 8);
    fs::write(file, bytes).unwrap();
}

fn cut(file: &Path, len: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
}

#[test]
fn a_log_that_ends_before_the_index_is_refused() {
    let sample = Sample::new(5);
    let frames = frames(&sample.open().unwrap().log);
    let (last, end) = (frames[frames.len() - 2], frames[frames.len() - 1]);
    let what = "records that the index has seen synced are missing after it; put the whole log \
                back, or remove the index to go on with what is left";
    for len in [end - 1, last + 1, last, frames[3]] {
        cut(&sample.log_file(), len);
        sample.expect_damage(len, what);
    }
    Index::discard(&sample.index()).unwrap();
    sample.expect_messages(0);
}

/// Without the index it could be a torn record.
#[test]
fn a_last_record_that_the_index_knows_is_not_cut() {
    let sample = Sample::new(5);
    let frames = frames(&sample.open().unwrap().log);
    let [.., last, end] = frames[..] else { panic!("too few") };
    for offset in last..end {
        flip(&sample.log_file(), offset);
        sample.expect_damage(last, "records that were synced are missing here");
        flip(&sample.log_file(), offset);
    }
    sample.expect_messages(5);
    // Without the index nothing says that it was there, and the flipped bit is put right.
    flip(&sample.log_file(), last);
    Index::discard(&sample.index()).unwrap();
    sample.expect_messages(5);
}

/// Damage anywhere is reported, at the start or when the record is read, and never leads to another
/// answer. Without the index every start reads the whole log.
#[test]
fn damage_is_never_taken_for_data() {
    let sample = Sample::new(12);
    let frames = frames(&sample.open().unwrap().log);
    let expected = read_all(&mut sample.open().unwrap()).unwrap();
    for bounds in frames.windows(2) {
        for offset in (bounds[0]..bounds[1]).step_by(11) {
            flip(&sample.log_file(), offset);
            let told = match sample.open() {
                Err(error) => error,
                Ok(mut store) => {
                    forget(&mut store);
                    read_all(&mut store).map(|found| expect_same(&found, &expected)).unwrap_err()
                }
            };
            assert!(
                matches!(&told, StoreError::Damaged(LogDamage { offset, .. }) if *offset == bounds[0]),
                "{told}"
            );
            flip(&sample.log_file(), offset);
        }
    }
    let [ref earlier @ .., _, _] = frames[..] else { panic!("too few") };
    for &position in earlier {
        Index::discard(&sample.index()).unwrap();
        flip(&sample.log_file(), position + 30);
        sample.expect_damage(position, "a record is unreadable, but later ones are not");
        flip(&sample.log_file(), position + 30);
    }
    sample.expect_messages(12);
}

/// A sector that cannot be read is an error for requests that need it, and for no others.
#[test]
fn an_unreadable_sector_does_not_stop_the_store() {
    let sample = Sample::new(100);
    let mut store = sample.open().unwrap();
    forget(&mut store);
    let bytes = fs::read(sample.log_file()).unwrap();
    cut(&sample.log_file(), 1000);
    let (there, gone) = (MessageId::FIRST, MessageId::new(99).unwrap());
    for _ in 0..2 {
        let page = Window { cursor: Cursor::Newest, limit: 3 };
        for told in [
            store.message(gone).map(drop).unwrap_err(),
            store.messages(Mailbox::General, page).map(drop).unwrap_err(),
            store.history(gone.into(), 1).map(drop).unwrap_err(),
        ] {
            assert!(matches!(&told, StoreError::Unread { .. }) && !told.is_fatal(), "{told}");
            let why = format!("reading {} at offset ", sample.log_file().display());
            assert!(told.to_string().starts_with(&why), "{told}");
        }
        let window = Window { cursor: Cursor::From(0), limit: 3 };
        assert_eq!(store.users(window).unwrap().items.len(), 3);
    }
    fs::write(sample.log_file(), bytes).unwrap();
    assert!(store.message(there).unwrap().is_some());
    expect(&mut store, 100);
}

#[test]
fn a_record_of_a_newer_version_is_refused() {
    let sample = Sample::new(3);
    let mut store = sample.open().unwrap();
    store.log.append(|out| out.extend([9, 1, 2, 3])).unwrap();
    store.log.sync().unwrap();
    drop(store);
    for index_remains in [true, true, false] {
        if !index_remains {
            Index::discard(&sample.index()).unwrap();
        }
        let why = "the log holds a record of kind 9: it was written by a newer version of veche";
        assert_eq!(sample.open().unwrap_err().to_string(), why);
    }
}

#[test]
fn a_malformed_record_is_reported_with_its_offset() {
    let mut again = Vec::new();
    let message =
        Sample::new(1).open().unwrap().message(MessageId::FIRST).unwrap().unwrap().into_owned();
    Record::Message(message).encode(false, &mut again);
    for (payload, what) in [(again, "an id is out of order"), (vec![2, 1], "a record is malformed")]
    {
        let sample = Sample::new(3);
        let mut store = sample.open().unwrap();
        let position = store.log.append(|out| out.extend(payload)).unwrap().position;
        store.log.sync().unwrap();
        drop(store);
        sample.expect_damage(position, what);
        Index::discard(&sample.index()).unwrap();
        sample.expect_damage(position, what);
    }
}

/// Pages, lookups and starts across the borders of segments.
#[test]
fn a_store_of_many_segments() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let mut store = sample.open().unwrap();
    store.log.segment_bytes = 1000;
    fill(&mut store, 500);
    assert!(fs::read_dir(sample.dir().join("log")).unwrap().count() > 20);
    forget(&mut store);
    expect(&mut store, 500);
    drop(store);
    for index_remains in [true, false] {
        if !index_remains {
            Index::discard(&sample.index()).unwrap();
        }
        sample.expect_messages_by_index(500);
    }
}

#[test]
fn a_store_that_could_not_be_built_is_not_there() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    for synced in [false, true] {
        let failed = LogStore::build(&sample.dir(), EPOCH, |store| {
            fill(store, 5);
            if synced {
                store.create_user(new_user("half")).map(drop)?;
                store.sync()?;
            }
            Err::<(), _>(StoreError::Refused("no more".to_owned()))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert!(!sample.dir().join("log").exists() && !sample.index().exists());
    }
    let built = LogStore::build(&sample.dir(), EPOCH, |store| {
        assert_eq!(store.next_ids(), IdAllocator::default(), "nothing is left of the earlier one");
        fill(store, 6);
        store.post(new_message(6))?;
        Ok::<_, StoreError>(42)
    });
    assert_eq!(built.unwrap(), 42);
    let mut watch = Watch::default();
    drop(LogStore::open(&sample.dir(), EPOCH, &mut watch).unwrap());
    sample.expect_messages(7);
    assert!(!sample.dir().join("unfinished-import").exists());

    let again = LogStore::build(&sample.dir(), EPOCH, |_| Ok::<_, StoreError>(()));
    let why = format!("{} already holds a store", sample.dir().display());
    assert_eq!(again.unwrap_err().to_string(), why);
    sample.expect_messages(7);
}

/// A log that was lost is put back from a backup, with the lost one's index still there.
#[test]
fn a_store_is_built_beside_an_index_that_remains() {
    let sample = Sample::new(9);
    fs::remove_dir_all(sample.dir().join("log")).unwrap();
    let built = LogStore::build(&sample.dir(), EPOCH, |store| {
        fill(store, 7);
        Ok::<_, StoreError>(())
    });
    built.unwrap();
    sample.expect_messages_by_index(7);
}

/// A look at a directory does not remove a segment that a server is just beginning.
#[test]
fn a_look_for_a_store_changes_nothing() {
    let sample = Sample::new(3);
    let len = fs::metadata(sample.log_file()).unwrap().len();
    let begun = sample.dir().join(format!("log/{len:020}.log"));
    fs::write(&begun, "").unwrap();
    assert!(LogStore::exists(&sample.dir()).unwrap());
    assert!(begun.exists());
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("log")).unwrap();
    assert!(!LogStore::exists(other.path()).unwrap());
    fs::write(other.path().join("log/00000000000000000000.log"), "VECHE").unwrap();
    assert!(!LogStore::exists(other.path()).unwrap(), "nothing was ever in it");
}
