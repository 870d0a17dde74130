//! Calls that fail: the first one of a kind, then the second one, until a run gets through
//! untouched.
//!
//! Each time the server may refuse to start, stop, or go on. But everything it acknowledged must be
//! there for the next start, nothing may be acknowledged after the log could not be written, and an
//! end must have a reason.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use rustix::process::Signal;

use crate::clients::{Client, Ledger, text};
use crate::disk::{Tree, lay_out, read};
use crate::extent::Extent;
use crate::server::{PATIENCE, Server, until, veche};
use crate::stage::directory;
use crate::strace;
use crate::verdict::{self, Told};

/// Messages posted before: a few more, and the index takes them in.
const POSTED_BEFORE: u64 = 250;
/// The additional length of each of these, so that the log is longer than the index: a limit on the
/// length of files is reached by the longer one first.
const MORE_TEXT: usize = 2200;
/// Messages posted while calls fail.
const POSTS: u64 = 10;
/// The bytes that a crash has left after the log's last record.
const TORN: &[u8] = b"torn";
/// More than the number of calls of any kind.
const CALLS_MAX: usize = 400;
/// The bytes that a run itself writes.
const NEW_BYTES: usize = 1200;
/// The step from one limit on a file's length to the next: no record is shorter.
const LIMIT_STEP: Extent<usize> = Extent { short: 92, long: 23 };

/// More than the length of the index, in steps. The server's messages go to a file as well, and
/// fit.
const INDEX_BYTES: usize = 540_000;
const INDEX_STEP: Extent<usize> = Extent { short: 48_056, long: 6007 };

/// The store before a call fails.
struct Before {
    tree: Tree,
    ledger: Ledger,
    token: String,
}

impl Before {
    /// A store that was killed, with a torn tail.
    fn with_messages() -> Before {
        let (dir, ledger) = (directory(), Mutex::new(Ledger::default()));
        let server = Server::start("sled", dir.path());
        let client = Client::new(server.addr());
        client.register("u1", &ledger).expect("an account");
        let client = client.log_in("u1").expect("a token");
        for n in 0..POSTED_BEFORE {
            let text = text("before", n) + &"x".repeat(MORE_TEXT);
            client.post((n % 2 == 0).then_some(1), &text, &ledger).expect("a message");
        }
        server.kill();
        let mut tree = read(&dir.path().join("data"));
        log_of(&mut tree).extend(TORN);
        Before { tree, ledger: ledger.into_inner().unwrap(), token: client.token }
    }

    /// An empty directory.
    fn nothing() -> Before {
        Before { tree: Tree::new(), ledger: Ledger::default(), token: String::new() }
    }

    /// Runs `command` on a copy of the store, posts, and stops it; then checks the store. `command`
    /// has a directory to itself. Returns what the server wrote to standard error.
    fn run(&self, what: &str, command: impl FnOnce(&Path) -> Command) -> String {
        let dir = directory();
        let data = dir.path().join("data");
        if !self.tree.is_empty() {
            lay_out(&self.tree, &data);
        }
        let ledger = Mutex::new(self.ledger.clone());
        let mut command = command(dir.path());
        command.args(["--listen=127.0.0.1:0", "--data-dir"]).arg(&data);
        let (code, stderr, told_a_token) = self.serve(what, &mut command, dir.path(), &ledger);

        let reasons: Vec<&str> =
            stderr.lines().filter(|line| line.starts_with("veche: ")).collect();
        match code {
            Some(0) => assert!(reasons.is_empty(), "{what}: {stderr}"),
            Some(1) => assert_eq!(reasons.len(), 1, "{what}: one line says why: {stderr}"),
            other => panic!("{what}: exit code {other:?}: {stderr}"),
        }
        let ledger = ledger.into_inner().unwrap();
        let mut told: Vec<Told> = ledger.messages.keys().map(|id| Told::Message(*id)).collect();
        told.extend(ledger.users.keys().map(|id| Told::User(*id)));
        let secret = fs::read(data.join("jwt-secret")).unwrap_or_default();
        if let Some(before) = self.tree.get(Path::new("jwt-secret")) {
            assert_eq!(Some(&secret), before.as_ref(), "{what}: the secret");
        }
        assert!(!told_a_token || secret.len() == 32, "{what}: the secret of a token");
        if data.exists() {
            let all = verdict::judge(&data, &told, &secret, &ledger);
            let gone_on = all.and_then(|all| verdict::go_on(&data, all));
            gone_on.unwrap_or_else(|why| panic!("{what}: {why}\n{stderr}"));
        }
        stderr
    }

    /// Returns the exit code, standard error, and whether a token was issued.
    fn serve(
        &self,
        what: &str,
        command: &mut Command,
        dir: &Path,
        ledger: &Mutex<Ledger>,
    ) -> (Option<i32>, String, bool) {
        let stderr = dir.join("stderr");
        command.stdout(Stdio::piped()).stderr(fs::File::create(&stderr).unwrap());
        let Some(mut server) = Started::of(command) else {
            panic!(
                "{what}: neither an address nor an end: {}",
                fs::read_to_string(stderr).unwrap()
            );
        };
        let mut told_a_token = false;
        if let Some(addr) = server.addr {
            let mut client = Client::new(addr).with_token(&self.token);
            if self.token.is_empty()
                && client.register("u1", ledger).is_some()
                && let Some(with_token) = client.log_in("u1")
            {
                (client, told_a_token) = (with_token, true);
            }
            for n in 0..POSTS {
                client.post((n % 2 == 0).then_some(1), &text("while", n), ledger);
            }
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(&server.child),
                Signal::TERM,
            );
        }
        let ended = until(PATIENCE, || server.child.try_wait().unwrap());
        let stderr = fs::read_to_string(stderr).unwrap();
        let status = ended.unwrap_or_else(|| panic!("{what}: it does not end: {stderr}"));
        (status.code(), stderr, told_a_token)
    }
}

