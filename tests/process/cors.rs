//! Pages of other origins.

use crate::client::{Answer, Client, PASSWORD, credentials};
use crate::server::{STORES, Server};
use crate::wire::Wire;

const OURS: &str = "https://chat.example.org";
const LOCAL: &str = "http://localhost:3000";
const THEIRS: &str = "https://evil.example.org";

/// The fields that concern other origins, except the list of fields that a page may read.
fn shared(answer: &Answer) -> (Option<&str>, Option<&str>) {
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), None, "{answer:?}");
    let origin = answer.header("Access-Control-Allow-Origin");
    assert_eq!(answer.header("Access-Control-Expose-Headers").is_some(), origin.is_some());
    (origin, answer.header("Vary"))
}

fn ask(server: &Server, origin: &str, line: &str, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let mut wire = Wire::connect(server.addr());
    wire.send(format!(
        "{line} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n{fields}Content-Length: {length}\r\n\r\n\
         {body}"
    ));
    wire.answer()
}

#[test]
fn no_origin_is_allowed_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let page = ask(&server, OURS, "GET /api/messages", "", "");
    assert_eq!((page.status, shared(&page)), (401, (None, None)));
    let preflight = "Access-Control-Request-Method: GET\r\n";
    let refused = ask(&server, OURS, "OPTIONS /api/messages", preflight, "");
    assert_eq!((refused.status, shared(&refused)), (405, (None, None)));
}

#[test]
fn every_answer_is_readable_by_allowed_origins_only() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server =
            Server::start_with(store, dir.path(), &["--cors-origin", OURS, "--cors-origin", LOCAL]);
        let registered = credentials("ann", PASSWORD).to_string();
        let cases = [
            // From a worker, from the loop, for no path, and before a handler is chosen.
            ("POST /register", "", registered.as_str(), 201),
            ("GET /api/messages", "", "", 401),
            ("GET /nowhere", "", "", 404),
            ("POST /login", "Transfer-Encoding: gzip\r\n", "", 400),
        ];
        for (line, fields, body, status) in cases {
            for origin in [OURS, LOCAL] {
                let answer = ask(&server, origin, line, fields, body);
                assert!([status, 409].contains(&answer.status), "{answer:?}");
                assert_eq!(shared(&answer), (Some(origin), Some("Origin")), "{line}");
            }
            for origin in [THEIRS, "null", "https://chat.example.org.evil.example", "HTTPS://CHAT"]
            {
                let answer = ask(&server, origin, line, fields, body);
                assert_eq!(shared(&answer), (None, Some("Origin")), "{line} from {origin}");
            }
        }
        let plain = Client::new(&server).get("/openapi.json");
        assert_eq!(shared(&plain), (None, Some("Origin")));
    }
}

#[test]
fn a_preflight_says_what_the_route_takes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--cors-origin", OURS]);
    let ask = |origin, path: &str, method: &str| {
        let fields = format!("Access-Control-Request-Method: {method}\r\n");
        ask(&server, origin, &format!("OPTIONS {path}"), &fields, "")
    };
    for (path, method, methods, fields) in [
        ("/register", "POST", "POST", Some("Content-Type")),
        ("/api/messages", "GET", "GET, HEAD, POST", Some("Authorization, Prefer")),
        (
            "/api/messages",
            "POST",
            "GET, HEAD, POST",
            Some("Authorization, Content-Type, Idempotency-Key"),
        ),
        (
            "/api/messages/7",
            "HEAD",
            "GET, HEAD, PATCH, DELETE",
            Some("Authorization, If-None-Match"),
        ),
        ("/api/messages", "DELETE", "GET, HEAD, POST", None),
        ("/openapi.json", "GET", "GET, HEAD", Some("If-None-Match")),
        ("/problems", "GET", "GET, HEAD", None),
    ] {
        let answer = ask(OURS, path, method);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
        assert_eq!(answer.header("Access-Control-Allow-Methods"), Some(methods), "{path}");
        assert_eq!(answer.header("Access-Control-Allow-Headers"), fields, "{method} {path}");
        assert_eq!(answer.header("Access-Control-Max-Age"), Some("600"));
        assert_eq!(answer.header("Content-Length"), None, "a 204 has no content to measure");
        assert_eq!(shared(&answer), (Some(OURS), Some("Origin")));
        assert_eq!(ask(THEIRS, path, method).status, 405, "{path}");
    }
    assert_eq!(ask(OURS, "/nowhere", "GET").status, 404);
    // Without this field it is no preflight.
    let mut wire = Wire::connect(server.addr());
    wire.send(format!("OPTIONS /login HTTP/1.1\r\nHost: x\r\nOrigin: {OURS}\r\n\r\n"));
    assert_eq!(wire.answer().status, 405);
}

#[test]
fn a_star_allows_every_origin_and_needs_no_vary() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--cors-origin=*"]);
    let answer = ask(&server, THEIRS, "GET /api/messages", "", "");
    assert_eq!(shared(&answer), (Some("*"), None));
}
