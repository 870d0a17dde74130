use std::net::SocketAddr;

use tiny_http::{Header, Method, TestRequest};

use super::tasks::TurnTask;
use super::*;
use crate::http::ServerSettings;
use crate::http::requests::exchange::RequestBody;
use crate::http::requests::in_flight::Admission;
use crate::model::{MessageText, StoreId, Timestamp, UserId, Username};
use crate::store::{Backend, MemoryStore, NewMessage, NewUser};

/// Messages of the general chat: the longest text, in characters that JSON escapes.
const MESSAGES: usize = 50;
/// Length of a page of them, rounded down.
const PAGE_BYTES: usize = MESSAGES * 4096 * 6;
/// More pages than a turn may hold.
const REQUESTS: u16 = 20;

/// Pages that a turn may hold: its bytes, and one reply.
const MOST: usize = MAX_TURN_BYTES / PAGE_BYTES + 1;

const _: () = assert!(REQUESTS as usize * PAGE_BYTES > 2 * MAX_TURN_BYTES);

/// A loop with one user, and that user's `Authorization` field.
fn begun() -> (Loop, String) {
    let mut store = MemoryStore::new(StoreId(1));
    let (name, at) = (Username::parse("ann").unwrap(), Timestamp::from_millis(1));
    store.create_user(NewUser { name, password_hash: "-".into(), created_at: at }).unwrap();
    for _ in 0..MESSAGES {
        let text = MessageText::parse("\u{1}".repeat(4096).into()).unwrap();
        store.post(NewMessage { from: UserId::FIRST, to: None, text, sent_at: at }).unwrap();
    }
    let server = Server::bind(([127, 0, 0, 1], 0).into(), ServerSettings::default());
    let mut begun = Loop::new(server.unwrap(), App::for_tests(Box::new(store))).unwrap();
    let authorization = begun.app.logged_in_for_tests(UserId::FIRST, at);
    (begun, authorization)
}

impl Loop {
    /// A request for a page on a connection of its own, whose body was read.
    fn asked(&mut self, method: Method, number: u16, authorization: &str) -> Exchange {
        self.asked_from([127, 0, 0, 1], method, number, authorization)
    }

    fn asked_from(
        &mut self,
        address: [u8; 4],
        method: Method,
        number: u16,
        authorization: &str,
    ) -> Exchange {
        let peer = SocketAddr::from((address, 1 + number));
        let authorization = Header::from_bytes("Authorization", authorization).unwrap();
        let request = TestRequest::new()
            .with_method(method)
            .with_path("/api/messages")
            .with_header(authorization)
            .with_remote_addr(peer);
        match self.in_flight.admit(request.into()) {
            Admission::Begin(exchange) => exchange,
            _ => panic!("its connection is new"),
        }
    }

    /// Number of replies released so far.
    fn released(&self) -> usize {
        let text = self.metrics.text();
        let sum = text.lines().find_map(|line| line.strip_prefix("veche_turn_requests_sum "));
        sum.unwrap().trim_end_matches(".0").parse().unwrap()
    }
}

/// A turn stops when it has no room, whatever tasks its requests have been, also for `HEAD`.
#[test]
fn a_turn_holds_so_many_bytes_and_one_reply() {
    for method in [Method::Get, Method::Head] {
        let (mut begun, authorization) = begun();
        for number in 0..REQUESTS {
            let exchange = begun.asked(method.clone(), number, &authorization);
            begun.sender.send(LoopMessage::Received(exchange));
        }
        let mut released = 0;
        for turn in 1.. {
            begun.turn(None).unwrap();
            let fresh = begun.released() - released;
            released += fresh;
            assert!(fresh <= MOST, "{method}: {fresh} in turn {turn}");
            assert!(fresh > 0, "{method}: turn {turn} has released nothing");
            if released >= REQUESTS.into() {
                break;
            }
            assert!(begun.wait().is_none(), "it does not sleep while there are tasks");
        }
    }
}

