//! Many clients at once.

use std::collections::BTreeMap;

use serde_json::json;

use crate::client::{Client, PASSWORD, credentials, each, ids};
use crate::server::{STORES, Server};

const CLIENTS: usize = 8;
const POSTS: usize = 60;

/// No id is given out twice, none is lost, and the order of each client is kept.
#[test]
fn every_message_of_many_clients_is_kept() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let addr = server.addr();
        let reader = Client::signed_up(&server, "reader");
        let reader_id = reader.id();
        // Every third message is private, to the reader.
        let said: Vec<Vec<(u64, String)>> = each(CLIENTS, |n| {
            let client = Client::at(addr).sign_up(&format!("client{n}"));
            let post = |m| {
                let text = format!("{n}-{m}");
                let id = if m % 3 == 0 { client.tell(reader_id, &text) } else { client.say(&text) };
                (id, text)
            };
            (0..POSTS).map(post).collect()
        });
        for said in &said {
            assert!(said.is_sorted_by(|a, b| a.0 < b.0), "{store}: in the order they were sent");
        }
        let said: BTreeMap<u64, String> = said.into_iter().flatten().collect();
        let all: Vec<u64> = (0..(CLIENTS * POSTS) as u64).collect();
        assert_eq!(said.keys().copied().collect::<Vec<_>>(), all, "{store}: one sequence");

        let mut found = reader.follow("/api/messages", 7).0;
        found.extend(reader.follow("/api/users/me/messages", 1000).0);
        let texts = found.iter().map(|message| message["text"].as_str().unwrap().to_owned());
        let found: BTreeMap<u64, String> = ids(&found).into_iter().zip(texts).collect();
        assert_eq!(found, said, "{store}");
    }
}

#[test]
fn a_name_is_given_once() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let addr = server.addr();
        let names = ["Zoe", "zoe", "ZOE", "zOe", "zoE", "ZoE"];
        let answers = each(names.len(), |n| {
            Client::at(addr).post("/register", &credentials(names[n], PASSWORD))
        });
        let taken: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
        assert_eq!(taken.len(), names.len() - 1, "{store}: {answers:?}");
        assert!(taken.iter().all(|answer| answer.problem() == "username-taken"), "{answers:?}");
        let zoe = Client::new(&server).log_in("zoe");
        assert_eq!(zoe.id(), 1);
        assert_eq!(zoe.get("/api/users").ids(), [1]);
        // An id that a losing request could have taken is not lost either.
        let next = zoe.post("/register", &credentials("next", PASSWORD));
        assert_eq!(next.json(), json!({"id": 2}));
    }
}
