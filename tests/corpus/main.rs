//! Replays every input that fuzzing has kept, without a fuzzer, so that findings stay fixed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is all a test")]

#[path = "../../fuzz/src/lib.rs"]
pub mod properties;

use std::fs;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Declares [`TARGETS`], and a test for each.
macro_rules! targets {
    ($($name:ident)*) => {
        /// The fuzz targets.
        const TARGETS: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            replay(stringify!($name), properties::$name::check);
        })*
    };
}

targets! { paging record request settings token }

/// The largest size of a target's corpus, to keep the repository small.
const MAX_FILES: usize = 250;
const MAX_BYTES: usize = 200_000;

fn replay(target: &str, check: fn(&[u8])) {
    let inputs = files(&format!("corpus/{target}"));
    assert!((1..=MAX_FILES).contains(&inputs.len()), "{} inputs", inputs.len());
    let mut bytes = 0;
    for path in inputs {
        let input = fs::read(&path).unwrap();
        bytes += input.len();
        if let Err(panic) = catch_unwind(|| check(&input)) {
            eprintln!("the input was {}", path.display());
            resume_unwind(panic);
        }
    }
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
}

/// The files in a directory of `fuzz/`, in order of name.
fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(dir);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every target has a corpus and every corpus a target; otherwise some input would not be replayed.
#[test]
fn every_target_has_its_corpus_and_its_test() {
    for dir in ["corpus", "fuzz_targets"] {
        let found = files(dir);
        let names: Vec<_> = found.iter().map(|path| path.file_stem().unwrap()).collect();
        assert_eq!(names, TARGETS, "in fuzz/{dir}");
    }
}
