//! Exports byte for byte, and files that are refused.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::*;
use crate::model::MAX_TEXT_BYTES;
use crate::model::{
    Block, Message, MessageContent, MessageText, ModerationAction, StoreId, Username,
};
use crate::store::record::Record;
use crate::store::{
    FirstAnswer, Hash, IdempotencyKey, MAX_RETRIES, MemoryStore, NewMessage, NewRevision, NewUser,
    RestoreError, RetryKey, RetryOrderKey, RetryOrderValue, StrayTokensKey, StrayTokensValue,
    import,
};

const EPOCH: StoreId = StoreId(0xfeed);
/// When exports are made.
const CUT: Timestamp = Timestamp::from_millis(1_700_000_001_000);

fn empty() -> MemoryStore {
    MemoryStore::new(EPOCH)
}

fn sample() -> MemoryStore {
    let mut store = empty();
    for name in ["ann", "Bob"] {
        let name = Username::parse(name).unwrap();
        let password_hash = "$x\"y".into();
        let created_at = Timestamp::from_millis(1_700_000_000_001);
        store.create_user(NewUser { name, password_hash, created_at }).unwrap();
    }
    for (to, text) in [(0, "hello all"), (2, "\u{1}я\n"), (1, "to myself")] {
        let from = UserId::FIRST;
        let text = MessageText::parse(text.into()).unwrap();
        let sent_at = Timestamp::from_millis(1_700_000_000_200);
        store.post(NewMessage { from, to: UserId::new(to), text, sent_at }).unwrap();
    }
    store
}

/// The sample after its general message was edited twice and its last one deleted.
fn revised() -> MemoryStore {
    let mut store = sample();
    for (id, text) in [(0, Some("hello, all")), (2, None), (0, Some("hello, all!"))] {
        let id = MessageId::new(id).unwrap();
        let seen = store.message(id).unwrap().unwrap().event();
        let text = text.map(|text| MessageText::parse(text.into()).unwrap());
        let (by, at) = (UserId::FIRST, Timestamp::from_millis(1_700_000_000_300));
        store.revise(id, seen, NewRevision { by, at, text }).unwrap().unwrap();
    }
    store
}

/// The same store, with a message that was sent under a key.
fn with_entries() -> MemoryStore {
    let mut store = revised();
    let text = MessageText::parse("once".into()).unwrap();
    let sent_at = Timestamp::from_millis(1_700_000_000_300);
    let new = NewMessage { from: UserId::FIRST, to: None, text, sent_at };
    let once = IdempotencyKey::for_tests([0xab; 16], [1; 16]);
    store.post_once(new.clone(), once).unwrap();
    store.post(new).unwrap();
    let bob = UserId::new(2).unwrap();
    for action in [ModerationAction::Block(bob), ModerationAction::CloseRegistration] {
        store.moderate(UserId::FIRST, sent_at, action).unwrap();
    }
    let block = Block { user: bob, by: UserId::FIRST, at: sent_at };
    store.refuse_sender(block, true).unwrap();
    // Nothing writes it any more, but stores have it.
    let strays = Entry::StrayTokens {
        key: StrayTokensKey { user: bob },
        value: Some(StrayTokensValue { at: sent_at }),
    };
    store.restore(Record::Entry(strays)).unwrap();
    store
}

