//! A store with the reference beside it: writes go to both, and answers of the store are compared
//! with the reference.

use veche::model::{
    Block, Cursor, EventId, Mailbox, Message, MessageContent, MessageId, MessageText,
    ModerationAction, Session, SessionId, Timestamp, User, UserId, Username, Window,
};
use veche::store::{
    Backend, IdempotencyKey, MarkOutcome, NewMessage, NewRevision, NewUser, PostOutcome, Record,
};

use crate::reference::Reference;
use crate::seed::Random;
use crate::subject::{Restart, Subject};

pub(crate) struct Pair<S> {
    pub(crate) subject: S,
    pub(crate) reference: Reference,
}

/// Enough messages of the greatest length to push others out of any memory that a store keeps.
const BURYING: usize = 5000;

pub(crate) fn user_id(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn message_id(id: u64) -> MessageId {
    MessageId::new(id).unwrap()
}

pub(crate) fn name(name: &str) -> Username {
    Username::parse(name).unwrap()
}

pub(crate) fn new_user(user: &str) -> NewUser {
    let password_hash = format!("hash of {user}").into();
    NewUser { name: name(user), password_hash, created_at: Timestamp::from_millis(7) }
}

/// `to` 0 is the general chat.
pub(crate) fn new_message(from: u64, to: u64, text: &str) -> NewMessage {
    NewMessage {
        from: user_id(from),
        to: UserId::new(to),
        text: MessageText::parse(text.into()).unwrap(),
        sent_at: Timestamp::from_millis(1_700_000_000_000 + text.len() as u64),
    }
}

pub(crate) fn restored_user(id: u64, user: &str) -> Record {
    let NewUser { name, password_hash, created_at } = new_user(user);
    Record::User(User { id: user_id(id), name, password_hash, created_at, ended_at: None })
}

pub(crate) fn restored_message(id: u64, from: u64, to: u64) -> Record {
    let NewMessage { from, to, text, sent_at } = new_message(from, to, &format!("restored {id}"));
    let content = MessageContent::Original(text);
    Record::Message(Message { id: message_id(id), from, to, content, sent_at })
}

pub(crate) fn event_id(id: u64) -> EventId {
    EventId::new(id).unwrap()
}

/// `None` deletes.
pub(crate) fn new_revision(by: u64, text: Option<&str>) -> NewRevision {
    NewRevision {
        by: user_id(by),
        at: Timestamp::from_millis(1_700_000_100_000),
        text: text.map(|text| MessageText::parse(text.into()).unwrap()),
    }
}

impl<S: Subject> Pair<S> {
    pub(crate) fn begin() -> Pair<S> {
        Pair { subject: S::begin(), reference: Reference::default() }
    }

    /// With `count` users, called u1, u2, …
    pub(crate) fn with_users(count: u64) -> Pair<S> {
        let mut pair = Pair::begin();
        for id in 1..=count {
            assert_eq!(pair.create_user(&format!("u{id}")), Some(user_id(id)));
        }
        pair
    }

    pub(crate) fn store(&mut self) -> &mut dyn Backend {
        self.subject.store()
    }

    pub(crate) fn create_user(&mut self, user: &str) -> Option<UserId> {
        let id = self.store().create_user(new_user(user)).unwrap();
        assert_eq!(id, self.reference.create_user(new_user(user)), "{user}");
        id
    }

    pub(crate) fn begin_session(&mut self, new: Session, seen: &str) -> Option<Vec<SessionId>> {
        let sorted = |ids: Option<Vec<SessionId>>| {
            ids.map(|mut ids| {
                ids.sort_unstable();
                ids
            })
        };
        let ended = sorted(self.store().begin_session(new.clone(), seen).unwrap());
        assert_eq!(ended, sorted(self.reference.begin_session(new, seen)));
        ended
    }

    pub(crate) fn end_session(&mut self, user: u64, id: SessionId) -> bool {
        let was_there = self.store().end_session(user_id(user), id).unwrap();
        assert_eq!(was_there, self.reference.end_session(user_id(user), id));
        was_there
    }

    pub(crate) fn end_sessions(&mut self, user: u64) {
        self.store().end_sessions(user_id(user)).unwrap();
        self.reference.end_sessions(user_id(user));
    }

    pub(crate) fn change_password(&mut self, fresh: Session, seen: &str, hash: &str) -> bool {
        let changed = self.store().change_password(fresh.clone(), seen, hash.into()).unwrap();
        assert_eq!(changed, self.reference.change_password(fresh, seen, hash.into()));
        changed
    }

    pub(crate) fn end_account(&mut self, user: u64, seen: &str, at: u64) -> bool {
        let at = Timestamp::from_millis(at);
        let ended = self.store().end_account(user_id(user), seen, at).unwrap();
        assert_eq!(ended, self.reference.end_account(user_id(user), seen, at));
        ended
    }

    pub(crate) fn act(&mut self, by: u64, act: ModerationAction) -> Option<EventId> {
        let (by, at) = (user_id(by), Timestamp::from_millis(1_700_000_200_000));
        let event = self.store().moderate(by, at, act).unwrap();
        assert_eq!(event, self.reference.act(by, at, act), "{act:?}");
        event
    }

    /// Has one user block another's messages, or accept them again.
    pub(crate) fn refuse_sender(&mut self, by: u64, user: u64, refused: bool) -> bool {
        let (by, user) = (user_id(by), user_id(user));
        let block = Block { user, by, at: Timestamp::from_millis(by.get() * 100 + user.get()) };
        let is_new = self.store().refuse_sender(block, refused).unwrap();
        assert_eq!(is_new, self.reference.refuse_sender(block, refused));
        assert_eq!(self.store().refuses(by, user).unwrap(), refused);
        is_new
    }

    pub(crate) fn post(&mut self, new: NewMessage) -> Option<MessageId> {
        let expected = self.reference.post(new.clone());
        let id = self.store().post(new).unwrap();
        assert_eq!(id, expected);
        id
    }

    /// Edits a message as its author, or deletes it, if it exists.
    pub(crate) fn revise(&mut self, id: u64, text: Option<&str>) -> Option<EventId> {
        let message = self.reference.message(message_id(id));
        let seen = message.map_or(event_id(id), Message::event);
        let by = self.editor_of(id);
        self.revise_seen(id, seen, new_revision(if text.is_some() { by } else { 1 }, text))
    }

    /// A user who may edit a message; any user if it does not exist.
    pub(crate) fn editor_of(&self, id: u64) -> u64 {
        self.reference.message(message_id(id)).map_or(1, |message| message.from.get())
    }

    pub(crate) fn revise_seen(
        &mut self,
        id: u64,
        seen: EventId,
        new: NewRevision,
    ) -> Option<EventId> {
        let event = self.store().revise(message_id(id), seen, new.clone()).unwrap();
        assert_eq!(event, self.reference.revise(message_id(id), seen, new));
        event
    }

    pub(crate) fn post_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Option<PostOutcome> {
        let expected = self.reference.post_once(new.clone(), once);
        let sent = self.store().post_once(new, once).unwrap();
        assert_eq!(sent, expected);
        sent
    }

    pub(crate) fn restore(&mut self, record: Record) {
        self.store().restore(record.clone()).unwrap();
        self.reference.restore(record);
    }

    /// Marks a conversation as read; `with` 0 is the general chat.
    pub(crate) fn mark_read(&mut self, of: u64, with: u64, up_to: u64) -> Option<MarkOutcome> {
        let (of, with, up_to) = (user_id(of), UserId::new(with), message_id(up_to));
        let at = Timestamp::from_millis(9);
        let marked = self.store().mark_read(of, with, up_to, at).unwrap();
        assert_eq!(marked, self.reference.mark_read(of, with, up_to));
        marked
    }

    pub(crate) fn sync(&mut self) {
        self.store().sync().unwrap();
        self.reference.synced();
    }

    /// Posts private messages between two new users, so many that the other messages count as old.
    pub(crate) fn bury(&mut self) {
        let from = self.create_user("digger").unwrap().get();
        let to = self.create_user("gravedigger").unwrap().get();
        let earth = new_message(from, to, &"x".repeat(veche::model::MAX_TEXT_BYTES));
        for spadeful in 0..BURYING {
            self.post(earth.clone());
            if spadeful % 100 == 0 {
                self.sync();
            }
        }
        self.sync();
    }

    /// Every possible page of some mailboxes: at each id, with each limit.
    pub(crate) fn expect_every_window(&mut self, mailboxes: &[Mailbox], ids: u64) {
        for &mailbox in mailboxes {
            for window in windows(ids) {
                self.reference.expect_messages(self.subject.store(), mailbox, window);
                if let Mailbox::Private(user) = mailbox {
                    self.reference.expect_events(self.subject.store(), user, window);
                }
            }
        }
    }

    pub(crate) fn expect_all(&mut self) {
        self.reference.expect_all(self.subject.store());
    }

    pub(crate) fn restart(&mut self, restart: &Restart<S>, random: &mut Random) {
        (restart.run)(&mut self.subject, random);
    }
}

/// Windows at the newest end, at every id up to `ids` and at the smallest and largest ids.
pub(crate) fn windows(ids: u64) -> impl Iterator<Item = Window> {
    let far = [veche::model::MAX_ID, veche::model::MAX_ID + 1, u64::MAX];
    let cursors = (0..=ids).chain(far).flat_map(|at| [Cursor::Before(at), Cursor::From(at)]);
    let limits = [1, 2, 3, 10, veche::model::MAX_PAGE_LIMIT];
    [Cursor::Newest]
        .into_iter()
        .chain(cursors)
        .flat_map(move |cursor| limits.map(|limit| Window { cursor, limit }))
}
