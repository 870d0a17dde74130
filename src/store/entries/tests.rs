//! The bytes and the JSON of entries, which never change.

use super::account::{AccountKey, AccountValue};
use super::block::{AccountBlockKey, ModerationValue, SenderBlockKey, SenderBlockValue};
use super::keyspaces::Entry;
use super::past_store_id::{PastStoreIdKey, PastStoreIdValue};
use super::read_mark::{ReadMarkKey, ReadMarkValue};
use super::reader::Key as _;
use super::registration::RegistrationKey;
use super::retry::{
    FirstAnswer, Hash, KeyedRetryKey, KeyedRetryValue, RetryKey, RetryOrderKey, RetryOrderValue,
};
use super::session::{SessionKey, SessionValue, StrayTokensKey, StrayTokensValue};
use crate::model::{MAX_ID, MessageId, SessionId, StoreId, Timestamp, UserId};
use crate::store::codec::DecodeError;
use crate::store::id_allocator::IdAllocator;

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn entries() -> [Entry; 5] {
    let at = Timestamp::from_millis(1_700_000_000_123);
    let (key, fingerprint) = (Hash([0xab; 16]), Hash([0x01; 16]));
    let message = MessageId::new(0x0403_0201).unwrap();
    [
        Entry::Retry {
            key: RetryKey { user: user(0x0a0b), key },
            value: Some(FirstAnswer { fingerprint, message, at }),
        },
        Entry::RetryOrder {
            key: RetryOrderKey { user: user(0x0a0b), number: 0x0102 },
            value: Some(RetryOrderValue { key, at }),
        },
        Entry::ReadMark {
            key: ReadMarkKey { user: user(0x0a0b), with: Some(user(0x0c0d)) },
            value: Some(ReadMarkValue { up_to: message, at }),
        },
        Entry::ReadMark {
            key: ReadMarkKey { user: user(0x0a0b), with: None },
            value: Some(ReadMarkValue { up_to: message, at }),
        },
        Entry::KeyedRetry {
            key: KeyedRetryKey { user: user(0x0a0b), key },
            value: Some(KeyedRetryValue { secret: Hash([0xcd; 16]), fingerprint, message, at }),
        },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The bytes on every disk out there: these literals never change.
#[test]
fn golden_retries_and_read_marks() {
    let golden = [
        (
            "010000000000000a0babababababababababababababababab",
            "01010101010101010101010101010101\
             01020304000000007b68e5cf8b010000",
        ),
        ("020000000000000a0b0000000000000102", "abababababababababababababababab7b68e5cf8b010000"),
        ("080000000000000a0b0000000000000c0d", "01020304000000007b68e5cf8b010000"),
        ("080000000000000a0b0000000000000000", "01020304000000007b68e5cf8b010000"),
        (
            "0a0000000000000a0babababababababababababababababab",
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd01010101010101010101010101010101\
             01020304000000007b68e5cf8b010000",
        ),
    ];
    for (entry, (key, value)) in entries().into_iter().zip(golden) {
        assert_eq!(hex(&entry.key_bytes()), key);
        assert_eq!(hex(&entry.value_bytes().unwrap()), value);
    }
}

#[test]
fn written_entries_are_read_and_nothing_else() {
    for entry in entries() {
        let (key, value) = (entry.key_bytes(), entry.value_bytes().unwrap());
        assert_eq!(Entry::decode(&key, &value), Ok(entry.clone()));
        assert_eq!(entry.clone().checked(), Some(entry));
        let whole = [&key[..], &value].concat();
        for len in 1..whole.len() {
            assert_eq!(Entry::decode(&whole[..len], &[]), Err(DecodeError::Malformed), "{len}");
        }
        assert_eq!(Entry::decode(&whole, &[0]), Err(DecodeError::Malformed));
        let mut nobody = whole.clone();
        nobody[1..9].fill(0);
        assert_eq!(Entry::decode(&nobody, &[]), Err(DecodeError::Malformed));
        let mut far = whole.clone();
        let millis = far.len() - 8;
        far[millis..].copy_from_slice(&(Timestamp::MAX.millis() + 1).to_le_bytes());
        assert_eq!(Entry::decode(&far, &[]), Err(DecodeError::Malformed));
        let mut unknown = whole;
        unknown[0] = 200;
        assert_eq!(Entry::decode(&unknown, &[]), Err(DecodeError::UnknownKeyspace(200)));
    }
}

#[test]
fn the_subjects_of_a_user_are_one_range_in_order() {
    let turn = |user_id, number| RetryOrderKey { user: user(user_id), number }.bytes();
    let keys =
        [turn(1, u64::MAX), turn(2, 0), turn(2, 1), turn(2, 256), turn(2, 1 << 40), turn(3, 0)];
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn entries_are_json() {
    let [retry, order, read, read_general, keyed] = entries();
    let lines = [
        r#"{"retry":{"of":{"user":2571,"key":"abababababababababababababababab"},"is":{"fingerprint":"01010101010101010101010101010101","message":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
        r#"{"retry_order":{"of":{"user":2571,"number":258},"is":{"key":"abababababababababababababababab","at":"2023-11-14T22:13:20.123Z"}}}"#,
        r#"{"read_mark":{"of":{"user":2571,"with":3085},"is":{"up_to":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
        r#"{"read_mark":{"of":{"user":2571,"with":null},"is":{"up_to":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
        r#"{"keyed_retry":{"of":{"user":2571,"key":"abababababababababababababababab"},"is":{"secret":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","fingerprint":"01010101010101010101010101010101","message":67305985,"at":"2023-11-14T22:13:20.123Z"}}}"#,
    ];
    for (entry, line) in [retry, order, read, read_general, keyed].into_iter().zip(lines) {
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        assert_eq!(serde_json::from_str::<Entry>(line).unwrap(), entry);
        for (from, to) in [("ab\"", "AB\""), ("ab\"", "a\""), ("ab\"", "g\""), ("\"of", "\"x")] {
            if !line.contains(from) {
                continue;
            }
            let other = line.replacen(from, to, 1);
            assert!(serde_json::from_str::<Entry>(&other).is_err(), "{other}");
        }
    }
    let far = lines[1].replace("2571", &(MAX_ID + 1).to_string());
    assert_eq!(serde_json::from_str::<Entry>(&far).unwrap().checked(), None);
    let nothing =
        Entry::RetryOrder { key: RetryOrderKey { user: user(1), number: 0 }, value: None };
    assert_eq!(nothing.checked(), None);
}

/// The bytes on every disk out there, and the lines of every export: these literals never
/// change.
#[test]
fn golden_sessions_and_accounts() {
    let user = UserId::new(0x0a0b).unwrap();
    let at = Timestamp::from_millis(1_700_000_000_123);
    let value = SessionValue { at, expires_at: at, user_agent: "curl".into() };
    let key = SessionKey { user, id: SessionId([0xab; 16]) };
    let hash = "$x".into();
    let account = AccountKey { user };
    for (entry, key, value, line) in [
        (
            Entry::Session { key, value: Some(value) },
            "030000000000000a0babababababababababababababababab",
            "7b68e5cf8b0100007b68e5cf8b0100006375726c",
            r#"{"session":{"of":{"user":2571,"id":"abababababababababababababababab"},"is":{"at":"2023-11-14T22:13:20.123Z","expires_at":"2023-11-14T22:13:20.123Z","user_agent":"curl"}}}"#,
        ),
        (
            Entry::Account { key: account, value: Some(AccountValue::Password { hash, at }) },
            "040000000000000a0b",
            "017b68e5cf8b0100002478",
            r#"{"account":{"of":{"user":2571},"is":{"password":{"hash":"$x","at":"2023-11-14T22:13:20.123Z"}}}}"#,
        ),
        (
            Entry::Account { key: account, value: Some(AccountValue::Ended { at }) },
            "040000000000000a0b",
            "027b68e5cf8b010000",
            r#"{"account":{"of":{"user":2571},"is":{"ended":{"at":"2023-11-14T22:13:20.123Z"}}}}"#,
        ),
        (
            Entry::StrayTokens {
                key: StrayTokensKey { user },
                value: Some(StrayTokensValue { at }),
            },
            "050000000000000a0b",
            "7b68e5cf8b010000",
            r#"{"stray_tokens":{"of":{"user":2571},"is":{"at":"2023-11-14T22:13:20.123Z"}}}"#,
        ),
    ] {
        assert_eq!(hex(&entry.key_bytes()), key);
        assert_eq!(hex(&entry.value_bytes().unwrap()), value);
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(entry.clone()));
        let value = entry.value_bytes().unwrap();
        assert_eq!(Entry::decode(&entry.key_bytes(), &value), Ok(entry.clone()));
        for len in 0..8 {
            assert!(Entry::decode(&entry.key_bytes(), &value[..len]).is_err(), "{len}");
        }
    }
}

/// The bytes on every disk out there: these literals never change.
#[test]
fn golden_blocks() {
    let at = Timestamp::from_millis(1_700_000_000_123);
    for (entry, key, value, line) in [
        (
            Entry::AccountBlock {
                key: AccountBlockKey { user: user(0x0a0b) },
                value: Some(ModerationValue { by: user(3), at }),
            },
            "060000000000000a0b",
            "03000000000000007b68e5cf8b010000",
            r#"{"account_block":{"of":{"user":2571},"is":{"by":3,"at":"2023-11-14T22:13:20.123Z"}}}"#,
        ),
        (
            Entry::SenderBlock {
                key: SenderBlockKey { by: user(3), user: user(0x0a0b) },
                value: Some(SenderBlockValue { at }),
            },
            "0700000000000000030000000000000a0b",
            "7b68e5cf8b010000",
            r#"{"sender_block":{"of":{"by":3,"user":2571},"is":{"at":"2023-11-14T22:13:20.123Z"}}}"#,
        ),
    ] {
        assert_eq!(hex(&entry.key_bytes()), key);
        assert_eq!(hex(&entry.value_bytes().unwrap()), value);
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(entry.clone()));
        let value = entry.value_bytes().unwrap();
        for len in 0..value.len() {
            assert!(Entry::decode(&entry.key_bytes(), &value[..len]).is_err(), "{len}");
        }
    }
}

/// The bytes on every disk out there: these literals never change.
#[test]
fn golden_registration() {
    let at = Timestamp::from_millis(1_700_000_000_123);
    let closed = ModerationValue { by: UserId::new(3).unwrap(), at };
    let entry = Entry::Registration { key: RegistrationKey {}, value: Some(closed) };
    let value = [3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x68, 0xe5, 0xcf, 0x8b, 1, 0, 0];
    assert_eq!((entry.key_bytes(), entry.value_bytes()), (vec![9], Some(value.to_vec())));
    let line = r#"{"registration":{"of":{},"is":{"by":3,"at":"2023-11-14T22:13:20.123Z"}}}"#;
    assert_eq!(serde_json::to_string(&entry).unwrap(), line);
    assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(entry));
}

