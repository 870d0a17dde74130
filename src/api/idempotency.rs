//! Idempotent posts: the `Idempotency-Key` field (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! The same message of the same user under the same key gets its first answer again, and another
//! message is refused. Two messages are the same if receiver and text are, whatever the bytes of
//! the body: a client that makes its JSON anew need not make the same. Only posts are remembered,
//! because a refused request has changed nothing.
//!
//! There is no 409 for a first request that is still in progress (section 2.6 of the draft),
//! because none ever is when another is handled. A message is posted and remembered in one call to
//! the store, within one turn of the loop. Its body was read before, and its answer is sent after
//! the turn's sync. A second request in the same turn finds the first one's result.
//!
//! Key and message are hashed with a secret that is not in the store ([`RequestKey`]). If the
//! secret was replaced, or the store moved to another server, remembered keys cannot be found any
//! more. Then the messages are compared: one with the same text and receiver as a post under such a
//! key within 24 h is refused, with a detail of its own, rather than posted twice or taken for the
//! first. It can be sent without a key.

use sha2::{Digest, Sha256};

use super::app::App;
use super::failure::Failure;
use super::reply::Reply;
use super::request::Request;
use super::stale_keys::truncated_sha256;
use crate::auth::request_key::RequestKey;
use crate::model::{MessageId, MessageText, Timestamp, UserId};
use crate::problem::{self, Problem};
use crate::store::{FirstAnswer, Hash, IdempotencyKey, RetryKey};

/// Longest key, in ASCII characters.
pub const MAX_KEY_LEN: usize = 255;

/// A message that is sent under a key.
pub(super) struct KeyedMessage {
    from: UserId,
    to: Option<UserId>,
    text: MessageText,
    /// The key as the store remembers it.
    pub(super) key: IdempotencyKey,
    /// The key as earlier versions remembered it, which hashed without a secret.
    legacy: LegacyHashes,
}

/// Hashes that were made without a secret.
#[derive(Clone, Copy)]
struct LegacyHashes {
    key: Hash,
    fingerprint: Hash,
}

/// The message with the key of the request's `Idempotency-Key` field, if there is one. 400 if the
/// field is malformed.
pub(super) fn keyed(
    secret: &RequestKey,
    request: &Request<'_>,
    from: UserId,
    to: Option<UserId>,
    text: &MessageText,
    settled: Timestamp,
) -> Result<Option<KeyedMessage>, Problem> {
    let Some(field) = &request.idempotency_key else { return Ok(None) };
    let key = key(field).ok_or_else(|| {
        let why = "the Idempotency-Key is not one string of 1 to 255 visible ASCII characters";
        Problem::new(problem::MALFORMED_IDEMPOTENCY_KEY, why)
    })?;
    let receiver = to.map_or(0, UserId::get).to_le_bytes();
    let author = from.get().to_le_bytes();
    let message = [b"message", &author[..], &key, &receiver, text.as_str().as_bytes()];
    let hashed = IdempotencyKey {
        key: Hash(secret.hash(&[b"key", &author, &key])),
        fingerprint: Hash(secret.hash(&message)),
        secret: Hash(secret.name()),
        settled,
    };
    let fingerprint = Sha256::new().chain_update(receiver).chain_update(text.as_str());
    let legacy = LegacyHashes {
        key: truncated_sha256(Sha256::new().chain_update(key)),
        fingerprint: truncated_sha256(fingerprint),
    };
    Ok(Some(KeyedMessage { from, to, text: text.clone(), key: hashed, legacy }))
}

/// Reads a string of RFC 9651, section 3.3.3, or the same characters without quotes, which is what
/// most clients send: the quotes are no part of the key. What several lines of the field come to has
/// a space in it (RFC 9110, section 5.3), and is neither.
fn key(field: &str) -> Option<Vec<u8>> {
    let field = field.trim_matches([' ', '\t']);
    let mut key = Vec::with_capacity(field.len());
    if let Some(quoted) = field.strip_prefix('"') {
        let mut bytes = quoted.strip_suffix('"')?.bytes();
        while let Some(byte) = bytes.next() {
            key.push(match byte {
                b'"' => return None,
                b'\\' => bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?,
                plain => plain,
            });
        }
    } else {
        // What would begin something else in a structured field.
        if field.contains(['"', '\\', ',', ';']) {
            return None;
        }
        key.extend(field.bytes());
    }
    let fits = (1..=MAX_KEY_LEN).contains(&key.len());
    (fits && key.iter().all(u8::is_ascii_graphic)).then_some(key)
}

