//! The state of the server under test: accounts, messages and tokens that are always the same.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use veche::api::client::{Network, Proxies};
use veche::api::cors::{Cors, Origin};
use veche::api::limits::{Limit, Limits};
use veche::api::{App, Request, Settings};
use veche::auth::tokens::Tokens;
use veche::model::{
    MAX_ID, Message, MessageContent, MessageId, MessageText, SessionId, StoreId, Timestamp, User,
    UserId, Username,
};
use veche::store::{Backend, Entry, MemoryStore, Record, SessionKey, SessionValue};
use veche::sys::{FixedClock, SeededEntropy};

/// The store's epoch.
pub(super) const EPOCH: StoreId = StoreId(0x5eed_0000_c4a7_0001);
/// The secret that signs tokens.
pub(super) const SECRET: &[u8; 32] = b"not a secret: it is in the tests";
/// The lifetime of tokens, in seconds.
pub(super) const TTL_SECONDS: u64 = 3600;
/// The users' password.
pub(super) const PASSWORD: &str = "correct horse";
/// Its hash, with parameters that take no time.
const PASSWORD_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$b6qJumA/4cblFXUKfEvM0w";

/// 2026-01-02T03:04:05.678Z
pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678)
}

/// The users. The last has the highest possible id.
pub(super) const USERS: [(u64, &str); 5] =
    [(1, "alice"), (2, "bob"), (3, "Carol"), (7, "dave"), (MAX_ID, "zoe")];

/// A message by its id and its parties; 0 is the general chat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) id: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Messages in order of id, with and without gaps.
pub(super) fn said() -> impl Iterator<Item = Said> {
    let ids = (0..24).chain([100, 102, 105, 4096]);
    ids.map(|id| {
        let (from, to) = match id % 5 {
            0 | 3 => (1 + id % 3, 0),
            1 => (1, 2),
            2 => (2, 3),
            _ => (3, 1),
        };
        Said { id, from, to }
    })
}

/// A store in memory with all users and these messages.
pub(super) fn store(said: impl Iterator<Item = Said>) -> Box<dyn Backend> {
    let mut store = MemoryStore::new(EPOCH);
    for (id, name) in USERS {
        let user = User {
            id: UserId::new(id).unwrap(),
            name: Username::parse(name).unwrap(),
            password_hash: PASSWORD_HASH.into(),
            created_at: now(),
            ended_at: None,
        };
        store.restore(Record::User(user)).unwrap();
    }
    for user in 1..=2 {
        let expires_at = Timestamp::from_millis((now().seconds() + TTL_SECONDS) * 1000);
        let key = SessionKey { user: UserId::new(user).unwrap(), id: session(user) };
        let value = Some(SessionValue { at: now(), expires_at, user_agent: "".into() });
        store.restore(Record::Entry(Entry::Session { key, value })).unwrap();
    }
    for Said { id, from, to } in said {
        let message = Message {
            id: MessageId::new(id).unwrap(),
            from: UserId::new(from).unwrap(),
            to: UserId::new(to),
            content: MessageContent::Original(
                MessageText::parse(format!("number {id}").into()).unwrap(),
            ),
            sent_at: now(),
        };
        store.restore(Record::Message(message)).unwrap();
    }
    Box::new(store)
}

/// A server's state around a store.
pub(super) fn app(store: Box<dyn Backend>) -> App {
    let limit = Limit::parse("4/m").unwrap();
    limited(store, Limits { login: limit, registration: limit, message: limit })
}

/// A server's state with these limits.
pub(super) fn limited(store: Box<dyn Backend>, limits: Limits) -> App {
    let settings = Settings {
        min_password_length: 8,
        cors: Cors::with(vec![Origin::parse("https://chat.example.org").unwrap()]),
        limits,
        proxies: Proxies::with(vec![Network::parse("127.0.0.0/8").unwrap()]),
        ..Settings::default()
    };
    App::new(store, tokens(), Box::new(FixedClock(now())), Box::new(SeededEntropy(1)), settings)
}

/// Issues and verifies the tokens of [`store`].
pub(super) fn tokens() -> Tokens {
    Tokens::new(SECRET, TTL_SECONDS, EPOCH)
}

/// A valid token of each of the first two users.
pub(super) static ISSUED: LazyLock<[String; 2]> = LazyLock::new(|| {
    [1, 2].map(|id| tokens().issue(UserId::new(id).unwrap(), now(), session(id)).unwrap())
});

/// The session of the token of a user.
pub(super) fn session(user: u64) -> SessionId {
    SessionId(u128::from(user).to_be_bytes())
}

/// A request without anything.
pub(super) fn request<'a>(method: &'a str, target: &'a str) -> Request<'a> {
    Request::new(method, target, Ipv4Addr::LOCALHOST.into())
}
