//! Modes of the files that veche makes: only its user can read them, whatever the umask.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::chown;

use crate::client::Client;
use crate::nobody::Nobody;
use crate::server::{PATIENCE, Server, run, until, veche};
use crate::transfer::{lived_in, stderr};

const ADMIN: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Everything in `dir`, and `dir` itself.
fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        // A file may be removed while a server runs.
        if let Ok(metadata) = fs::symlink_metadata(&path)
            && metadata.is_dir()
        {
            found.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

/// The files that other users have any rights to.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mode = |path: &PathBuf| Some(fs::symlink_metadata(path).ok()?.permissions().mode());
    let open = all(dir).into_iter().filter_map(|path| {
        let mode = mode(&path)? & 0o7777;
        (mode & 0o077 != 0).then(|| format!("{mode:o} {}", path.display()))
    });
    open.collect()
}

/// veche with an umask.
fn under(umask: &str) -> Command {
    let mut command = Command::new("sh");
    for (name, _) in veche().get_envs() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_veche"));
    command
}

#[test]
fn created_files_are_private_in_every_command() {
    for umask in ["022", "000"] {
        let root = tempfile::tempdir().unwrap();
        chmod(root.path(), 0o700);
        let path = |name: &str| root.path().join(name);
        let expect_private = |after: &str| {
            let mut open = open_to_others(root.path());
            // Made by this test.
            open.retain(|path| !path.ends_with("/stderr") && !path.ends_with("/redirected"));
            assert!(open.is_empty(), "after {after} under {umask}: {open:#?}");
        };
        let data = path("a/deep/data");
        let serve = |more: &[&str]| {
            let mut command = under(umask);
            command.args(ADMIN).args(more).arg("--data-dir").arg(&data);
            Server::spawn(&mut command, root.path())
        };
        let server = serve(&[]);
        let admin = server.admin_addr();
        let ann = Client::signed_up(&server, "ann");
        let bob = Client::signed_up(&server, "bob");
        for n in 0..300 {
            ann.say(&format!("number {n}"));
        }
        bob.tell(1, "privately");
        expect_private("serving");
        let url = format!("http://{admin}");
        let backup = path("backup");
        let fetched = run(under(umask).arg("backup").arg(url).arg(&backup));
        assert!(fetched.status.success(), "{}", stderr(&fetched));
        expect_private("a backup");
        server.kill();
        serve(&[]).stop();
        expect_private("a kill, a start and a stop");

        let on = |data: &Path, args: &[&str]| {
            let done = run(under(umask).args(args).arg("--data-dir").arg(data));
            assert!(done.status.success(), "{args:?}: {}", stderr(&done));
            expect_private(args[0]);
        };
        let export = path("export");
        on(&data, &["check"]);
        on(&data, &["compact"]);
        on(&data, &["export", export.to_str().unwrap()]);
        for (file, into) in [(&export, "of-export"), (&backup, "of-backup")] {
            on(&path(into), &["import", file.to_str().unwrap()]);
        }
        fs::remove_dir_all(data.join("index")).unwrap();
        serve(&[]).stop();
        expect_private("a rebuild");
        // The shell made the file that output is redirected to.
        let redirected = path("redirected");
        let file = File::create_new(&redirected).unwrap();
        chmod(&redirected, 0o644);
        let mut command = under(umask);
        command.arg("export").arg("--data-dir").arg(&data).stdout(file);
        assert!(command.stderr(Stdio::null()).status().unwrap().success());
        assert_eq!(mode(&redirected), 0o644);
        // Except for the times in the first line and the digest of all bytes in the last.
        let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(lines(&redirected), lines(&export));
    }
}

/// A log may have other readers: the operator's umask decides.
#[test]
fn an_access_log_is_for_the_group_unless_the_umask_forbids_it() {
    for (umask, expected) in [("022", 0o640), ("007", 0o640), ("077", 0o600)] {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("access.log");
        let mut command = under(umask);
        command.args(["--listen", "127.0.0.1:0", "--store", "memory", "--access-log"]).arg(&log);
        let server = Server::spawn(&mut command, root.path());
        // The file is there a moment after the address, and has its mode a moment later.
        let has_mode = || (log.exists() && mode(&log) == expected).then_some(());
        until(PATIENCE, has_mode).unwrap_or_else(|| panic!("{umask}: {:o}", mode(&log)));
        // After it is moved away, a new one is begun.
        fs::rename(&log, root.path().join("access.log.1")).unwrap();
        let ann = Client::new(&server);
        let again = until(PATIENCE, || {
            ann.get("/problems");
            has_mode()
        });
        again.unwrap_or_else(|| panic!("{umask}: {:o}", mode(&log)));
        server.stop();
        // The mode of an existing file is kept.
        chmod(&log, 0o604);
        Server::spawn(&mut command, root.path()).stop();
        assert_eq!(mode(&log), 0o604, "{umask}");
    }
}

