//! The lives of a server under strace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use tempfile::TempDir;

use crate::clients::{Client, Ledger, text};
use crate::disk::{Tree, read};
use crate::server::Server;
use crate::states::told_in;
use crate::strace;
use crate::trace::{self, Event};
use crate::verdict::Told;

/// Messages that one thread posts.
const POSTS: u64 = 120;
/// After this many posts, a thread reads the newest page too.
const READ_EVERY: u64 = 25;
const USERS: u64 = 3;

/// The directory for the files. In memory if possible: a real disk would be synced thousands of
/// times.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// One life of the server: its calls and answers, and the tree at its end.
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
    pub(crate) after: Tree,
}

pub(crate) fn told_by_all(runs: &[Run]) -> Vec<Told> {
    runs.iter().flat_map(|run| &run.events).flat_map(told_in).collect()
}

/// The directory in which the server lives again and again.
pub(crate) struct Stage<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) ledger: &'a Mutex<Ledger>,
    pub(crate) lives: u64,
    pub(crate) token: String,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(dir: &'a Path, ledger: &'a Mutex<Ledger>) -> Stage<'a> {
        Stage { dir, ledger, lives: 0, token: String::new() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Creation, work and a kill; recovery, work and a clean stop; the index rebuilt; a start and
    /// an end.
    pub(crate) fn lives(&mut self) -> Vec<Run> {
        let created = self.live(|server, stage| {
            let client = Client::new(server.addr());
            for id in 1..=USERS {
                assert_eq!(client.register(&format!("u{id}"), stage.ledger), Some(id));
            }
            stage.token = client.log_in("u1").expect("a token").token;
            stage.work(&server, POSTS);
            server.kill();
        });
        let recovered = self.live(|server, stage| {
            stage.work(&server, POSTS);
            server.stop();
        });
        let marker = self.data().join("index.broken");
        fs::write(&marker, "").unwrap();
        let made = Event::Create { path: marker.clone() };
        let mut rebuilt = self.live(|server, stage| {
            stage.work(&server, POSTS / 4);
            server.kill();
        });
        assert!(!marker.exists());
        rebuilt.events.insert(0, made);
        let idle = self.live(|server, _| server.stop());
        vec![created, recovered, rebuilt, idle]
    }

    /// Starts a server, and returns its calls and answers until its end.
    pub(crate) fn live(&mut self, act: impl FnOnce(Server, &mut Self)) -> Run {
        self.lives += 1;
        let output = self.dir.join(format!("trace-{}", self.lives));
        let server = strace::traced(self.dir, &output);
        act(server, self);
        let events = trace::parse(&strace::complete(&output), &self.data());
        fs::remove_file(output).unwrap();
        Run { events, after: read(&self.data()) }
    }

    /// Starts a server that is killed at its `fsync` with this number. `None` if it does not make
    /// as many.
    pub(crate) fn killed_at(&mut self, sync: usize) -> Option<Run> {
        self.lives += 1;
        let output = self.dir.join(format!("trace-{}", self.lives));
        let mut child = strace::killed_at(self.dir, &output, sync).spawn().unwrap();
        let mut first_line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first_line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let events = trace::parse(&strace::complete(&output), &self.data());
        fs::remove_file(output).unwrap();
        first_line.is_empty().then(|| Run { events, after: read(&self.data()) })
    }

    /// Several clients at once.
    fn work(&self, server: &Server, posts: u64) {
        let client = Client::new(server.addr()).with_token(&self.token);
        thread::scope(|scope| {
            for thread in 0..USERS {
                let client = &client;
                scope.spawn(move || {
                    for n in 0..posts {
                        let to = (thread > 0).then_some(1 + (thread + n) % USERS);
                        let text = text(&format!("{}-{thread}", self.lives), n);
                        client.post(to, &text, self.ledger).expect("a message");
                        if n % READ_EVERY == 0 {
                            client.ask("/api/messages?limit=3", None).expect("a page");
                        }
                    }
                });
            }
        });
    }
}

/// An account, a token and a message, and a kill.
pub(crate) fn late(server: Server, stage: &mut Stage<'_>) {
    let client = Client::new(server.addr());
    let name = format!("late{}", stage.lives);
    client.register(&name, stage.ledger).expect("an account");
    let client = client.log_in(&name).expect("a token");
    client.post(None, &text(&name, 1), stage.ledger).expect("a message");
    server.kill();
}
