//! Effects of a crash, or of a disk, on the log: repaired and reported. `tests/disks` tests that
//! kills and power cuts lose nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::server::Server;

/// The log's only file.
fn log_of(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("data/log")).unwrap().next().unwrap().unwrap().path()
}

/// Bytes that a power cut can leave after the last record are cut off, and reported.
#[test]
fn a_torn_tail_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let said = ann.say("acknowledged");
    server.kill();
    let log = log_of(dir.path());
    let whole = fs::metadata(&log).unwrap().len();
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([0x5a; 37]);
    fs::write(&log, bytes).unwrap();
    let server = Server::start("sled", dir.path());
    assert!(server.log().contains("cut 37 bytes"), "{}", server.log());
    assert_eq!(fs::metadata(&log).unwrap().len(), whole);
    let ann = Client::new(&server).with_token(ann.token());
    assert_eq!(ann.get("/api/messages").ids(), [said]);
    assert_eq!(ann.say("more"), said + 1);
}

/// Only the record itself shows that it was acknowledged.
#[test]
fn a_flipped_bit_in_the_last_record_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let said = ann.say("acknowledged");
    server.kill();
    let log = log_of(dir.path());
    let whole = fs::read(&log).unwrap();
    let mut spoilt = whole.clone();
    let offset = whole.len() - 3;
    spoilt[offset] ^= 0x20;
    fs::write(&log, spoilt).unwrap();
    let server = Server::start("sled", dir.path());
    let told = format!("{}: one bit was flipped at offset {offset}", log.display());
    assert!(server.log().contains(&told), "{}", server.log());
    assert_eq!(fs::read(&log).unwrap(), whole);
    let ann = Client::new(&server).with_token(ann.token());
    assert_eq!(ann.get("/api/messages").items()[0]["text"], "acknowledged");
    assert_eq!(ann.say("more"), said + 1);
}
