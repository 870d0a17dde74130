//! Records that the audit refuses, and those that it tolerates.

use super::*;
use crate::model::{
    EventId, MessageContent, MessageId, MessageText, ModerationAction, Timestamp, User, Username,
};
use crate::store::{AccountKey, Hash, RetryOrderKey, RetryOrderValue, SessionKey, SessionValue};

fn user(id: u64, name: &str) -> Record {
    Record::User(User {
        id: UserId::new(id).unwrap(),
        name: Username::parse(name).unwrap(),
        password_hash: "-".into(),
        created_at: Timestamp::from_millis(1),
        ended_at: None,
    })
}

fn message(id: u64, from: u64, to: u64) -> Message {
    Message {
        id: MessageId::new(id).unwrap(),
        from: UserId::new(from).unwrap(),
        to: UserId::new(to),
        content: MessageContent::Original(MessageText::parse("x".into()).unwrap()),
        sent_at: Timestamp::from_millis(1),
    }
}

#[test]
fn records_are_counted_and_held_to_the_rules() {
    let mut audit = Audit::default();
    audit.take(&user(1, "ann")).unwrap();
    audit.take(&user(3, "bob")).unwrap();
    for (id, to) in [(0, 0), (5, 3), (6, 0)] {
        audit.take(&Record::Message(message(id, 1, to))).unwrap();
    }
    assert_eq!(
        audit.counts(),
        Counts { users: 2, general: 2, private: 1, revisions: 0, moderations: 0 }
    );
    assert_eq!(audit.next_ids(), IdAllocator { next_user: 4, next_event: 7 });
    for (refused, why) in [
        (user(3, "carol"), "an id is out of order"),
        (Record::Message(message(6, 1, 0)), "an id is out of order"),
        (Record::NextIds(IdAllocator { next_user: 4, next_event: 6 }), "an id is out of order"),
        (user(4, "BOB"), "the user's name is taken"),
    ] {
        assert_eq!(audit.take(&refused), Err(why));
    }
    audit.take(&Record::NextIds(IdAllocator { next_user: 9, next_event: 9 })).unwrap();
    assert_eq!(audit.next_ids(), IdAllocator { next_user: 9, next_event: 9 });
}

#[test]
fn records_about_unknown_users_are_refused_unless_records_are_missing() {
    let at = Timestamp::from_millis(1);
    let session = |user, number| {
        Record::Entry(Entry::Session {
            key: SessionKey { user: UserId::new(user).unwrap(), id: SessionId([number; 16]) },
            value: Some(SessionValue { at, expires_at: at, user_agent: "".into() }),
        })
    };
    let action = |event| {
        let (event, by) = (EventId::new(event).unwrap(), UserId::new(2).unwrap());
        Record::Moderation(ModerationEvent {
            event,
            by,
            at,
            action: ModerationAction::CloseRegistration,
        })
    };
    let mut audit = Audit::default();
    audit.take(&user(1, "ann")).unwrap();
    let most = u8::try_from(MAX_SESSIONS).unwrap();
    for number in (0..most).chain([0]) {
        audit.take(&session(1, number)).unwrap();
    }
    for (refused, why) in [
        (session(1, most), "the user has more sessions than there can be"),
        (session(2, 0), "the entry is of a user that does not exist"),
        (action(0), "the moderation is by or of a user that does not exist"),
    ] {
        assert_eq!(audit.take(&refused), Err(why));
    }
    audit.lose_track();
    for good in [session(1, most), session(2, 0), action(1)] {
        audit.take(&good).unwrap();
    }
}

