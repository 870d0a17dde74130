//! A real process, killed by a signal.
//!
//! The restarts of the other cases copy files out from under a living store, which is quick and
//! close to the effect of a kill. This is the kill itself.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use veche::model::{Cursor, Mailbox, MessageId, Window};
use veche::store::{Backend, LogStore, NewMessage, RetryKey};

use crate::pair::{message_id, new_message, new_user, user_id};
use crate::retries::{key, once};
use crate::seed::Random;
use crate::subject::EPOCH;

/// The variable that names the directory of the store in the process to be killed.
const DIR: &str = "VECHE_TEST_KILL_DIR";
const ACKNOWLEDGED: &str = "acknowledged ";
const USERS: u64 = 4;
const KILLS: usize = 12;

/// The message with this id: every survivor can be checked without a record of what the killed
/// process did.
fn message(id: u64) -> NewMessage {
    let len = usize::try_from(id * 31 % 700).unwrap();
    new_message(1 + id % USERS, id % (USERS + 1), &format!("{id} {}", "x".repeat(len)))
}

/// Returns whether the message is sent under a key, which is its id.
fn has_key(id: u64) -> bool {
    id.is_multiple_of(3)
}

/// Not a test by itself, but the process that the test below starts: it posts until it is killed,
/// and after each sync prints up to which id.
#[test]
fn child() {
    let Ok(dir) = env::var(DIR) else { return };
    let mut store = LogStore::open(Path::new(&dir), EPOCH, &mut ()).unwrap();
    let mut random = Random::new(store.next_ids().next_event);
    for id in store.next_ids().next_user..=USERS {
        assert_eq!(store.create_user(new_user(&format!("u{id}"))).unwrap(), Some(user_id(id)));
    }
    loop {
        for _ in 0..=random.low_below(40) {
            let next = store.next_ids().next_event;
            if has_key(next) {
                store.post_once(message(next), once(next)).unwrap();
            } else {
                assert_eq!(store.post(message(next)).unwrap(), Some(message_id(next)));
            }
        }
        store.sync().unwrap();
        println!("{ACKNOWLEDGED}{}", store.next_ids().next_event);
    }
}

#[test]
fn everything_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(41);
    for _ in 0..KILLS {
        let enough = 1 + random.low_below(150);
        let acknowledged = run_and_kill(dir.path(), enough);
        let store = LogStore::open(dir.path(), EPOCH, &mut ()).unwrap();
        let next = store.next_ids().next_event;
        assert!(next >= acknowledged, "{acknowledged} were acknowledged, {next} are there");
        let all = store.history(MessageId::FIRST.into(), usize::MAX).unwrap();
        assert_eq!(all.len() as u64, next);
        for (event, id) in all.iter().zip(0..) {
            let found = event.message().unwrap();
            let expected = message(id);
            assert_eq!((found.id.get(), found.from, found.to), (id, expected.from, expected.to));
            assert_eq!(found.text(), expected.text.as_str());
        }
        for id in next.saturating_sub(500)..next + 10 {
            let of = RetryKey { user: message(id).from, key: key(id) };
            let first = store.first_answer(of, message(id).sent_at).unwrap();
            let expected = (id < next && has_key(id)).then_some(id);
            assert_eq!(first.map(|first| first.message.get()), expected);
        }
        let general: Vec<u64> = (0..next).filter(|id| message(*id).to.is_none()).collect();
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let window = Window { cursor: Cursor::From(from), limit: 1000 };
            let page = store.messages(Mailbox::General, window).unwrap();
            let Some(last) = page.items.last() else { break };
            from = last.id.get() + 1;
            found.extend(page.items.iter().map(|message| message.id.get()));
        }
        assert_eq!(found, general);
    }
}

/// Starts the process above, kills it when it has acknowledged `enough` syncs, and returns the
/// number of messages acknowledged by then.
fn run_and_kill(dir: &Path, enough: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = 0;
    let mut syncs = 0;
    for line in lines {
        if let Some((_, next)) = line.unwrap().split_once(ACKNOWLEDGED) {
            acknowledged = next.parse().unwrap();
            syncs += 1;
        }
        if syncs == enough {
            break;
        }
    }
    assert_eq!(syncs, enough, "the process ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged
}
