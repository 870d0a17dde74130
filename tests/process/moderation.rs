//! Moderation: in effect at once, until it is taken back, and visible to all.

use serde_json::{Value, json};

use crate::client::{Client, PASSWORD, credentials};
use crate::restart::Restart;
use crate::server::{STORES, Server, veche};
use crate::stage::Stage;
use crate::wire::{Wire, request};

const OPERATOR: [&str; 2] = ["--operator", "Olga"];

fn is_refused(client: &Client) -> bool {
    let answer = client.get("/api/users/me");
    answer.status == 401 && answer.problem() == "token-invalid"
}

/// The status and the kind of the problem, if it is one.
fn told(client: &Client, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let answer = client.ask(method, path, body);
    let problem = if answer.status < 400 { String::new() } else { answer.problem() };
    (answer.status, problem)
}

fn log_in(server: &Server, name: &str, password: &str) -> (u16, String) {
    told(&Client::new(server), "POST", "/login", Some(&credentials(name, password)))
}

/// The events that are not the creation of a message: type, author and subject.
fn acts(client: &Client) -> Vec<(String, u64, Option<u64>)> {
    let events = client.get("/api/events?after=-1&limit=1000").items();
    let acts = events.iter().filter(|event| event["type"] != "message.created");
    acts.map(|event| {
        let kind = event["type"].as_str().unwrap().to_owned();
        (kind, event["by_user"].as_u64().unwrap(), event["user"].as_u64())
    })
    .collect()
}

fn act(kind: &str, user: Option<u64>) -> (String, u64, Option<u64>) {
    (kind.to_owned(), 1, user)
}

fn said(status: u16, problem: &str) -> (u16, String) {
    (status, problem.to_owned())
}

#[test]
fn a_blocked_user_is_logged_out_at_once() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set_with(store, dir.path(), &OPERATOR);
        let server = &stage.server;
        let olga = Client::signed_up(server, "olga");
        let (ann, bob) = (Client::signed_up(server, "ann"), Client::signed_up(server, "bob"));
        let phone = Client::new(server).log_in("bob");
        let last = ann.say("hello");

        let mut waiting = stage.ask(&phone, &format!("/api/messages?after={last}&wait=60"));
        let mut listening = Wire::connect(server.addr());
        let accept = "Accept: text/event-stream\r\n";
        listening.send(request(&bob, "GET /api/events HTTP/1.1", accept, ""));
        stage.wait_for("veche_parked", 1);
        stage.wait_for("veche_streams", 1);
        assert_eq!(told(&olga, "PUT", "/api/blocks/3", None), said(204, ""), "{store}");
        assert_eq!(waiting.answer().problem(), "token-invalid");
        assert!(listening.rest().ends_with("\r\n0\r\n\r\n"), "the stream has an end");

        assert!(is_refused(&bob) && is_refused(&phone) && !is_refused(&ann));
        assert_eq!(log_in(server, "bob", PASSWORD), said(403, "account-blocked"));
        assert_eq!(log_in(server, "BOB", PASSWORD), said(403, "account-blocked"));
        assert_eq!(log_in(server, "bob", "a guess"), said(401, "wrong-credentials"));
        // Messages to them are accepted.
        ann.tell(3, "for when you are back");
        assert_eq!(told(&olga, "DELETE", "/api/blocks/3", None), said(204, ""));
        assert!(is_refused(&bob), "what has ended stays so");
        let bob = Client::new(server).log_in("bob");
        assert_eq!(bob.get("/api/users/me/messages").items().len(), 1);
        // Repeating it changes nothing.
        assert_eq!(told(&olga, "DELETE", "/api/blocks/3", None), said(204, ""));
        assert_eq!(acts(&ann), [act("user.blocked", Some(3)), act("user.unblocked", Some(3))]);
    }
}

/// A blocked user with the right password is told of the block, whatever else is limited.
#[test]
fn a_blocked_login_is_not_counted_as_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&["--login-limit", "2/d"], &OPERATOR[..]].concat();
    let server = Server::start_with("memory", dir.path(), &args);
    let olga = Client::signed_up(&server, "olga");
    Client::signed_up(&server, "bob");
    assert_eq!(told(&olga, "PUT", "/api/blocks/2", None), said(204, ""));
    for _ in 0..4 {
        assert_eq!(log_in(&server, "bob", PASSWORD), said(403, "account-blocked"));
    }
}