/// A short request waits for one long page of another client, and not for all of them.
#[test]
fn clients_that_received_much_are_deferred() {
    let (mut begun, authorization) = begun();
    for number in 0..REQUESTS {
        let exchange = begun.asked(Method::Get, number, &authorization);
        begun.tasks.normal.push_back(TurnTask::Begin(exchange));
    }
    // Requests without a token have short answers: one from another network, and one from the same.
    for (address, number) in [([127, 0, 0, 2], REQUESTS), ([127, 0, 0, 1], REQUESTS + 1)] {
        let other = begun.asked_from(address, Method::Get, number, "");
        begun.tasks.normal.push_back(TurnTask::Begin(other));
    }
    begun.handle_tasks();
    for (n, number) in [(1, REQUESTS), (2, REQUESTS + 1)] {
        let (exchange, reply) = &begun.replies[n];
        assert_eq!((exchange.peer().port(), reply.status), (1 + number, 401));
    }
    assert!(begun.tasks.normal.is_empty() && begun.tasks.deferred.is_empty());
    let waiting = begun.tasks.last.len();
    assert!(waiting > 0);
    assert_eq!(begun.replies.len() + waiting, usize::from(REQUESTS) + 2);
    // Deferred requests do not wait for ever, even if others fill every turn.
    begun.release();
    begun.tasks.deferred_starved = true;
    for number in 0..REQUESTS {
        let exchange = begun.asked_from([127, 0, 0, 3], Method::Get, number, &authorization);
        begun.tasks.normal.push_back(TurnTask::Begin(exchange));
    }
    begun.handle_tasks();
    assert_ne!(begun.replies[0].0.peer().ip(), SocketAddr::from(([127, 0, 0, 3], 1)).ip());
}

/// A deferred request goes first if the last turn had no room for one. If it takes all of the turn,
/// the next turn begins with the others.
#[test]
fn deferred_requests_take_turns_with_others() {
    let (mut begun, authorization) = begun();
    for number in 0..REQUESTS {
        let exchange = begun.asked(Method::Get, number, &authorization);
        begun.tasks.last.push_back(TurnTask::Begin(exchange));
    }
    begun.tasks.deferred_starved = true;
    begun.reply_bytes = MAX_TURN_BYTES - 1;
    for turn in 0..2 {
        let other = begun.asked_from([127, 0, 0, 2], Method::Get, REQUESTS + turn, "");
        begun.tasks.normal.push_back(TurnTask::Begin(other));
        begun.handle_tasks();
        let statuses = begun.replies.iter().map(|(_, reply)| reply.status).take(2);
        // The page fills the first turn; the second answers both short requests.
        let expected = if turn == 0 { vec![200] } else { vec![401, 401] };
        assert_eq!(statuses.collect::<Vec<_>>(), expected, "turn {turn}");
        assert_eq!(begun.tasks.normal_starved, turn == 0);
        begun.release();
    }
}

/// A body takes memory until its request is handled, so their bytes are limited.
#[test]
fn bytes_of_read_bodies_are_limited() {
    let (mut begun, authorization) = begun();
    for (bytes, is_read) in [(MAX_BODIES_BYTES - 1, true), (MAX_BODIES_BYTES, false)] {
        let number = u16::from(is_read);
        let mut exchange = begun.asked(Method::Post, number, &authorization);
        exchange.content = RequestBody::Bytes(vec![b' '; bytes]);
        begun.sender.send(LoopMessage::Received(exchange));
        begun.receive_messages();
        assert_eq!(begun.tasks.bodies_bytes, bytes);
        let next = begun.asked(Method::Post, 2 + number, &authorization);
        begun.receive(next, false);
        assert_eq!(begun.replies.is_empty(), is_read, "{bytes}");
        begun.handle_tasks();
        assert_eq!(begun.tasks.bodies_bytes, 0);
        begun.release();
    }
}
