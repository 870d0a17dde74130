//! `kill -9` at any time: whatever was acknowledged is served by the next start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, PASSWORD, credentials};
use crate::server::{PATIENCE, Server, until, veche};

const ROUNDS: usize = 10;
/// What one thread asks for in a round, at most.
const MAX_REQUESTS: usize = 2000;

/// What the server has told its clients, by id. Once told it must stay so.
#[derive(Default)]
struct Told {
    general: BTreeMap<u64, String>,
    private: BTreeMap<u64, String>,
    users: BTreeMap<u64, String>,
}

impl Told {
    /// Looks at everything there is: all that was told is among it, and unchanged. What was
    /// never acknowledged may be there too, and is told from here on.
    fn check(&mut self, ann: &Client) {
        for (list, told, field) in [
            ("/api/messages", &mut self.general, "text"),
            ("/api/users/me/messages", &mut self.private, "text"),
            ("/api/users", &mut self.users, "username"),
        ] {
            let items = ann.follow(list, 1000).0;
            let ids = crate::client::ids(&items);
            assert!(ids.is_sorted_by(|a, b| a < b), "{list}: {ids:?}");
            let found: BTreeMap<u64, String> =
                ids.into_iter().zip(items.iter().map(|item| item[field].to_string())).collect();
            for (id, text) in &*told {
                assert_eq!(found.get(id), Some(text), "{list}: {id} was acknowledged");
            }
            *told = found;
        }
        assert!(self.general.keys().all(|id| !self.private.contains_key(id)), "one sequence");
    }

    fn next_message(&self) -> u64 {
        let last = |told: &BTreeMap<u64, String>| told.last_key_value().map(|(id, _)| *id + 1);
        last(&self.general).max(last(&self.private)).unwrap_or(0)
    }

    fn next_user(&self) -> u64 {
        self.users.last_key_value().map_or(1, |(id, _)| *id + 1)
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let token = Client::signed_up(&server, "ann").token().to_owned();
    Client::signed_up(&server, "bob");
    server.kill();
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let server = Server::start("sled", dir.path());
        let ann = Client::new(&server).with_token(&token);
        told.check(&ann);
        if let Some((_, name)) = told.users.last_key_value() {
            Client::new(&server).log_in(name.trim_matches('"'));
        }
        post_until_killed(server, &ann, &mut told, round);
        if round % 3 == 1 {
            fs::remove_dir_all(dir.path().join("data/index")).unwrap();
        }
        if round % 2 == 0 {
            kill_while_starting(dir.path());
        }
    }
    let server = Server::start("sled", dir.path());
    told.check(&Client::new(&server).with_token(&token));
    let (general, private, users) = (told.general.len(), told.private.len(), told.users.len());
    println!("{general} general and {private} private messages, {users} users");
    assert!(general > ROUNDS && private > ROUNDS && users > 2);
}

/// Several clients at once, until the server dies under them.
fn post_until_killed(server: Server, ann: &Client, told: &mut Told, round: usize) {
    let (next_message, next_user) = (told.next_message(), told.next_user());
    let (acknowledged, registered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let told = Mutex::new(told);
    let run = |thread: usize| {
        for n in 0..MAX_REQUESTS {
            let text = format!("{round}-{thread}-{n}");
            let (path, body) = match thread {
                0 => ("/register", credentials(&text, PASSWORD)),
                1 | 2 => ("/api/users/2/messages", json!({ "text": text })),
                _ => ("/api/messages", json!({ "text": text })),
            };
            // Whether what was not acknowledged happened is nobody's business.
            let Ok(answer) = ann.try_post(path, &body) else { return };
            let id = answer.created();
            let mut told = told.lock().unwrap();
            let (kind, next) = match thread {
                0 => (&mut told.users, next_user),
                1 | 2 => (&mut told.private, next_message),
                _ => (&mut told.general, next_message),
            };
            assert!(id >= next, "{text}: id {id} was given before");
            let before = kind.insert(id, json!(text).to_string());
            assert_eq!(before, None, "{text}: id {id} was given twice");
            acknowledged.fetch_add(1, Ordering::Relaxed);
            registered.fetch_add(usize::from(thread == 0), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            let run = &run;
            scope.spawn(move || run(thread));
        }
        // Hashing gives way to everything else, so now and then it is waited for.
        let (enough, users) = (40 + 61 * round % 300, usize::from(round.is_multiple_of(3)));
        let reached = || {
            let all = acknowledged.load(Ordering::Relaxed) >= enough
                && registered.load(Ordering::Relaxed) >= users;
            all.then_some(())
        };
        let reached = until(PATIENCE, reached);
        server.kill();
        reached.expect("clients are served");
    });
}

/// Starts and kills, somewhat later each time, until a start was quicker.
fn kill_while_starting(dir: &Path) {
    let begun = Instant::now();
    for n in 0..12 {
        let mut command = veche();
        command.args(["--listen=127.0.0.1:0", "--data-dir"]).arg(dir.join("data"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        thread::sleep(Duration::from_millis(2 * n));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(begun.elapsed() < PATIENCE);
}

/// What a power cut can leave behind the last record is cut off, and said so.
#[test]
fn a_torn_tail_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let said = ann.say("acknowledged");
    server.kill();
    let log = fs::read_dir(dir.path().join("data/log")).unwrap().next().unwrap().unwrap().path();
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
