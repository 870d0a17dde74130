//! Power cuts at every moment of a store's life: what only the page cache had is gone.
//!
//! Every call that changes the disk is one moment; what a cut there may leave is laid out in files
//! and opened. The states are many, so they are looked at by as many threads as there are
//! processors, each distinct one once.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

use crate::clients::{Client, Ledger, text};
use crate::disk::{Cut, Disk, Tree, lay_out, read};
use crate::random::Random;
use crate::server::Server;
use crate::strace;
use crate::trace::{self, Event};
use crate::verdict::{self, Told};

/// Fewer states than this prove too little.
const STATES_MIN: usize = 5_000;
/// States at each moment in which anything may have happened to what was not synced.
const SAMPLES: usize = 9;
/// Of so many states, one is recovered by a real server, under which the power is cut again.
const RECOVERED_EVERY: usize = 900;
/// Of so many states, one is written to and opened once more.
const GONE_ON_EVERY: usize = 8;
/// So many wrong states are shown.
const SHOWN: usize = 5;
/// Messages that one thread posts.
const POSTS: u64 = 120;
/// At each so many of its posts, a thread reads the newest page too.
const READ_EVERY: u64 = 25;
const USERS: u64 = 3;

/// One life of the server: what it did and told, and what was there when it had ended.
struct Run {
    events: Vec<Event>,
    after: Tree,
}

/// A state to look at, and how much of what was told it must have.
struct Case {
    tree: Tree,
    told: usize,
    number: usize,
    when: String,
}

/// Where the files are. In memory if possible: a real disk would be synced thousands of times.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    if strace::is_missing() {
        return;
    }
    let dir = directory();
    let ledger = Mutex::new(Ledger::default());
    let mut random = Random::new(17);
    let mut stage = Stage { dir: dir.path(), ledger: &ledger, lives: 0, token: String::new() };
    let mut disk = Disk::of(&stage.data());
    let runs = stage.lives();
    let secret = fs::read(stage.data().join("jwt-secret")).unwrap();
    let ledger = ledger.into_inner().unwrap();

    let (mut told, mut states) = (Vec::new(), States::default());
    let mut recovered = Vec::new();
    let told_then = Arc::new(told_by_all(&runs));
    look(&told_then, &secret, &ledger, |cases| {
        for run in &runs {
            cut_all_along(&mut disk, run, &mut told, &mut random, &mut states, |case| {
                if case.number % RECOVERED_EVERY == RECOVERED_EVERY - 1 {
                    recovered.push((case.tree.clone(), case.told));
                }
                cases.send(case).expect("somebody looks");
            });
        }
    });
    let first = states.count();
    let acknowledged = (ledger.messages.len(), ledger.users.len());
    println!("{first} states of {acknowledged:?} messages and users, none lost");
    let mut again = 0;
    for (tree, told) in recovered {
        again += cut_again(&tree, &told_then[..told], &secret, &ledger, &mut random);
    }
    println!("{again} states of a second cut during recovery, none lost");
    assert!(first + again >= STATES_MIN, "{first} and {again} states");
}

/// Until it is done with its creation, a store is nothing that could be lost; but what was begun
/// must not come to be relied on before it is durable. So it is killed at each sync of its first
/// start, and the next start, which finds everything there already, has its power cut.
#[test]
fn what_a_killed_start_has_left_is_not_taken_for_durable() {
    if strace::is_missing() {
        return;
    }
    let (mut random, mut count) = (Random::new(18), 0);
    for sync in 1.. {
        let (dir, ledger) = (directory(), Mutex::new(Ledger::default()));
        let mut stage = Stage { dir: dir.path(), ledger: &ledger, lives: 0, token: String::new() };
        let mut disk = Disk::of(&stage.data());
        let Some(killed) = stage.killed_at(sync) else {
            assert!(sync > 5, "a start syncs directories, log and secret");
            break;
        };
        let next = stage.live(late);
        let secret = fs::read(stage.data().join("jwt-secret")).unwrap();
        let runs = [killed, next];
        let (mut told, mut states) = (Vec::new(), States::default());
        look(&Arc::new(told_by_all(&runs)), &secret, &ledger.into_inner().unwrap(), |cases| {
            for run in &runs {
                cut_all_along(&mut disk, run, &mut told, &mut random, &mut states, |case| {
                    cases.send(case).expect("somebody looks");
                });
            }
        });
        count += states.count();
    }
    println!("{count} states of stores that were killed at their creation, none lost");
}

/// An account, a token and a message, and a kill.
fn late(server: Server, stage: &mut Stage<'_>) {
    let client = Client::new(server.addr());
    let name = format!("late{}", stage.lives);
    client.register(&name, stage.ledger).expect("an account");
    let client = client.log_in(&name).expect("a token");
    client.post(None, &text(&name, 1), stage.ledger).expect("a message");
    server.kill();
}

