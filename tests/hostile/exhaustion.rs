//! Too few descriptors or threads: the server recovers without a restart.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::{Client, each};
use crate::extent::Extent;
use crate::levels::thread_names;
use crate::line::Line;
use crate::server::{PATIENCE, STORES, Server, until, veche};
use crate::wire::get;

/// Rounds of each shortage on each store.
const ROUNDS: Extent<usize> = Extent { short: 4, long: 50 };
/// Connections in a round: more than the server has descriptors or threads for.
const CONNECTIONS: usize = 100;
/// The limit on descriptors.
const DESCRIPTORS: usize = 64;
/// Threads that a user may have in addition to those that the user already has.
const THREADS: usize = 64;
/// The longest duration of a round: the server gives resources back after a while, which may not be
/// visible before.
const ROUND: Duration = Duration::from_secs(2);
/// Requests in a row that count as normal service.
const REQUESTS: usize = 5;
/// A user that runs nothing else. As root, the limit does not apply to us.
const NOBODY: u32 = 64_123;

#[test]
fn out_of_descriptors() {
    on_each_store(|store| {
        let dir = tempfile::tempdir().unwrap();
        let limit = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limit]).arg(env!("CARGO_BIN_EXE_veche"));
        let server = start(command, store, dir.path());
        exhaust(server, store, |server| server.descriptors() + 2 >= DESCRIPTORS);
    });
}

#[test]
fn out_of_threads() {
    on_each_store(|store| {
        let dir = tempfile::tempdir().unwrap();
        let (mut command, most) = if rustix::process::getuid().is_root() {
            // The user needs access to the binary, wherever that is, and to its data.
            let binary = dir.path().join("veche");
            // Copied by another process: a test that starts a program meanwhile would inherit the
            // file open for writing.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_veche")).arg(&binary).status();
            assert!(copied.unwrap().success());
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            // One user for each store: the limit applies to everything that a user runs.
            let user = NOBODY + u32::from(store == "sled");
            chown(dir.path(), Some(user), Some(user)).unwrap();
            let user = user.to_string();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit"]);
            command.arg(format!("--nproc={THREADS}")).arg(binary);
            (command, THREADS)
        } else {
            // The limit applies to everything that the user runs.
            let most = threads_of_mine() + THREADS;
            let mut command = Command::new("prlimit");
            command.arg(format!("--nproc={most}")).arg(env!("CARGO_BIN_EXE_veche"));
            (command, most)
        };
        command.current_dir(dir.path());
        let server = start(command, store, dir.path());
        // As root, the server is all that its user runs.
        let is_root = rustix::process::getuid().is_root();
        let taken = |server: &Server| {
            if is_root { thread_names(server).len() } else { threads_of_mine() }
        };
        exhaust(server, store, |server| taken(server) + 2 >= most);
    });
}

/// Most of a round is waiting, so the stores are tested at the same time.
fn on_each_store(run: impl Fn(&str) + Sync) {
    each(STORES.len(), |n| run(STORES[n]));
}

/// The number of threads of this user.
fn threads_of_mine() -> usize {
    let me = rustix::process::getuid().as_raw();
    let processes = fs::read_dir("/proc").expect("a list of processes").flatten();
    let mine = processes.filter(|process| process.metadata().is_ok_and(|it| it.uid() == me));
    let threads =
        mine.filter_map(|process| Some(fs::read_dir(process.path().join("task")).ok()?.count()));
    threads.sum()
}

/// Starts what `command` is to run with the limit, without our own environment.
fn start(mut command: Command, store: &str, dir: &Path) -> Server {
    for (name, value) in veche().get_envs() {
        assert!(value.is_none(), "they are removed");
        command.env_remove(name);
    }
    command.args(["--listen", "127.0.0.1:0", "--store", store, "--data-dir"]);
    Server::spawn(command.arg(dir.join("data")), dir)
}

/// Takes all descriptors or threads, again and again.
fn exhaust(mut server: Server, store: &str, is_exhausted: impl Fn(&Server) -> bool) {
    let ann = Client::signed_up(&server, "ann");
    let request = get(&ann, "/api/users/me");
    let mut exhausted = 0;
    for round in 0..ROUNDS.now() {
        let mut lines = Vec::new();
        for _ in 0..CONNECTIONS {
            // A connection without a free descriptor has to wait outside, or is refused.
            let Ok(mut line) = Line::open(server.addr()) else { break };
            let _ = line.send("GET /api/us");
            lines.push(line);
        }
        exhausted += usize::from(until(ROUND, || is_exhausted(&server).then_some(())).is_some());
        assert!(server.is_alive(), "{store}, round {round}: {}", server.log());
        drop(lines);
        let again = until(PATIENCE, || is_served(server.addr(), &request).then_some(()));
        let alive = server.is_alive();
        assert!(again.is_some() && alive, "{store}, round {round}: {}", server.log());
    }
    println!("{store}: exhausted in {exhausted} rounds");
    assert!(exhausted > 0, "{store}: there was always enough");
    server.stop();
}

fn is_served(addr: SocketAddr, request: &str) -> bool {
    (0..REQUESTS).all(|_| {
        let answer = Line::open_hastily(addr).and_then(|mut line| line.ask(request));
        answer.is_ok_and(|answer| answer.status == 200)
    })
}
