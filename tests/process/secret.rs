//! The secret that signs tokens: kept, lost, given, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::client::{Client, PASSWORD};
use crate::server::{STORES, Server};

#[test]
fn the_sled_store_keeps_it_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data/jwt-secret");
    let server = Server::start("sled", dir.path());
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(metadata.len(), 32);
    let made = fs::read(&file).unwrap();
    assert!(made.iter().any(|byte| *byte != made[0]), "random");
    server.stop();
    Server::start("sled", dir.path()).stop();
    assert_eq!(fs::read(&file).unwrap(), made, "made once");
}

#[test]
fn tokens_live_as_long_as_their_store() {
    for (store, survives) in [("memory", false), ("sled", true)] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let token = Client::signed_up(&server, "ann").token().to_owned();
        server.stop();
        let server = Server::start(store, dir.path());
        let answer = Client::new(&server).with_token(&token).get("/api/users/me");
        assert_eq!(answer.status == 200, survives, "{store}: {answer:?}");
        if !survives {
            assert_eq!(answer.problem(), "token-invalid");
        }
    }
}

#[test]
fn without_the_old_secret_old_tokens_are_worthless() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let token = Client::signed_up(&server, "ann").token().to_owned();
    server.stop();
    fs::remove_file(dir.path().join("data/jwt-secret")).unwrap();
    let server = Server::start("sled", dir.path());
    let client = Client::new(&server).with_token(&token);
    assert_eq!(client.get("/api/users/me").problem(), "token-invalid");
    let client = client.log_in("ann");
    assert_eq!(client.get("/api/users/me").status, 200);
}

fn secret_file(dir: &Path) -> PathBuf {
    let file = dir.join("secret");
    // Not text, and with a line feed at its end that counts.
    let secret: Vec<u8> = (0..63).map(|n| n * 4).chain(*b"\n").collect();
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// User ids are valid in one store only, so the secret alone is not enough.
#[test]
fn a_token_of_another_store_is_refused_whatever_the_secret() {
    let common = tempfile::tempdir().unwrap();
    let file = secret_file(common.path());
    let args = ["--jwt-secret-file".as_ref(), file.as_os_str()];
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let stores = ["sled", "sled", "memory"];
    let start = |n: usize| Server::start_with(stores[n], dirs[n].path(), &args);
    let servers: Vec<Server> = (0..3).map(start).collect();
    let clients: Vec<Client> =
        servers.iter().map(|server| Client::signed_up(server, "ann")).collect();
    for (home, client) in clients.iter().enumerate() {
        for (n, server) in servers.iter().enumerate() {
            let answer = Client::new(server).with_token(client.token()).get("/api/users/me");
            if n == home {
                assert_eq!(answer.status, 200, "{answer:?}");
            } else {
                assert_eq!(answer.problem(), "token-invalid", "from {home} to {n}");
            }
        }
    }
    assert!(!servers[0].log().contains("WARN"), "{}", servers[0].log());
    drop(servers);
    let restarted = start(0);
    let answer = Client::new(&restarted).with_token(clients[0].token()).get("/api/users/me");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// At any log level.
#[test]
fn the_log_tells_no_secret() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(store, dir.path(), &["--log", "trace"]);
        let ann = Client::signed_up(&server, "ann");
        let bob = Client::signed_up(&server, "bob");
        ann.say("a word in public");
        ann.tell(bob.id(), "a word in private");
        bob.follow("/api/users/me/messages", 1);
        let token = ann.token().to_owned();
        server.signal(rustix::process::Signal::TERM);
        let log_file = dir.path().join("stderr");
        server.wait();
        let log = fs::read_to_string(log_file).unwrap();
        let signature = token.rsplit('.').next().unwrap();
        for told in
            [PASSWORD, "a word in public", "a word in private", &token, signature, "argon2id$"]
        {
            assert!(!log.contains(told), "{store}: {told}");
        }
    }
}
