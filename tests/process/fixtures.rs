//! Stores that an earlier build wrote, which every later one opens: `fixtures/stopped` after a
//! clean stop, `fixtures/killed` after one more message and SIGKILL, both by version 0.1.0 at
//! commit 3cdef34. They hold something of everything: accounts, one with another password and one
//! that was deleted, sessions, general and private messages, edits, deletions, idempotency keys,
//! read marks, blocks and moderation. `events.json` is the answer of that build to alice before the
//! stop.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client::Client;
use crate::server::{Server, run, veche};
use crate::transfer::{digest, export, stderr};

const WRITTEN: [(&str, &str); 2] = [
    ("stopped", "bdcc9d0cb1b12577a6e4dd994db2847a239af4d638a891c9ba54fdfce059028d"),
    ("killed", "df1da744cc0dacdf6ebe2f0cf679b34c40639e2e180db6c04d4649eccb3ffa7b"),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/fixtures").join(name)
}

/// A writable copy of a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::write(to, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_store_of_an_earlier_build_is_read_whole() {
    for (name, sha256) in WRITTEN {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        copy(&fixture(name), &data);
        let checked = run(veche().arg("check").arg("--data-dir").arg(&data));
        let said =
            String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(0), "{name}: {said}");
        assert!(said.contains("index: agrees with the log"), "{name}: {said}");
        let exported = export(&data, &dir.path().join("export"));
        assert_eq!(digest(&exported), sha256, "{name}: {}", stderr(&exported));
    }
}

#[test]
fn a_store_of_an_earlier_build_is_answered_from() {
    let answered: Value =
        serde_json::from_slice(&fs::read(fixture("events.json")).unwrap()).unwrap();
    for (name, _) in WRITTEN {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture(name), &dir.path().join("data"));
        let server = Server::start_with("sled", dir.path(), &["--operator", "alice"]);
        let alice = Client::new(&server).log_in("alice");
        let mut events = alice.get("/api/events?after=-1&limit=400").json();
        let later = events.as_array_mut().unwrap().split_off(answered.as_array().unwrap().len());
        assert_eq!(events, answered, "{name}");
        assert_eq!(later.len(), usize::from(name == "killed"));
        // The next message goes on after all of them.
        let last = later.last().or(answered.as_array().unwrap().last()).unwrap()["id"].as_u64();
        assert_eq!(Some(alice.say("the first after them")), last.map(|last| last + 1), "{name}");
        server.stop();
    }
}
