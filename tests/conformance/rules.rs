//! Ids, names, and what is refused.

use veche::model::{
    Cursor, EventId, EventKind, MAX_ID, MAX_SESSIONS, MAX_TEXT_BYTES, Mailbox, Message,
    MessageChange, MessageId, ModerationAction, ModerationEvent, Page, SessionId, StoreId,
    Timestamp, Window,
};
use veche::store::{
    AccountBlockKey, AccountKey, AccountValue, Entry, FirstAnswer, Hash, IdAllocator,
    ModerationValue, NewMessage, NewUser, ReadMarkKey, ReadMarkValue, Record, RegistrationKey,
    RestoreError, RetryKey, RetryOrderKey, SenderBlockKey, SessionKey, SessionValue, StoreError,
    StrayTokensKey,
};

use crate::pair::{
    Pair, event_id, message_id, name, new_message, new_revision, new_user, restored_message,
    restored_user, user_id,
};
use crate::subject::{EPOCH, Subject};

const NEWEST: Window = Window { cursor: Cursor::Newest, limit: 100 };

/// Users count from 1, messages from 0, and a refused write takes no number.
pub(crate) fn ids_ascend_without_gaps<S: Subject>() {
    let mut subject = S::begin();
    let store = subject.store();
    assert_eq!(store.next_ids(), IdAllocator { next_user: 1, next_event: 0 });
    for next in 1..=5 {
        let id = store.create_user(new_user(&format!("user{next}"))).unwrap();
        assert_eq!(id, Some(user_id(next)));
        assert_eq!(store.create_user(new_user("USER1")).unwrap(), None);
    }
    for next in 0..20 {
        let to = next % 3;
        let id = store.post(new_message(1, to, "hello")).unwrap();
        assert_eq!(id, Some(message_id(next)), "one sequence for all mailboxes");
        assert_eq!(store.post(new_message(1, 6, "hello")).unwrap(), None);
        assert_eq!(store.next_ids(), IdAllocator { next_user: 6, next_event: next + 1 });
        store.sync().unwrap();
    }
}

pub(crate) fn names_are_unique_whatever_their_case<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    assert_eq!(pair.create_user("Al.ice"), Some(user_id(1)));
    for taken in ["Al.ice", "al.ice", "AL.ICE"] {
        assert_eq!(pair.create_user(taken), None, "{taken}");
        pair.sync();
        let found = pair.store().user_named(&name(taken)).unwrap().unwrap().into_owned();
        assert_eq!((found.id, found.name.as_str()), (user_id(1), "Al.ice"));
    }
    for free in ["Al.ic", "Al.icee", "Al-ice", "l.ice"] {
        assert_eq!(pair.store().user_named(&name(free)).unwrap(), None, "{free}");
        assert!(pair.create_user(free).is_some(), "{free}");
    }
    pair.expect_all();
}

pub(crate) fn a_message_to_nobody_is_refused<S: Subject>() {
    let mut pair = Pair::<S>::with_users(2);
    for nobody in [3, 4, MAX_ID] {
        assert_eq!(pair.post(new_message(1, nobody, "anybody there?")), None);
    }
    pair.sync();
    pair.expect_all();
    let window = Window { cursor: Cursor::Newest, limit: 1 };
    for mailbox in [Mailbox::Private(user_id(3)), Mailbox::between(user_id(1), user_id(3))] {
        pair.reference.expect_messages(pair.subject.store(), mailbox, window);
    }
}

