//! Just within each limit, and just beyond.

use serde_json::{Value, json};

use crate::client::{Answer, Client, PASSWORD, credentials};
use crate::server::{STORES, Server};
use crate::wire::{Wire, request};

/// A request, and the expected answer.
struct Case {
    /// `GET PATH`, `POST PATH` or `PATCH PATH`.
    ask: String,
    body: String,
    status: u16,
    /// The kind of a problem, and after it the field or parameter that is wrong.
    problem: &'static str,
}

fn get(path: &str, status: u16, problem: &'static str) -> Case {
    Case { ask: format!("GET {path}"), body: String::new(), status, problem }
}

#[expect(clippy::needless_pass_by_value, reason = "the cases read better without references")]
fn post(path: &str, body: impl ToString, status: u16, problem: &'static str) -> Case {
    Case { ask: format!("POST {path}"), body: body.to_string(), status, problem }
}

fn patch(path: &str, body: &Value, status: u16, problem: &'static str) -> Case {
    Case { ask: format!("PATCH {path}"), body: body.to_string(), status, problem }
}

fn ask(client: &Client, case: &Case) -> Answer {
    match case.ask.split_once(' ') {
        Some(("GET", path)) => client.get(path),
        Some((method @ "PATCH", path)) => {
            let body = serde_json::from_str(&case.body).expect("JSON");
            client.ask(method, path, Some(&body))
        }
        Some((_, path)) => {
            client.post_as(path, "application/json", case.body.as_bytes()).expect("an answer")
        }
        None => panic!("no method: {}", case.ask),
    }
}

/// Checks each case, on both stores. Ann is user 1 and sends the requests, bob is 2, eve is 3;
/// message 0 is ann's in the general chat, message 1 bob's to eve.
fn check(cases: &[Case]) {
    for store in STORES {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let bob = Client::signed_up(&server, "bob");
        assert_eq!(Client::new(&server).post("/register", &credentials("eve", "eve")).status, 201);
        assert_eq!((ann.say("hello"), bob.tell(3, "psst")), (0, 1));
        for case in cases {
            let answer = ask(&ann, case);
            let shown: String = case.body.chars().take(60).collect();
            let what = format!("{store}: {} {shown}: {answer:?}", case.ask);
            assert_eq!(answer.status, case.status, "{what}");
            let (kind, blamed) = case.problem.split_once(' ').unwrap_or((case.problem, ""));
            if kind.is_empty() {
                assert!(answer.status < 300, "{what}");
                continue;
            }
            assert_eq!(answer.problem(), kind, "{what}");
            let body = answer.json();
            let blame = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
            let member = if case.status == 422 { "field" } else { "parameter" };
            assert_eq!(blame(member), blamed, "{what}");
            let headers = [("WWW-Authenticate", 401), ("Allow", 405), ("Retry-After", 503)];
            for (header, status) in headers {
                assert_eq!(answer.header(header).is_some(), answer.status == status, "{what}");
            }
        }
    }
}

const MAX_ID: &str = "9007199254740991";
const BEYOND_MAX_ID: &str = "9007199254740992";