fn exported(store: &mut dyn Backend) -> String {
    let mut bytes = Vec::new();
    export(store, &mut bytes, CUT, &mut ()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Imports the lines into an empty store, and returns the reason why they are refused.
fn refusal(lines: &[u8]) -> String {
    import(lines, None, &mut empty(), &mut ()).unwrap_err().to_string()
}

/// The number of the line that follows `bytes`.
fn line_after(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count()
}

/// Existing files have these lines, so they are readable forever.
#[test]
fn golden() {
    let expected = r#"{"veche_export":{"version":3,"epoch":"000000000000feed","purpose":"move","cut":"2023-11-14T22:13:21.000Z"}}
{"user":{"id":1,"username":"ann","password_hash":"$x\"y","created_at":"2023-11-14T22:13:20.001Z"}}
{"user":{"id":2,"username":"Bob","password_hash":"$x\"y","created_at":"2023-11-14T22:13:20.001Z"}}
{"message":{"id":0,"from_user":1,"to_user":0,"text":"","sent_at":"2023-11-14T22:13:20.200Z"}}
{"message":{"id":1,"from_user":1,"to_user":2,"text":"\u0001я\n","sent_at":"2023-11-14T22:13:20.200Z"}}
{"message":{"id":2,"from_user":1,"to_user":1,"text":"","sent_at":"2023-11-14T22:13:20.200Z"}}
{"revision":{"event":3,"message":0,"by_user":1,"at":"2023-11-14T22:13:20.300Z","text":""}}
{"revision":{"event":4,"message":2,"by_user":1,"at":"2023-11-14T22:13:20.300Z"}}
{"revision":{"event":5,"message":0,"by_user":1,"at":"2023-11-14T22:13:20.300Z","text":"hello, all!"}}
{"message":{"id":6,"from_user":1,"to_user":0,"text":"once","sent_at":"2023-11-14T22:13:20.300Z"}}
{"message":{"id":7,"from_user":1,"to_user":0,"text":"once","sent_at":"2023-11-14T22:13:20.300Z"}}
{"act":{"event":8,"by_user":1,"at":"2023-11-14T22:13:20.300Z","what":{"block":2}}}
{"act":{"event":9,"by_user":1,"at":"2023-11-14T22:13:20.300Z","what":"close_registration"}}
{"fact":{"retry_order":{"of":{"user":1,"number":0},"is":{"key":"abababababababababababababababab","at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"stray_tokens":{"of":{"user":2},"is":{"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"account_block":{"of":{"user":2},"is":{"by":1,"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"sender_block":{"of":{"by":1,"user":2},"is":{"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"registration":{"of":{},"is":{"by":1,"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"keyed_retry":{"of":{"user":1,"key":"abababababababababababababababab"},"is":{"secret":"02020202020202020202020202020202","fingerprint":"01010101010101010101010101010101","message":6,"at":"2023-11-14T22:13:20.300Z"}}}}
{"end":{"users":2,"messages":5,"revisions":3,"acts":2,"next_user":3,"next_message":10,"sha256":"dc21786f25ab97e0b50e3214ed96ae93aa3a7b51874332078cbd2b72013fa892","bytes_sha256":"4f844064ad93bf54cc833922b716eb33dc5a7b34fe327be36e13b6ef0ad49152"}}
"#;
    assert_eq!(exported(&mut with_entries()), expected);
    let summary = import(expected.as_bytes(), None, &mut empty(), &mut ()).unwrap();
    assert_eq!(
        summary.to_string(),
        "2 users, 5 messages, 3 edits and deletions, 2 moderations, sha256 dc21786f25ab97e0b50e3214ed96ae93aa3a7b51874332078cbd2b72013fa892"
    );
}

/// A file from before keys were hashed with a secret.
#[test]
fn golden_of_format_2() {
    let lines = r#"{"veche_export":{"version":2,"epoch":"000000000000feed"}}
{"user":{"id":1,"username":"ann","password_hash":"$x\"y","created_at":"2023-11-14T22:13:20.001Z"}}
{"user":{"id":2,"username":"Bob","password_hash":"$x\"y","created_at":"2023-11-14T22:13:20.001Z"}}
{"message":{"id":0,"from_user":1,"to_user":0,"text":"","sent_at":"2023-11-14T22:13:20.200Z"}}
{"message":{"id":1,"from_user":1,"to_user":2,"text":"\u0001я\n","sent_at":"2023-11-14T22:13:20.200Z"}}
{"message":{"id":2,"from_user":1,"to_user":1,"text":"","sent_at":"2023-11-14T22:13:20.200Z"}}
{"revision":{"event":3,"message":0,"by_user":1,"at":"2023-11-14T22:13:20.300Z","text":""}}
{"revision":{"event":4,"message":2,"by_user":1,"at":"2023-11-14T22:13:20.300Z"}}
{"revision":{"event":5,"message":0,"by_user":1,"at":"2023-11-14T22:13:20.300Z","text":"hello, all!"}}
{"message":{"id":6,"from_user":1,"to_user":0,"text":"once","sent_at":"2023-11-14T22:13:20.300Z"}}
{"message":{"id":7,"from_user":1,"to_user":0,"text":"once","sent_at":"2023-11-14T22:13:20.300Z"}}
{"act":{"event":8,"by_user":1,"at":"2023-11-14T22:13:20.300Z","what":{"block":2}}}
{"act":{"event":9,"by_user":1,"at":"2023-11-14T22:13:20.300Z","what":"close_registration"}}
{"fact":{"retry":{"of":{"user":1,"key":"abababababababababababababababab"},"is":{"fingerprint":"01010101010101010101010101010101","message":6,"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"retry_order":{"of":{"user":1,"number":0},"is":{"key":"abababababababababababababababab","at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"stray_tokens":{"of":{"user":2},"is":{"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"account_block":{"of":{"user":2},"is":{"by":1,"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"sender_block":{"of":{"by":1,"user":2},"is":{"at":"2023-11-14T22:13:20.300Z"}}}}
{"fact":{"registration":{"of":{},"is":{"by":1,"at":"2023-11-14T22:13:20.300Z"}}}}
{"end":{"users":2,"messages":5,"revisions":3,"acts":2,"next_user":3,"next_message":10,"sha256":"188dbbfa6c157ad1e0d5994fb68539b2d51954a228cfeee9f66a7a432c6c39d9"}}
"#;
    let mut copy = empty();
    let summary = import(lines.as_bytes(), None, &mut copy, &mut ()).unwrap();
    assert!(
        summary
            .to_string()
            .ends_with("188dbbfa6c157ad1e0d5994fb68539b2d51954a228cfeee9f66a7a432c6c39d9")
    );
    let again = exported(&mut copy);
    assert!(again.contains("{\"fact\":{\"retry\":{"), "{again}");
    let digest =
        |lines: &str| import(lines.as_bytes(), None, &mut empty(), &mut ()).unwrap().digest;
    assert_eq!(
        digest(&again),
        digest(&exported(&mut with_entries())),
        "but for the keys it is the same"
    );
}

/// A file from before there were revisions and entries.
#[test]
fn golden_of_format_1() {
    let lines = r#"{"veche_export":{"version":1,"epoch":"000000000000feed"}}
{"user":{"id":1,"username":"ann","password_hash":"$x\"y","created_at":"2023-11-14T22:13:20.001Z"}}
{"user":{"id":2,"username":"Bob","password_hash":"$x\"y","created_at":"2023-11-14T22:13:20.001Z"}}
{"message":{"id":0,"from_user":1,"to_user":0,"text":"hello all","sent_at":"2023-11-14T22:13:20.200Z"}}
{"message":{"id":1,"from_user":1,"to_user":2,"text":"\u0001я\n","sent_at":"2023-11-14T22:13:20.200Z"}}
{"message":{"id":2,"from_user":1,"to_user":1,"text":"to myself","sent_at":"2023-11-14T22:13:20.200Z"}}
{"end":{"users":2,"messages":3,"next_user":3,"next_message":3,"sha256":"423021c0b6762d03c588bdcd98003d91ea8c00480e068afcdacb993db01f4504"}}
"#;
    let mut copy = empty();
    let summary = import(lines.as_bytes(), None, &mut copy, &mut ()).unwrap();
    assert_eq!(exported(&mut copy), exported(&mut sample()));
    assert_eq!(
        summary.to_string(),
        "2 users, 3 messages, sha256 423021c0b6762d03c588bdcd98003d91ea8c00480e068afcdacb993db01f4504"
    );
}

#[test]
fn an_imported_store_is_exported_again() {
    for mut store in [empty(), sample(), revised(), with_entries()] {
        let lines = exported(&mut store);
        let mut copy = empty();
        import(lines.as_bytes(), None, &mut copy, &mut ()).unwrap();
        assert_eq!(exported(&mut copy), lines);
        assert_eq!((copy.store_id(), copy.next_ids()), (store.store_id(), store.next_ids()));
    }
}

#[test]
fn the_longest_line_is_not_too_long() {
    let mut store = sample();
    let text = MessageText::parse("\u{1}".repeat(MAX_TEXT_BYTES).into()).unwrap();
    let sent_at = Timestamp::from_millis(1);
    store.post(NewMessage { from: UserId::FIRST, to: None, text, sent_at }).unwrap();
    let lines = exported(&mut store);
    import(lines.as_bytes(), None, &mut empty(), &mut ()).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused_where_it_ends() {
    let lines = exported(&mut with_entries());
    for len in 0..lines.len() {
        let cut = &lines.as_bytes()[..len];
        let why = match cut.last() {
            None | Some(b'\n') => "the file ends before the export does",
            _ => "the line is cut short or too long",
        };
        assert_eq!(refusal(cut), format!("line {}: {why}", line_after(cut)));
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let lines = exported(&mut with_entries()).into_bytes();
    let last_line = line_after(&lines) - 1;
    for at in 0..lines.len() {
        let mut changed = lines.clone();
        changed[at] ^= 1;
        let line = line_after(&lines[..at]);
        let told: usize = refusal(&changed)
            .strip_prefix("line ")
            .and_then(|rest| rest.split_once(':')?.0.parse().ok())
            .unwrap();
        // Where it is still a record, the next one or the end no longer fits.
        assert!((line..=last_line).contains(&told), "{at} in line {line}, told {told}");
    }
}

#[test]
fn a_line_too_many_too_few_or_elsewhere_is_noticed() {
    let lines = exported(&mut with_entries());
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();
    let last = lines.len();
    for at in 0..last {
        let mut fewer = lines.clone();
        fewer.remove(at);
        assert!(refusal(fewer.concat().as_bytes()).starts_with("line "), "without {at}");
        for other in 0..last {
            let mut more = lines.clone();
            more.insert(other, lines[at]);
            assert!(refusal(more.concat().as_bytes()).starts_with("line "), "{at} at {other}");
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            if at != other {
                let why = refusal(swapped.concat().as_bytes());
                assert!(why.starts_with("line "), "{at} and {other}");
            }
        }
    }
    let longer = [&lines.concat(), "\n"].concat();
    let why = format!("line {}: something follows the end", last + 1);
    assert_eq!(refusal(longer.as_bytes()), why);
}

#[test]
fn malformed_lines_are_reported_by_number() {
    let head = r#"{"veche_export":{"version":3,"epoch":"000000000000feed","purpose":"move","cut":"2024-01-01T00:00:00.000Z"}}"#;
    let old_head = r#"{"veche_export":{"version":1,"epoch":"000000000000feed"}}"#;
    let turn = |user: &str, number: &str| {
        let value = r#"{"key":"abababababababababababababababab","at":"2023-11-14T22:13:20.000Z"}"#;
        format!(
            r#"{{"fact":{{"retry_order":{{"of":{{"user":{user},"number":{number}}},"is":{value}}}}}}}"#
        )
    };
    let user = |id: &str, name: &str| {
        let rest = r#""password_hash":"","created_at":"2023-11-14T22:13:20.000Z""#;
        format!(r#"{{"user":{{"id":{id},"username":"{name}",{rest}}}}}"#)
    };
    let message = |id: &str, from: &str, to: &str, text: &str| {
        let rest = format!(r#""text":"{text}","sent_at":"2023-11-14T22:13:20.000Z""#);
        format!(r#"{{"message":{{"id":{id},"from_user":{from},"to_user":{to},{rest}}}}}"#)
    };
    let revision = |event: &str, message: &str| {
        let rest = r#""by_user":1,"at":"2023-11-14T22:13:20.000Z""#;
        format!(r#"{{"revision":{{"event":{event},"message":{message},{rest}}}}}"#)
    };
    let action = |event: &str, what: &str| {
        let rest = format!(r#""by_user":1,"at":"2023-11-14T22:13:20.000Z","what":{what}"#);
        format!(r#"{{"act":{{"event":{event},{rest}}}}}"#)
    };
    let ann = user("1", "ann");
    let far = (crate::model::MAX_ID + 1).to_string();
    for (lines, why) in [
        (vec![&*ann], "line 1: not the beginning of an export"),
        (
            vec![r#"{"veche_export":{"version":4,"epoch":"000000000000feed","purpose":"move"}}"#],
            "line 1: format 4, but this version of veche reads 3",
        ),
        (
            vec![r#"{"veche_export":{"version":3,"epoch":"000000000000feed","purpose":"move"}}"#],
            "line 1: the time of the export is in another format",
        ),
        (vec![r#"{"veche_export":{"version":1,"epoch":"feed"}}"#], "line 1: a bad epoch"),
        (vec![&head.replace('3', "2")], "line 1: a file of this format must state its purpose"),
        (
            vec![r#"{"veche_export":{"version":3,"epoch":"000000000000feed"}}"#],
            "line 1: a file of this format must state its purpose",
        ),
        (vec![&head.replace("move", "copy")], "line 1: not a record: unknown variant"),
        (vec![head, head], "line 2: a second beginning"),
        (vec![head, ""], "line 2: not a record: "),
        (vec![head, "{}"], "line 2: not a record: "),
        (vec![head, r#"{"erasure":{"id":1}}"#], "line 2: not a record: unknown variant"),
        (vec![head, &ann, &ann], "line 3: an id is out of order"),
        (vec![head, &ann, &user("2", "ANN")], "line 3: the user's name is taken"),
        (vec![head, &user("2", "b"), &ann], "line 3: an id is out of order"),
        (vec![head, &user("0", "ann")], "line 2: not a record: "),
        (vec![head, &user(&far, "ann")], "line 2: the id is out of range"),
        (vec![head, &user("1", "a\\u001bb")], "line 2: the username holds a control character"),
        (vec![head, &ann, &message(&far, "1", "0", "x")], "line 3: the id is out of range"),
        (vec![head, &ann, &message("0", "0", "0", "x")], "line 3: not a record: "),
        (vec![head, &ann, &message("0", &far, "0", "x")], "line 3: from_user is out of range"),
        (vec![head, &ann, &message("0", "1", &far, "x")], "line 3: to_user is out of range"),
        (vec![head, &ann, &message("0", "2", "0", "x")], "line 3: the message's author does not"),
        (vec![head, &ann, &message("0", "1", "2", "x")], "line 3: the message's receiver does"),
        (
            vec![head, &ann, &message("1", "1", "0", "x"), &message("1", "1", "0", "x")],
            "line 4: an id is out of order",
        ),
        (vec![head, &ann, &revision("1", "0")], "line 3: there is no such message"),
        (vec![head, &ann, &message("0", "1", "0", "x"), &revision("0", "0")], "line 4: an id is"),
        (vec![head, &ann, &action("0", "{\"block\":0}")], "line 3: not a record: "),
        (vec![head, &ann, &action("0", "\"pardon\"")], "line 3: not a record: unknown variant"),
        (
            vec![head, &ann, &action("0", &format!("{{\"block\":{far}}}"))],
            "line 3: the user is out of range",
        ),
        (
            vec![head, &ann, &message("0", "1", "0", "x"), &action("0", "{\"block\":1}")],
            "line 4: an id is out of order",
        ),
        (vec![&old_head, &ann, &turn("1", "0")], "line 3: an entry in format 1"),
        (vec![head, &ann, &turn("1", "1"), &turn("1", "1")], "line 4: the entry is out of order"),
        (vec![head, &ann, &turn("1", "1"), &turn("1", "0")], "line 4: the entry is out of order"),
        (vec![head, &ann, &turn("2", "0")], "line 3: the entry is of a user that does not exist"),
        (
            vec![head, &ann, &action("0", "{\"block\":2}")],
            "line 3: the moderation is by or of a user that",
        ),
        (vec![head, &turn("0", "0")], "line 2: not a record: "),
        (vec![head, &turn(&far, "0")], "line 2: the entry has an impossible value"),
        (
            vec![head, r#"{"fact":{"retry_order":{"of":{"user":1,"number":0},"is":null}}}"#],
            "line 2: the entry has an impossible value",
        ),
        (vec![head, r#"{"fact":{"mood":{}}}"#], "line 2: not a record: unknown variant"),
        (vec![head, &" ".repeat(70_000)], "line 2: the line is cut short or too long"),
    ] {
        let lines = lines.join("\n") + "\n";
        let refused = refusal(lines.as_bytes());
        assert!(refused.starts_with(why), "{refused}\n{why}");
    }
}

/// Records that would break later requests, and that no server has written.
#[test]
fn records_that_no_server_wrote_are_refused_by_line() {
    const AT: &str = r#""2023-11-14T22:13:20.000Z""#;
    let hash = |parameters: &str| format!("$argon2id$v=19${parameters}$AAAAAAAAAAA$AAAAAAAA");
    let user = |id: u64, name: &str, hash: &str, at: &str| {
        format!(
            r#"{{"user":{{"id":{id},"username":"{name}","password_hash":"{hash}","created_at":{at}}}}}"#
        )
    };
    let ann = user(1, "ann", "-", AT);
    let bob = user(2, "bob", "-", AT);
    let entry = |keyspace: &str, key: &str, value: &str| {
        format!(r#"{{"fact":{{"{keyspace}":{{"of":{{{key}}},"is":{value}}}}}}}"#)
    };
    let said =
        format!(r#"{{"message":{{"id":0,"from_user":1,"to_user":0,"text":"x","sent_at":{AT}}}}}"#);
    let session = |client: &str, until: &str| {
        let key = format!(r#""user":1,"id":"{}""#, "0".repeat(32));
        entry(
            "session",
            &key,
            &format!(r#"{{"at":{AT},"expires_at":{until},"user_agent":"{client}"}}"#),
        )
    };
    let key = "0".repeat(32);
    let turn = |number: u64| {
        let value = format!(r#"{{"key":"{key}","at":{AT}}}"#);
        entry("retry_order", &format!(r#""user":1,"number":{number}"#), &value)
    };
    let ended = entry("account", r#""user":1"#, &format!(r#"{{"ended":{{"at":{AT}}}}}"#));
    let password = |hash: &str| {
        entry("account", r#""user":1"#, &format!(r#"{{"password":{{"hash":"{hash}","at":{AT}}}}}"#))
    };
    let blocked = entry("account_block", r#""user":1"#, &format!(r#"{{"by":2,"at":{AT}}}"#));
    let read = |up_to: u64| {
        let key = r#""user":1,"with":null"#;
        entry("read_mark", key, &format!(r#"{{"up_to":{up_to},"at":{AT}}}"#))
    };
    let retry = |message: u64| {
        let key = format!(r#""user":1,"key":"{key}""#);
        let value = format!(r#"{{"fingerprint":"{key}","message":{message},"at":{AT}}}"#);
        entry("retry", &key, &value)
    };
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let revision = |by: u64, text: &str| {
        let rest = format!(r#""by_user":{by},"at":{AT},"text":"{text}""#);
        format!(r#"{{"revision":{{"event":1,"message":0,{rest}}}}}"#)
    };
    let cases: Vec<(&str, Vec<String>)> = vec![
        ("memory", vec![user(1, "ann", &hash("m=19457,t=2,p=1"), AT)]),
        ("passes", vec![user(1, "ann", &hash("m=19456,t=3,p=1"), AT)]),
        ("lanes", vec![user(1, "ann", &hash("m=19456,t=2,p=2"), AT)]),
        ("a long hash", vec![user(1, "ann", &"x".repeat(257), AT)]),
        ("a hash that moves the cursor", vec![user(1, "ann", "\\u001b[2J", AT)]),
        ("a later password's memory", vec![ann.clone(), password(&hash("m=4194304,t=2,p=1"))]),
        ("no name", vec![user(1, "", "-", AT)]),
        ("a name that no record can hold", vec![user(1, &"x".repeat(256), "-", AT)]),
        ("a name that moves the cursor", vec![user(1, "\\u001b[2J", "-", AT)]),
        ("another control character", vec![user(1, "a\\u009b2J", "-", AT)]),
        ("the name of somebody who has gone", vec![user(1, "Deleted~7", "-", AT)]),
        ("a time that is cut", vec![user(1, "ann", "-", r#""2023-11-14T22:13:20.0001Z""#)]),
        ("a time of elsewhere", vec![user(1, "ann", "-", r#""2023-11-14T22:13:20.000+01:00""#)]),
        ("a time that is moved", vec![user(1, "ann", "-", r#""9999-12-30T22:00:00.500Z""#)]),
        ("a text too long", vec![ann.clone(), said.replace("\"x\"", &format!("\"{long}\""))]),
        ("a user after a message", vec![ann.clone(), said.clone(), bob.clone()]),
        ("a message after an entry", vec![ann.clone(), turn(0), said.clone()]),
        ("a revision too long", vec![ann.clone(), said.clone(), revision(1, &long)]),
        ("a revision by nobody", vec![ann.clone(), said.clone(), revision(2, "y")]),
        ("a long client", vec![ann.clone(), session(&"x".repeat(81), AT)]),
        ("a client that moves the cursor", vec![ann.clone(), session("\\u001b[2J", AT)]),
        (
            "a session that ends first",
            vec![ann.clone(), session("", r#""2023-11-14T22:13:19.000Z""#)],
        ),
        ("a session of an ended account", vec![ann.clone(), session("", AT), ended.clone()]),
        (
            "a session of a blocked account",
            vec![ann.clone(), bob.clone(), session("", AT), blocked],
        ),
        ("the last possible place", vec![ann.clone(), turn(u64::MAX)]),
        ("more keys than there can be", vec![ann.clone(), turn(0), turn(MAX_RETRIES)]),
        ("a read mark beyond all", vec![ann.clone(), said.clone(), read(1)]),
        ("a key of no message", vec![ann.clone(), said.clone(), retry(2)]),
        ("a key of the next message", vec![ann.clone(), said.clone(), retry(1)]),
        (
            "a key of another's message",
            vec![
                ann.clone(),
                bob.clone(),
                said.replace("\"from_user\":1", "\"from_user\":2"),
                retry(0),
            ],
        ),
    ];
    let head = r#"{"veche_export":{"version":2,"epoch":"000000000000feed"}}"#;
    for (what, lines) in cases {
        let number = lines.len() + 1;
        let refused = refusal(format!("{head}\n{}\n", lines.join("\n")).as_bytes());
        assert!(refused.starts_with(&format!("line {number}: ")), "{what}: {refused}");
        assert!(!refused.contains("the file ends"), "{what}: {refused}");
    }
}

/// Records from before a rule was made are accepted.
#[test]
fn records_that_newer_rules_refuse_are_imported() {
    let mut store = sample();
    for (id, name, password_hash) in [
        (3, "Анна К.", "-"),
        (4, "a name with spaces", "$argon2i$v=16$m=8,t=1,p=1$c2FsdDEyMzQ$MTIzNDU2Nzg5MDEy"),
    ] {
        store
            .restore(Record::User(User {
                id: UserId::new(id).unwrap(),
                name: Username::from_store(name),
                password_hash: password_hash.into(),
                created_at: Timestamp::from_millis(1),
                ended_at: None,
            }))
            .unwrap();
    }
    for (id, text) in [(10, " "), (11, "a\0b")] {
        store
            .restore(Record::Message(Message {
                id: MessageId::new(id).unwrap(),
                from: UserId::FIRST,
                to: UserId::new(3),
                content: MessageContent::Original(MessageText::from_store(text)),
                sent_at: Timestamp::MAX,
            }))
            .unwrap();
    }
    let lines = exported(&mut store);
    let mut copy = empty();
    import(lines.as_bytes(), None, &mut copy, &mut ()).unwrap();
    assert_eq!(exported(&mut copy), lines);
}

/// An empty text says that a later line has another.
#[test]
fn a_text_that_nothing_takes_the_place_of_is_missed() {
    let lines = exported(&mut revised());
    let (_, lines) = lines.split_once('\n').unwrap();
    let lines =
        [r#"{"veche_export":{"version":2,"epoch":"000000000000feed"}}"#, "\n", lines].concat();
    let kept = |line: &&str| !line.contains("hello, all!") && !line.starts_with("{\"end\"");
    let mut lines = lines.lines().filter(kept).fold(String::new(), |all, line| all + line + "\n");
    let next_ids = IdAllocator { next_user: 3, next_event: 6 };
    let digest = hex(with_next_ids(Sha256::new_with_prefix(&lines), next_ids));
    let _ = writeln!(
        lines,
        r#"{{"end":{{"users":2,"messages":3,"revisions":2,"next_user":3,"next_message":6,"sha256":"{digest}"}}}}"#
    );
    let refused = refusal(lines.as_bytes());
    assert_eq!(refused, "line 9: a message has no text, and nothing took its place");
}

#[test]
fn an_import_is_for_an_empty_store() {
    let lines = exported(&mut sample());
    let mut store = sample();
    let refused = import(lines.as_bytes(), None, &mut store, &mut ()).unwrap_err();
    assert!(matches!(refused, TransferError::Restore(1, RestoreError::NotEmpty)));
    assert_eq!(exported(&mut store), lines);
}

/// Keys are left out when they have expired or their account has ended, but not with their message:
/// a client that sends it again would post it again. The rest is the same store.
#[test]
fn a_store_has_one_digest_whatever_becomes_of_keys() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let at = |millis| Timestamp::from_millis(CUT.millis() + millis);
    let mut store = revised();
    let name = Username::parse("carol").unwrap();
    let new = NewUser { name, password_hash: "-".into(), created_at: CUT };
    let carol = store.create_user(new).unwrap().unwrap();
    for (user, key) in [(UserId::FIRST, 1), (UserId::FIRST, 2), (carol, 3)] {
        let text = MessageText::parse("once".into()).unwrap();
        let new = NewMessage { from: user, to: None, text, sent_at: at(u64::from(key)) };
        let once = IdempotencyKey {
            secret: Hash([9; 16]),
            ..IdempotencyKey::for_tests([key; 16], [key; 16])
        };
        store.post_once(new, once).unwrap().unwrap();
    }
    // Of a version before: the deleted message's, and the edited one's.
    let before: Vec<_> = [(7, 2), (8, 0)]
        .map(|(key, message)| {
            let (key, message) = (Hash([key; 16]), MessageId::new(message).unwrap());
            let first = FirstAnswer { fingerprint: key, message, at: CUT };
            let user = store.message(message).unwrap().unwrap().from;
            Entry::Retry { key: RetryKey { user, key }, value: Some(first) }
        })
        .into();
    for (number, entry) in (10..).zip(before) {
        let Entry::Retry { key: RetryKey { user, key }, .. } = entry else { unreachable!() };
        let turn = RetryOrderKey { user, number };
        store.restore(Record::Entry(entry)).unwrap();
        let value = Some(RetryOrderValue { key, at: CUT });
        store.restore(Record::Entry(Entry::RetryOrder { key: turn, value })).unwrap();
    }
    store.end_account(carol, "-", at(9)).unwrap();

    let export_at = |store: &mut MemoryStore, cut| {
        let mut bytes = Vec::new();
        let summary = export(store, &mut bytes, cut, &mut ()).unwrap();
        (summary.digest, String::from_utf8(bytes).unwrap())
    };
    let keys = |lines: &str| {
        let held = |key: u8| lines.contains(&Hash([key; 16]).to_string());
        (1..10).filter(|key| held(*key)).collect::<Vec<_>>()
    };
    let (digest, lines) = export_at(&mut store, at(10));
    assert_eq!(keys(&lines), [1, 2, 7, 8, 9], "the secret's name among them");
    for (cut, kept) in [(DAY, &[1, 2, 9][..]), (DAY + 1, &[2, 9]), (DAY + 2, &[])] {
        let mut copy = empty();
        let imported = import(lines.as_bytes(), None, &mut copy, &mut ()).unwrap();
        assert_eq!(imported.digest, digest);
        let (again, later) = export_at(&mut copy, at(cut));
        assert_eq!((again, &*keys(&later)), (digest.clone(), kept), "{cut}");
        import(later.as_bytes(), None, &mut empty(), &mut ()).unwrap();
    }
    // What passes is covered all the same.
    let changed = lines.replacen(&Hash([1; 16]).to_string(), &Hash([5; 16]).to_string(), 1);
    assert!(refusal(changed.as_bytes()).contains("digest"));
}
