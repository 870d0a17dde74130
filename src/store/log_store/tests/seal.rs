//! The seal that spares a start the comparison, and when there is none.

use super::index::tree;
use super::*;
use crate::model::Timestamp;
use crate::store::error::StoreError;
use crate::store::log::Log;
use crate::store::log_store::store::LogStore;

/// The number of bytes of the log that an opening reads; all of it if the index is made again.
fn total_read(sample: &Sample) -> u64 {
    let mut watch = Watch::default();
    drop(LogStore::open(&sample.dir(), EPOCH, &mut watch).unwrap());
    watch.total
}

fn all_of(sample: &Sample) -> u64 {
    fs::metadata(sample.log_file()).unwrap().len() - Log::START
}

#[test]
fn an_index_is_sealed_while_it_is_closed() {
    let sample = Sample::new(30);
    assert!(sample.seal().exists());
    let store = sample.expect_messages(30);
    assert!(!sample.seal().exists());
    drop(store);
    assert!(sample.seal().exists());
    // As after a kill: whoever had it open did not close it.
    drop(Index::open(&sample.index()).unwrap());
    assert!(!sample.seal().exists());
    sample.expect_messages_by_index(30);
    assert!(sample.seal().exists());
    Index::discard(&sample.index()).unwrap();
    assert!(!sample.seal().exists());
}

/// Only of what is sealed it can be known that it was not compared: that it is false.
#[test]
fn a_sealed_index_is_not_compared() {
    let spoil = |sample: &Sample| {
        assert!(tree(&sample.index()).remove("nu2").unwrap().is_some());
        // What sled does when it closes is done.
        File::open(sample.index().join("db")).unwrap().lock().unwrap();
    };
    let sample = Sample::new(30);
    spoil(&sample);
    Index::seal_again(&sample.index());
    assert!(total_read(&sample) < all_of(&sample));

    let sample = Sample::new(30);
    spoil(&sample);
    assert_eq!(total_read(&sample), all_of(&sample), "the seal is of what it was before");
    sample.expect_messages_by_index(30);
}

/// An older index with its own seal catches up. With the seal of the later index it looks as if
/// sled had cut its log where a bit flipped before the stop.
#[test]
fn an_earlier_index_is_only_taken_with_its_own_seal() {
    for own in [true, false] {
        let sample = Sample::new(10);
        let earlier = sample.root.path().join("earlier");
        fs::copy(sample.seal(), earlier.with_extension("seal")).unwrap();
        fs::rename(sample.index(), &earlier).unwrap();
        let mut store = sample.open().unwrap();
        for number in 10..20 {
            store.post(new_message(number)).unwrap();
        }
        store.sync().unwrap();
        drop(store);
        fs::remove_dir_all(sample.index()).unwrap();
        fs::rename(&earlier, sample.index()).unwrap();
        if own {
            fs::rename(earlier.with_extension("seal"), sample.seal()).unwrap();
        } else {
            Index::seal_again(&sample.index());
        }
        assert_eq!(total_read(&sample) < all_of(&sample), own);
        sample.expect_messages_by_index(20);
    }
}

/// A directory where the seal would be, as where a disk is read-only: the stop and the start are
/// what they would be without seals.
#[test]
fn a_store_whose_index_cannot_be_sealed_goes_on() {
    let sample = Sample::new(30);
    fs::remove_file(sample.seal()).unwrap();
    fs::create_dir(sample.seal()).unwrap();
    fs::write(sample.seal().join("file"), "").unwrap();
    for _ in 0..2 {
        assert!(total_read(&sample) < all_of(&sample));
        sample.expect_messages_by_index(30);
    }
    Index::discard(&sample.index()).unwrap();
    sample.expect_messages_by_index(30);
}

#[test]
fn an_index_that_is_moved_keeps_its_seal() {
    let sample = Sample { root: tempfile::tempdir().unwrap() };
    let built = LogStore::build(&sample.dir(), EPOCH, |store| {
        fill(store, 7);
        Ok::<_, StoreError>(())
    });
    built.unwrap();
    assert!(Index::take_seal(&sample.index()), "an import's");
    crate::store::compact(&sample.dir(), Timestamp::from_millis(0), &mut ()).unwrap();
    assert!(Index::take_seal(&sample.index()), "a compaction's");
    sample.expect_messages_by_index(7);
}