#[test]
fn pages() {
    let mut cases = Vec::new();
    for list in ["/api/messages", "/api/users", "/api/users/me/messages", "/api/users/1/messages"] {
        let good = [
            "limit=1",
            "limit=1000",
            "before=0",
            "before=7",
            "after=-1",
            "after=0",
            "limit=%31",
            "unknown=1&unknown=2",
            "",
            "&&",
            "%FF=%FF",
            "limit=5&before=3",
        ];
        for query in good {
            cases.push(get(&format!("{list}?{query}"), 200, ""));
        }
        cases.push(get(&format!("{list}?before={MAX_ID}"), 200, ""));
        for after in ["999999", MAX_ID] {
            cases.push(get(&format!("{list}?after={after}"), 410, "cursor-lost"));
        }
        for limit in
            ["0", "1001", "-1", "+1", "01", "1.0", "1e2", "x", "", "%20", "18446744073709551617"]
        {
            let path = format!("{list}?limit={limit}");
            cases.push(get(&path, 400, "invalid-parameter limit"));
        }
        for before in
            ["-1", "-2", "+1", "x", "", "00", "1%20", BEYOND_MAX_ID, "18446744073709551616"]
        {
            let path = format!("{list}?before={before}");
            cases.push(get(&path, 400, "invalid-parameter before"));
        }
        for after in ["-2", "-0", "-01", "+1", "x", "", "00", BEYOND_MAX_ID, "99999999999999999999"]
        {
            let path = format!("{list}?after={after}");
            cases.push(get(&path, 400, "invalid-parameter after"));
        }
        for (query, problem) in [
            ("before=1&after=1", "invalid-parameter after"),
            ("limit=1&limit=1", "invalid-parameter limit"),
            ("before=1&before=1", "invalid-parameter before"),
            ("after=1&after=2", "invalid-parameter after"),
            ("epoch=0&epoch=0", "invalid-parameter epoch"),
            ("epoch=", "invalid-parameter epoch"),
            ("epoch=x", "invalid-parameter epoch"),
            ("epoch=00000000000000000", "invalid-parameter epoch"),
            ("epoch=000000000000000G", "invalid-parameter epoch"),
        ] {
            cases.push(get(&format!("{list}?{query}"), 400, problem));
        }
        let lost = format!("{list}?epoch=0000000000000000");
        cases.push(get(&lost, 410, "cursor-lost"));
    }
    let mailbox = "/api/users/me/messages";
    for with in ["1", "2", "99", MAX_ID] {
        cases.push(get(&format!("{mailbox}?with={with}"), 200, ""));
    }
    for with in ["0", "-1", "me", "", "x", "1.0", BEYOND_MAX_ID, "1&with=1"] {
        cases.push(get(&format!("{mailbox}?with={with}"), 400, "invalid-parameter with"));
    }
    for name in ["ann", "ANN", "nobody", "", "no%20name", "%F0%9F%A6%80"] {
        cases.push(get(&format!("/api/users?username={name}"), 200, ""));
    }
    cases.push(get("/api/users?username=a&username=b", 400, "invalid-parameter username"));
    check(&cases);
}

#[test]
fn paths_and_ids() {
    let mut cases = vec![
        get("/api/messages/0", 200, ""),
        get("/api/messages/1", 403, "forbidden"),
        get("/api/users/me", 200, ""),
        get("/api/users/3", 200, ""),
        get("/api/users/1/messages", 200, ""),
        // The answer must not tell whether the user exists.
        get("/api/users/2/messages", 403, "forbidden"),
        get("/api/users/99/messages", 403, "forbidden"),
        post("/api/users/me/messages", json!({"text": "to myself"}), 201, ""),
        post("/api/users/1/messages", json!({"text": "to myself"}), 201, ""),
        post("/api/users/99/messages", json!({"text": "to nobody"}), 404, "not-found"),
        get("/login", 405, "method-not-allowed"),
        get("/users/register", 405, "method-not-allowed"),
        post("/api/users", json!({}), 405, "method-not-allowed"),
        post("/api/users/me", json!({}), 405, "method-not-allowed"),
        post("/api/messages/0", json!({}), 405, "method-not-allowed"),
    ];
    for id in ["0", "99", "-1", "+1", "01", "x", "1.0", "%31", MAX_ID, BEYOND_MAX_ID] {
        if id != "0" {
            cases.push(get(&format!("/api/messages/{id}"), 404, "not-found"));
        }
        cases.push(get(&format!("/api/users/{id}"), 404, "not-found"));
        let path = format!("/api/users/{id}/messages");
        cases.push(post(&path, json!({"text": "x"}), 404, "not-found"));
    }
    for (id, status, problem) in [
        ("0", 403, "forbidden"),
        ("01", 403, "forbidden"),
        (BEYOND_MAX_ID, 403, "forbidden"),
        ("-1", 404, "not-found"),
        ("x", 404, "not-found"),
        ("ME", 404, "not-found"),
    ] {
        cases.push(get(&format!("/api/users/{id}/messages"), status, problem));
    }
    for path in ["/", "/api", "/api/", "/api/messages/", "/api/messages/0/", "//api/messages"] {
        cases.push(get(path, 404, "not-found"));
        cases.push(post(path, json!({"text": "x"}), 404, "not-found"));
    }
    check(&cases);
}

