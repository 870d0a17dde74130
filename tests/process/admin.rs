//! The operator's listener.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};

use crate::client::{Answer, Client, PASSWORD, credentials};
use crate::server::{PATIENCE, STORES, Server, run, until, veche};
use crate::wire::{BEYOND_DROPPED, Wire};

const LISTEN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

/// Returns the head and the content of an answer. The operator's listener is not part of the API,
/// so no contract is checked.
fn ask(addr: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), content.to_owned())
}

fn get(addr: SocketAddr, path: &str) -> (String, String) {
    get_as("localhost", addr, path)
}

/// The same under a name of the listener's host.
fn get_as(host: &str, addr: SocketAddr, path: &str) -> (String, String) {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// The value of a metric, by its name and labels.
pub(crate) fn figure(addr: SocketAddr, name: &str) -> Option<f64> {
    let (_, text) = get(addr, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// The figure of open descriptors is right when no more can be opened.
#[test]
fn open_descriptors_are_counted_when_none_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &LISTEN);
    let mut kept = BufReader::new(TcpStream::connect(server.admin_addr()).unwrap());
    kept.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut counted = || {
        kept.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut found = None;
        loop {
            let mut line = String::new();
            assert!(kept.read_line(&mut line).unwrap() > 0, "the connection continues");
            let value = line.strip_prefix("veche_process_open_fds ");
            found = found.or(value.map(|value| value.trim_end().parse::<usize>().unwrap()));
            if line == "# EOF\n" {
                return found.unwrap();
            }
        }
    };
    // The listener, the connection and standard input, output and error are open at least.
    let before = counted();
    assert!((5..100).contains(&before), "{before}");
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(3), maximum };
    let old = rustix::process::prlimit(Some(server.pid()), Resource::Nofile, limit).unwrap();
    let now = counted();
    assert!((5..100).contains(&now), "{now}");
    rustix::process::prlimit(Some(server.pid()), Resource::Nofile, old).unwrap();
}

/// Writes that are no messages make the log longer too.
#[test]
fn the_length_of_the_log_is_that_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("sled", dir.path(), &LISTEN);
    let admin = server.admin_addr();
    let ann = Client::signed_up(&server, "ann");
    let bob = Client::signed_up(&server, "bob");
    ann.tell(2, "hello");
    let on_disk = || -> u64 {
        let files = fs::read_dir(dir.path().join("data/log")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let syncs = || figure(admin, "veche_sync_duration_seconds_count").unwrap();
    let acts: [(&str, &dyn Fn() -> Answer); 6] = [
        ("a login", &|| ann.post("/login", &credentials("ann", PASSWORD))),
        ("a mark", &|| {
            bob.ask("PUT", "/api/users/me/conversations/1/read", Some(&json!({"up_to": 0})))
        }),
        ("a refusal", &|| bob.ask("PUT", "/api/users/me/blocks/1", None)),
        ("a refusal's end", &|| bob.ask("DELETE", "/api/users/me/blocks/1", None)),
        ("another password", &|| {
            let passwords = json!({"old_password": PASSWORD, "new_password": "another one"});
            bob.ask("PUT", "/api/users/me/password", Some(&passwords))
        }),
        ("a message", &|| ann.post("/api/messages", &json!({"text": "hello"}))),
    ];
    for (act, done) in acts {
        let (before, synced) = (on_disk(), syncs());
        let answer = done();
        assert!(answer.status < 300, "{act}: {answer:?}");
        assert!(on_disk() > before, "{act} is in the log");
        // The metrics are updated before the answer is sent.
        let told = figure(admin, "veche_store_bytes").unwrap();
        assert_eq!(told.to_string(), on_disk().to_string(), "after {act}");
        assert!(syncs() > synced, "{act} was synced");
    }
    server.stop();
}

#[test]
fn the_operator_sees_inside() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(store, dir.path(), &LISTEN);
        let admin = server.admin_addr();
        let ann = Client::signed_up(&server, "ann");
        ann.say("hello");
        ann.get("/api/messages");
        assert_eq!(ann.get("/nowhere").status, 404);
        for (name, expected) in [
            ("veche_requests_total{method=\"POST\",route=\"/api/messages\",status=\"201\"}", 1.0),
            ("veche_requests_total{method=\"none\",route=\"none\",status=\"404\"}", 1.0),
            ("veche_request_duration_seconds_count{method=\"POST\",route=\"/login\"}", 1.0),
            ("veche_accounts", 1.0),
            ("veche_events", 1.0),
            ("veche_connections_stranded", 0.0),
        ] {
            assert_eq!(figure(admin, name), Some(expected), "{store}: {name}");
        }
        let bytes = figure(admin, "veche_store_bytes").unwrap();
        assert_eq!(bytes > 0.0, store == "sled", "{store}: {bytes}");
        for path in ["/healthz", "/readyz"] {
            let (head, content) = get(admin, path);
            assert!(head.starts_with("HTTP/1.1 200 "), "{store}: {path}: {head}");
            assert_eq!(content, "{\"status\":\"ok\"}");
        }
        server.stop();
    }
}

