//! What an export is, byte for byte, and that nothing else is taken for one.

use super::*;
use crate::model::Block;
use crate::model::MAX_TEXT_BYTES;
use crate::store::{
    Hash, MemoryStore, NewMessage, NewRevision, NewUser, Once, Refused, RestoreError,
    StrayTokensOf, import,
};

const EPOCH: Epoch = Epoch(0xfeed);

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

/// The same, with a message that was sent under a key.
fn with_facts() -> MemoryStore {
    let mut store = revised();
    let text = MessageText::parse("once".into()).unwrap();
    let sent_at = Timestamp::from_millis(1_700_000_000_300);
    let new = NewMessage { from: UserId::FIRST, to: None, text, sent_at };
    let once = Once { key: Hash([0xab; 16]), fingerprint: Hash([1; 16]), settled: Timestamp::MAX };
    store.post_once(new.clone(), once).unwrap();
    store.post(new).unwrap();
    let bob = UserId::new(2).unwrap();
    for act in [Act::Block(bob), Act::CloseRegistration] {
        store.act(UserId::FIRST, sent_at, act).unwrap();
    }
    let block = Block { user: bob, by: UserId::FIRST, at: sent_at };
    store.refuse_sender(block, true).unwrap();
    // Nothing writes it any more, but stores have it.
    let strays =
        Fact::StrayTokens { of: StrayTokensOf { user: bob }, is: Some(Refused { at: sent_at }) };
    store.restore(Restored::Fact(strays)).unwrap();
    store
}