fn next_ids(next_user: u64, next_event: u64) -> IdAllocator {
    IdAllocator { next_user, next_event }
}

fn past_store_id(reached: IdAllocator, resumed: IdAllocator) -> Entry {
    let key = PastStoreIdKey { store_id: StoreId(0x0102_0304_0506_0708) };
    Entry::PastStoreId { key, value: Some(PastStoreIdValue { reached, resumed }) }
}

/// The bytes on every disk out there: these literals never change.
#[test]
fn golden_past_store_id() {
    let entry = past_store_id(next_ids(3, 4), next_ids(0x0a0b, 0x0c0d));
    let key = [12, 1, 2, 3, 4, 5, 6, 7, 8];
    let value = [[3, 0], [4, 0], [0x0b, 0x0a], [0x0d, 0x0c]];
    let value = value.map(|[low, high]| [low, high, 0, 0, 0, 0, 0, 0]).concat();
    assert_eq!((entry.key_bytes(), entry.value_bytes()), (key.to_vec(), Some(value)));
    let line = r#"{"past_epoch":{"of":{"epoch":"0102030405060708"},"is":{"reached":{"next_user":3,"next_event":4},"resumed":{"next_user":2571,"next_event":3085}}}}"#;
    assert_eq!(serde_json::to_string(&entry).unwrap(), line);
    assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(entry));
    for (from, to) in [("0102030405060708", "0102"), ("0102030405060708", "010203040506070G")] {
        assert!(serde_json::from_str::<Entry>(&line.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn an_epoch_ends_before_the_next_one_begins() {
    let good = (next_ids(1, 0), next_ids(2, 1));
    let most = (next_ids(MAX_ID - 1, MAX_ID - 1), next_ids(MAX_ID, MAX_ID));
    for (reached, resumed) in [good, most] {
        assert!(past_store_id(reached, resumed).checked().is_some());
    }
    for (reached, resumed) in [
        (next_ids(0, 0), next_ids(2, 1)),
        (next_ids(2, 0), next_ids(2, 1)),
        (next_ids(1, 1), next_ids(2, 1)),
        (next_ids(1, 1), next_ids(2, 0)),
        (next_ids(1, 0), next_ids(MAX_ID + 1, 1)),
        (next_ids(1, 0), next_ids(2, MAX_ID + 1)),
    ] {
        assert_eq!(past_store_id(reached, resumed).checked(), None, "{reached:?} {resumed:?}");
    }
}
