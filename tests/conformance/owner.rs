//! One owner at a time.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use veche::store::{Backend, LogStore, Progress, StoreError};

use crate::pair::{new_message, new_user};
use crate::subject::EPOCH;

/// Counts the bytes of its log that a store reads at the start.
struct CountingKeeper(u64);

impl Progress for CountingKeeper {
    fn begin(&mut self, _: &'static str, total: u64) {
        self.0 += total;
    }
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
}

/// Opens the store and returns how much of its log that took.
fn open(dir: &Path) -> (LogStore, u64) {
    let mut counted = CountingKeeper(0);
    let store = LogStore::open(dir, EPOCH, &mut counted).unwrap();
    (store, counted.0)
}

#[test]
fn a_store_that_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let why = format!("{} is in use by another process", dir.path().display());
    for _ in 0..2 {
        let refused = LogStore::open(dir.path(), EPOCH, &mut ()).unwrap_err();
        assert!(matches!(&refused, StoreError::Refused(it) if *it == why), "{refused}");
        let refused = LogStore::build(dir.path(), EPOCH, |_| Ok::<_, StoreError>(()));
        assert_eq!(refused.unwrap_err().to_string(), why);
        assert!(store.create_user(new_user("ann")).is_ok(), "whose it is has no part in that");
        store.sync().unwrap();
    }
    drop(store);
    assert_eq!(open(dir.path()).0.next_ids().next_user, 2);
}

/// sled holds its file a little longer than its handle lives. This must not cause a rebuild.
#[test]
fn an_index_that_is_still_being_closed_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.create_user(new_user("ann")).unwrap();
    store.post(new_message(1, 0, "hello")).unwrap();
    store.sync().unwrap();
    drop(store);
    let (_, needed) = open(dir.path());

    let db = File::open(dir.path().join("index/db")).unwrap();
    db.lock().unwrap();
    let file = db.metadata().unwrap().ino();
    let holders = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter(|fd| fs::metadata(fd.path()).is_ok_and(|it| it.ino() == file)).count()
    };
    let deadline = Instant::now() + Duration::from_mins(2);
    thread::scope(|scope| {
        let opening = scope.spawn(|| open(dir.path()).1);
        while holders() < 2 {
            assert!(!opening.is_finished(), "nobody waited");
            assert!(Instant::now() < deadline, "nobody came");
            thread::yield_now();
        }
        db.unlock().unwrap();
        assert_eq!(opening.join().unwrap(), needed, "the index is the same as ever");
    });
}