#[test]
fn a_user_in_the_path_must_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let args = [&OPERATOR[..], &["--operator", "pete"]].concat();
    let server = Server::start_with("memory", dir.path(), &args);
    let olga = Client::signed_up(&server, "olga");
    Client::signed_up(&server, "PETE");
    let ann = Client::signed_up(&server, "ann");
    let farewell = json!({ "password": PASSWORD });
    assert_eq!(told(&ann, "POST", "/api/users/me/deletion", Some(&farewell)), said(204, ""));
    for list in ["/api/blocks", "/api/users/me/blocks"] {
        for nobody in ["0", "4", "03", "-1", "ann", "3"] {
            let path = format!("{list}/{nobody}");
            assert_eq!(told(&olga, "PUT", &path, None), said(404, "not-found"), "{path}");
        }
        for nobody in ["0", "4", "03", "-1", "ann"] {
            let path = format!("{list}/{nobody}");
            assert_eq!(told(&olga, "DELETE", &path, None), said(404, "not-found"), "{path}");
        }
        assert_eq!(told(&olga, "DELETE", &format!("{list}/3"), None), said(204, ""));
        for (path, status) in [(format!("{list}/me"), 409), (format!("{list}/1"), 409)] {
            assert_eq!(told(&olga, "PUT", &path, None), said(status, "cannot-be-blocked"));
        }
    }
    assert_eq!(told(&olga, "PUT", "/api/blocks/2", None), said(409, "cannot-be-blocked"));
    assert_eq!(told(&olga, "PUT", "/api/users/me/blocks/2", None), said(204, ""));
}

/// An account that has ended blocks nobody: it does not exist, for users it had blocked as for all
/// others.
#[test]
fn an_ended_account_blocks_nobody() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let (ann, bob) = (Client::signed_up(&server, "ann"), Client::signed_up(&server, "bob"));
        let sent = bob.tell(1, "hello");
        assert_eq!(told(&ann, "PUT", "/api/users/me/blocks/2", None), said(204, ""));
        let text = json!({ "text": "hello?" });
        let write = || told(&bob, "POST", "/api/users/1/messages", Some(&text));
        assert_eq!(write(), said(403, "blocked-by-receiver"));
        let farewell = json!({ "password": PASSWORD });
        let ended = told(&ann, "POST", "/api/users/me/deletion", Some(&farewell));
        assert_eq!(ended, said(204, ""));
        assert_eq!(write(), said(404, "not-found"), "{store}");
        let path = format!("/api/messages/{sent}");
        assert_eq!(told(&bob, "PATCH", &path, Some(&text)), said(200, ""));
    }
}

/// A user who has registered the name of an operator is one, whatever its case; nobody else is.
#[test]
fn operators_are_named_by_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("sled", dir.path(), &OPERATOR);
    assert!(server.log().contains("there is no user Olga yet"), "{}", server.log());
    let (ann, olga) = (Client::signed_up(&server, "ann"), Client::signed_up(&server, "oLGa"));
    for (method, path, body) in [
        ("GET", "/api/blocks", None),
        ("PUT", "/api/blocks/2", None),
        ("DELETE", "/api/blocks/2", None),
        ("PUT", "/api/registration", Some(json!({ "open": false }))),
    ] {
        assert_eq!(told(&ann, method, path, body.as_ref()), said(403, "not-an-operator"), "{path}");
    }
    assert_eq!(told(&olga, "PUT", "/api/blocks/1", None), said(204, ""));
    server.stop();
    // Ann is an operator from now on, and blocked; Olga is none any more.
    let mut command = veche();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path().join("data"));
    let server = Server::spawn(command.env("VECHE_OPERATOR", "ann,bob"), dir.path());
    assert!(server.log().contains("ann is blocked"), "{}", server.log());
    let olga = Client::new(&server).with_token(olga.token());
    assert_eq!(told(&olga, "DELETE", "/api/blocks/1", None), said(403, "not-an-operator"));
    let bob = Client::signed_up(&server, "bob");
    assert_eq!(told(&bob, "DELETE", "/api/blocks/1", None), said(204, ""));
    let ann = Client::new(&server).log_in("ann");
    assert_eq!(ann.get("/api/blocks").items(), [json!(null); 0]);
}

/// A private message of others, without seeing it, and only under the right conditions.
#[test]
fn an_operator_deletes_any_message() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(store, dir.path(), &OPERATOR);
        let olga = Client::signed_up(&server, "olga");
        let (ann, bob) = (Client::signed_up(&server, "ann"), Client::signed_up(&server, "bob"));
        let (general, private) = (bob.say("buy"), bob.tell(ann.id(), "my horses"));
        let path = |id| format!("/api/messages/{id}");
        assert_eq!(told(&olga, "GET", &path(private), None), said(403, "forbidden"));
        let edit = json!({ "text": "sell" });
        assert_eq!(told(&olga, "PATCH", &path(general), Some(&edit)), said(403, "not-the-author"));
        assert_eq!(told(&ann, "DELETE", &path(private), None), said(403, "not-the-author"));
        for id in [general, private, general] {
            assert_eq!(told(&olga, "DELETE", &path(id), None), said(204, ""), "{store}");
        }
        assert_eq!(told(&olga, "DELETE", &path(9), None), said(404, "not-found"));
        assert_eq!(told(&olga, "GET", &path(private), None), said(403, "forbidden"));
        let deleted = || act("message.deleted", None);
        assert_eq!(acts(&ann), [deleted(), deleted()]);
        assert_eq!(acts(&olga), [deleted()], "the private one is its parties'");
        assert_eq!(bob.get(&path(private)).json()["deleted"], true);
    }
}

