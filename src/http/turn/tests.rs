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
fn server_loop() -> (Loop, String) {
    let mut store = MemoryStore::new(StoreId(1));
    let (name, at) = (Username::parse("ann").unwrap(), Timestamp::from_millis(1));
    store.create_user(NewUser { name, password_hash: "-".into(), created_at: at }).unwrap();
    for _ in 0..MESSAGES {
        let text = MessageText::parse("\u{1}".repeat(4096).into()).unwrap();
        store.post(NewMessage { from: UserId::FIRST, to: None, text, sent_at: at }).unwrap();
    }
    let server = Server::bind(([127, 0, 0, 1], 0).into(), ServerSettings::default());
    let mut server_loop = Loop::new(server.unwrap(), App::for_tests(Box::new(store))).unwrap();
    let authorization = server_loop.app.logged_in_for_tests(UserId::FIRST, at);
    (server_loop, authorization)
}

impl Loop {
    /// A request for a page on a connection of its own, whose body was read.
    fn page_request(&mut self, method: Method, number: u16, authorization: &str) -> Exchange {
        self.page_request_from([127, 0, 0, 1], method, number, authorization)
    }

    fn page_request_from(
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
        let (mut server_loop, authorization) = server_loop();
        for number in 0..REQUESTS {
            let exchange = server_loop.page_request(method.clone(), number, &authorization);
            server_loop.sender.send(LoopMessage::BodyRead(exchange));
        }
        let mut released = 0;
        for turn in 1.. {
            server_loop.turn(None).unwrap();
            let fresh = server_loop.released() - released;
            released += fresh;
            assert!(fresh <= MOST, "{method}: {fresh} in turn {turn}");
            assert!(fresh > 0, "{method}: turn {turn} has released nothing");
            if released >= REQUESTS.into() {
                break;
            }
            assert!(server_loop.wait().is_none(), "it does not sleep while there are tasks");
        }
    }
}

/// A short request waits for one long page of another client, and not for all of them.
#[test]
fn clients_that_received_much_are_deferred() {
    let (mut server_loop, authorization) = server_loop();
    for number in 0..REQUESTS {
        let exchange = server_loop.page_request(Method::Get, number, &authorization);
        server_loop.tasks.normal.push_back(TurnTask::Begin(exchange));
    }
    // Requests without a token have short answers: one from another network, and one from the same.
    for (address, number) in [([127, 0, 0, 2], REQUESTS), ([127, 0, 0, 1], REQUESTS + 1)] {
        let other = server_loop.page_request_from(address, Method::Get, number, "");
        server_loop.tasks.normal.push_back(TurnTask::Begin(other));
    }
    server_loop.handle_tasks();
    for (n, number) in [(1, REQUESTS), (2, REQUESTS + 1)] {
        let (exchange, reply) = &server_loop.replies[n];
        assert_eq!((exchange.peer().port(), reply.status), (1 + number, 401));
    }
    assert!(server_loop.tasks.normal.is_empty() && server_loop.tasks.deferred.is_empty());
    let waiting = server_loop.tasks.last.len();
    assert!(waiting > 0);
    assert_eq!(server_loop.replies.len() + waiting, usize::from(REQUESTS) + 2);
    // Deferred requests do not wait for ever, even if others fill every turn.
    server_loop.release();
    server_loop.tasks.deferred_starved = true;
    for number in 0..REQUESTS {
        let exchange =
            server_loop.page_request_from([127, 0, 0, 3], Method::Get, number, &authorization);
        server_loop.tasks.normal.push_back(TurnTask::Begin(exchange));
    }
    server_loop.handle_tasks();
    assert_ne!(server_loop.replies[0].0.peer().ip(), SocketAddr::from(([127, 0, 0, 3], 1)).ip());
}

/// A deferred request goes first if the last turn had no room for one. If it takes all of the turn,
/// the next turn begins with the others.
#[test]
fn deferred_requests_take_turns_with_others() {
    let (mut server_loop, authorization) = server_loop();
    for number in 0..REQUESTS {
        let exchange = server_loop.page_request(Method::Get, number, &authorization);
        server_loop.tasks.last.push_back(TurnTask::Begin(exchange));
    }
    server_loop.tasks.deferred_starved = true;
    server_loop.reply_bytes = MAX_TURN_BYTES - 1;
    for turn in 0..2 {
        let other = server_loop.page_request_from([127, 0, 0, 2], Method::Get, REQUESTS + turn, "");
        server_loop.tasks.normal.push_back(TurnTask::Begin(other));
        server_loop.handle_tasks();
        let statuses = server_loop.replies.iter().map(|(_, reply)| reply.status).take(2);
        // The page fills the first turn; the second answers both short requests.
        let expected = if turn == 0 { vec![200] } else { vec![401, 401] };
        assert_eq!(statuses.collect::<Vec<_>>(), expected, "turn {turn}");
        assert_eq!(server_loop.tasks.normal_starved, turn == 0);
        server_loop.release();
    }
}

/// A body takes memory until its request is handled, so their bytes are limited.
#[test]
fn bytes_of_read_bodies_are_limited() {
    let (mut server_loop, authorization) = server_loop();
    for (bytes, is_read) in [(MAX_BODIES_BYTES - 1, true), (MAX_BODIES_BYTES, false)] {
        let number = u16::from(is_read);
        let mut exchange = server_loop.page_request(Method::Post, number, &authorization);
        exchange.content = RequestBody::Bytes(vec![b' '; bytes]);
        server_loop.sender.send(LoopMessage::BodyRead(exchange));
        server_loop.receive_messages();
        assert_eq!(server_loop.tasks.bodies_bytes, bytes);
        let next = server_loop.page_request(Method::Post, 2 + number, &authorization);
        server_loop.receive(next, false);
        assert_eq!(server_loop.replies.is_empty(), is_read, "{bytes}");
        server_loop.handle_tasks();
        assert_eq!(server_loop.tasks.bodies_bytes, 0);
        server_loop.release();
    }
}