pub(crate) fn writes_are_read_before_the_sync<S: Subject>() {
    let mut subject = S::begin();
    let store = subject.store();
    store.create_user(new_user("ann")).unwrap();
    store.create_user(new_user("bob")).unwrap();
    assert_eq!(store.user(user_id(2)).unwrap().unwrap().name, name("bob"));
    assert_eq!(store.user_named(&name("bob")).unwrap().unwrap().id, user_id(2));
    assert_eq!(store.users(NEWEST).unwrap().items.len(), 2);
    for (id, to) in [(0, 0), (1, 2)] {
        store.post(new_message(1, to, "here")).unwrap();
        assert_eq!(store.message(message_id(id)).unwrap().unwrap().id, message_id(id));
    }
    for mailbox in [
        Mailbox::General,
        Mailbox::Private(user_id(1)),
        Mailbox::Private(user_id(2)),
        Mailbox::between(user_id(2), user_id(1)),
    ] {
        let page = store.messages(mailbox, NEWEST).unwrap();
        assert_eq!((page.items.len(), page.older), (1, false), "{mailbox:?}");
    }
    assert_eq!(store.history(event_id(0), 10).unwrap().len(), 2);
    // A sync of nothing counts as well.
    store.sync().unwrap();
    store.sync().unwrap();
    assert_eq!(store.history(event_id(0), 10).unwrap().len(), 2);
}

pub(crate) fn every_value_comes_back_as_it_was_given<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    for (user, hash, at) in [
        ("a", "", 0),
        ("0123456789_.-ABCDEFGHIJKLMNOPQRS", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", 1),
        ("Z", &*"long ".repeat(200), u64::MAX),
    ] {
        let created_at = Timestamp::from_millis(at);
        let new = NewUser { name: name(user), password_hash: hash.into(), created_at };
        let id = pair.store().create_user(new.clone()).unwrap();
        assert_eq!(id, pair.reference.create_user(new));
    }
    for text in [
        "x".to_owned(),
        " \t\u{1}\u{7f}\u{feff}\r\n\"\\/".to_owned(),
        "\u{10ffff}я".to_owned(),
        "я".repeat(MAX_TEXT_BYTES / 2),
        "VECHELOG".repeat(MAX_TEXT_BYTES / 8),
    ] {
        for (to, at) in [(0, 0), (2, u64::MAX)] {
            let sent_at = Timestamp::from_millis(at);
            pair.post(NewMessage { sent_at, ..new_message(3, to, &text) });
        }
    }
    pair.expect_all();
    pair.sync();
    pair.expect_all();
}

pub(crate) fn missing_items_are_not_found<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    for users in 0..3 {
        for id in [users + 1, users + 2, 1000, MAX_ID] {
            assert_eq!(pair.store().user(user_id(id)).unwrap(), None);
        }
        for id in [users, users + 1, 1000, MAX_ID] {
            assert_eq!(pair.store().message(message_id(id)).unwrap(), None);
            assert!(pair.store().history(event_id(id), 10).unwrap().is_empty());
        }
        assert_eq!(pair.store().user_named(&name("nobody")).unwrap(), None);
        assert!(pair.create_user(&format!("u{users}")).is_some());
        assert!(pair.post(new_message(1, 0, "hello")).is_some());
        pair.sync();
    }
}

pub(crate) fn history_is_every_message_in_order<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    for id in 0..30 {
        pair.post(new_message(1 + id % 3, id % 4, &id.to_string()));
        if id == 20 {
            pair.sync();
        }
    }
    for from in 0..32 {
        for limit in [0, 1, 2, 10, 30, 31, 1000] {
            pair.reference.expect_history(pair.subject.store(), event_id(from), limit);
        }
        let message = pair.subject.store().message(message_id(from)).unwrap();
        assert_eq!(message.as_deref(), pair.reference.message(message_id(from)));
    }
}

