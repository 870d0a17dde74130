use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;

const DIGEST: Digest = Digest(0x0123_4567_89ab_cdef);

/// Files as sled has them, and their seal.
struct Sample {
    root: TempDir,
}

impl Sample {
    fn new() -> Sample {
        let sample = Sample { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(sample.index().join("blobs")).unwrap();
        fs::write(sample.index().join("db"), vec![7; 3 * BUFFER_BYTES / 2]).unwrap();
        fs::write(sample.index().join("conf"), "").unwrap();
        fs::write(sample.index().join("blobs/1"), "a blob").unwrap();
        write(&sample.index(), DIGEST).unwrap();
        sample
    }

    fn index(&self) -> PathBuf {
        self.root.path().join("index")
    }

    fn seal(&self) -> PathBuf {
        path(&self.index())
    }

    fn expect_none(&self, what: &str) {
        assert_eq!(take(&self.index()), None, "{what}");
        assert!(fs::symlink_metadata(self.seal()).is_err(), "{what}: it is still there");
    }
}

/// A change that is made to an index.
type Change = fn(&Path);

#[test]
fn a_seal_is_good_once() {
    let sample = Sample::new();
    assert_eq!(take(&sample.index()), Some(DIGEST));
    sample.expect_none("it is taken");
}

#[test]
fn a_seal_goes_with_its_index() {
    let (sample, other) = (Sample::new(), tempfile::tempdir().unwrap());
    let to = other.path().join("moved");
    fs::rename(sample.seal(), path(&to)).unwrap();
    fs::rename(sample.index(), &to).unwrap();
    assert_eq!(take(&to), Some(DIGEST));
}

#[test]
fn a_seal_is_of_these_files_only() {
    let changes: [(&str, Change); 12] = [
        ("a bit", |index| {
            let mut bytes = fs::read(index.join("db")).unwrap();
            bytes[BUFFER_BYTES] ^= 1;
            fs::write(index.join("db"), bytes).unwrap();
        }),
        ("cut", |index| fs::write(index.join("db"), vec![7; BUFFER_BYTES]).unwrap()),
        ("longer", |index| fs::write(index.join("conf"), [0]).unwrap()),
        ("one less", |index| fs::remove_file(index.join("conf")).unwrap()),
        ("no blob", |index| fs::remove_file(index.join("blobs/1")).unwrap()),
        ("one more", |index| fs::write(index.join("snap.1"), "").unwrap()),
        ("a blob more", |index| fs::write(index.join("blobs/2"), "").unwrap()),
        ("another name", |index| fs::rename(index.join("conf"), index.join("cond")).unwrap()),
        ("another place", |index| fs::rename(index.join("blobs/1"), index.join("1")).unwrap()),
        ("a directory", |index| fs::create_dir(index.join("blobs/blobs")).unwrap()),
        ("a link", |index| {
            fs::rename(index.join("conf"), index.with_extension("conf")).unwrap();
            symlink("../index.conf", index.join("conf")).unwrap();
        }),
        ("gone", |index| fs::remove_dir_all(index).unwrap()),
    ];
    for (what, change) in changes {
        let sample = Sample::new();
        change(&sample.index());
        sample.expect_none(what);
    }
}

#[test]
fn a_damaged_seal_is_none() {
    let sample = Sample::new();
    let good = fs::read(sample.seal()).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            fs::write(sample.seal(), bytes).unwrap();
            sample.expect_none(&format!("bit {bit} at {at}"));
        }
        fs::write(sample.seal(), &good[..at]).unwrap();
        sample.expect_none(&format!("cut at {at}"));
    }
    fs::write(sample.seal(), [&good[..], &[0]].concat()).unwrap();
    sample.expect_none("longer");
    fs::write(sample.seal(), &good).unwrap();
    assert_eq!(take(&sample.index()), Some(DIGEST), "it was only ever the seal");
}

/// Neither read to the end nor waited for.
#[test]
fn a_file_that_cannot_be_a_seal_is_none() {
    let sample = Sample::new();
    let good = sample.root.path().join("good");
    fs::rename(sample.seal(), &good).unwrap();
    File::create(sample.seal()).unwrap().set_len(1 << 42).unwrap();
    sample.expect_none("four terabytes");
    symlink(&good, sample.seal()).unwrap();
    sample.expect_none("a link to a good one");
    mknodat(CWD, sample.seal(), FileType::Fifo, Mode::RWXU, 0).unwrap();
    sample.expect_none("a pipe");
    fs::create_dir(sample.seal()).unwrap();
    assert_eq!(take(&sample.index()), None, "a directory");
}

#[test]
fn an_index_of_too_many_files_has_no_seal() {
    let sample = Sample::new();
    take(&sample.index());
    for number in 0..MAX_FILES - 3 {
        fs::write(sample.index().join(format!("blobs/long {number}")), "").unwrap();
    }
    write(&sample.index(), DIGEST).unwrap();
    assert_eq!(take(&sample.index()), Some(DIGEST));
    fs::write(sample.index().join("blobs/one more"), "").unwrap();
    assert!(write(&sample.index(), DIGEST).is_err());
    assert!(!sample.seal().exists());
}

#[test]
fn an_index_that_is_too_long_has_no_seal() {
    let sample = Sample::new();
    take(&sample.index());
    File::create(sample.index().join("db")).unwrap().set_len(MAX_INDEX_BYTES).unwrap();
    assert!(write(&sample.index(), DIGEST).is_err());
    assert!(!sample.seal().exists());
}

#[test]
fn the_longest_seal_is_read_whole() {
    let longest = "x".repeat(255);
    let file = |number| {
        let name = format!("blobs/{number:03}{}", &longest[3..]);
        (PathBuf::from(name), SealedFiles::default())
    };
    let bytes = encode(DIGEST, &(0..MAX_FILES).map(file).collect());
    assert!(bytes.len() as u64 <= MAX_BYTES, "{}", bytes.len());
}

#[test]
fn a_seal_is_not_written_through_a_link() {
    let sample = Sample::new();
    take(&sample.index());
    let other = sample.root.path().join("other");
    fs::write(&other, "of somebody").unwrap();
    symlink(&other, sample.seal()).unwrap();
    assert!(write(&sample.index(), DIGEST).is_err());
    assert_eq!(fs::read_to_string(other).unwrap(), "of somebody");
}