/// Sets the modes that a store has from versions without modes of their own, under the usual umask.
fn loosen(data: &Path) {
    for path in all(data) {
        let is_dir = path.is_dir();
        let kept = path.starts_with(data.join("log")) && !is_dir || path.ends_with("jwt-secret");
        if !kept {
            chmod(&path, if is_dir { 0o755 } else { 0o644 });
        }
    }
}

#[test]
fn modes_that_let_others_read_a_store_are_corrected() {
    type ModerationAction = fn(&Path);
    let acts: [(&str, ModerationAction); 3] = [
        ("serve", |root| Server::start("sled", root).stop()),
        ("export", |root| {
            let data = root.join("data");
            assert!(run(veche().arg("export").arg("--data-dir").arg(data)).status.success());
        }),
        ("compact", |root| {
            let data = root.join("data");
            assert!(run(veche().arg("compact").arg("--data-dir").arg(data)).status.success());
        }),
    ];
    for (name, act) in acts {
        let root = tempfile::tempdir().unwrap();
        lived_in(root.path());
        let data = root.path().join("data");
        loosen(&data);
        assert!(open_to_others(&data).len() > 5);
        // Not all file systems record the time of creation.
        let tells_birth = fs::metadata(&data).unwrap().created().is_ok();

        let outside = root.path().join("outside");
        // Other files beside the segments go with the old log when that is compacted.
        let names = ["notes", "index/notes", "log/README", "log/1.log.gz"];
        let names = if name == "compact" { &names[..1] } else { &names };
        let foreign: Vec<PathBuf> = names.iter().map(|name| data.join(name)).collect();
        for path in foreign.iter().chain([&outside]) {
            fs::write(path, "mine").unwrap();
            chmod(path, 0o644);
        }
        symlink(&outside, data.join("index.broken.link")).unwrap();
        act(root.path());
        for path in foreign.iter().chain([&outside]) {
            assert_eq!(mode(path), 0o644, "{name}: {}", path.display());
            fs::remove_file(path).unwrap();
        }
        fs::remove_file(data.join("index.broken.link")).unwrap();
        if !tells_birth {
            chmod(&data, 0o700);
        }
        let open = open_to_others(&data);
        assert!(open.is_empty(), "{name}: {open:#?}");
    }
}

#[test]
fn an_operators_directory_is_left_alone() {
    for (made, kept) in [(0o755, 0o755), (0o750, 0o750), (0o2770, 0o2770)] {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir(&data).unwrap();
        chmod(&data, made);
        for start in 0..2 {
            Server::start("sled", root.path()).stop();
            assert_eq!(mode(&data), kept, "at start {start}");
        }
        if made != 0o755 {
            // A store that an earlier version made, in a directory whose mode was changed.
            chmod(&data.join("LOCK"), 0o644);
            chmod(&data.join("index"), 0o755);
            Server::start("sled", root.path()).stop();
            assert_eq!((mode(&data), mode(&data.join("LOCK"))), (kept, 0o600));
            assert_eq!(mode(&data.join("index")) & 0o777, 0o700);
        }
    }
}

/// A link in the place of a directory leads to files that others made.
#[test]
fn a_directory_behind_a_link_keeps_its_mode() {
    let root = tempfile::tempdir().unwrap();
    lived_in(root.path());
    let (index, elsewhere) = (root.path().join("data/index"), root.path().join("elsewhere"));
    fs::rename(&index, &elsewhere).unwrap();
    chmod(&elsewhere, 0o755);
    chmod(&elsewhere.join("conf"), 0o644);
    symlink(&elsewhere, &index).unwrap();
    Server::start("sled", root.path()).stop();
    assert_eq!((mode(&elsewhere), mode(&elsewhere.join("conf"))), (0o755, 0o600));
}

#[test]
fn modes_that_cannot_be_corrected_are_logged_and_the_start_goes_on() {
    let root = tempfile::tempdir().unwrap();
    lived_in(root.path());
    let Some(nobody) = Nobody::at(root.path()) else { return };
    let data = root.path().join("data");
    for path in all(&data) {
        nobody.give(&path);
    }
    // Other users may read it, but veche may not change its mode.
    let conf = data.join("index/conf");
    chown(&conf, Some(rustix::process::getuid()), None).unwrap();
    chmod(&conf, 0o644);
    chmod(&data.join("LOCK"), 0o644);
    let mut command = nobody.veche();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    let server = Server::spawn(&mut command, root.path());
    let log = server.log();
    assert!(log.contains("index/conf") && log.contains("mode 644"), "{log}");
    assert_eq!(mode(&data.join("LOCK")), 0o600);
    server.stop();
}
