//! A message whose answer was lost is sent again under its key: it is there once.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::clients::Client;
use crate::server::Server;
use crate::stage::directory;
use crate::strace;

/// The syncs at which a server is killed. The first ones are its start's.
const KILLS: usize = 12;

/// The answer to a message under a key: its id, and whether it was replayed.
fn send(client: &Client, key: &str) -> Option<(u64, bool)> {
    let body = json!({ "text": key });
    let answer = client.ask_under(key, "/api/messages", &body)?;
    assert_eq!(answer.status, 201, "{answer:?}");
    Some((answer.body["id"].as_u64().expect("an id"), answer.replayed))
}

/// All texts that were posted, as they read.
fn texts(client: &Client) -> Vec<String> {
    let page = client.ask("/api/messages?limit=1000", None).expect("a page").body;
    let text = |message: &Value| message["text"].as_str().expect("a text").to_owned();
    page.as_array().expect("a list").iter().map(text).collect()
}

/// Starts a server that is killed between the write and the sync of a turn, and sends until no
/// answer comes; returns the key of the message without an answer. `None` if the server is killed
/// before it listens.
fn send_until_killed(dir: &Path, token: &str, sync: usize) -> Option<String> {
    let output = dir.join("trace");
    let mut child = strace::killed_at_datasync(dir, &output, sync).spawn().unwrap();
    let mut first_line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first_line).unwrap();
    let unanswered = first_line.trim_end().parse::<SocketAddr>().ok().map(|addr| {
        let client = Client::new(addr).with_token(token);
        let mut keys = (0..KILLS).map(|n| format!("kill-{sync}-{n}"));
        let unanswered = keys.find(|key| match send(&client, key) {
            Some((_, replayed)) => {
                assert!(!replayed, "{key}");
                assert_eq!(send(&client, key).map(|(_, replayed)| replayed), Some(true));
                false
            }
            None => true,
        });
        unanswered.expect("it is killed at last")
    });
    child.wait().unwrap();
    unanswered
}

#[test]
fn a_message_whose_answer_was_lost_is_there_once() {
    if strace::is_missing() {
        return;
    }
    let dir = directory();
    let server = Server::start("sled", dir.path());
    let ledger = std::sync::Mutex::default();
    let client = Client::new(server.addr());
    client.register("ann", &ledger).expect("an account");
    let token = client.log_in("ann").expect("a token").token;
    server.stop();
    let mut killed = 0;
    for sync in 1..=KILLS {
        let Some(key) = send_until_killed(dir.path(), &token, sync) else { continue };
        killed += 1;
        let server = Server::start("sled", dir.path());
        let client = Client::new(server.addr()).with_token(&token);
        let before = texts(&client);
        let was_written = before.contains(&key);
        assert!(was_written, "it was killed behind the write of {key}: {before:?}");
        let (id, replayed) = send(&client, &key).expect("an answer");
        assert_eq!((replayed, send(&client, &key)), (true, Some((id, true))), "{key}");
        let shown = client.ask(&format!("/api/messages/{id}"), None).expect("it").body;
        assert_eq!(shown["text"], *key);
        let mut after = texts(&client);
        assert_eq!(after, before, "nothing was posted");
        after.sort();
        after.dedup();
        assert_eq!(after.len(), before.len(), "everything is there once");
        server.kill();
    }
    assert!(killed >= KILLS / 2, "{killed} kills came behind the start");
}
