//! Streams behind the front as shipped.

use crate::client::Client;
use crate::front::{Front, Limits, Nginx};
use crate::server::{PATIENCE, Server};
use crate::talk::{Heard, Talk};

/// Returns whether a stream has sent this by now.
fn has(heard: &Heard, what: &str) -> Option<()> {
    String::from_utf8_lossy(&heard.bytes).contains(what).then_some(())
}

/// Nothing is held back for later data, and heartbeats come through.
#[test]
fn events_come_through_as_they_happen() {
    let dir = tempfile::tempdir().unwrap();
    let Some(nginx) = Nginx::find() else { return };
    let server = Server::start("sled", dir.path());
    let front = Front::start(&nginx, server.addr(), dir.path(), Limits::Shipped);
    let ann = Client::signed_up(&server, "ann");
    let mut stream = Talk::connect(front.plain(), false).unwrap();
    let head = "GET /api/events HTTP/1.1\r\nHost: veche\r\nAccept: text/event-stream";
    let asked = format!("{head}\r\nAuthorization: Bearer {}\r\n\r\n", ann.token());
    stream.send(asked.as_bytes()).unwrap();
    let wait_for = |what: &str| {
        let said = stream.wait(PATIENCE, |heard| has(heard, what));
        said.unwrap_or_else(|heard| panic!("{what:?} does not come: {heard:?}"));
    };
    wait_for("\nid: -1\n");
    for text in ["one", "two"] {
        ann.say(text);
        wait_for(&format!("\"text\":\"{text}\""));
    }
    // Fifteen seconds of silence.
    wait_for(":\n\n");
    ann.say("three");
    wait_for("\"text\":\"three\"");
    drop(stream);
    server.stop();
}
