use std::fs;
use std::net::SocketAddr;

use crate::api::stream::{MAX_EVENTS, Subscription};
use crate::api::{App, Reply};
use crate::http::streams::registry::DESCRIPTORS;
use crate::http::turn::Loop;
use crate::http::{Server, ServerSettings};
use crate::model::{MessageText, SessionId, StoreId, Timestamp, UserId, Username};
use crate::problem::Problem;
use crate::store::{Backend, LogStore, MemoryStore, NewMessage, NewUser};

use super::*;

/// A loop whose store has `notes` messages of one user to themselves.
fn server_loop(notes: usize) -> Loop {
    loop_over(MemoryStore::new(StoreId(1)), notes)
}

fn loop_over(mut store: impl Backend + 'static, notes: usize) -> Loop {
    let (name, at) = (Username::parse("ann").unwrap(), Timestamp::from_millis(1));
    store.create_user(NewUser { name, password_hash: "-".into(), created_at: at }).unwrap();
    for _ in 0..notes {
        let text = MessageText::parse("note".into()).unwrap();
        let (from, to) = (UserId::FIRST, Some(UserId::FIRST));
        store.post(NewMessage { from, to, text, sent_at: at }).unwrap();
    }
    store.sync().unwrap();
    let server = Server::bind(([127, 0, 0, 1], 0).into(), ServerSettings::default());
    Loop::new(server.unwrap(), App::for_tests(Box::new(store))).unwrap()
}

impl Loop {
    /// A stream of a user, from the first event on.
    fn stream_of(&mut self, port: usize, user: UserId) -> StreamId {
        let subscription = Subscription {
            reply: Reply::from(Problem::internal()),
            user,
            session: SessionId([0; 16]),
            expires: Timestamp::MAX,
            time_left: Duration::MAX,
            from: 0,
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        self.streams.admit(peer, &subscription, DESCRIPTORS).unwrap()
    }
}

/// Events that no subscriber may see take no room on the way to the broadcaster; the number that a
/// turn reads is limited all the same.
#[test]
fn a_turn_reads_a_limited_number_of_events() {
    let most = MAX_EVENT_BATCHES * MAX_EVENTS;
    let mut server_loop = server_loop(2 * most);
    let id = server_loop.stream_of(1, UserId::new(2).unwrap());
    server_loop.streams.go_live(id);
    server_loop.publish();
    assert_eq!((server_loop.streams.published, server_loop.streams.is_behind), (most as u64, true));
    assert!(server_loop.has_to_stream(), "the next turn goes on");
    server_loop.publish();
    assert_eq!(
        (server_loop.streams.published, server_loop.streams.is_behind),
        (2 * most as u64, false)
    );
}

/// A damaged event of the log ends the streams that it is for, and does not keep the loop busy.
#[test]
fn events_that_cannot_be_read_end_the_streams() {
    // More than the store has in memory.
    const NOTES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), StoreId(1), &mut ()).unwrap();
    let mut server_loop = loop_over(store, NOTES);
    let log = dir.path().join("log/00000000000000000000.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[1000] ^= 0xff;
    fs::write(&log, bytes).unwrap();

    let id = server_loop.stream_of(1, UserId::FIRST);
    server_loop.streams.go_live(id);
    server_loop.publish();
    assert_eq!(
        (server_loop.streams.published, server_loop.streams.is_behind),
        (NOTES as u64, false)
    );
    assert!(server_loop.streams.get_mut(id).unwrap().ends_at_once);
    assert!(!server_loop.has_to_stream());
}

/// Streams that catch up take turns, over several turns of the loop. Requests go first.
#[test]
fn a_turn_sends_a_limited_number_of_pages() {
    let mut server_loop = server_loop(MAX_EVENTS);
    let page = server_loop.app.stream_page(UserId::FIRST, 0).unwrap().bytes.len();
    assert!(page <= LONGEST_PAGE_BYTES);
    let fit = MAX_PAGES_BYTES.saturating_sub(LONGEST_PAGE_BYTES) / page + 1;
    assert!(
        (MAX_PAGES_BESIDE + 1..MAX_PAGES).contains(&fit),
        "pages of {page} bytes are too short"
    );
    for (has_tasks, given) in [(false, fit), (true, MAX_PAGES_BESIDE)] {
        server_loop.has_more_messages = has_tasks;
        let ids: Vec<_> =
            (0..MAX_PAGES).map(|n| server_loop.stream_of(1 + n, UserId::FIRST)).collect();
        for id in &ids {
            server_loop.streams.queue_for_page(*id);
        }
        server_loop.send_pages();
        let left = std::iter::from_fn(|| server_loop.streams.next_due());
        assert_eq!(left.collect::<Vec<_>>(), ids[given..], "in order");
        for id in ids {
            server_loop.streams.remove(id);
        }
    }
}