fn exported(store: &mut dyn Backend) -> String {
    let mut bytes = Vec::new();
    export(store, &mut bytes, &mut ()).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Why the lines are no export, and that a store is none the better for them.
fn refusal(lines: &[u8]) -> String {
    import(lines, None, &mut empty(), &mut ()).unwrap_err().to_string()
}

/// The number of the line that goes on behind `bytes`.
fn line_behind(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count()
}

/// In files out there: what is here is read for ever.
#[test]
fn golden() {
    let expected = r#"{"veche_export":{"version":2,"epoch":"000000000000feed"}}
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
    assert_eq!(exported(&mut with_facts()), expected);
    let summary = import(expected.as_bytes(), None, &mut empty(), &mut ()).unwrap();
    assert_eq!(
        summary.to_string(),
        "2 users, 5 messages, 3 edits and deletions, 2 acts of operators, sha256 188dbbfa6c157ad1e0d5994fb68539b2d51954a228cfeee9f66a7a432c6c39d9"
    );
}

/// What was written before there were revisions and facts.
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
fn what_is_imported_is_exported_again() {
    for mut store in [empty(), sample(), revised(), with_facts()] {
        let lines = exported(&mut store);
        let mut copy = empty();
        import(lines.as_bytes(), None, &mut copy, &mut ()).unwrap();
        assert_eq!(exported(&mut copy), lines);
        assert_eq!((copy.epoch(), copy.counters()), (store.epoch(), store.counters()));
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
    let lines = exported(&mut with_facts());
    for len in 0..lines.len() {
        let cut = &lines.as_bytes()[..len];
        let why = match cut.last() {
            None | Some(b'\n') => "the file ends before the export does",
            _ => "the line is cut short or too long",
        };
        assert_eq!(refusal(cut), format!("line {}: {why}", line_behind(cut)));
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let lines = exported(&mut with_facts()).into_bytes();
    let last_line = line_behind(&lines) - 1;
    for at in 0..lines.len() {
        let mut changed = lines.clone();
        changed[at] ^= 1;
        let line = line_behind(&lines[..at]);
        let told: usize = refusal(&changed)
            .strip_prefix("line ")
            .and_then(|rest| rest.split_once(':')?.0.parse().ok())
            .unwrap();
        // Where it is still a record, the one behind it or the end no longer fits.
        assert!((line..=last_line).contains(&told), "{at} in line {line}, told {told}");
    }
}

#[test]
fn a_line_too_many_too_few_or_elsewhere_is_noticed() {
    let lines = exported(&mut with_facts());
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
    let behind = [&lines.concat(), "\n"].concat();
    let why = format!("line {}: something follows the end", last + 1);
    assert_eq!(refusal(behind.as_bytes()), why);
}

#[test]
fn lines_that_are_no_records_are_told_by_number() {
    let head = r#"{"veche_export":{"version":2,"epoch":"000000000000feed"}}"#;
    let old_head = head.replace('2', "1");
    let turn = |user: &str, number: &str| {
        let is = r#"{"key":"abababababababababababababababab","at":"2023-11-14T22:13:20.000Z"}"#;
        format!(
            r#"{{"fact":{{"retry_order":{{"of":{{"user":{user},"number":{number}}},"is":{is}}}}}}}"#
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
    let revision = |event: &str, of: &str| {
        let rest = r#""by_user":1,"at":"2023-11-14T22:13:20.000Z""#;
        format!(r#"{{"revision":{{"event":{event},"message":{of},{rest}}}}}"#)
    };
    let act = |event: &str, what: &str| {
        let rest = format!(r#""by_user":1,"at":"2023-11-14T22:13:20.000Z","what":{what}"#);
        format!(r#"{{"act":{{"event":{event},{rest}}}}}"#)
    };
    let ann = user("1", "ann");
    let far = (crate::model::MAX_ID + 1).to_string();
    for (lines, why) in [
        (vec![&*ann], "line 1: not the beginning of an export"),
        (
            vec![r#"{"veche_export":{"version":3,"epoch":"000000000000feed"}}"#],
            "line 1: format 3, but this version of veche reads 2",
        ),
        (vec![r#"{"veche_export":{"version":1,"epoch":"feed"}}"#], "line 1: a bad epoch"),
        (vec![head, head], "line 2: a second beginning"),
        (vec![head, ""], "line 2: not a record: "),
        (vec![head, "{}"], "line 2: not a record: "),
        (vec![head, r#"{"erasure":{"id":1}}"#], "line 2: not a record: unknown variant"),
        (vec![head, &ann, &ann], "line 3: the name of user 1 is taken"),
        (vec![head, &ann, &user("2", "ANN")], "line 3: the name of user 2 is taken"),
        (vec![head, &user("2", "b"), &ann], "line 3: user 1 is out of order"),
        (vec![head, &user("0", "ann")], "line 2: not a record: "),
        (vec![head, &user(&far, "ann")], "line 2: the id is out of range"),
        (vec![head, &user("1", "a b")], "line 2: the username may only hold"),
        (vec![head, &ann, &message(&far, "1", "0", "x")], "line 3: the id is out of range"),
        (vec![head, &ann, &message("0", "0", "0", "x")], "line 3: not a record: "),
        (vec![head, &ann, &message("0", &far, "0", "x")], "line 3: from_user is out of range"),
        (vec![head, &ann, &message("0", "1", &far, "x")], "line 3: to_user is out of range"),
        (vec![head, &ann, &message("0", "1", "0", " ")], "line 3: the text must not be blank"),
        (
            vec![head, &message("1", "1", "0", "x"), &message("1", "1", "0", "x")],
            "line 3: message 1 is out of order",
        ),
        (vec![head, &ann, &revision("1", "0")], "line 3: there is no such message"),
        (vec![head, &ann, &message("0", "1", "0", "x"), &revision("0", "0")], "line 4: event 0 is"),
        (vec![head, &ann, &act("0", "{\"block\":0}")], "line 3: not a record: "),
        (vec![head, &ann, &act("0", "\"pardon\"")], "line 3: not a record: unknown variant"),
        (
            vec![head, &ann, &act("0", &format!("{{\"block\":{far}}}"))],
            "line 3: the user is out of range",
        ),
        (
            vec![head, &ann, &message("0", "1", "0", "x"), &act("0", "{\"block\":1}")],
            "line 4: event 0 is out of order",
        ),
        (vec![&old_head, &turn("1", "0")], "line 2: a fact in format 1"),
        (vec![head, &ann, &turn("1", "1"), &turn("1", "1")], "line 4: the fact is out of order"),
        (vec![head, &ann, &turn("1", "1"), &turn("1", "0")], "line 4: the fact is out of order"),
        (vec![head, &ann, &turn("2", "0")], "line 3: there is no user 2"),
        (vec![head, &ann, &act("0", "{\"block\":2}")], "line 3: there is no user 2"),
        (vec![head, &turn("0", "0")], "line 2: not a record: "),
        (vec![head, &turn(&far, "0")], "line 2: the fact says what cannot be so"),
        (
            vec![head, r#"{"fact":{"retry_order":{"of":{"user":1,"number":0},"is":null}}}"#],
            "line 2: the fact says what cannot be so",
        ),
        (vec![head, r#"{"fact":{"mood":{}}}"#], "line 2: not a record: unknown variant"),
        (vec![head, &" ".repeat(70_000)], "line 2: the line is cut short or too long"),
    ] {
        let lines = lines.join("\n") + "\n";
        let refused = refusal(lines.as_bytes());
        assert!(refused.starts_with(why), "{refused}\n{why}");
    }
}

/// An empty text says that a later line has another.
#[test]
fn a_text_that_nothing_takes_the_place_of_is_missed() {
    let lines = exported(&mut revised());
    let kept = |line: &&str| !line.contains("hello, all!") && !line.starts_with("{\"end\"");
    let mut lines = lines.lines().filter(kept).fold(String::new(), |all, line| all + line + "\n");
    let counters = Counters { next_user: 3, next_event: 6 };
    let digest = hex(with_counters(Sha256::new_with_prefix(&lines), counters));
    let _ = writeln!(
        lines,
        r#"{{"end":{{"users":2,"messages":3,"revisions":2,"next_user":3,"next_message":6,"sha256":"{digest}"}}}}"#
    );
    let refused = refusal(lines.as_bytes());
    assert_eq!(refused, "line 9: message 0 has no text, and nothing took its place");
}

#[test]
fn an_import_is_for_an_empty_store() {
    let lines = exported(&mut sample());
    let mut store = sample();
    let refused = import(lines.as_bytes(), None, &mut store, &mut ()).unwrap_err();
    assert!(matches!(refused, TransferError::Restore(1, RestoreError::NotEmpty)));
    assert_eq!(exported(&mut store), lines);
}
