//! `veche check` without write access: as root, on a read-only mount, on a read-only copy.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::nobody::Nobody;
use crate::server::{Server, run, veche};
use crate::transfer::{lived_in, stderr};

/// Mounts the directory `$0` on itself, read-only, and runs the rest.
const READ_ONLY: &str =
    "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";

/// The files in `dir`: owner, mode, length, and time of the last change.
fn state(dir: &Path) -> BTreeMap<PathBuf, (u32, u32, u64, i64, i64)> {
    let mut state = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let it = fs::symlink_metadata(&path).unwrap();
            state
                .insert(path.clone(), (it.uid(), it.mode(), it.len(), it.ctime(), it.ctime_nsec()));
            if it.is_dir() {
                dirs.push(path);
            }
        }
    }
    state
}

fn make_read_only(data: &Path) {
    for path in state(data).keys() {
        let mode = if path.is_dir() { 0o500 } else { 0o400 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(data, Permissions::from_mode(0o500)).unwrap();
}

/// Checks a good store with its own directory for temporary files, in which nothing stays, and
/// verifies that the store is untouched.
fn expect_good(command: &mut Command, data: &Path) {
    let before = state(data);
    let temporary = data.with_file_name("temporary");
    let checked = run(command.env("TMPDIR", &temporary).arg("check").arg("--data-dir").arg(data));
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", stderr(&checked));
    assert!(said.ends_with("index: agrees with the log\n"), "{said}");
    assert_eq!(stderr(&checked), "");
    assert_eq!(state(data), before, "a check changes nothing");
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0, "nothing stays");
}

/// A store and a directory for temporary files beside it.
fn prepared() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    lived_in(root.path());
    fs::create_dir(root.path().join("temporary")).unwrap();
    let data = root.path().join("data");
    (root, data)
}

#[test]
fn a_read_only_copy_is_checked() {
    let (root, data) = prepared();
    if rustix::process::getuid().is_root() {
        let Some(nobody) = Nobody::at(root.path()) else { return };
        for path in state(root.path()).keys() {
            nobody.give(path);
        }
        make_read_only(&data);
        expect_good(&mut nobody.veche(), &data);
        // Root may read the files of another user, which keep their owner.
        expect_good(&mut veche(), &data);
    } else {
        make_read_only(&data);
        expect_good(&mut veche(), &data);
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    }
    // Its owner can remove it again.
    for dir in state(&data).into_keys().filter(|path| path.is_dir()) {
        fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
    }
}

/// After a check by root its owner can still serve the store.
#[test]
fn a_store_is_checked_by_root() {
    let (root, data) = prepared();
    let Some(nobody) = Nobody::at(root.path()) else { return };
    for path in state(root.path()).keys() {
        nobody.give(path);
    }
    expect_good(&mut veche(), &data);
    fs::remove_file(data.join("LOCK")).unwrap();
    expect_good(&mut veche(), &data);
    assert!(!data.join("LOCK").exists());
    let mut command = nobody.veche();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    Server::spawn(&mut command, root.path()).stop();
}

fn on_read_only_mount(data: &Path) -> Command {
    let mut command = Command::new("unshare");
    for (name, _) in veche().get_envs() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).args(["-m", "sh", "-c", READ_ONLY]).arg(data);
    command
}

#[test]
fn a_read_only_mount_is_checked() {
    let (_root, data) = prepared();
    // The mount is really read-only.
    let written = |it: Output| String::from_utf8_lossy(&it.stderr).contains("Read-only");
    let probe = on_read_only_mount(&data).arg("touch").arg(data.join("LOCK")).output();
    if !probe.is_ok_and(written) {
        assert!(env::var_os("CI").is_none(), "nothing can be mounted here");
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let binary = env!("CARGO_BIN_EXE_veche");
    expect_good(on_read_only_mount(&data).arg(binary), &data);
    fs::remove_file(data.join("LOCK")).unwrap();
    expect_good(on_read_only_mount(&data).arg(binary), &data);
}

#[test]
fn a_store_that_is_being_served_is_not_checked_read_only_either() {
    let (root, data) = prepared();
    let server = Server::start("sled", root.path());
    make_read_only(&data);
    let refused = run(veche().arg("check").arg("--data-dir").arg(&data));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("in use by another process"), "{}", stderr(&refused));
    for path in state(&data).into_keys().chain([data.clone()]) {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    server.stop();
}
