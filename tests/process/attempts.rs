//! Failed logins: a guesser has to wait, and the owner of the account does not.

use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, Client, PASSWORD, credentials};
use crate::server::{PATIENCE, Server, until};
use crate::wire::{Wire, request};

const WRONG: &str = "battery staple";

fn start(arguments: &[&str]) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Server::start_with("memory", dir.path(), arguments), dir)
}

fn log_in(client: &Client, name: &str, password: &str) -> Answer {
    client.post("/login", &credentials(name, password))
}

/// The same as a proxy would pass it on.
fn log_in_for(server: &Server, client: &str, name: &str, password: &str) -> Answer {
    let body = credentials(name, password).to_string();
    let fields = format!("Content-Length: {}\r\nX-Forwarded-For: {client}\r\n", body.len());
    let mut wire = Wire::connect(server.addr());
    wire.send(request(&Client::new(server), "POST /login HTTP/1.1", &fields, &body));
    wire.answer()
}

/// The seconds to wait, from an answer that refuses.
fn wait_of(refused: &Answer) -> u64 {
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
    for field in ["RateLimit", "RateLimit-Policy", "WWW-Authenticate"] {
        assert_eq!(refused.header(field), None, "{refused:?}");
    }
    refused.header("Retry-After").unwrap().parse().unwrap()
}

#[test]
fn by_default_ten_can_fail_and_more_in_seconds() {
    let (server, _dir) = start(&[]);
    let ann = Client::signed_up(&server, "ann");
    let begun = Instant::now();
    let failed = (0..100).take_while(|_| log_in(&ann, "ann", WRONG).status == 401).count() as u64;
    // And one more in each 6 seconds, if the test takes that long.
    let most = 10 + begun.elapsed().as_secs() / 6 + 1;
    assert!((10..=most).contains(&failed), "{failed}, and {most} at most");
    let refused = log_in(&ann, "ann", PASSWORD);
    assert!((1..=6).contains(&wait_of(&refused)), "{refused:?}");
    // Her token stays valid, and so does the way to other accounts.
    assert_eq!(ann.id(), 1);
    Client::signed_up(&server, "bob");
    let let_in = until(PATIENCE, || (log_in(&ann, "ann", PASSWORD).status == 200).then_some(()));
    let_in.expect("her turn comes");
}

#[test]
fn successful_logins_are_not_limited() {
    let (server, _dir) = start(&["--login-limit", "2/d"]);
    let ann = Client::signed_up(&server, "ann");
    for _ in 0..50 {
        assert_eq!(log_in(&ann, "ann", PASSWORD).status, 200);
    }
}

#[test]
fn off_is_off() {
    let (server, _dir) = start(&["--login-limit", "off"]);
    let ann = Client::signed_up(&server, "ann");
    for _ in 0..30 {
        assert_eq!(log_in(&ann, "ann", WRONG).status, 401);
    }
}

/// Attempts are counted before they are decided.
#[test]
fn many_at_once_are_no_way_around() {
    let (server, _dir) = start(&["--login-limit", "5/d"]);
    let ann = Client::signed_up(&server, "ann");
    let guess = crate::wire::post(&ann, "/login", &credentials("ann", WRONG).to_string());
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(server.addr())).collect();
    for wire in &mut wires {
        wire.send(&guess);
    }
    let statuses: Vec<u16> = wires.iter_mut().map(|wire| wire.answer().status).collect();
    let with = |status| statuses.iter().filter(|its| **its == status).count();
    assert_eq!((with(401), with(429)), (5, 15), "{statuses:?}");
}

#[test]
fn the_owner_gets_in_from_elsewhere() {
    let limit = ["--login-limit", "3/d", "--trust-proxy", "127.0.0.1"];
    let (server, _dir) = start(&limit);
    Client::signed_up(&server, "ann");
    let (attacker, owner) = ("198.51.100.1", "198.51.100.2");
    for status in [401, 401, 401, 429, 429] {
        assert_eq!(log_in_for(&server, attacker, "Ann", WRONG).status, status);
        assert_eq!(log_in_for(&server, owner, "ann", PASSWORD).status, 200);
    }
    // From an address where she has logged in, she also can while many attack: here until no other
    // is let through.
    let from = |n: u32| log_in_for(&server, &format!("203.0.113.{n}"), "ann", WRONG).status;
    assert!((1..100).any(|n| from(n) == 429));
    assert_eq!(from(200), 429);
    assert_eq!(log_in_for(&server, owner, "ann", PASSWORD).status, 200);
}

/// Status, fields and body are the same, attempt by attempt.
#[test]
fn a_refusal_does_not_tell_who_has_an_account() {
    let (server, _dir) = start(&["--login-limit", "2/d", "--trust-proxy", "127.0.0.1"]);
    Client::signed_up(&server, "ann");
    let tries = |name: &str| -> Vec<(u16, Vec<String>, Value)> {
        let answers = (0..4).map(|n| {
            let from = if n == 3 { "198.51.100.2" } else { "198.51.100.1" };
            log_in_for(&server, from, name, WRONG)
        });
        let seen = |answer: Answer| {
            let fields = answer.lasting_headers().into_iter();
            // The time of all attempts is within the wait.
            let fields = fields.filter(|(name, _)| name != "Retry-After");
            let fields = fields.map(|(name, value)| format!("{name}: {value}")).collect();
            (answer.status, fields, answer.json())
        };
        answers.map(seen).collect()
    };
    let of_ann = tries("ann");
    assert_eq!(of_ann.iter().map(|(status, ..)| *status).collect::<Vec<_>>(), [401, 401, 429, 401]);
    assert_eq!(tries("nobody"), of_ann);
    assert_eq!(tries("no such name!"), of_ann);
}

#[test]
fn only_a_trusted_proxy_says_for_whom_it_asks() {
    // N differs from one to the next.
    let other = "198.51.100.N";
    let made_up = "192.0.2.N, 198.51.100.1";
    let cases: [(&[&str], &str, u16); 6] = [
        (&[], other, 429),
        (&["--trust-proxy", "10.0.0.0/8"], other, 429),
        (&["--trust-proxy", "127.0.0.1"], other, 401),
        (&["--trust-proxy", "10.0.0.0/8,127.0.0.0/8"], other, 401),
        (&["--trust-proxy", "127.0.0.1"], made_up, 429),
        (&["--trust-proxy", "127.0.0.1", "--trust-proxy", "198.51.100.1"], made_up, 401),
    ];
    for (trust, forwarded, status) in cases {
        let (server, _dir) = start(&[&["--login-limit", "1/d"], trust].concat());
        for (n, status) in [("7", 401), ("8", status)] {
            let answer = log_in_for(&server, &forwarded.replace('N', n), "ann", WRONG);
            assert_eq!(answer.status, status, "{forwarded} with {trust:?}");
        }
        let warned = server.log().matches("--trust-proxy 127.0.0.1").count();
        assert_eq!(warned, usize::from(trust.is_empty()), "{}", server.log());
    }
}
