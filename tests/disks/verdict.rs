//! Checks that a store has everything promised, and nothing that was never sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use veche::model::{Cursor, Mailbox, Message, MessageId, StoreId, UserId, Window};
use veche::store::{Backend, LogStore, NewMessage, StoreError};

use crate::clients::Ledger;

/// An acknowledgement to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// There is a message with this id.
    Message(u64),
    /// There is an account with this id.
    User(u64),
    /// A token signed with the secret.
    Token,
}

/// The acknowledgements in the bytes of a reply.
pub(crate) fn told_by(reply: &[u8]) -> Vec<Told> {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let field = |name| head.lines().find_map(|line| line.strip_prefix(name));
    if head.starts_with("HTTP/1.1 201") {
        let location = field("Location: ").expect("what was created has a place");
        let (kind, id) = location.rsplit_once('/').expect("a path");
        let id = id.parse().expect("an id");
        vec![if kind.ends_with("users") { Told::User(id) } else { Told::Message(id) }]
    } else if body.starts_with("{\"token\"") {
        vec![Told::Token]
    } else if let Ok(serde_json::Value::Array(items)) = serde_json::from_str(body) {
        let messages = items.iter().filter(|item| item.get("from_user").is_some());
        messages.filter_map(|item| item["id"].as_u64()).map(Told::Message).collect()
    } else {
        Vec::new()
    }
}

/// Opens the store in `dir` and checks all of it.
pub(crate) fn judge(
    dir: &Path,
    told: &[Told],
    secret: &[u8],
    ledger: &Ledger,
) -> Result<Vec<Message>, String> {
    if told.contains(&Told::Token) {
        let kept = fs::read(dir.join("jwt-secret")).unwrap_or_default();
        if kept != secret {
            return Err("the secret of tokens is lost".to_owned());
        }
    }
    let mut store = open(dir)?;
    inspect(&mut store, told, ledger).map_err(|error| match error {
        Wrong::Is(what) => what,
        Wrong::Store(error) => format!("cannot be read: {error}"),
    })
}

/// Opens the store in `dir`, posts something, and expects it and all of `before` at the next
/// opening.
pub(crate) fn go_on(dir: &Path, before: Vec<Message>) -> Result<(), String> {
    let mut store = open(dir)?;
    let from = UserId::FIRST;
    if store.user(from).map_err(|e| e.to_string())?.is_none() {
        return Ok(());
    }
    let (text, sent_at) = ("and on it goes", veche::model::Timestamp::from_millis(1));
    let text = veche::model::MessageText::parse(text.into()).expect("a text");
    let posted = store.post(NewMessage { from, to: None, text, sent_at });
    let id = posted.and_then(|id| store.sync().map(|()| id)).map_err(|e| e.to_string())?;
    let mut expected: Vec<MessageId> = before.into_iter().map(|message| message.id).collect();
    expected.extend(id);
    drop(store);
    let store = open(dir)?;
    let found = store.history(MessageId::FIRST.into(), usize::MAX).map_err(|e| e.to_string())?;
    let found: Vec<MessageId> =
        found.iter().filter_map(veche::model::Event::message).map(|message| message.id).collect();
    if found == expected { Ok(()) } else { Err(format!("{found:?} after {expected:?}")) }
}

fn open(dir: &Path) -> Result<LogStore, String> {
    LogStore::open(dir, StoreId(7), &mut ()).map_err(|e| format!("does not open: {e}"))
}

enum Wrong {
    Is(String),
    Store(StoreError),
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Wrong::Store(error)
    }
}

/// Checks everything in a store, found in each way there is, against what was told and sent.
fn inspect(store: &mut LogStore, told: &[Told], ledger: &Ledger) -> Result<Vec<Message>, Wrong> {
    let wrong = |what: String| Err(Wrong::Is(what));
    let all: Vec<Message> = store
        .history(MessageId::FIRST.into(), usize::MAX)?
        .into_iter()
        .filter_map(|event| event.message().cloned())
        .collect();
    if !all.is_sorted_by_key(|message| message.id) {
        return wrong("messages are out of order".to_owned());
    }
    let found: BTreeMap<u64, &Message> =
        all.iter().map(|message| (message.id.get(), message)).collect();
    let texts: BTreeSet<&str> = all.iter().map(Message::text).collect();
    if texts.len() != found.len() || found.len() != all.len() {
        return wrong("a message is there twice".to_owned());
    }
    for (id, message) in &found {
        let text = message.text();
        let to = message.to.map(UserId::get);
        if ledger.sent.get(text) != Some(&to) {
            return wrong(format!("message {id} was never sent: {message:?}"));
        }
        if ledger.messages.get(id).is_some_and(|sent| sent != text) {
            return wrong(format!("message {id} is another one: {message:?}"));
        }
    }
    let counters = store.next_ids();
    for what in told {
        match what {
            Told::Message(id) if !found.contains_key(id) => {
                return wrong(format!("message {id} was told and is gone"));
            }
            Told::Message(id) if *id >= counters.next_event => {
                return wrong(format!("the id {id} would be given again"));
            }
            Told::User(id) => {
                let user =
                    UserId::new(*id).and_then(|id| store.user(id).transpose()).transpose()?;
                let Some(name) = user.map(|user| user.name.clone()) else {
                    return wrong(format!("user {id} was told and is gone"));
                };
                if ledger.users.get(id).is_some_and(|known| known != name.as_str()) {
                    return wrong(format!("user {id} has another name: {name:?}"));
                }
                if store.user_named(&name)?.is_none_or(|user| user.id.get() != *id) {
                    return wrong(format!("the name of user {id} does not lead there"));
                }
                if *id >= counters.next_user {
                    return wrong(format!("the id {id} would be given again"));
                }
            }
            Told::Message(_) | Told::Token => {}
        }
    }
    let window = Window { cursor: Cursor::From(0), limit: 1_000_000 };
    for user in store.users(window)?.items {
        if !ledger.names.contains(user.name.as_str()) {
            return Err(Wrong::Is(format!("{:?} never registered", user.name)));
        }
    }
    let users = (1..counters.next_user).filter_map(UserId::new);
    for mailbox in users.map(Mailbox::Private).chain([Mailbox::General]) {
        let page = store.messages(mailbox, window)?.items;
        let listed: Vec<u64> = page.iter().map(|message| message.id.get()).collect();
        let expected: Vec<u64> = all
            .iter()
            .filter(|it| Mailbox::of(it.from, it.to).any(|its| its == mailbox))
            .map(|message| message.id.get())
            .collect();
        if listed != expected {
            return wrong(format!("{mailbox:?} holds {listed:?} instead of {expected:?}"));
        }
    }
    Ok(all)
}