/// The rule itself, spelled out.
pub(crate) fn a_revision_is_an_event_of_its_own<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    pair.post(new_message(1, 0, "first"));
    pair.post(new_message(1, 2, "private"));
    assert_eq!(pair.revise(0, Some("edited")), EventId::new(2));
    assert_eq!(pair.revise(1, None), EventId::new(3));
    assert_eq!(pair.post(new_message(3, 0, "next")), MessageId::new(4));
    assert_eq!(pair.revise(9, None), None, "there is no such message");
    assert_eq!(pair.revise(2, None), None, "an event is no message");
    assert_eq!(pair.revise_seen(0, event_id(0), new_revision(1, None)), None, "edited meanwhile");
    assert_eq!(pair.revise_seen(0, event_id(3), new_revision(1, None)), None, "another's event");

    let store = pair.store();
    let shown = store.message(message_id(0)).unwrap().unwrap();
    assert_eq!((shown.text(), shown.event()), ("edited", event_id(2)));
    assert_eq!((shown.from, shown.sent_at), (user_id(1), new_message(1, 0, "first").sent_at));
    let listed = store.messages(Mailbox::between(user_id(1), user_id(2)), NEWEST).unwrap().items;
    assert_eq!((listed[0].text(), listed[0].revision().unwrap().text.as_ref()), ("", None));

    let seen_by = |reader, window| {
        let Page { items, older } = store.events(user_id(reader), window).unwrap();
        let ids: Vec<u64> = items.iter().map(|event| event.id.get()).collect();
        (ids, older)
    };
    assert_eq!(seen_by(1, NEWEST), (vec![0, 1, 2, 3, 4], false));
    assert_eq!(seen_by(2, NEWEST), (vec![0, 1, 2, 3, 4], false));
    assert_eq!(seen_by(3, NEWEST), (vec![0, 2, 4], false));
    assert_eq!(seen_by(1, Window { cursor: Cursor::From(1), limit: 3 }), (vec![1, 2, 3], true));
    assert_eq!(seen_by(3, Window { cursor: Cursor::Before(4), limit: 1 }), (vec![2], true));
    let Page { items, .. } = store.events(user_id(1), NEWEST).unwrap();
    let changes = items.iter().map(|event| match event.what {
        EventKind::Message(change, _) => Some(change),
        EventKind::Moderation(_) => None,
    });
    assert_eq!(
        changes.collect::<Vec<_>>(),
        [
            MessageChange::Created,
            MessageChange::Created,
            MessageChange::Edited,
            MessageChange::Deleted,
            MessageChange::Created
        ]
        .map(Some)
    );
    let text = items[0].message().map(Message::text);
    assert_eq!(text, Some("edited"), "events show what is now");
    pair.expect_all();
    pair.sync();
    pair.expect_all();
}

/// A message that is revised more often than a store keeps in memory.
pub(crate) fn revisions_that_are_buried_are_found<S: Subject>() {
    let mut pair = Pair::<S>::with_users(3);
    for to in [0, 2, 3, 1] {
        pair.post(new_message(1, to, "to be changed"));
    }
    pair.revise(1, None);
    for round in 0..20_000_u64 {
        pair.revise(round % 4 / 3 * 3, Some(&format!("round {round}")));
        if round % 500 == 0 {
            pair.sync();
        }
    }
    pair.sync();
    let next = pair.reference.next_ids().next_event;
    let near = |at: u64| at.saturating_sub(3)..at + 3;
    for at in
        near(0).chain(near(6)).chain(near(3000)).chain(near(next - 16 * 1024)).chain(near(next))
    {
        for cursor in [Cursor::From(at), Cursor::Before(at), Cursor::Newest] {
            for limit in [1, 2, 50] {
                let window = Window { cursor, limit };
                for reader in 1..=3 {
                    pair.reference.expect_events(pair.subject.store(), user_id(reader), window);
                }
            }
        }
        pair.reference.expect_history(pair.subject.store(), event_id(at), 40);
    }
    pair.expect_every_window(&[Mailbox::General, Mailbox::Private(user_id(2))], 5);
    pair.expect_all();
}

