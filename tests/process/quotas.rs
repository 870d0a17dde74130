//! Limits on registrations and messages.

use serde_json::json;

use crate::client::{Answer, Client, PASSWORD, credentials};
use crate::server::{PATIENCE, STORES, Server, until};

/// The two rate limit fields.
fn standing(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("RateLimit-Policy"), answer.header("RateLimit"))
}

/// The remaining number, and the seconds until there is one more.
fn left(answer: &Answer) -> (u32, u32) {
    let field = answer.header("RateLimit").expect("there is a limit");
    let parameter = |name: &str| {
        let mut found = field.split(';').filter_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        found.next().expect("a parameter").parse().expect("a number")
    };
    (parameter("r"), parameter("t"))
}

fn refused(answer: &Answer) {
    assert_eq!((answer.status, answer.problem().as_str()), (429, "too-many-requests"));
    let (remaining, more_in) = left(answer);
    let retry_after = answer.header("Retry-After").expect("when to come back");
    assert_eq!((remaining, more_in.to_string().as_str()), (0, retry_after), "{answer:?}");
}

#[test]
fn no_limits_apply_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("memory", dir.path());
    for n in 0..15 {
        let name = format!("user{n}");
        let registered = Client::new(&server).post("/register", &credentials(&name, PASSWORD));
        assert_eq!((registered.status, standing(&registered)), (201, (None, None)));
    }
    let ann = Client::signed_up(&server, "ann");
    for _ in 0..200 {
        let said = ann.post("/api/messages", &json!({ "text": "x" }));
        assert_eq!((said.status, standing(&said)), (201, (None, None)));
    }
}

#[test]
fn messages_of_a_user_are_limited() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(store, dir.path(), &["--message-limit", "3/h"]);
        let ann = Client::signed_up(&server, "ann");
        let bob = Client::signed_up(&server, "bob");
        let text = json!({ "text": "x" });
        let paths = ["/api/messages", "/api/users/2/messages"];
        for (n, path) in [(2, paths[0]), (1, paths[1]), (0, paths[1])] {
            // A message that is refused does not count.
            assert_eq!(ann.post(path, &json!({ "text": "" })).status, 422);
            assert_eq!(ann.post("/api/users/99/messages", &text).status, 404);
            let said = ann.post(path, &text);
            assert_eq!((said.status, left(&said).0), (201, n), "{store}");
            assert_eq!(said.header("RateLimit-Policy"), Some("\"messages\";q=3;w=3600"));
        }
        for path in paths {
            refused(&ann.post(path, &text));
        }
        assert_eq!(ann.get("/api/messages").ids(), [0], "{store}: nothing was changed");
        assert_eq!(left(&bob.post(paths[0], &text)).0, 2, "{store}: others are not concerned");
        assert_eq!(ann.get("/api/users/me").status, 200, "{store}: nor is reading");
    }
}

#[test]
fn registrations_from_an_address_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--registration-limit", "2/h"]);
    let nobody = Client::new(&server);
    let register = |name: &str| nobody.post("/register", &credentials(name, PASSWORD));
    assert_eq!(left(&register("ann")).0, 1);
    // A registration that is refused does not count.
    assert_eq!(register("ANN").status, 409);
    assert_eq!(nobody.post("/register", &credentials("x", "")).status, 422);
    let bob = register("bob");
    assert_eq!((bob.status, left(&bob).0), (201, 0));
    assert_eq!(bob.header("RateLimit-Policy"), Some("\"registrations\";q=2;w=3600"));
    refused(&register("eve"));
    refused(&nobody.post("/users/register", &credentials("eve", PASSWORD)));
    assert_eq!(nobody.log_in("ann").get("/api/users").ids(), [1, 2]);
}

#[test]
fn a_limit_refills_at_the_announced_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--message-limit", "1/5s"]);
    let ann = Client::signed_up(&server, "ann");
    let say = || ann.post("/api/messages", &json!({ "text": "x" }));
    assert_eq!(left(&say()), (0, 5));
    let second = say();
    refused(&second);
    assert!((1..=5).contains(&left(&second).1), "{second:?}");
    let said = until(PATIENCE, || Some(say()).filter(|answer| answer.status == 201));
    assert_eq!(left(&said.expect("there is more")), (0, 5));
}