#[test]
fn texts() {
    let text = |text: &str, status, problem| {
        let body = json!({ "text": text });
        [
            post("/api/messages", &body, status, problem),
            post("/api/users/2/messages", body, status, problem),
        ]
    };
    let mut cases = Vec::new();
    for good in [
        "x",
        " x ",
        "\u{1}",
        "x\u{7f}",
        "\u{feff}x",
        "👩‍👩‍👧‍👦",
        "ﷺ",
        "e\u{301}",
        "\u{202e}x",
        "\u{10ffff}",
        &"x".repeat(4096),
        &"é".repeat(2048),
        &"🦀".repeat(1024),
        &"\u{1}".repeat(4096),
    ] {
        cases.extend(text(good, 201, ""));
    }
    for bad in [
        "",
        " ",
        "\t\r\n",
        "\u{a0}\u{2003}\u{3000}",
        "\0",
        "x\0y",
        &"x".repeat(4097),
        &format!("x{}", "é".repeat(2048)),
        &"🦀".repeat(1025),
    ] {
        cases.extend(text(bad, 422, "invalid-field text"));
    }
    for (body, status, problem) in [
        (r#"{"text":"\ud83e\udd80"}"#, 201, ""),
        (r#" { "text" : "x" , "more" : [1, {"a": null}] } "#, 201, ""),
        (r"{}", 422, "invalid-field text"),
        (r#"{"Text":"x"}"#, 422, "invalid-field text"),
        (r#"{"text":null}"#, 422, "invalid-field text"),
        (r#"{"text":7}"#, 422, "invalid-field text"),
        (r#"{"text":["x"]}"#, 422, "invalid-field text"),
        (r#"{"text":{"text":"x"}}"#, 422, "invalid-field text"),
        (r#"{"text":"x""#, 400, "malformed-body"),
        (r#"{"text":"\ud800"}"#, 400, "malformed-body"),
        ("{\"text\":\"\u{1}\"}", 400, "malformed-body"),
        (r#"{"text":"x"}x"#, 400, "malformed-body"),
        (r#"["x"]"#, 400, "malformed-body"),
        (r#""x""#, 400, "malformed-body"),
        ("text=x", 400, "malformed-body"),
        ("", 400, "malformed-body"),
        ("null", 400, "malformed-body"),
        (&"[".repeat(30_000), 400, "malformed-body"),
        (&format!("{{\"text\":{}", "[".repeat(30_000)), 400, "malformed-body"),
    ] {
        cases.push(post("/api/messages", body, status, problem));
    }
    for (to_user, status, problem) in [
        (json!(2), 201, ""),
        (json!(3), 422, "invalid-field to_user"),
        (json!(0), 422, "invalid-field to_user"),
        (json!(-2), 422, "invalid-field to_user"),
        (json!(2.0), 422, "invalid-field to_user"),
        (json!("2"), 422, "invalid-field to_user"),
        (json!([2]), 422, "invalid-field to_user"),
        (json!(null), 201, ""),
    ] {
        let body = json!({"text": "x", "to_user": to_user});
        cases.push(post("/api/users/2/messages", body, status, problem));
    }
    // The general chat has no receiver: a text that is meant for one user does not become public.
    // An edit reaches the same receivers as before, and nobody else.
    for (to_user, is_general) in [
        (json!(0), true),
        (json!(null), true),
        (json!(2), false),
        (json!(u64::MAX), false),
        (json!(-1), false),
        (json!(0.0), false),
        (json!("0"), false),
        (json!(false), false),
        (json!([0]), false),
        (json!({}), false),
    ] {
        let problem = if is_general { "" } else { "invalid-field to_user" };
        let body = json!({"text": "x", "to_user": to_user});
        let (posted, edited) = if is_general { (201, 200) } else { (422, 422) };
        cases.push(post("/api/messages", &body, posted, problem));
        cases.push(patch("/api/messages/0", &body, edited, problem));
    }
    let twice = r#"{"text":"x","to_user":2,"to_user":0}"#;
    cases.push(post("/api/messages", twice, 400, "malformed-body"));
    check(&cases);
}

#[test]
fn names_and_passwords() {
    let register = |name: &str, password: &str, status, problem| {
        post("/register", credentials(name, password), status, problem)
    };
    let mut cases = vec![
        register("x", "123", 201, ""),
        register(&"n".repeat(32), PASSWORD, 201, ""),
        register("A.b-c_9", "ключ", 201, ""),
        register("-", &"p".repeat(1024), 201, ""),
        register("..", &"é".repeat(512), 201, ""),
        register("ann", PASSWORD, 409, "username-taken"),
        register("ANN", PASSWORD, 409, "username-taken"),
        register("short", "12", 422, "invalid-field password"),
        register("short", "ёё", 422, "invalid-field password"),
        register("short", "", 422, "invalid-field password"),
        register("long", &"p".repeat(1025), 422, "invalid-field password"),
        register("long", &format!("p{}", "é".repeat(512)), 422, "invalid-field password"),
        post("/login", credentials("-", &"p".repeat(1024)), 200, ""),
        post("/login", credentials("..", &"é".repeat(512)), 200, ""),
        post("/login", credentials("-", &"p".repeat(1023)), 401, "wrong-credentials"),
        post("/login", credentials("-", &"p".repeat(1025)), 401, "wrong-credentials"),
        post("/login", credentials("ann", ""), 401, "wrong-credentials"),
        post("/login", credentials("", PASSWORD), 401, "wrong-credentials"),
    ];
    for name in ["", &"n".repeat(33), "no name", "é", "a/b", "a\0", "a@b", "a\n", "🦀", "%41"] {
        cases.push(register(name, PASSWORD, 422, "invalid-field username"));
    }
    for path in ["/register", "/users/register", "/login", "/users/login"] {
        for (body, problem) in [
            (json!({}), "invalid-field username"),
            (json!({"username": "new"}), "invalid-field password"),
            (json!({"password": PASSWORD}), "invalid-field username"),
            (json!({"username": 7, "password": PASSWORD}), "invalid-field username"),
            (json!({"username": "new", "password": 12_345_678}), "invalid-field password"),
            (json!({"username": "new", "password": null}), "invalid-field password"),
        ] {
            cases.push(post(path, body, 422, problem));
        }
        cases.push(post(path, "x", 400, "malformed-body"));
        cases.push(post(path, "[]", 400, "malformed-body"));
    }
    check(&cases);
}

#[test]
fn declared_types() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let body = r#"{"text":"x"}"#;
    for (declared, status) in [
        ("application/json", 201),
        ("Application/JSON; charset=utf-8", 201),
        ("application/problem+json", 201),
        ("application/x-www-form-urlencoded", 201),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/xml", 415),
        ("application/jsonp", 415),
        ("multipart/form-data; boundary=x", 415),
        ("*/*", 415),
        ("json", 415),
    ] {
        let answer = ann.post_as("/api/messages", declared, body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{declared}: {answer:?}");
        if status == 415 {
            assert_eq!(answer.problem(), "unsupported-media-type", "{declared}");
        }
    }
    let mut wire = Wire::connect(server.addr());
    wire.send(crate::wire::post(&ann, "/api/messages", body));
    assert_eq!(wire.answer().status, 201, "no type at all");
    for bytes in [
        &b"{\"text\":\"\xff\"}"[..],
        b"\xff\xfe{\x00",
        b"{\"text\":\"\xed\xa0\x80\"}",
        b"{\"text\":\"x\",\"nobody knows this\":\"\xff\"}",
        b"{\"text\":\"x\",\"to_user\":[\"\xff\"]}",
    ] {
        let answer = ann.post_as("/api/messages", "application/json", bytes).unwrap();
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "malformed-body".to_owned()),
            "{bytes:?}"
        );
    }
}

#[test]
fn tokens() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    let ann = Client::signed_up(&server, "ann");
    let good = ann.token();
    let (head, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let none = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0";
    let flipped: String = signature.chars().rev().collect();
    let long = format!("{good}{}", "x".repeat(5000));
    let bearer = |token: &str| format!("Bearer {token}");
    let cases = [
        (bearer(good), ""),
        (format!("bearer {good}"), ""),
        (format!("BEARER   {good}"), ""),
        (String::new(), "token-missing"),
        (good.to_owned(), "token-missing"),
        (format!("Basic {good}"), "token-missing"),
        ("Bearer".to_owned(), "token-missing"),
        (bearer("x"), "token-invalid"),
        (bearer(".."), "token-invalid"),
        (bearer(&format!("{head}.{claims}")), "token-invalid"),
        (bearer(&format!("{head}.{claims}.")), "token-invalid"),
        (bearer(&format!("{head}.{claims}.{flipped}")), "token-invalid"),
        (bearer(&format!("{none}.{claims}.")), "token-invalid"),
        (bearer(&format!("{none}.{claims}.{signature}")), "token-invalid"),
        (bearer(&format!("{head}.{claims}.{signature}.x")), "token-invalid"),
        (bearer(&long), "token-invalid"),
    ];
    let nobody = Client::new(&server);
    let mut wire = Wire::connect(server.addr());
    for (authorization, problem) in cases {
        for (line, body) in [
            ("GET /api/messages HTTP/1.1", ""),
            ("POST /api/messages HTTP/1.1", r#"{"text":"x"}"#),
            ("GET /api/users/me HTTP/1.1", ""),
            // A client without a valid token learns nothing about the store.
            ("GET /api/messages/99 HTTP/1.1", ""),
            ("POST /api/users/99/messages HTTP/1.1", "no JSON"),
        ] {
            let mut fields = format!("Content-Length: {}\r\n", body.len());
            if !authorization.is_empty() {
                fields.extend(["Authorization: ", &authorization, "\r\n"]);
            }
            wire.send(request(&nobody, line, &fields, body));
            let answer = wire.answer();
            if problem.is_empty() {
                assert_ne!(answer.status, 401, "{line}, {authorization}: {answer:?}");
                continue;
            }
            assert_eq!(answer.status, 401, "{line}, {authorization}: {answer:?}");
            assert_eq!(answer.problem(), problem, "{line}, {authorization}");
            let challenge = answer.header("WWW-Authenticate").unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            let named = challenge.contains("error=\"invalid_token\"");
            assert_eq!(named, problem == "token-invalid", "RFC 6750, section 3.1: {challenge}");
        }
    }
}

/// One second is enough to see a token expire.
#[test]
fn tokens_expire() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--token-ttl", "1"]);
    let ann = Client::new(&server).sign_up("ann");
    let refused = crate::server::until(crate::server::PATIENCE, || {
        let answer = ann.get("/api/users/me");
        (answer.status == 401).then_some(answer)
    });
    let refused = refused.expect("the token expires");
    assert_eq!(refused.problem(), "token-invalid");
    assert_ne!(refused.json()["detail"], Value::Null);
}