pub(crate) fn an_identity_is_adopted_only_while_empty<S: Subject>() {
    let mut subject = S::begin();
    let store = subject.store();
    assert_eq!(store.store_id(), EPOCH);
    for epoch in [StoreId(5), StoreId(6)] {
        store.adopt(epoch).unwrap();
        assert_eq!(store.store_id(), epoch);
        store.sync().unwrap();
    }
    store.create_user(new_user("ann")).unwrap();
    for _ in 0..2 {
        let refused = store.adopt(StoreId(7));
        assert!(matches!(refused, Err(RestoreError::NotEmpty)), "{refused:?}");
        assert_eq!(store.store_id(), StoreId(6));
        assert_eq!(store.users(NEWEST).unwrap().items.len(), 1);
        store.sync().unwrap();
    }

    // A store whose counters have moved is not empty either.
    let mut subject = S::begin();
    let counters = IdAllocator { next_user: 1, next_event: 1 };
    subject.store().restore(Record::NextIds(counters)).unwrap();
    let refused = subject.store().adopt(StoreId(7));
    assert!(matches!(refused, Err(RestoreError::NotEmpty)), "{refused:?}");
}

pub(crate) fn restored_records_keep_their_ids<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    for record in [
        restored_user(2, "two"),
        restored_user(3, "three"),
        restored_message(10, 3, 0),
        restored_user(7, "seven"),
        restored_message(11, 3, 7),
        restored_message(20, 7, 7),
    ] {
        pair.restore(record);
        pair.expect_all();
    }
    assert_eq!(pair.create_user("eight"), Some(user_id(8)));
    assert_eq!(pair.post(new_message(8, 0, "hello")), Some(message_id(21)));
    pair.restore(Record::NextIds(IdAllocator { next_user: 9, next_event: 22 }));
    pair.restore(Record::NextIds(IdAllocator { next_user: 12, next_event: 22 }));
    pair.restore(Record::NextIds(IdAllocator { next_user: 12, next_event: 30 }));
    pair.sync();
    assert_eq!(pair.create_user("twelve"), Some(user_id(12)));
    assert_eq!(pair.post(new_message(12, 0, "hello")), Some(message_id(30)));
    pair.sync();
    pair.expect_all();
    assert_eq!(pair.create_user("SEVEN"), None);
}

pub(crate) fn a_refused_record_changes_nothing<S: Subject>() {
    let mut pair = Pair::<S>::begin();
    pair.restore(restored_user(5, "five"));
    pair.restore(restored_message(5, 5, 0));
    let counters = |next_user, next_event| Record::NextIds(IdAllocator { next_user, next_event });
    for (refused, why) in [
        (restored_user(4, "four"), "user 4 is out of order"),
        (restored_user(5, "other"), "user 5 is out of order"),
        (restored_user(6, "FIVE"), "the name of user 6 is taken"),
        (restored_user(9, "five"), "the name of user 9 is taken"),
        (restored_message(4, 5, 0), "message 4 is out of order"),
        (restored_message(5, 5, 0), "message 5 is out of order"),
        (counters(5, 6), "the next ids would go back"),
        (counters(6, 5), "the next ids would go back"),
        (counters(0, 100), "the next ids would go back"),
        (counters(MAX_ID + 2, 6), "the next ids are out of range"),
        (counters(6, u64::MAX), "the next ids are out of range"),
    ] {
        let error = pair.store().restore(refused).unwrap_err();
        assert!(matches!(error, RestoreError::Conflict(_)), "{error:?}");
        assert_eq!(error.to_string(), why);
        pair.expect_all();
    }
    pair.sync();
    assert_eq!(pair.create_user("six"), Some(user_id(6)));
    assert_eq!(pair.post(new_message(6, 5, "hello")), Some(message_id(6)));
    pair.expect_all();
}