/// A server that may not start.
struct Started {
    child: std::process::Child,
    addr: Option<std::net::SocketAddr>,
}

impl Started {
    /// `None` if it prints nothing in time.
    fn of(command: &mut Command) -> Option<Started> {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (line_in, line) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut first = String::new();
            let _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut first);
            let _ = line_in.send(first);
        });
        let mut started = Started { child, addr: None };
        started.addr = line.recv_timeout(PATIENCE).ok()?.trim_end().parse().ok();
        Some(started)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(tree: &mut Tree) -> &mut Vec<u8> {
    let log = tree.get_mut(Path::new("log/00000000000000000000.log"));
    log.and_then(Option::as_mut).expect("a log")
}

/// The paths in a data directory whose names are known beforehand.
const PATHS: [&str; 12] = [
    "",
    "LOCK",
    "log",
    "log/00000000000000000000.log",
    "index",
    "index/blobs",
    "index/conf",
    "index/db",
    "jwt-secret",
    "jwt-secret.new",
    "index.broken",
    "index.seal",
];

/// Fails the first call of a kind, then the second one, until a run gets through untouched.
fn fail_each(before: &Before, call: &str, error: &str) {
    for number in 1..CALLS_MAX {
        let what = format!("{call} {number}: {error}");
        let output = directory();
        let trace = output.path().join("trace");
        before.run(&what, |dir| {
            let inject = format!("inject={call}:error={error}:when={number}");
            let calls = format!("trace={call},sendto");
            let options = ["-yy", "-s", "32", "-e", &calls, "-e", &inject].map(OsString::from);
            let mut options = Vec::from(options);
            if ["openat", "write", "pread64"].contains(&call) {
                // The libraries make such calls, too. Failing those would hide the answers.
                for path in PATHS {
                    options.extend(["-P".into(), dir.join("data").join(path).into_os_string()]);
                }
            }
            strace::strace(&trace, options)
        });
        let trace = strace::complete(&trace);
        if !trace.contains("(INJECTED)") {
            println!("{call}: {error} at each of {} calls", number - 1);
            assert!(number > 1, "{call} is never called");
            return;
        }
        let failed = |line: &&str| line.contains("(INJECTED)") && line.contains(".log>");
        if let Some(failure) = trace.lines().find(failed) {
            let after = &trace[trace.find(failure).unwrap()..];
            assert!(!after.contains("HTTP/1.1 201"), "{what}: an answer after {failure}");
        }
    }
    panic!("{call} is called more than {CALLS_MAX} times");
}

/// The error of a broken disk for all calls, and of a full one for writes.
#[test]
fn no_failing_call_makes_a_false_promise() {
    if strace::is_missing() {
        return;
    }
    let before = Before::with_messages();
    for (call, error) in [
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("pwrite64", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("sync_file_range", "EIO"),
        ("pread64", "EIO"),
        ("ftruncate", "EIO"),
        ("openat", "EIO"),
    ] {
        fail_each(&before, call, error);
    }
}

#[test]
fn no_call_that_fails_at_a_stores_creation_makes_a_false_promise() {
    if strace::is_missing() {
        return;
    }
    let before = Before::nothing();
    for (call, error) in [
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("write", "ENOSPC"),
        ("openat", "ENOSPC"),
        ("mkdir", "ENOSPC"),
        ("rename", "EIO"),
        ("unlinkat", "EIO"),
    ] {
        fail_each(&before, call, error);
    }
}

/// A limit on the length of files, byte by byte: only the part that fits is written.
#[test]
fn no_short_write_makes_a_false_promise() {
    let mut before = Before::with_messages();
    let log = log_of(&mut before.tree).len() - TORN.len();
    let (mut untouched, mut cut_off) = (false, 0);
    // Around the end of the log, of the index, and without files.
    let limits = (log - 30..log + NEW_BYTES).step_by(LIMIT_STEP.now());
    let around_the_log = limits.len();
    let index_step = INDEX_STEP.now();
    for limit in limits.chain((index_step..INDEX_BYTES).step_by(index_step)).chain([1 << 40]) {
        let what = format!("files of at most {limit} bytes, and a log of {log}");
        let stderr = before.run(&what, |_| {
            let mut command = Command::new("sh");
            let binary = veche();
            // The signal sent with the error would end the process.
            let script = "trap '' XFSZ; exec prlimit --fsize=\"$0\" -- \"$@\"";
            command.args(["-c", script, &limit.to_string()]).arg(binary.get_program());
            command
        });
        untouched = !stderr.contains("File too large");
        cut_off += usize::from(stderr.contains(".log failed: File too large"));
    }
    assert!(untouched, "the last limit is none");
    assert!(cut_off >= around_the_log, "{cut_off} limits ended a write of the log");
}