#[test]
fn author_and_receiver_must_exist() {
    let mut audit = Audit::default();
    audit.take(&user(1, "ann")).unwrap();
    audit.take(&user(3, "bob")).unwrap();
    for good in [message(0, 1, 0), message(1, 3, 1), message(2, 3, 3)] {
        audit.take(&Record::Message(good)).unwrap();
    }
    for (refused, why) in [
        (message(3, 2, 0), "the message's author does not exist"),
        (message(4, 1, 4), "the message's receiver does not exist"),
    ] {
        assert_eq!(audit.take(&Record::Message(refused)), Err(why));
    }
    audit.take(&of_entry(ended(3))).unwrap();
    for (refused, why) in [
        (message(5, 3, 0), "the account of the message's author has ended"),
        (message(6, 1, 3), "the account of the message's receiver has ended"),
    ] {
        assert_eq!(audit.take(&Record::Message(refused)), Err(why));
    }
    assert_eq!(audit.counts().general, 3, "what is refused is there all the same");
    audit.lose_track();
    audit.take(&Record::Message(message(7, 9, 3))).unwrap();
}

fn of_entry(entry: Entry) -> Record {
    Record::Entry(entry)
}

fn ended(user: u64) -> Entry {
    let key = AccountKey { user: UserId::new(user).unwrap() };
    Entry::Account { key, value: Some(AccountValue::Ended { at: Timestamp::from_millis(1) }) }
}

fn revised(id: u64, from: u64, event: u64, text: Option<&str>) -> Record {
    let revision = Revision {
        event: EventId::new(event).unwrap(),
        by: UserId::new(1).unwrap(),
        at: Timestamp::from_millis(1),
        text: text.map(MessageText::from_store),
    };
    let content = MessageContent::Revised(Box::new(revision));
    Record::Revision(Message { content, ..message(id, from, 0) })
}

#[test]
fn a_revision_is_of_a_message_that_is_there_and_takes_its_texts_place() {
    let mut audit = Audit::default();
    audit.take(&user(1, "ann")).unwrap();
    let mut erased = message(0, 1, 0);
    erased.erase_text();
    audit.take(&Record::Message(erased)).unwrap();
    assert!(audit.finish().is_err());
    audit.take(&revised(0, 1, 1, Some(""))).unwrap();
    assert!(audit.finish().is_err());
    audit.take(&revised(0, 1, 2, None)).unwrap();
    audit.finish().unwrap();
    assert!(audit.take(&revised(1, 1, 3, None)).is_err(), "an event, and no message");
    assert!(audit.take(&revised(0, 2, 4, None)).is_err(), "the author is another");
}

#[test]
fn entries_are_removed_only_in_keyspaces_that_allow_it() {
    let mut audit = Audit::default();
    audit.take(&user(1, "ann")).unwrap();
    audit.take(&of_entry(ended(1))).unwrap();
    let key = AccountKey { user: UserId::FIRST };
    assert!(audit.take(&of_entry(Entry::Account { key, value: None })).is_err());
    let (hash, at) = ("-".into(), Timestamp::from_millis(1));
    let again = Entry::Account { key, value: Some(AccountValue::Password { hash, at }) };
    assert!(audit.take(&of_entry(again)).is_err(), "nobody comes back");
}

/// A start refuses longer batches, so a batch has a limit.
#[test]
fn a_write_batch_has_a_longest_length() {
    let continued = |number| LogRecord {
        record: Record::Entry(Entry::RetryOrder {
            key: RetryOrderKey { user: UserId::FIRST, number },
            value: Some(RetryOrderValue { key: Hash([0; 16]), at: Timestamp::from_millis(1) }),
        }),
        continues: true,
    };
    let most = MAX_BATCH_ENTRIES as u64;
    for (count, good) in [(most, true), (most + 1, false)] {
        let mut audit = Audit::default();
        audit.take(&user(1, "ann")).unwrap();
        for number in 0..count {
            audit.take_logged(&continued(number)).unwrap();
        }
        assert!(audit.finish().is_err(), "something is to follow");
        assert_eq!(audit.take(&Record::Message(message(0, 1, 0))).is_ok(), good, "{count}");
        audit.finish().unwrap();
    }
}