impl App {
    /// The reply to a message that was already posted under its key. 422 if the key was used for
    /// another message, or if this one may have been posted under a key that cannot be compared.
    pub(super) fn first_answer(
        &mut self,
        message: &KeyedMessage,
        now: Timestamp,
        answer: impl FnOnce(MessageId) -> Reply,
    ) -> Result<Option<Reply>, Failure> {
        let KeyedMessage { from: user, to, text, key, legacy } = message;
        let user = *user;
        for (hash, fingerprint) in [(key.key, key.fingerprint), (legacy.key, legacy.fingerprint)] {
            let retry = RetryKey { user, key: hash };
            if let Some(first) = self.store.first_answer(retry, now)? {
                return Ok(Some(replayed(fingerprint, first, answer)?));
            }
        }
        let owner = (user, key.secret);
        if self.stale_keys.may_have_posted(&mut *self.store, owner, (*to, text), now)? {
            let why = "this message may have been sent under an Idempotency-Key that cannot be compared \
                       any more: check if it was posted, and send it without a key if it was not";
            return Err(Problem::new(problem::IDEMPOTENCY_KEY_REUSED, why).into());
        }
        Ok(None)
    }
}

/// Marks the answer that was given first, if it was to the same request; 422 if not.
pub(super) fn replayed(
    fingerprint: Hash,
    first: FirstAnswer,
    answer: impl FnOnce(MessageId) -> Reply,
) -> Result<Reply, Problem> {
    if first.fingerprint != fingerprint {
        let why = "this Idempotency-Key was used for another message";
        return Err(Problem::new(problem::IDEMPOTENCY_KEY_REUSED, why));
    }
    Ok(answer(first.message).with("Idempotency-Replayed", "true"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::api::app::Settings;
    use crate::api::limits::{Limit, Limits};
    use crate::api::outcome::Outcome;
    use crate::api::request::Body;
    use crate::auth::tokens::Tokens;
    use crate::model::{StoreId, Timestamp, Username};
    use crate::store::{Backend, Entry, MAX_RETRIES, MemoryStore, NewMessage, NewUser, Record};
    use crate::sys::{Clock, SeededEntropy};

    /// Tells the time that it is given.
    #[derive(Clone)]
    struct SetClock(Arc<AtomicU64>);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    const BEGUN: u64 = 1_767_323_045_678;
    const DAY: u64 = 24 * 60 * 60 * 1000;

    /// A server with two users, and its clock.
    struct TestServer {
        app: App,
        clock: SetClock,
    }

    impl TestServer {
        fn new(message_limit: &str) -> TestServer {
            let mut store = MemoryStore::new(StoreId(1));
            for name in ["ann", "bob"] {
                let name = Username::parse(name).unwrap();
                let created_at = Timestamp::from_millis(BEGUN);
                store.create_user(NewUser { name, password_hash: "-".into(), created_at }).unwrap();
            }
            let message = Limit::parse(message_limit).unwrap();
            let limits = Limits { message, ..Limits::default() };
            let settings = Settings { limits, ..Settings::default() };
            let clock = SetClock(Arc::new(AtomicU64::new(BEGUN)));
            let tokens = Tokens::new(&[7; 32], 1 << 32, StoreId(1));
            let entropy = Box::new(SeededEntropy(1));
            let app = App::new(Box::new(store), tokens, Box::new(clock.clone()), entropy, settings);
            TestServer { app, clock }
        }

        /// Ann says it: status, message id, whether it was said before.
        fn say(&mut self, key: &str, text: &str) -> (u16, u64, bool) {
            let now = Timestamp::from_millis(BEGUN);
            let authorization = self.app.logged_in_for_tests(UserId::FIRST, now);
            let body = format!("{{\"text\":\"{text}\"}}");
            let (_, outcome) = self.app.handle(&Request {
                authorization: Some(&authorization),
                idempotency_key: (!key.is_empty()).then(|| key.into()),
                body: Body::Bytes(body.as_bytes()),
                ..Request::new("POST", "/api/messages", Ipv4Addr::LOCALHOST.into())
            });
            let Outcome::Reply(reply) = outcome else { panic!("no worker is needed") };
            let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            let replayed = reply.headers.contains(&("Idempotency-Replayed", "true".into()));
            (reply.status, json["id"].as_u64().unwrap_or(u64::MAX), replayed)
        }
    }

    #[test]
    fn a_key_is_good_for_a_day() {
        let mut server = TestServer::new("off");
        assert_eq!(server.say("k", "hello"), (201, 0, false));
        server.clock.0.store(BEGUN + DAY - 1, Ordering::SeqCst);
        assert_eq!(server.say("k", "hello"), (201, 0, true));
        assert_eq!(server.say("k", "other").0, 422);
        server.clock.0.store(BEGUN + DAY, Ordering::SeqCst);
        assert_eq!(server.say("k", "other"), (201, 1, false));
        assert_eq!(server.say("k", "hello").0, 422);
    }

    #[test]
    fn so_many_keys_are_remembered_and_no_more() {
        let mut server = TestServer::new("off");
        for number in 0..=MAX_RETRIES {
            assert_eq!(server.say(&format!("k{number}"), "hello"), (201, number, false));
        }
        assert_eq!(server.say("k1", "hello"), (201, 1, true));
        assert_eq!(server.say("k0", "hello"), (201, MAX_RETRIES + 1, false), "as good as new");
        assert!(!server.say("k1", "hello").2, "it has given way");
    }

    #[test]
    fn what_is_sent_again_is_none_more() {
        let mut server = TestServer::new("2/d");
        assert_eq!(server.say("k", "hello"), (201, 0, false));
        for _ in 0..5 {
            assert_eq!(server.say("k", "hello"), (201, 0, true));
            assert_eq!(server.say("k", "other").0, 422);
            assert_eq!(server.say("two words", "other").0, 400);
        }
        assert_eq!(server.say("", "hello"), (201, 1, false));
        assert_eq!(server.say("l", "hello").0, 429);
        assert_eq!(server.say("k", "hello"), (201, 0, true), "also where no more are left");
        server.clock.0.store(BEGUN + DAY / 2, Ordering::SeqCst);
        assert_eq!(server.say("l", "other"), (201, 2, false), "what was refused is not remembered");
    }

    /// The stored hashes cannot be computed from a guess at the request.
    #[test]
    fn what_is_kept_needs_a_secret() {
        let mut server = TestServer::new("off");
        server.say("k", "hello");
        let facts = server.app.store.entries(None, usize::MAX).unwrap();
        assert_eq!(facts.len(), 2);
        let kept = serde_json::to_string(&facts).unwrap();
        let receiver = 0_u64.to_le_bytes();
        for guess in [
            Sha256::new().chain_update("k"),
            Sha256::new().chain_update("hello"),
            Sha256::new().chain_update(receiver).chain_update("hello"),
        ] {
            assert!(!kept.contains(&truncated_sha256(guess).to_string()), "{kept}");
        }
        // Nor do two keys have anything in common for the same message.
        server.say("l", "hello");
        let facts = server.app.store.entries(None, usize::MAX).unwrap();
        let prints: Vec<_> = facts
            .iter()
            .filter_map(|fact| match fact {
                Entry::KeyedRetry { value: Some(is), .. } => Some(is.fingerprint),
                _ => None,
            })
            .collect();
        assert!(matches!(prints[..], [one, other] if one != other));
    }

    /// A hash as earlier versions wrote it: it is valid for the rest of its day.
    #[test]
    fn what_was_kept_without_a_secret_is_compared_until_it_is_over() {
        let mut server = TestServer::new("off");
        assert_eq!(server.say("", "hello"), (201, 0, false));
        let receiver = 0_u64.to_le_bytes();
        let fingerprint =
            truncated_sha256(Sha256::new().chain_update(receiver).chain_update("hello"));
        let first = FirstAnswer {
            fingerprint,
            message: MessageId::FIRST,
            at: Timestamp::from_millis(BEGUN),
        };
        let of = RetryKey {
            user: UserId::FIRST,
            key: truncated_sha256(Sha256::new().chain_update("k")),
        };
        let fact = Entry::Retry { key: of, value: Some(first) };
        server.app.store.restore(Record::Entry(fact)).unwrap();
        assert_eq!(server.say("k", "hello"), (201, 0, true));
        assert_eq!(server.say("k", "other").0, 422);
        server.clock.0.store(BEGUN + DAY, Ordering::SeqCst);
        assert_eq!(server.say("k", "other"), (201, 1, false));
    }

    /// With another secret keys cannot be compared, and no message is posted twice without a
    /// refusal.
    #[test]
    fn what_was_sent_under_another_secret_is_told_by_the_message() {
        let mut server = TestServer::new("off");
        let secret = RequestKey::of(b"another secret, of before or elsewhere");
        let bob = UserId::new(2);
        for (to, text, key) in [(None, "hello", "k"), (bob, "edited", "l"), (bob, "psst", "m")] {
            let text = MessageText::parse(text.into()).unwrap();
            let request = Request {
                idempotency_key: Some(key.into()),
                ..Request::new("POST", "/api/messages", Ipv4Addr::LOCALHOST.into())
            };
            let keyed = keyed(&secret, &request, UserId::FIRST, to, &text, Timestamp::MAX)
                .unwrap()
                .unwrap();
            let sent_at = Timestamp::from_millis(BEGUN);
            let new = NewMessage { from: UserId::FIRST, to, text, sent_at };
            server.app.store.post_once(new, keyed.key).unwrap().unwrap();
        }
        for key in ["k", "l", "fresh"] {
            assert_eq!(server.say(key, "hello").0, 422, "{key}: it may have been sent");
        }
        assert_eq!(server.say("k", "something else"), (201, 3, false));
        assert_eq!(server.say("k", "something else"), (201, 3, true), "from now on it is known");
        assert_eq!(server.say("k", "psst").0, 422, "of the key that is in use now");
        assert_eq!(server.say("fresh", "psst"), (201, 4, false), "that was for somebody else");
        assert_eq!(server.say("", "hello"), (201, 5, false), "without a key it is posted");
        server.clock.0.store(BEGUN + DAY, Ordering::SeqCst);
        assert_eq!(server.say("k", "hello"), (201, 6, false), "all of it is over");
    }

    fn read(field: &str) -> Option<String> {
        key(field).map(|key| String::from_utf8(key).unwrap())
    }

    #[test]
    fn keys_are_read_with_quotes_and_without() {
        let longest = "x".repeat(MAX_KEY_LEN);
        for (field, expected) in [
            ("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("\"a,b;c=d\"", "a,b;c=d"),
            (r#""\"\\""#, r#""\"#),
            ("a=b/c+d~!", "a=b/c+d~!"),
            (" \t\"k\" ", "k"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            assert_eq!(read(field).as_deref(), Some(expected), "{field}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        let long = "x".repeat(MAX_KEY_LEN + 1);
        for field in [
            "",
            " ",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "\"a\"b",
            "\"a\"b\"",
            r#""\a""#,
            r#""a\"#,
            r#""a\""#,
            "a b",
            "\"a b\"",
            "a, b",
            "\"a\", \"b\"",
            "\"a, b\"",
            "a,b",
            "\"a\";b=1",
            "a;b",
            r"a\b",
            "\"\u{e9}\"",
            "\u{7f}",
            "\"\t\"",
            &long,
            &format!("\"{long}\""),
        ] {
            assert_eq!(read(field), None, "{field}");
        }
    }
}
