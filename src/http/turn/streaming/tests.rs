use std::net::SocketAddr;

use crate::api::stream::{MAX_EVENTS, Subscription};
use crate::api::{App, Reply};
use crate::http::streams::DESCRIPTORS;
use crate::http::turn::Loop;
use crate::http::{Server, Settings};
use crate::model::{Epoch, MessageText, SessionId, Timestamp, UserId, Username};
use crate::problem::Problem;
use crate::store::{Backend, MemoryStore, NewMessage, NewUser};

use super::*;

/// A loop whose store has so many notes of somebody to themselves.
fn begun(notes: usize) -> Loop {
    let mut store = MemoryStore::new(Epoch(1));
    let (name, at) = (Username::parse("ann").unwrap(), Timestamp::from_millis(1));
    store.create_user(NewUser { name, password_hash: "-".into(), created_at: at }).unwrap();
    for _ in 0..notes {
        let text = MessageText::parse("note".into()).unwrap();
        let (from, to) = (UserId::FIRST, Some(UserId::FIRST));
        store.post(NewMessage { from, to, text, sent_at: at }).unwrap();
    }
    let server = Server::bind(([127, 0, 0, 1], 0).into(), Settings::default());
    Loop::new(server.unwrap(), App::for_tests(Box::new(store))).unwrap()
}

/// What nobody who listens may see takes no room on its way to them, and is looked through all the
/// same.
#[test]
fn a_turn_looks_through_so_much_and_no_more() {
    let most = MAX_NEWS * MAX_EVENTS;
    let mut begun = begun(2 * most);
    let subscription = Subscription {
        reply: Reply::from(Problem::internal()),
        user: UserId::new(2).unwrap(),
        session: SessionId([0; 16]),
        expires: Timestamp::MAX,
        time_left: Duration::MAX,
        from: 0,
    };
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let id = begun.streams.admit(peer, &subscription, DESCRIPTORS).unwrap();
    begun.streams.go_live(id);
    begun.publish();
    assert_eq!((begun.streams.published, begun.streams.is_behind), (most as u64, true));
    assert!(begun.has_to_stream(), "the next turn goes on");
    begun.publish();
    assert_eq!((begun.streams.published, begun.streams.is_behind), (2 * most as u64, false));
}