/// The metrics are for the operator only.
#[test]
fn the_public_port_does_not_tell() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &LISTEN);
    let client = Client::new(&server);
    assert_eq!(client.get("/metrics").status, 404);
    let admin = server.admin_addr();
    for path in ["/api/messages", "/login", "/docs", "/"] {
        let (head, _) = get(admin, path);
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
    server.stop();
}

/// Neither a body that never comes nor one whose request is never dropped does any harm.
#[test]
fn the_operators_listener_takes_no_bodies() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start_with("memory", dir.path(), &LISTEN);
    let admin = server.admin_addr();
    let post = |head: &str| ask(admin, &format!("POST /metrics HTTP/1.1\r\nHost: x\r\n{head}\r\n"));
    assert!(post("Content-Length: 2\r\n\r\n{}").0.starts_with("HTTP/1.1 405 "));
    let beyond = format!("Content-Length: {BEYOND_DROPPED}");
    for framing in ["Content-Length: 5000", &beyond, "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("POST /metrics HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        // The connection is ended, with or without a reset.
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "{framing}");
        assert!(get(admin, "/healthz").0.starts_with("HTTP/1.1 200 "), "{framing}");
    }
    assert!(server.is_alive());
    server.stop();
}

/// Connections that tiny_http never releases are counted.
#[test]
fn stranded_connections_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&LISTEN[..], &["--idle-timeout", "1"]].concat();
    let server = Server::start_with("memory", dir.path(), &args);
    let admin = server.admin_addr();
    for _ in 0..3 {
        let mut wire = Wire::connect(server.addr());
        let head = "POST /login HTTP/1.1\r\nHost: x\r\n";
        wire.send(format!("{head}Content-Length: {BEYOND_DROPPED}\r\n\r\n"));
        assert_eq!(wire.answer().status, 413);
    }
    let counted = until(PATIENCE, || {
        (figure(admin, "veche_connections_stranded") == Some(3.0)).then_some(())
    });
    counted.expect("the stranded are counted");
    server.stop();
}

/// Both listeners get requests at once, and neither loses a client.
#[test]
fn the_two_listeners_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &LISTEN);
    let admin = server.admin_addr();
    let client = Client::new(&server);
    std::thread::scope(|scope| {
        let scraping = scope.spawn(|| {
            for _ in 0..100 {
                assert!(get(admin, "/metrics").1.ends_with("# EOF\n"));
            }
        });
        for n in 0..10 {
            let body = credentials(&format!("user{n}"), PASSWORD);
            assert_eq!(client.post("/register", &body).status, 201);
            let wrong = json!({ "username": "nobody", "password": PASSWORD });
            assert_eq!(client.post("/login", &wrong).status, 401);
        }
        scraping.join().unwrap();
    });
    server.stop();
}

/// A backup of a server under writes has everything acknowledged before it began, and is a prefix
/// of the final content.
#[test]
fn a_busy_server_is_backed_up() {
    const BEFORE: usize = 600;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("sled", dir.path(), &LISTEN);
    let admin = server.admin_addr();
    let ann = Client::signed_up(&server, "ann");
    for n in 0..BEFORE {
        ann.say(&format!("before {n}"));
    }
    let file = dir.path().join("backup");
    let (done, more) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                ann.say("meanwhile");
                more.fetch_add(1, Ordering::Relaxed);
            }
        });
        let output = run(veche().arg("backup").arg(format!("http://{admin}")).arg(&file));
        done.store(true, Ordering::Relaxed);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    let restored = dir.path().join("restored");
    fs::create_dir(&restored).unwrap();
    let output = run(veche().args(["import", "--data-dir"]).arg(restored.join("data")).arg(&file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let copy = Server::start("sled", &restored);
    let ann_there = Client::new(&copy).log_in("ann");
    let page = |of: &Client| match of.get("/api/messages?limit=1000&after=-1").json() {
        Value::Array(page) => page,
        other => panic!("{other}"),
    };
    let (there, here) = (page(&ann_there), page(&ann));
    assert!(there.len() >= BEFORE, "{} messages", there.len());
    assert_eq!(there[..], here[..there.len()]);
    assert!(more.load(Ordering::Relaxed) > 0);
    server.stop();
    copy.stop();
}

/// A store without a log says so, and a host name that anyone could have chosen gets nothing.
#[test]
fn a_backup_that_cannot_be_had_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &LISTEN);
    let admin = server.admin_addr();
    let (head, why) = get(admin, "/backup");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert!(why.contains("memory store"), "{why}");
    for (host, status) in [
        (admin.to_string(), 404),
        ("[::1]:5001".to_owned(), 404),
        ("localhost:5001".to_owned(), 404),
        ("chat.example.org".to_owned(), 403),
        ("127.0.0.1.example.org:5001".to_owned(), 403),
        (String::new(), 403),
    ] {
        // The previous backup may not have ended yet.
        let asked = || Some(get_as(&host, admin, "/backup").0).filter(|it| !it.contains(" 503 "));
        let head = until(PATIENCE, asked).expect("one at a time, but one");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {head}");
    }
    let file = dir.path().join("backup");
    let output = run(veche().arg("backup").arg(format!("http://{admin}")).arg(&file));
    assert_eq!(output.status.code(), Some(1));
    assert!(!file.exists());
    server.stop();
}
