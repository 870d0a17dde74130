//! All cases, on each store and behind the front, many at a time. Nearly all of the time is spent
//! waiting for time-outs, so these tests run at the same time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::case::{self, Case};
use crate::client::{Client, each};
use crate::extent::Extent;
use crate::neighbour::{self, Neighbour};
use crate::play::{Played, Scene};
use crate::server::{STORES, Server};
use crate::stage::{Stage, Way};

/// Cases played at once. Most of them wait for a time-out.
const AT_ONCE: Extent<usize> = Extent { short: 24, long: 64 };
/// The stores on which the cases are played directly.
const DIRECTLY_ON: Extent<&[&str]> = Extent { short: &["sled"], long: &STORES };
/// One of this many slow cases is played.
const SLOW_ONES: Extent<usize> = Extent { short: 16, long: 1 };

#[test]
fn direct() {
    let stores = DIRECTLY_ON.now();
    each(stores.len(), |n| play_all(Way::Direct, stores[n]));
}

#[test]
fn behind_nginx() {
    play_all(Way::Nginx, "sled");
}

/// Returns whether a case is part of this run. The choice of slow cases is the same in each run.
fn is_played(case: &Case, way: Way) -> bool {
    !(way.outcome(case).takes_long() || case.takes_long())
        || case.number.is_multiple_of(SLOW_ONES.now())
}

fn play_all(way: Way, store: &str) {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut stage) = Stage::set(way, store, dir.path()) else { return };
    let mut cases = case::all();
    cases.retain(|case| is_played(case, way));
    let begun = Instant::now();
    let neighbour = Neighbour::begin(stage.addr(), stage.ann.token());
    let scene = Scene { way, addr: stage.addr(), token: stage.ann.token() };
    let played = play_each(scene, &cases);
    let report = neighbour.report();
    let what = format!("{way:?}, {store}, {} cases in {:?}", cases.len(), begun.elapsed());
    let mut complaints = Vec::new();
    for (case, played) in cases.iter().zip(&played) {
        complaints.extend(played.complaints.iter().map(|why| format!("{}: {why}", case.name)));
    }
    complaints.extend(unaccounted(&stage, &cases, &played, report.said));
    assert!(stage.server.is_alive(), "{what}: {}", stage.server.log());
    assert!(complaints.is_empty(), "{what}: {complaints:#?}\n{report:?}");
    report.check(&what);
    let leaks = |case: &Case| if way == Way::Direct { case.leaks * case.connections } else { 0 };
    stage.has_recovered(cases.iter().map(leaks).sum(), &what);
    let messages = stage.messages();
    let Stage { server, ann, .. } = stage;
    server.stop();
    if store == "sled" {
        // A stop finishes whatever was accepted as a request.
        let server = Server::start(store, dir.path());
        let ann = Client::new(&server).with_token(ann.token());
        assert!(ann.follow("/api/messages", 1000).0 == messages, "{what}: the store has changed");
    }
}

/// Plays the cases that take long first.
fn play_each(scene: Scene<'_>, cases: &[Case]) -> Vec<Played> {
    let (long, short): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| scene.way.outcome(case).takes_long());
    let waiting = Mutex::new(long.into_iter().chain(short));
    let played = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.now() {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(case) = next else { break };
                    let outcome = scene.play(case);
                    played.lock().unwrap().insert(case.number, outcome);
                }
            });
        }
    });
    played.into_inner().unwrap().into_values().collect()
}

/// Messages that are stored but were not acknowledged, and the reverse.
fn unaccounted(stage: &Stage, cases: &[Case], played: &[Played], said: usize) -> Vec<String> {
    let mut stored = BTreeMap::new();
    for message in stage.messages() {
        let text = message["text"].as_str().unwrap_or_default().to_owned();
        *stored.entry(text).or_insert(0_usize) += 1;
    }
    let mut complaints = Vec::new();
    let mut account = |what: &str, text: &str, acknowledged: usize, unheard: usize| {
        let found = stored.remove(text).unwrap_or(0);
        if !(acknowledged..=acknowledged + unheard).contains(&found) {
            complaints.push(format!("{what}: {found} stored, {acknowledged} acknowledged"));
        }
    };
    account("the neighbour", neighbour::TEXT, said, 0);
    for (case, played) in cases.iter().zip(played) {
        let text = format!("case {:04}", case.number);
        account(&case.name, &text, played.acknowledged, case.unheard);
    }
    complaints.extend(stored.keys().map(|text| format!("nobody said {text:?}")));
    complaints
}
