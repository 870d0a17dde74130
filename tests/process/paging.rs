//! Following a list while others write to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::client::{Client, each, ids};
use crate::server::{PATIENCE, STORES, Server, until};

/// The writers and the reader of a run.
#[derive(Debug, Clone)]
struct Scene {
    store: &'static str,
    /// The list that is read; the other one gets every other message.
    private: bool,
    limit: usize,
    before: usize,
    writers: usize,
    posts: usize,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let store = prop::sample::select(&STORES[..]);
    let limit = prop_oneof![1_usize..4, 4_usize..50, Just(1000)];
    let parts = (store, any::<bool>(), limit, 0_usize..12, 1_usize..5, 1_usize..30);
    parts.prop_map(|(store, private, limit, before, writers, posts)| Scene {
        store,
        private,
        limit,
        before,
        writers,
        posts,
    })
}

#[test]
fn a_client_that_follows_links_sees_everything_once() {
    let config =
        Config { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&scenes(), |scene| {
        play(&scene);
        Ok(())
    });
    played.unwrap_or_else(|error| panic!("{error}"));
}

fn play(scene: &Scene) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(scene.store, dir.path());
    let ann = Client::signed_up(&server, "ann");
    let list = if scene.private { "/api/users/me/messages" } else { "/api/messages" };
    // Messages written to the list have an even number.
    let write = |client: &Client, n: usize| {
        let private = n.is_multiple_of(2) == scene.private;
        if private { client.tell(1, "private") } else { client.say("general") }
    };
    let mut expected: Vec<u64> = (0..scene.before).map(|_| write(&ann, 0)).collect();

    let (done, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (followed, backward) = thread::scope(|scope| {
        let (done, written, ann) = (&done, &written, &ann);
        let follower = scope.spawn(move || follow(ann, list, scene.limit, done));
        let backward = scope.spawn(move || {
            let half = scene.writers * scene.posts / 2;
            let reached =
                until(PATIENCE, || (written.load(Ordering::SeqCst) >= half).then_some(()));
            reached.expect("writers are served");
            page_backward(ann, list, scene.limit)
        });
        let acknowledged = each(scene.writers, |_| {
            let client = ann.clone();
            let mut ids = Vec::new();
            for n in 0..scene.posts {
                let id = write(&client, n);
                written.fetch_add(1, Ordering::SeqCst);
                if n % 2 == 0 {
                    ids.push(id);
                }
            }
            ids
        });
        expected.extend(acknowledged.into_iter().flatten());
        done.store(true, Ordering::SeqCst);
        (follower.join().expect("a follower"), backward.join().expect("a reader"))
    });
    expected.sort_unstable();
    assert_eq!(ids(&followed), expected, "{scene:?}: followed");
    let newest = backward.last().map_or(0, |id| id + 1);
    let older = expected.partition_point(|id| *id < newest);
    assert_eq!(backward, expected[..older], "{scene:?}: backward");
    let rights = ids(&followed).iter().all(|id| {
        let path = format!("/api/messages/{id}");
        let message = ann.get(&path).json();
        followed.contains(&message)
    });
    assert!(rights, "{scene:?}: a message looks the same by itself");
}

/// From the beginning along `rel=next`, until there is nothing new and all writers have ended.
fn follow(client: &Client, list: &str, limit: usize, done: &AtomicBool) -> Vec<Value> {
    let (mut seen, mut path) = (Vec::new(), format!("{list}?after=-1&limit={limit}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let last_look = done.load(Ordering::SeqCst);
        let page = client.get(&path);
        path = page.link("next").expect("there is always a next page");
        let items = page.items();
        assert!(items.len() <= limit, "{page:?}");
        if items.is_empty() && last_look {
            return seen;
        }
        seen.extend(items);
        assert!(ids(&seen).is_sorted_by(|a, b| a < b), "{:?}", ids(&seen));
        assert!(Instant::now() < deadline, "following comes to an end");
    }
}

/// From the newest page along `rel=prev` to the beginning. Ids, in ascending order.
fn page_backward(client: &Client, list: &str, limit: usize) -> Vec<u64> {
    let mut seen: Vec<u64> = Vec::new();
    let mut path = Some(format!("{list}?limit={limit}"));
    while let Some(at) = path {
        let page = client.get(&at);
        let mut ids = page.ids();
        assert!(ids.len() <= limit && ids.is_sorted_by(|a, b| a < b), "{page:?}");
        ids.append(&mut seen);
        seen = ids;
        path = page.link("prev");
    }
    seen
}

/// A cursor from another store is recognised, whichever list it is of.
#[test]
fn a_reset_store_is_noticed() {
    for store in STORES {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        ann.say("hello");
        let lists = ["/api/messages", "/api/users/me/messages", "/api/users"];
        let next: Vec<String> =
            lists.iter().map(|list| ann.get(list).link("next").expect("a next page")).collect();
        assert!(next.iter().all(|path| ann.get(path).status == 200), "{next:?}");
        server.kill();
        let _ = std::fs::remove_dir_all(dir.path().join("data"));
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        for path in next {
            let answer = ann.get(&path);
            assert_eq!((answer.status, answer.problem()), (410, "cursor-lost".to_owned()));
            let without = path.split("&epoch=").next().expect("a path");
            assert_eq!(ann.get(without).status, 200, "{without}");
        }
    }
}
