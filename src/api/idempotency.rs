//! Messages that may be sent again: the `Idempotency-Key` field
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! The same message of the same user under the same key is answered as it was the first time, and
//! another message is refused. What is the same is decided by what was asked for, the receiver and
//! the text, and not by the bytes in which it was: a client that makes its JSON anew need not make
//! the same. Only what was posted is remembered, as what was refused has changed nothing.
//!
//! There is no 409 for a first request that is still under way (section 2.6 of the draft): none ever
//! is when another is handled. A message is posted and remembered in one call to the store, without
//! leaving the loop; what waits is its body before that, and its answer behind it. A second request
//! in the same turn finds what the first has left, and both are answered behind the turn's sync.

use sha2::{Digest, Sha256};

use super::{App, Reply, Request};
use crate::model::{MessageId, MessageText, Timestamp, UserId};
use crate::problem::{self, Problem};
use crate::store::{FirstAnswer, Hash, Once, RetryOf, StoreError};

/// Longest key, in ASCII characters.
pub const MAX_KEY_LEN: usize = 255;

/// Under which key a message is sent, if it is under one; 400 if the field is malformed.
pub(super) fn once(
    request: &Request<'_>,
    to: Option<UserId>,
    text: &MessageText,
    settled: Timestamp,
) -> Result<Option<Once>, Problem> {
    let Some(field) = &request.idempotency_key else { return Ok(None) };
    let key = key(field).ok_or_else(|| {
        let why = "the Idempotency-Key is not one string of 1 to 255 visible ASCII characters";
        Problem::new(problem::MALFORMED_IDEMPOTENCY_KEY, why)
    })?;
    let to = to.map_or(0, UserId::get);
    let fingerprint = Sha256::new().chain_update(to.to_le_bytes()).chain_update(text.as_str());
    let (key, fingerprint) = (half(Sha256::new().chain_update(key)), half(fingerprint));
    Ok(Some(Once { key, fingerprint, settled }))
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

fn half(hasher: Sha256) -> Hash {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    Hash(half)
}

impl App {
    /// What the caller has sent under the key already.
    pub(super) fn first_answer(
        &mut self,
        user: UserId,
        once: Once,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        self.store.first_answer(RetryOf { user, key: once.key }, now)
    }
}

/// Marks the answer that was given first, if it was to the same request; 422 if not.
pub(super) fn replayed(
    once: Once,
    first: FirstAnswer,
    answer: impl FnOnce(MessageId) -> Reply,
) -> Result<Reply, Problem> {
    if first.fingerprint != once.fingerprint {
        let why = "another message was sent under this Idempotency-Key";
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
    use crate::api::limits::{Limit, Limits};
    use crate::api::{Body, Outcome, Settings};
    use crate::auth::tokens::Tokens;
    use crate::model::{Epoch, Timestamp, Username};
    use crate::store::{Backend, MAX_RETRIES, MemoryStore, NewUser};
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
    struct Stage {
        app: App,
        clock: SetClock,
    }

    impl Stage {
        fn new(message_limit: &str) -> Stage {
            let mut store = MemoryStore::new(Epoch(1));
            for name in ["ann", "bob"] {
                let name = Username::parse(name).unwrap();
                let created_at = Timestamp::from_millis(BEGUN);
                store.create_user(NewUser { name, password_hash: "-".into(), created_at }).unwrap();
            }
            let message = Limit::parse(message_limit).unwrap();
            let limits = Limits { message, ..Limits::default() };
            let settings = Settings { limits, ..Settings::default() };
            let clock = SetClock(Arc::new(AtomicU64::new(BEGUN)));
            let tokens = Tokens::new(&[7; 32], 1 << 32, Epoch(1));
            let entropy = Box::new(SeededEntropy(1));
            let app = App::new(Box::new(store), tokens, Box::new(clock.clone()), entropy, settings);
            Stage { app, clock }
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
        let mut stage = Stage::new("off");
        assert_eq!(stage.say("k", "hello"), (201, 0, false));
        stage.clock.0.store(BEGUN + DAY - 1, Ordering::SeqCst);
        assert_eq!(stage.say("k", "hello"), (201, 0, true));
        assert_eq!(stage.say("k", "other").0, 422);
        stage.clock.0.store(BEGUN + DAY, Ordering::SeqCst);
        assert_eq!(stage.say("k", "other"), (201, 1, false));
        assert_eq!(stage.say("k", "hello").0, 422);
    }

    #[test]
    fn so_many_keys_are_remembered_and_no_more() {
        let mut stage = Stage::new("off");
        for number in 0..=MAX_RETRIES {
            assert_eq!(stage.say(&format!("k{number}"), "hello"), (201, number, false));
        }
        assert_eq!(stage.say("k1", "hello"), (201, 1, true));
        assert_eq!(stage.say("k0", "hello"), (201, MAX_RETRIES + 1, false), "as good as new");
        assert!(!stage.say("k1", "hello").2, "it has given way");
    }

    #[test]
    fn what_is_sent_again_is_none_more() {
        let mut stage = Stage::new("2/d");
        assert_eq!(stage.say("k", "hello"), (201, 0, false));
        for _ in 0..5 {
            assert_eq!(stage.say("k", "hello"), (201, 0, true));
            assert_eq!(stage.say("k", "other").0, 422);
            assert_eq!(stage.say("two words", "other").0, 400);
        }
        assert_eq!(stage.say("", "hello"), (201, 1, false));
        assert_eq!(stage.say("l", "hello").0, 429);
        assert_eq!(stage.say("k", "hello"), (201, 0, true), "also where no more are left");
        stage.clock.0.store(BEGUN + DAY / 2, Ordering::SeqCst);
        assert_eq!(stage.say("l", "other"), (201, 2, false), "what was refused is not remembered");
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
