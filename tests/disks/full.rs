//! A full disk, by the operator's floor of free space.

use std::sync::Mutex;

use serde_json::json;

use crate::clients::{Client, Ledger};
use crate::server::Server;
use crate::stage::directory;

#[test]
fn below_the_floor_writes_are_refused_and_reading_goes_on() {
    let (dir, ledger) = (directory(), Mutex::new(Ledger::default()));
    let server = Server::start("sled", dir.path());
    let client = Client::new(server.addr());
    client.register("ann", &ledger).expect("an account");
    let ann = client.log_in("ann").expect("a token");
    let said = ann.post(None, "before", &ledger).expect("a message");
    server.stop();

    let floor = format!("--min-free-space={}", 1u64 << 60);
    let server = Server::start_with("sled", dir.path(), &[floor]);
    let client = Client::new(server.addr());
    // A login begins a session, for which a part of the floor is kept; of this floor nothing is
    // left.
    assert!(client.log_in("ann").is_none());
    let ann = client.with_token(&ann.token);
    let credentials = json!({ "username": "bob", "password": "correct horse" });
    let text = json!({ "text": "more" });
    for (path, body) in [
        ("/api/messages", &text),
        ("/api/users/1/messages", &text),
        ("/register", &credentials),
        ("/users/register", &credentials),
    ] {
        let refused = ann.ask(path, Some(body)).expect("an answer");
        assert_eq!(refused.status, 507, "{path}: {refused:?}");
        assert_eq!(refused.body["type"], "/problems/insufficient-storage");
    }
    let unready = ann.ask("/readyz", None).expect("an answer");
    assert_eq!(unready.status, 507, "{unready:?}");
    for path in ["/api/messages", "/api/users/me", "/api/users", "/healthz"] {
        assert_eq!(ann.ask(path, None).expect("an answer").status, 200, "{path}");
    }
    let log = server.log();
    assert_eq!(log.matches("writes are refused").count(), 1, "once for all: {log}");
    server.stop();

    // The refused writes left nothing.
    let server = Server::start_with("sled", dir.path(), &["--min-free-space=0"]);
    let ann = Client::new(server.addr()).with_token(&ann.token);
    assert_eq!(ann.post(None, "after", &ledger), Some(said + 1));
    assert_eq!(ann.register("bob", &ledger), Some(2));
}
