//! More logins than can be hashed.

use crate::client::{Answer, Client, PASSWORD, credentials};
use crate::server::Server;
use crate::wire::{Wire, post};

const LOGINS: usize = 200;

/// Clients that can be served are served, the others are told at once to come back, and nobody else
/// notices.
#[test]
fn a_storm_of_logins_is_for_its_senders_only() {
    let dir = tempfile::tempdir().unwrap();
    // So many logins of one user at once would be limited otherwise. They end the user's first
    // sessions.
    let server =
        Server::start_with("sled", dir.path(), &["--login-limit", "off", "--idle-timeout", "3600"]);
    let ann = Client::signed_up(&server, "ann");
    Client::signed_up(&server, "bob");
    let login = post(&Client::new(&server), "/login", &credentials("bob", PASSWORD).to_string());
    let mut wires: Vec<Wire> = (0..LOGINS).map(|_| Wire::connect(server.addr())).collect();
    for wire in &mut wires {
        wire.send(&login);
    }
    wires.iter().for_each(Wire::wait_until_read);
    ann.is_served("a storm of logins");
    let answers: Vec<Answer> = wires.iter_mut().map(Wire::answer).collect();
    let (done, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 200);
    println!("{} of {LOGINS} were logged in", done.len());
    assert!(done.len() >= 64, "as many as may wait: {}", done.len());
    assert!(!refused.is_empty(), "not all of them");
    for answer in refused {
        assert_eq!((answer.status, answer.problem()), (503, "overloaded".to_owned()));
        let seconds: u32 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..60).contains(&seconds), "{answer:?}");
    }
    // The connections of refused clients are as good as any.
    for wire in &mut wires {
        wire.send(crate::wire::get(&ann, "/api/users/me"));
        assert_eq!(wire.answer().status, 200);
    }
    let ann = Client::new(&server).log_in("ann");
    assert_eq!(ann.id(), 1);
}
