//! The reference, as programs fetch it, and clients that request the largest part of it and do not
//! read.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::client::{Answer, Client, each};
use crate::server::{PATIENCE, Server, run, until, veche};
use crate::turnstile;
use crate::wire::{Wire, get, request};

/// The largest file.
const BUNDLE: &str = "/docs/swagger-ui-bundle.js";
/// All paths that may be cached and revalidated.
const KEPT: [&str; 6] = [
    "/openapi.json",
    "/docs",
    "/docs/start.js",
    BUNDLE,
    "/docs/swagger-ui.css",
    "/docs/favicon-32x32.png",
];
/// The files that are stored compressed.
const COMPRESSED: [&str; 3] = [BUNDLE, "/docs/swagger-ui.css", "/docs/favicon-32x32.png"];
const GZIP: &str = "Accept-Encoding: gzip, deflate, br\r\n";

/// Requests a path on a connection, without a token.
fn ask(wire: &mut Wire, nobody: &Client, method: &str, path: &str, fields: &str) -> Answer {
    wire.send(request(nobody, &format!("{method} {path} HTTP/1.1"), fields, ""));
    if method == "HEAD" { wire.head_answer() } else { wire.answer() }
}

fn tag(answer: &Answer) -> String {
    answer.header("ETag").expect("an entity tag").to_owned()
}

#[test]
fn hundreds_that_never_read_the_largest_file_stop_nobody() {
    /// More than the workers for replies of both kinds, and their queues.
    const CLIENTS: usize = 480;
    /// Each connection may hold only a thread and a buffer.
    const MAX_GROWTH_KIB: u64 = 64 * 1024;
    /// Writers of files and readers of bodies stay once they were needed, and some threads wait for
    /// the next connections.
    const THREADS_THAT_STAY: u64 = 16 + 128 + 64;
    let _pass = turnstile::crowded();
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let length = ann.get(BUNDLE).body.len();
    assert!(length > 1_000_000, "{length} bytes are no trouble");
    let text = "long ".repeat(800);
    (0..40).for_each(|_| assert!(ann.say(&text) < 40));
    let long_page = "/api/messages?after=-1&limit=40";
    assert!(ann.get(long_page).body.len() > 128 * 1024, "a page that the loop leaves to others");
    let before = (server.status("Threads"), server.descriptors(), server.status("VmHWM"));
    // Half of them ask to close the connection after the reply, which is another path in the code.
    let asked = get(&ann, BUNDLE);
    let closing = "Expect: 100-continue\r\nContent-Length: 40000\r\n";
    let closed = request(&ann, &format!("GET {BUNDLE} HTTP/1.1"), closing, "");
    // The second round does not grow beyond the first.
    for _ in 0..2 {
        let mut wires: Vec<Wire> =
            (0..CLIENTS).map(|_| Wire::connect_narrow(server.addr())).collect();
        for (n, wire) in wires.iter_mut().enumerate() {
            wire.send(if n % 2 == 0 { &asked } else { &closed });
        }
        ann.is_served("hundreds of clients that do not read");
        assert_eq!(ann.get(long_page).items().len(), 40);
        let growth = server.status("VmHWM") - before.2;
        println!("{growth} KiB more than before were resident");
        assert!(growth < MAX_GROWTH_KIB, "{growth} KiB");
        drop(wires);
        ann.is_served("after hundreds of clients that did not read");
        let fetched = until(PATIENCE, || (ann.get(BUNDLE).body.len() == length).then_some(()));
        assert!(fetched.is_some(), "who reads gets it");
        let now = || (server.status("Threads"), server.descriptors());
        let back = until(PATIENCE, || {
            let (threads, descriptors) = now();
            (threads <= before.0 + THREADS_THAT_STAY && descriptors < before.1 + 10).then_some(())
        });
        assert!(back.is_some(), "{:?} threads and descriptors, {before:?} before", now());
    }
    assert!(server.is_alive());
}

