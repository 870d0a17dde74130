//! The memory that rebuilding an index takes.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;

use crate::export::{close, first_line};
use crate::server::{Server, run, veche};
use crate::transfer::{import, stderr};

/// The number of accounts that took 130 MB more than a start, while each left its pages behind.
const ACCOUNTS: usize = 20_000;
/// Private messages of these accounts, each between two others: four lists for each.
const MESSAGES: usize = 4_000;
/// More than a rebuild takes in addition to an ordinary start, however many accounts there are, in
/// KiB.
const MOST: u64 = 80 * 1024;

/// Accounts with names in no order, and messages between them.
fn crowd() -> Vec<u8> {
    let at = "2025-01-02T03:04:05.678Z";
    let mut lines = first_line();
    let mixed = |id: usize| id * 7_919 % ACCOUNTS + 1;
    for id in 1..=ACCOUNTS {
        let name = format!("n{:05}", mixed(id));
        let user = json!({"id": id, "username": name, "password_hash": "-", "created_at": at});
        let _ = writeln!(lines, "{}", json!({ "user": user }));
    }
    for id in 0..MESSAGES {
        let (from, to) = (mixed(id), mixed(id * 3 + 1));
        let message =
            json!({"id": id, "from_user": from, "to_user": to, "text": "hello", "sent_at": at});
        let _ = writeln!(lines, "{}", json!({ "message": message }));
    }
    close(lines, ACCOUNTS, MESSAGES)
}

#[test]
fn a_rebuild_takes_no_memory_for_each_account() {
    let root = tempfile::tempdir().unwrap();
    let (file, data) = (root.path().join("export"), root.path().join("data"));
    fs::write(&file, crowd()).unwrap();
    let imported = import(&data, &file);
    assert!(imported.status.success(), "{}", stderr(&imported));

    let peak = || {
        let server = Server::start("sled", root.path());
        let peak = server.status("VmHWM");
        server.stop();
        peak
    };
    let ordinary = peak();
    fs::remove_dir_all(data.join("index")).unwrap();
    let rebuilding = peak();
    let beyond = rebuilding.saturating_sub(ordinary);
    eprintln!("an ordinary start took {ordinary} KiB, a rebuild {beyond} KiB more");
    assert!(beyond < MOST, "an ordinary start took {ordinary} KiB, a rebuild {beyond} KiB more");

    let checked = run(veche().arg("check").arg("--data-dir").arg(&data));
    assert!(checked.status.success(), "{}", stderr(&checked));
}