/// Cuts the power under a server that recovers what a power cut has left.
fn cut_again(
    tree: &Tree,
    told: &[Told],
    secret: &[u8],
    ledger: &Ledger,
    random: &mut Random,
) -> usize {
    let dir = directory();
    let ledger = &Mutex::new(ledger.after(told));
    lay_out(tree, &dir.path().join("data"));
    let mut stage =
        Stage { dir: dir.path(), ledger, lives: random.below(1 << 40), token: String::new() };
    let mut disk = Disk::of(&stage.data());
    let run = stage.live(late);
    let mut all = told.to_vec();
    all.extend(run.events.iter().flat_map(told_in));
    // Without an earlier token there was perhaps no secret yet.
    let kept = fs::read(stage.data().join("jwt-secret")).unwrap();
    assert!(!told.contains(&Told::Token) || kept == secret);
    let (mut now, mut states) = (told.to_vec(), States::default());
    let ledger = ledger.lock().unwrap();
    look(&Arc::new(all), &kept, &ledger, |cases| {
        cut_all_along(&mut disk, &run, &mut now, random, &mut states, |case| {
            cases.send(case).expect("somebody looks");
        });
    });
    states.count()
}

/// Goes through a run and cuts the power before each thing that happened to the disk, and at last.
fn cut_all_along(
    disk: &mut Disk,
    run: &Run,
    told: &mut Vec<Told>,
    random: &mut Random,
    states: &mut States,
    mut found: impl FnMut(Case),
) {
    let mut cuts = vec![Cut::Nothing, Cut::Everything, Cut::Front];
    cuts.extend([Cut::Anything; SAMPLES]);
    let count = run.events.len();
    for (moment, event) in run.events.iter().map(Some).chain([None]).enumerate() {
        if matches!(event, Some(Event::Reply { .. })) {
            told.extend(event.into_iter().flat_map(told_in));
            continue;
        }
        for cut in &cuts {
            let tree = disk.cut(*cut, random);
            if states.is_new(&tree) {
                let when = format!("{cut:?} at {moment} of {count}, before {:?}", event.map(brief));
                found(Case { tree, told: told.len(), number: states.count(), when });
            }
        }
        if let Some(event) = event {
            disk.apply(event);
        }
    }
    disk.settle(&run.after);
}

fn told_in(event: &Event) -> Vec<Told> {
    match event {
        Event::Reply { bytes } => verdict::told_by(bytes),
        _ => Vec::new(),
    }
}

fn told_by_all(runs: &[Run]) -> Vec<Told> {
    runs.iter().flat_map(|run| &run.events).flat_map(told_in).collect()
}

/// An event without its bytes.
fn brief(event: &Event) -> String {
    let mut text = format!("{event:?}");
    text.truncate(120);
    text
}

/// The states that were seen.
#[derive(Default)]
struct States(HashSet<u64>);

impl States {
    fn is_new(&mut self, tree: &Tree) -> bool {
        let mut hasher = DefaultHasher::new();
        tree.hash(&mut hasher);
        self.0.insert(hasher.finish())
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// Has the cases that `find` sends looked at, and fails with the first that is wrong.
fn look(
    told: &Arc<Vec<Told>>,
    secret: &[u8],
    ledger: &Ledger,
    find: impl FnOnce(&SyncSender<Case>),
) {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let (sender, receiver) = sync_channel::<Case>(threads);
    let receiver = Mutex::new(receiver);
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| look_on(&receiver, told, secret, ledger, &failed));
        }
        find(&sender);
        drop(sender);
    });
    assert_eq!(failed.into_inner(), 0, "states are wrong; see above");
}

fn look_on(
    cases: &Mutex<Receiver<Case>>,
    told: &[Told],
    secret: &[u8],
    ledger: &Ledger,
    failed: &AtomicUsize,
) {
    let dir = directory();
    loop {
        let case = cases.lock().unwrap().recv();
        let Ok(Case { tree, told: so_far, number, when }) = case else { return };
        let data = dir.path().join(number.to_string());
        lay_out(&tree, &data);
        let verdict = verdict::judge(&data, &told[..so_far], secret, ledger).and_then(|all| {
            let goes_on = number.is_multiple_of(GONE_ON_EVERY);
            if goes_on { verdict::go_on(&data, all) } else { Ok(()) }
        });
        if let Err(why) = verdict
            && failed.fetch_add(1, Ordering::Relaxed) < SHOWN
        {
            eprintln!("state {number}, {when}: {why}");
        }
        fs::remove_dir_all(&data).unwrap();
    }
}

/// Where the server lives, over and over.
struct Stage<'a> {
    dir: &'a Path,
    ledger: &'a Mutex<Ledger>,
    lives: u64,
    token: String,
}

impl Stage<'_> {
    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Creation, work and a kill; recovery, work and a clean stop; the index made again; a start
    /// and an end.
    fn lives(&mut self) -> Vec<Run> {
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

    /// Starts a server, and gives what it did until its end.
    fn live(&mut self, act: impl FnOnce(Server, &mut Self)) -> Run {
        self.lives += 1;
        let output = self.dir.join(format!("trace-{}", self.lives));
        let server = strace::traced(self.dir, &output);
        act(server, self);
        let events = trace::parse(&strace::complete(&output), &self.data());
        fs::remove_file(output).unwrap();
        Run { events, after: read(&self.data()) }
    }

    /// Starts a server that is killed at its first calls of `fsync`, the one with this number.
    /// `None` if it does not make as many.
    fn killed_at(&mut self, sync: usize) -> Option<Run> {
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