/// There is no memory for the file, and that is answered before anything of it is sent.
#[test]
fn a_client_without_a_place_for_a_file_is_told() {
    const CLIENTS: usize = 16 + 48;
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let nobody = Client::new(&server);
    let mut wires: Vec<Wire> = (0..CLIENTS).map(|_| Wire::connect_narrow(server.addr())).collect();
    for wire in &mut wires {
        wire.send(get(&nobody, BUNDLE));
    }
    wires.iter().for_each(Wire::wait_until_read);
    let refused = until(PATIENCE, || {
        let answer = nobody.get(BUNDLE);
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("there is no place left");
    assert_eq!((refused.status, refused.problem().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(nobody.get("/docs").status, 200, "what is short is served");
    drop(wires);
    assert!(until(PATIENCE, || (nobody.get(BUNDLE).status == 200).then_some(())).is_some());
}

/// Moved from one export, two servers give the same id to different messages.
#[test]
fn different_messages_have_different_tags() {
    let dir = tempfile::tempdir().unwrap();
    let export = dir.path().join("export");
    let server = Server::start("sled", dir.path());
    Client::signed_up(&server, "ann").say("before the export");
    server.stop();
    let exported =
        run(veche().arg("export").arg(&export).arg("--data-dir").arg(dir.path().join("data")));
    assert!(exported.status.success(), "{exported:?}");
    let tags = ["one", "other"].map(|text| {
        let dir = tempfile::tempdir().unwrap();
        let server =
            Server::start_with("sled", dir.path(), &["--import".as_ref(), export.as_os_str()]);
        let ann = Client::new(&server).log_in("ann");
        let id = ann.say(text);
        assert_eq!(id, 1);
        tag(&ann.get(&format!("/api/messages/{id}")))
    });
    assert_ne!(tags[0], tags[1]);
}

#[test]
fn a_known_version_is_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let nobody = Client::new(&server);
    let mut wire = Wire::connect(server.addr());
    for path in KEPT {
        for encoding in ["", GZIP] {
            let first = ask(&mut wire, &nobody, "GET", path, encoding);
            assert_eq!(first.status, 200, "{path}");
            assert_eq!(first.header("Cache-Control"), Some("private, no-cache"), "{path}");
            for known in [tag(&first), format!("\"other\", W/{}", tag(&first)), "*".to_owned()] {
                for method in ["GET", "HEAD"] {
                    let fields = format!("{encoding}If-None-Match: {known}\r\n");
                    let again = ask(&mut wire, &nobody, method, path, &fields);
                    assert_eq!(again.status, 304, "{method} {path}, {known}");
                    assert_eq!(tag(&again), tag(&first), "{method} {path}");
                    assert!(again.body.is_empty(), "{method} {path}");
                    assert_eq!(again.header("Vary"), first.header("Vary"), "{path}");
                    assert_eq!(again.header("Content-Encoding"), None, "{path}");
                }
            }
            let fields = format!("{encoding}If-None-Match: \"other\"\r\n");
            let other = ask(&mut wire, &nobody, "GET", path, &fields);
            assert!(other.status == 200 && other.body == first.body, "{path}");
        }
    }
}

#[test]
fn compressed_or_not_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let nobody = Client::new(&server);
    let mut wire = Wire::connect(server.addr());
    for path in COMPRESSED {
        let compressed = ask(&mut wire, &nobody, "GET", path, GZIP);
        assert_eq!(compressed.header("Content-Encoding"), Some("gzip"), "{path}");
        // Several clients at once that are the first to want it uncompressed.
        let addr = server.addr();
        let plain = each(8, |_| ask(&mut Wire::connect(addr), &nobody, "GET", path, ""));
        let mut decompressed = Vec::new();
        GzDecoder::new(compressed.body.as_slice()).read_to_end(&mut decompressed).unwrap();
        assert!(decompressed.len() > 100, "{path}");
        for plain in plain {
            assert_eq!((plain.status, plain.header("Content-Encoding")), (200, None), "{path}");
            assert!(plain.body == decompressed, "{path}: the content differs");
            assert_ne!(tag(&plain), tag(&compressed), "{path}");
            for answer in [&plain, &compressed] {
                assert_eq!(answer.header("Vary"), Some("Accept-Encoding"), "{path}");
            }
            // A tag is valid for its own encoding only.
            let fields = format!("{GZIP}If-None-Match: {}\r\n", tag(&plain));
            assert_eq!(ask(&mut wire, &nobody, "GET", path, &fields).status, 200, "{path}");
        }
    }
}

/// `HEAD` has the head of `GET`, also before the content was first requested.
#[test]
fn head_says_what_get_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let nobody = Client::new(&server);
    let mut wire = Wire::connect(server.addr());
    let others = ["/docs/index.html", "/problems", "/problems/not-found", "/problems/bad-mood"];
    for path in KEPT.into_iter().chain(others) {
        for encoding in ["", GZIP] {
            let head = ask(&mut wire, &nobody, "HEAD", path, encoding);
            let get = ask(&mut wire, &nobody, "GET", path, encoding);
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.lasting_headers(), get.lasting_headers(), "{path}");
            let length = get.header("Content-Length").map(|length| length.parse().unwrap());
            assert_eq!(length, Some(get.body.len()), "{path}");
        }
    }
}

#[test]
fn pages_in_a_browser_are_confined() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let pages = ["/docs", "/problems", "/problems/not-found"];
    let others = ["/api/users/me", "/api/messages", "/api/users", "/nowhere", "/docs/index.html"];
    for path in KEPT.into_iter().chain(pages).chain(others) {
        let answer = ann.get(path);
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
        let is_page = answer.header("Content-Type").is_some_and(|kind| kind.contains("html"));
        assert_eq!(is_page, pages.contains(&path), "{path}");
        let policy = answer.header("Content-Security-Policy");
        assert_eq!(policy.is_some(), is_page, "{path}: {policy:?}");
        for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.is_none_or(|policy| policy.contains(part)), "{path}: {policy:?}");
        }
        let hosts = policy.is_some_and(|policy| policy.contains("://") || policy.contains('*'));
        assert!(!hosts, "{path}: {policy:?}");
        if others.contains(&path) {
            assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{path}");
        }
    }
    let unknown = ann.get("/docs/index.html");
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "not-found"));
}
