//! `kill -9` at random instants, under load and during the start: everything acknowledged is there
//! afterwards, in order, and no id is given out twice.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::clients::{Client, Ledger, text};
use crate::extent::Extent;
use crate::random::Random;
use crate::server::{PATIENCE, Server, until, veche};
use crate::verdict::{self, Told};

const KILLS: Extent<usize> = Extent { short: 24, long: 1000 };
/// One of this many kills, at least, must come before the server listens.
const EARLY_ONE_OF: usize = 5;
/// Percentage of kills that are timed for the start.
const EARLY_PERCENT: u64 = 45;
/// Percentage of starts before which the index is removed.
const REBUILT_PERCENT: u64 = 15;
/// The longest time for which a server is under load.
const LOAD_MILLIS: u64 = 120;
/// In one of this many rounds accounts are made too; hashing takes time.
const ACCOUNTS_EVERY: usize = 4;
/// After this many kills everything is checked, and not only what is new.
const ALL_EVERY: usize = 100;
const THREADS: u64 = 6;

/// The lives of one store.
struct Lives {
    dir: TempDir,
    token: String,
    ledger: Mutex<Ledger>,
    /// The last id that was checked.
    checked: Option<u64>,
    kills: usize,
    early: usize,
    acknowledged: usize,
    /// The duration of the latest start.
    start_took: Duration,
}

#[test]
fn no_kill_loses_what_was_acknowledged() {
    let kills = KILLS.now();
    let mut random = Random::new(29);
    let mut lives = Lives::begin();
    while lives.kills < kills || lives.too_few_early() {
        assert!(lives.kills < 2 * kills, "{} of {} were early", lives.early, lives.kills);
        if random.percent(REBUILT_PERCENT) {
            let _ = fs::remove_dir_all(lives.dir.path().join("data/index"));
        }
        if random.percent(EARLY_PERCENT) || lives.too_few_early() {
            let latest = u64::try_from(lives.start_took.as_micros()).expect("a short start");
            lives.kill_early(Duration::from_micros(random.below(latest)));
        } else {
            lives.kill_under_load(Duration::from_micros(random.below(LOAD_MILLIS * 1000)));
        }
        if lives.kills.is_multiple_of(ALL_EVERY) {
            lives.check_all();
        }
    }
    let server = lives.start();
    lives.check_new(&server);
    server.stop();
    let (messages, users) = lives.check_all();
    let Lives { kills, early, acknowledged, .. } = lives;
    println!(
        "{kills} kills, {early} of them before the server listened; {acknowledged} acknowledged \
         writes, none lost; {messages} messages and {users} accounts in the end"
    );
}

impl Lives {
    fn begin() -> Lives {
        let (dir, ledger) = (TempDir::new().unwrap(), Mutex::new(Ledger::default()));
        let server = Server::start("sled", dir.path());
        let client = Client::new(server.addr());
        assert_eq!(client.register("ann", &ledger), Some(1));
        let token = client.log_in("ann").expect("a token").token;
        server.kill();
        Lives {
            dir,
            token,
            ledger,
            checked: None,
            kills: 0,
            early: 0,
            acknowledged: 0,
            start_took: PATIENCE / 1000,
        }
    }

    fn start(&mut self) -> Server {
        let begun = Instant::now();
        let server = Server::start("sled", self.dir.path());
        self.start_took = begun.elapsed();
        server
    }

    fn too_few_early(&self) -> bool {
        self.early * EARLY_ONE_OF < self.kills
    }

    /// Kills a start after a while, which may have been too long for the kill to be early.
    fn kill_early(&mut self, after: Duration) {
        let (mut child, stdout) = start_at(self.dir.path());
        thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        self.kills += 1;
        self.early += usize::from(line.is_empty());
    }

    /// Runs several clients at once, until the server is killed, and then checks what is new.
    fn kill_under_load(&mut self, after: Duration) {
        let server = self.start();
        self.check_new(&server);
        let acknowledged = AtomicUsize::new(0);
        let client = Client::new(server.addr()).with_token(&self.token);
        let (ledger, round) = (&self.ledger, self.kills);
        let work = |thread: u64| {
            for n in 0.. {
                let what = format!("k{round}t{thread}");
                let done = match thread {
                    0 if round.is_multiple_of(ACCOUNTS_EVERY) => {
                        client.register(&format!("{what}n{n}"), ledger)
                    }
                    1 | 2 => client.post(Some(1), &text(&what, n), ledger),
                    _ => client.post(None, &text(&what, n), ledger),
                };
                if done.is_none() {
                    return;
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let work = &work;
                scope.spawn(move || work(thread));
            }
            let begun =
                until(PATIENCE, || (acknowledged.load(Ordering::Relaxed) > 0).then_some(()));
            thread::sleep(after);
            server.kill();
            begun.expect("clients are served");
        });
        self.kills += 1;
        self.acknowledged += acknowledged.into_inner();
    }

    /// Checks what was written since the last check, with a token of the first day. Writes that
    /// were never acknowledged may be there; from here on they stay.
    fn check_new(&mut self, server: &Server) {
        let client = Client::new(server.addr()).with_token(&self.token);
        let from = self.checked.map_or("-1".to_owned(), |id| id.to_string());
        let mut found = Vec::new();
        for list in ["/api/messages", "/api/users/me/messages"] {
            let mut after = from.clone();
            loop {
                let page = client.ask(&format!("{list}?after={after}&limit=1000"), None);
                let page = page.expect("a page");
                assert_eq!(page.status, 200, "{page:?}");
                let items = page.body.as_array().expect("a list").clone();
                let Some(last) = items.last() else { break };
                after = last["id"].to_string();
                let ids: Vec<_> = items.iter().map(|item| item["id"].as_u64().unwrap()).collect();
                assert!(ids.is_sorted_by(|a, b| a < b), "{list}: {ids:?}");
                found.extend(items);
            }
        }
        let mut ledger = self.ledger.lock().unwrap();
        for item in &found {
            let (id, text) = (item["id"].as_u64().unwrap(), item["text"].as_str().unwrap());
            assert!(self.checked.is_none_or(|checked| id > checked));
            let known = ledger.messages.entry(id).or_insert_with(|| text.to_owned());
            assert_eq!(known, text, "{id}");
        }
        let found: std::collections::BTreeSet<_> =
            found.iter().map(|item| item["id"].as_u64().unwrap()).collect();
        let next = self.checked.map_or(0, |id| id + 1);
        for (id, text) in ledger.messages.range(next..) {
            assert!(found.contains(id), "{id} was acknowledged and is gone: {text}");
        }
        self.checked = found.last().copied().or(self.checked);
    }

    /// Checks everything, in every way it can be read; returns the numbers of messages and users.
    fn check_all(&self) -> (usize, usize) {
        let data = self.dir.path().join("data");
        let ledger = self.ledger.lock().unwrap();
        let mut told: Vec<Told> = ledger.messages.keys().map(|id| Told::Message(*id)).collect();
        told.extend(ledger.users.keys().map(|id| Told::User(*id)));
        let secret = fs::read(data.join("jwt-secret")).unwrap();
        verdict::judge(&data, &told, &secret, &ledger).unwrap_or_else(|why| panic!("{why}"));
        (ledger.messages.len(), ledger.users.len())
    }
}

/// Starts a server without waiting for its first line.
fn start_at(dir: &Path) -> (Child, std::process::ChildStdout) {
    let mut command: Command = veche();
    command.args(["--listen=127.0.0.1:0", "--data-dir"]).arg(dir.join("data"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, stdout)
}