#[test]
fn registration_is_closed_by_an_operator_or_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("sled", dir.path(), &OPERATOR);
    let olga = Client::signed_up(&server, "olga");
    let register = |server: &Server, name: &str| {
        told(&Client::new(server), "POST", "/register", Some(&credentials(name, PASSWORD)))
    };
    let is_open = |server: &Server| Client::new(server).get("/api/registration").json();
    let change = |client: &Client, open: bool| {
        told(client, "PUT", "/api/registration", Some(&json!({ "open": open })))
    };
    assert_eq!(change(&olga, false), said(200, ""));
    assert_eq!(register(&server, "ann"), said(403, "registration-closed"));
    assert_eq!(register(&server, "olga"), said(403, "registration-closed"), "taken or not");
    assert_eq!(is_open(&server), json!({ "open": false }));
    assert_eq!(change(&olga, true), said(200, ""));
    assert_eq!(register(&server, "ann"), said(201, ""));
    server.stop();

    let closed = [&["--registration", "closed"], &OPERATOR[..]].concat();
    let server = Server::start_with("sled", dir.path(), &closed);
    let olga = Client::new(&server).with_token(olga.token());
    assert_eq!(is_open(&server), json!({ "open": false }));
    assert_eq!(register(&server, "bob"), said(403, "registration-closed"));
    assert_eq!(change(&olga, true), said(403, "registration-closed"));
    assert_eq!(change(&olga, false), said(200, ""));
    assert_eq!(log_in(&server, "ann", PASSWORD), said(200, ""));
    server.stop();

    let server = Server::start_with("sled", dir.path(), &OPERATOR);
    assert_eq!(register(&server, "bob"), said(403, "registration-closed"), "she had closed it");
    let kinds: Vec<_> = acts(&olga_at(&server, &olga)).into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, ["registration.closed", "registration.opened", "registration.closed"]);
}

fn olga_at(server: &Server, olga: &Client) -> Client {
    Client::new(server).with_token(olga.token())
}

#[test]
fn moderation_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start_with("sled", dir.path(), &OPERATOR);
    let olga = Client::signed_up(&server, "olga");
    let (ann, bob) = (Client::signed_up(&server, "ann"), Client::signed_up(&server, "bob"));
    Client::signed_up(&server, "carol");
    bob.tell(ann.id(), "buy my horses");
    for (client, method, path) in [
        (&olga, "DELETE", "/api/messages/0"),
        (&ann, "PUT", "/api/users/me/blocks/4"),
        (&ann, "PUT", "/api/users/me/blocks/1"),
        (&ann, "DELETE", "/api/users/me/blocks/1"),
        (&olga, "PUT", "/api/blocks/4"),
        (&olga, "DELETE", "/api/blocks/4"),
        (&olga, "PUT", "/api/blocks/3"),
    ] {
        assert_eq!(told(client, method, path, None), said(204, ""), "{method} {path}");
    }
    let closed = json!({ "open": false });
    assert_eq!(told(&olga, "PUT", "/api/registration", Some(&closed)), said(200, ""));
    let lists = ["/api/events?after=-1&limit=1000", "/api/users/me/blocks", "/api/blocks"];
    let seen = |client: &Client| lists.map(|list| client.get(list).body);
    let (of_olga, of_ann) = (seen(&olga), seen(&ann));
    for restart in Restart::ALL {
        server = restart.run(server, dir.path(), &OPERATOR);
        let with = |client: &Client| Client::new(&server).with_token(client.token());
        assert_eq!((seen(&with(&olga)), seen(&with(&ann))), (of_olga.clone(), of_ann.clone()));
        assert!(is_refused(&with(&bob)), "{restart:?}");
        assert_eq!(log_in(&server, "bob", PASSWORD), said(403, "account-blocked"));
        let carol = Client::new(&server).log_in("carol");
        let text = json!({ "text": "hello?" });
        let told = |user| told(&carol, "POST", &format!("/api/users/{user}/messages"), Some(&text));
        assert_eq!(told(2), said(403, "blocked-by-receiver"), "{restart:?}");
        assert_eq!(told(3), said(201, ""), "she is blocked, but not by her");
        let registered = Client::new(&server).post("/register", &credentials("eve", PASSWORD));
        assert_eq!(registered.problem(), "registration-closed");
    }
}