/// The user of an entry or of a moderation action must exist, and no user has more sessions than
/// allowed.
pub(crate) fn records_about_nobody_are_refused<S: Subject>() {
    let mut subject = S::begin();
    let store = subject.store();
    store.restore(restored_user(5, "five")).unwrap();
    let at = Timestamp::from_millis(7);
    let session = |user, number| Entry::Session {
        key: SessionKey { user: user_id(user), id: SessionId([number; 16]) },
        value: Some(SessionValue { at, expires_at: at, user_agent: "".into() }),
    };
    let (five, six) = (user_id(5), user_id(6));
    let blocked = |by| Some(ModerationValue { by, at });
    let key = Hash([1; 16]);
    let up_to = message_id(1);
    let mark = Some(ReadMarkValue { up_to, at });
    let first = Some(FirstAnswer { fingerprint: key, message: up_to, at });
    for about_six in [
        session(6, 1),
        Entry::Retry { key: RetryKey { user: six, key }, value: first },
        Entry::RetryOrder { key: RetryOrderKey { user: six, number: 1 }, value: None },
        Entry::Account { key: AccountKey { user: six }, value: Some(AccountValue::Ended { at }) },
        Entry::StrayTokens { key: StrayTokensKey { user: six }, value: None },
        Entry::AccountBlock { key: AccountBlockKey { user: six }, value: blocked(five) },
        Entry::AccountBlock { key: AccountBlockKey { user: five }, value: blocked(six) },
        Entry::SenderBlock { key: SenderBlockKey { by: six, user: five }, value: None },
        Entry::SenderBlock { key: SenderBlockKey { by: five, user: six }, value: None },
        Entry::ReadMark { key: ReadMarkKey { user: six, with: None }, value: mark },
        Entry::ReadMark { key: ReadMarkKey { user: five, with: Some(six) }, value: mark },
        Entry::Registration { key: RegistrationKey {}, value: blocked(six) },
    ] {
        let refused = store.restore(Record::Entry(about_six.clone())).unwrap_err();
        assert_eq!(refused.to_string(), "there is no user 6", "{about_six:?}");
    }
    for (by, act) in
        [(six, ModerationAction::CloseRegistration), (five, ModerationAction::Block(six))]
    {
        let acted = ModerationEvent { event: event_id(3), by, at, action: act };
        let refused = store.restore(Record::Moderation(acted)).unwrap_err();
        assert_eq!(refused.to_string(), "there is no user 6");
    }
    assert_eq!(store.entries(None, 10).unwrap(), []);
    assert_eq!(store.next_ids(), IdAllocator { next_user: 6, next_event: 0 });
    let most = u8::try_from(MAX_SESSIONS).unwrap();
    for number in (0..most).chain([3]) {
        store.restore(Record::Entry(session(5, number))).unwrap();
    }
    let refused = store.restore(Record::Entry(session(5, most))).unwrap_err();
    assert_eq!(refused.to_string(), "user 5 has more than 50 sessions");
    assert_eq!(store.sessions(five).unwrap().len(), MAX_SESSIONS);
    store.sync().unwrap();
}

/// Running out of ids is an error, not the end of the store.
pub(crate) fn the_last_id_is_given_out_once<S: Subject>() {
    let mut subject = S::begin();
    let store = subject.store();
    let last = IdAllocator { next_user: MAX_ID, next_event: MAX_ID };
    store.restore(Record::NextIds(last)).unwrap();
    assert_eq!(store.create_user(new_user("last")).unwrap(), Some(user_id(MAX_ID)));
    assert_eq!(store.post(new_message(MAX_ID, 0, "bye")).unwrap(), Some(message_id(MAX_ID)));
    for _ in 0..2 {
        let error = store.create_user(new_user("late")).unwrap_err();
        assert!(matches!(error, StoreError::OutOfIds) && !error.is_fatal());
        let error = store.post(new_message(MAX_ID, 0, "late")).unwrap_err();
        assert!(matches!(error, StoreError::OutOfIds) && !error.is_fatal());
        store.sync().unwrap();
        let Page { items, older } = store.messages(Mailbox::General, NEWEST).unwrap();
        assert_eq!((items.len(), older), (1, false));
        let Page { items, older } = store.users(NEWEST).unwrap();
        assert_eq!((items.len(), older), (1, false));
        assert_eq!(store.history(event_id(MAX_ID), 10).unwrap().len(), 1);
    }
}
