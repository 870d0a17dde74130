//! One flipped bit anywhere in the log or in sled's files: everything is read as it was written,
//! or refused with its place, or found wrong and made again. Never another answer.

use std::collections::BTreeMap;

use std::path::PathBuf;

use crate::extent::Extent;

use super::*;
use crate::model::MessageId;
use crate::store::error::StoreError;
use crate::store::log_store::store::LogStore;

/// Messages that are applied to the index at once: enough for lists of more than one chunk.
const INDEXED: u64 = 300;
/// Messages that are not in the index.
const UNINDEXED: u64 = 9;
/// Every bit would take minutes: of each byte one, and of the next byte another.
const BITS: u64 = 8;

/// Every so manieth place is looked at.
const THINNED: Extent<usize> = Extent { short: 16, long: 1 };

/// A store that was killed, or ended, and the files in it.
struct Spoilt {
    sample: Sample,
    files: Vec<(PathBuf, Vec<u8>)>,
    expected: Vec<String>,
    /// True if the bit flips before the stop, which then seals it.
    sealed: bool,
}

impl Spoilt {
    fn new(indexed: u64, unindexed: u64) -> Spoilt {
        let sample = Sample { root: directory() };
        let mut store = sample.open().unwrap();
        fill(&mut store, indexed);
        store.view.apply(1).unwrap();
        for number in indexed..indexed + unindexed {
            store.post(new_message(number)).unwrap();
        }
        store.sync().unwrap();
        let expected = read_all(&mut store).unwrap();
        // As if it were killed: the index is not updated.
        store.view.pending.clear();
        store.view.last = None;
        drop(store);
        let files = files_below(&sample.dir());
        Spoilt { sample, files, expected, sealed: false }
    }

    /// Puts every file back but for one bit of one.
    fn flip(&self, file: usize, offset: usize, bit: u64) {
        Index::discard(&self.sample.index()).unwrap();
        fs::create_dir_all(self.sample.index().join("blobs")).unwrap();
        for (index, (path, bytes)) in self.files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if index == file {
                bytes[offset] ^= 1 << bit;
            }
            fs::write(path, bytes).unwrap();
        }
        if self.sealed {
            Index::seal_again(&self.sample.index());
        }
    }

    /// The outcome of opening and reading the store.
    fn outcome(&self, what: &str) -> Outcome {
        let read = |store: &mut LogStore| {
            let mut found = read_all(store)?;
            for id in 0..store.next_ids().next_event {
                found.push(format!("{:?}", store.message(MessageId::new(id).unwrap())?));
            }
            Ok::<_, StoreError>(found)
        };
        let mut rebuilt = false;
        for _ in 0..2 {
            let told = match self.sample.open() {
                Err(told) => told,
                Ok(mut store) => {
                    let by_table = read(&mut store);
                    forget(&mut store);
                    match by_table.and_then(|_| read(&mut store)) {
                        Ok(found) => {
                            expect_same(&found[..self.expected.len()], &self.expected);
                            return if rebuilt { Outcome::Rebuilt } else { Outcome::Right };
                        }
                        Err(told) => told,
                    }
                }
            };
            match told {
                StoreError::Damaged(LogDamage { file, .. }) => {
                    assert!(file.starts_with(self.sample.dir().join("log")), "{what}");
                    return Outcome::Refused;
                }
                StoreError::Refused(why) => {
                    assert!(why.contains("newer version"), "{what}: {why}");
                    return Outcome::Refused;
                }
                StoreError::Index(_) => rebuilt = true,
                other => panic!("{what}: {other}"),
            }
        }
        panic!("{what}: the index is not made again");
    }
}

/// A directory in memory if possible: a disk would be synced thousands of times.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Served right at once; perhaps from an index that was made again at the start.
    Right,
    /// Found wrong while serving, and right at the next start.
    Rebuilt,
    /// Refused, with file and offset.
    Refused,
}

fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// Flips one bit of every `step`th byte in the files that `of` chooses.
fn sweep(spoilt: &Spoilt, of: impl Fn(&Path) -> bool, step: usize) {
    let mut counts = BTreeMap::new();
    for (file, (path, bytes)) in spoilt.files.iter().enumerate() {
        if !of(path) {
            continue;
        }
        for offset in (0..bytes.len()).step_by(step * THINNED.now()) {
            let bit = (offset / (step * THINNED.now())) as u64 % BITS;
            spoilt.flip(file, offset, bit);
            let what = format!("bit {bit} at {offset} of {}", path.display());
            *counts.entry(spoilt.outcome(&what)).or_insert(0) += 1;
        }
    }
    println!("{counts:?}");
}

fn of_log(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "log")
}

fn of_index(path: &Path) -> bool {
    path.components().any(|it| it.as_os_str() == "index" || it.as_os_str() == "index.seal")
}

#[test]
fn a_bit_of_a_log_that_the_index_knows_whole() {
    sweep(&Spoilt::new(20, 0), of_log, 1);
}

#[test]
fn a_bit_of_a_log_whose_end_the_index_does_not_know() {
    sweep(&Spoilt::new(10, UNINDEXED), of_log, 1);
}

#[test]
fn a_bit_of_a_small_index() {
    sweep(&Spoilt::new(3, 0), of_index, 1);
}

#[test]
fn a_bit_of_a_larger_index() {
    sweep(&Spoilt::new(INDEXED, UNINDEXED), of_index, 31);
}

/// The stop reads what the disk has, and not what sled once wrote.
#[test]
fn a_bit_of_an_index_that_is_sealed_with_it() {
    for (indexed, unindexed, step) in [(3, 0, 1), (INDEXED, UNINDEXED, 31)] {
        let spoilt = Spoilt { sealed: true, ..Spoilt::new(indexed, unindexed) };
        sweep(&spoilt, |path| of_index(path) && path != spoilt.sample.seal(), step);
    }
}

/// Wherever the log is cut: what the index or a clean stop has seen synced is missed, with the
/// place; what only a kill has left may be gone.
#[test]
fn a_log_that_is_cut_anywhere() {
    let spoilt = Spoilt::new(5, UNINDEXED);
    let applied = {
        let index = Index::open(&spoilt.sample.index()).unwrap();
        usize::try_from(index.applied().unwrap().stamp.end).unwrap()
    };
    let (log, (path, bytes)) =
        spoilt.files.iter().enumerate().find(|(_, (path, _))| of_log(path)).unwrap();
    assert!(bytes.len() > applied);
    for len in (0..bytes.len()).rev().step_by(THINNED.now().div_ceil(4)) {
        spoilt.flip(log, 0, 0);
        fs::write(path, &bytes[..len]).unwrap();
        match spoilt.sample.open() {
            Ok(store) => {
                assert!(len >= applied, "{len} of {applied}");
                assert!(store.message(MessageId::new(4).unwrap()).unwrap().is_some());
            }
            Err(StoreError::Damaged(LogDamage { file, offset, .. })) => {
                assert!(len < applied, "{len} of {applied}");
                assert_eq!((&file, offset), (path, len as u64));
            }
            // Without a header there is no log.
            Err(StoreError::Refused(why)) => {
                assert!(len < 40 && why.contains("is gone"), "{len}: {why}");
            }
            Err(other) => panic!("{len}: {other}"),
        }
    }
}
