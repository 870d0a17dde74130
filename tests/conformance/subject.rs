//! The stores under test, and the ways to end and reopen each.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use veche::model::StoreId;
use veche::store::{Backend, LogStore, MemoryStore};

use crate::seed::Random;

/// The id of a new store.
pub(crate) const EPOCH: StoreId = StoreId(0x0123_4567_89ab_cdef);

/// A store under test.
pub(crate) trait Subject: Sized + 'static {
    /// The ways to end a store and open it again. Empty for a store that forgets.
    const RESTARTS: &'static [Restart<Self>] = &[];

    /// An empty store.
    fn begin() -> Self;

    fn store(&mut self) -> &mut dyn Backend;
}

/// A way to end a store and open it again. Everything that was synced has to survive each of them.
pub(crate) struct Restart<S> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut S, &mut Random),
}

pub(crate) struct Memory(MemoryStore);

impl Subject for Memory {
    fn begin() -> Memory {
        Memory(MemoryStore::new(EPOCH))
    }

    fn store(&mut self) -> &mut dyn Backend {
        &mut self.0
    }
}

/// A sled store in a directory of its own, in a new one after each crash.
pub(crate) struct Sled {
    root: TempDir,
    life: u32,
    /// A copy of the index from the last clean stop; from then on it falls behind.
    old_index: Option<PathBuf>,
    store: Option<LogStore>,
}

impl Subject for Sled {
    const RESTARTS: &'static [Restart<Sled>] = &[
        Restart { name: "stop", run: |sled, _| sled.stop(|_| ()) },
        Restart { name: "kill", run: |sled, _| sled.kill(|_| ()) },
        Restart { name: "power cut during a sync", run: Sled::tear },
        Restart { name: "stop and loss of the index", run: |sled, _| sled.stop(remove_index) },
        Restart { name: "kill and loss of the index", run: |sled, _| sled.kill(remove_index) },
        Restart { name: "kill and an old index", run: |sled, _| sled.kill_with_old_index() },
    ];

    fn begin() -> Sled {
        let root = tempfile::tempdir().unwrap();
        let mut sled = Sled { root, life: 0, old_index: None, store: None };
        sled.open();
        sled
    }

    fn store(&mut self) -> &mut dyn Backend {
        self.store.as_mut().unwrap()
    }
}

impl Sled {
    fn dir(&self) -> PathBuf {
        self.root.path().join(self.life.to_string())
    }

    fn open(&mut self) {
        self.store = Some(LogStore::open(&self.dir(), EPOCH, &mut ()).unwrap());
    }

    /// A clean stop; `then` is applied to its directory.
    fn stop(&mut self, then: impl FnOnce(&Path)) {
        drop(self.store.take());
        let index = self.dir().join("index");
        let copy = self.root.path().join("old-index");
        if copy.exists() {
            fs::remove_dir_all(&copy).unwrap();
        }
        copy_dir(&index, &copy);
        self.old_index = Some(copy);
        then(&self.dir());
        self.open();
    }

    /// A kill, as `kill -9` leaves it: the content of the files at this instant, in another
    /// directory, because this process cannot close the first store without a clean stop.
    fn kill(&mut self, then: impl FnOnce(&Path)) {
        let was = self.dir();
        self.life += 1;
        copy_dir(&was, &self.dir());
        then(&self.dir());
        self.go_on_without(&was);
    }

    /// The index knows nothing of what happened since a while ago.
    fn kill_with_old_index(&mut self) {
        let old_index = self.old_index.clone();
        self.kill(|dir| {
            remove_index(dir);
            if let Some(old) = old_index {
                copy_dir(&old, &dir.join("index"));
            }
        });
    }

    /// The sync's write reached the disk up to some byte.
    fn tear(&mut self, random: &mut Random) {
        let was = self.dir();
        self.life += 1;
        copy_dir(&was, &self.dir());
        self.store().sync().unwrap();
        let log = self.dir().join("log");
        let (tail, synced) = last_file(&log);
        fs::copy(was.join("log").join(tail.file_name().unwrap()), &tail).unwrap();
        let (_, written) = last_file(&log);
        let torn = synced + random.below(written - synced + 1);
        OpenOptions::new().write(true).open(&tail).unwrap().set_len(torn).unwrap();
        self.go_on_without(&was);
    }

    /// Goes on in the new directory; only now the store in the old one is closed.
    fn go_on_without(&mut self, was: &Path) {
        self.open();
        fs::remove_dir_all(was).unwrap();
    }
}

fn remove_index(dir: &Path) {
    fs::remove_dir_all(dir.join("index")).unwrap();
}

/// The file whose name sorts last, and its length.
fn last_file(dir: &Path) -> (PathBuf, u64) {
    let path = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    (path, len)
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
