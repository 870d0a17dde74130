//! A long random session, every answer of which is compared with the reference.

use veche::model::{
    Cursor, MAX_ID, MAX_PAGE_LIMIT, MAX_TEXT_BYTES, Mailbox, ModerationAction, Session, UserId,
    Username, Window,
};
use veche::store::{IdAllocator, RetryKey};

use crate::extent::Extent;
use crate::pair::{
    Pair, event_id, message_id, name, new_message, new_revision, restored_message, restored_user,
    user_id,
};
use crate::retries::{DAY, at, key, once};
use crate::seed::Random;
use crate::sessions::session;
use crate::subject::Subject;

const STEPS: Extent<u64> = Extent { short: 8_000, long: 100_000 };
/// Events after which a store has moved the oldest out of memory, which has to happen in a long
/// run.
const EVENTS: Extent<u64> = Extent { short: 2 * 1024, long: 32 * 1024 };
/// This many steps with short messages are followed by as many with long ones, so that each of a
/// store's limits is reached, by count and by size.
const PHASE: Extent<u64> = Extent { short: 1_000, long: 12_500 };
const RESTART_ONCE_IN: Extent<u64> = Extent { short: 400, long: 4_000 };

struct Run<S> {
    pair: Pair<S>,
    random: Random,
    /// The counters after each write since the last sync, and before the first.
    reached: Vec<IdAllocator>,
    wordy: bool,
    /// Milliseconds since the first message under a key.
    now: u64,
    /// Sessions begun in total.
    sessions: u64,
}

pub(crate) fn every_answer_is_the_references<S: Subject>() {
    let random = Random::new(20);
    let (reached, wordy) = (Vec::new(), false);
    let mut run = Run { pair: Pair::<S>::begin(), random, reached, wordy, now: 0, sessions: 0 };
    run.import();
    for step in 0..STEPS.now() {
        run.wordy = step / PHASE.now() % 2 == 1;
        run.step();
    }
    run.pair.expect_all();
    let messages = run.pair.reference.next_ids().next_event;
    assert!(messages > EVENTS.now(), "{messages} are too few");
}

impl<S: Subject> Run<S> {
    /// Begins like a store after an import: with gaps.
    fn import(&mut self) {
        let (mut user, mut message) = (1, 0);
        for _ in 0..20 {
            user += self.random.low_below(3);
            self.pair.restore(restored_user(user, &format!("u{user}")));
            user += 1;
        }
        for _ in 0..200 {
            message += self.random.low_below(3);
            let (from, to) = (self.author(), self.receiver());
            self.pair.restore(restored_message(message, from.get(), to));
            message += 1;
        }
        self.sync();
    }

    fn step(&mut self) {
        if !S::RESTARTS.is_empty() && self.random.once_in(RESTART_ONCE_IN.now()) {
            return self.restart();
        }
        match self.random.below(100) {
            0..2 => self.create_user(),
            2..37 => self.post(),
            37..43 => self.revise(),
            43..50 => self.post_once(),
            50..52 => self.sync(),
            52..60 => self.read_page(),
            60..62 => self.mark_read(),
            62..64 => self.read_conversations(),
            64..68 => self.read_events(),
            68..78 => self.read_message(),
            78..86 => self.read_user(),
            86..88 => self.read_first_answer(),
            88..94 => self.read_users(),
            94..96 => self.read_history(),
            96..99 => self.govern(),
            _ => self.restore(),
        }
        assert_eq!(self.pair.store().next_ids(), self.pair.reference.next_ids());
        self.reached.push(self.pair.reference.next_ids());
    }

    fn restart(&mut self) {
        let restart = self.random.pick(S::RESTARTS);
        println!("{} at {:?}", restart.name, self.pair.reference.next_ids());
        self.pair.restart(restart, &mut self.random);
        let survived = self.pair.store().next_ids();
        assert!(self.reached.contains(&survived), "{survived:?} after a {}", restart.name);
        self.pair.reference.go_back(survived);
        self.pair.reference.settle_standing(self.pair.subject.store());
        self.pair.reference.settle_marks(self.pair.subject.store());
        self.reached = vec![survived];
        self.pair.expect_all();
    }

    fn sync(&mut self) {
        self.pair.sync();
        self.reached.clear();
        self.reached.push(self.pair.reference.next_ids());
    }

    /// Sessions, passwords, ends of accounts, and blocks.
    fn govern(&mut self) {
        let before = self.pair.reference.next_ids();
        let user = user_id(1 + self.random.below(14));
        match self.random.below(40) {
            0..14 => self.begin_session(user),
            14..19 => self.end_session(user),
            19..20 if self.exists(user) => self.pair.end_sessions(user.get()),
            20..24 => self.change_password(user),
            // Few of them: no message can be sent to an account that has ended.
            24..26 => {
                let user = user_id(user.get().max(13) + self.author().get());
                let seen = self.seen(user);
                self.pair.end_account(user.get(), &seen, self.now);
            }
            26..32 => {
                let (refused, other) = (self.random.once_in(2), self.author());
                if self.exists(user) && self.exists(other) {
                    self.pair.refuse_sender(user.get(), other.get(), refused);
                }
            }
            _ => {
                let acts =
                    [ModerationAction::CloseRegistration, ModerationAction::OpenRegistration];
                let acts = [
                    acts[0],
                    acts[1],
                    ModerationAction::Block(user),
                    ModerationAction::Unblock(user),
                ];
                let act = *self.random.pick(&acts);
                self.pair.act(1, act);
            }
        }
        self.pair.reference.note_standing(before);
        let found = self.pair.store().sessions(user).unwrap();
        assert_eq!(found, self.pair.reference.sessions(user), "{user}");
        let window = self.window(30);
        self.pair.reference.expect_blocks(self.pair.subject.store(), user, window);
    }

    fn exists(&self, user: UserId) -> bool {
        self.pair.reference.user(user).is_some()
    }

    /// A user's password hash, or now and then another.
    fn seen(&mut self, user: UserId) -> String {
        let hash = self.pair.reference.user(user).map(|user| user.password_hash.to_string());
        hash.filter(|_| !self.random.once_in(8)).unwrap_or_default()
    }

    fn fresh(&mut self, user: UserId) -> Session {
        self.sessions += 1;
        session(user.get(), self.sessions, self.now)
    }

    /// Several at once, so that the limit is exceeded.
    fn begin_session(&mut self, user: UserId) {
        let seen = self.seen(user);
        for _ in 0..=self.random.low_below(20) {
            let before = self.pair.reference.next_ids();
            let fresh = self.fresh(user);
            self.pair.begin_session(fresh, &seen);
            self.pair.reference.note_standing(before);
        }
    }

    fn end_session(&mut self, user: UserId) {
        let theirs = self.pair.reference.sessions(user);
        let id = if theirs.is_empty() { self.fresh(user).id } else { self.random.pick(&theirs).id };
        self.pair.end_session(user.get(), id);
    }

    fn change_password(&mut self, user: UserId) {
        let (seen, fresh) = (self.seen(user), self.fresh(user));
        let hash = format!("hash {}", self.sessions);
        self.pair.change_password(fresh, &seen, &hash);
    }

    fn create_user(&mut self) {
        let name = self.name();
        self.pair.create_user(name.as_str());
    }

    fn post(&mut self) {
        let len = match (self.wordy, self.random.below(10)) {
            (true, 0..7) => MAX_TEXT_BYTES,
            (false, 0..7) => 30,
            _ => 2 + usize::try_from(self.random.low_below(MAX_TEXT_BYTES as u64 - 1)).unwrap(),
        };
        let mut text = "слово ".repeat(1 + len / "слово ".len());
        text.truncate(text.floor_char_boundary(len));
        let (from, to) = (self.author().get(), self.receiver());
        self.pair.post(new_message(from, to, &text));
    }

    /// Edits or deletes some message, mostly a new one, and now and then an outdated version.
    fn revise(&mut self) {
        let end = self.pair.reference.next_ids().next_event;
        let age = if self.random.once_in(4) { end } else { end.min(600) };
        let id = end - self.random.below(age + 1);
        let long = "другие слова ".repeat(if self.wordy { 170 } else { 2 });
        let text = if self.random.once_in(4) { None } else { Some(&*long) };
        if self.random.once_in(20) {
            let seen = event_id(self.random.below(end + 2));
            let by = self.pair.editor_of(id);
            self.pair.revise_seen(id, seen, new_revision(by, text));
        } else {
            self.pair.revise(id, text);
        }
    }

    fn read_events(&mut self) {
        let reader = self.author();
        let end = self.pair.reference.next_ids().next_event;
        let window = self.window(end);
        self.pair.reference.expect_events(self.pair.subject.store(), reader, window);
    }

    /// Under one of few keys, so that many are used again, within a day or after it.
    fn post_once(&mut self) {
        self.now += if self.random.once_in(300) {
            self.random.below(DAY * 5 / 4)
        } else {
            self.random.below(5)
        };
        let mut new = at(self.author().get(), self.now);
        new.to = UserId::new(self.receiver());
        let number = self.random.below(40);
        self.pair.post_once(new, once(number));
    }

    /// Up to some message, mostly a new one, which need not be part of the conversation.
    fn mark_read(&mut self) {
        let end = self.pair.reference.next_ids().next_event;
        let age = if self.random.once_in(4) { end } else { end.min(300) };
        let up_to = end + 3 - self.random.below(age + 3);
        let (of, with) = (self.author().get(), self.receiver());
        self.pair.mark_read(of, with, up_to);
        let (of, with) = (user_id(of), UserId::new(with));
        let found = self.pair.subject.store().conversation(of, with).unwrap();
        assert_eq!(found, self.pair.reference.conversation(of, with), "{of} with {with:?}");
    }

    fn read_conversations(&mut self) {
        let of = self.author();
        let end = self.pair.reference.next_ids().next_event;
        let before = match self.random.below(3) {
            0 => None,
            1 => Some(end.saturating_sub(self.random.low_below(600))),
            _ => Some(self.random.below(end + 2)),
        };
        let limit = usize::try_from(1 + self.random.below(6)).unwrap();
        self.pair.reference.expect_conversations(self.pair.subject.store(), of, before, limit);
    }

    fn read_first_answer(&mut self) {
        let of = RetryKey { user: self.author(), key: key(self.random.below(41)) };
        let now = at(1, self.now).sent_at;
        let found = self.pair.subject.store().first_answer(of, now).unwrap();
        assert_eq!(found, self.pair.reference.first_answer(of, now), "{of:?}");
    }

    /// Now and then a record is restored, with an id of its own.
    fn restore(&mut self) {
        let IdAllocator { next_user, next_event } = self.pair.reference.next_ids();
        let gap = self.random.low_below(4);
        let record = if self.random.once_in(3) {
            restored_user(next_user + gap, &format!("restored{next_user}"))
        } else {
            restored_message(next_event + gap, self.author().get(), self.receiver())
        };
        self.pair.restore(record);
    }

    fn read_page(&mut self) {
        let mailbox = match self.random.below(3) {
            0 => Mailbox::General,
            1 => Mailbox::Private(self.author()),
            _ => Mailbox::between(self.author(), self.author()),
        };
        let end = self.pair.reference.next_ids().next_event;
        let window = self.window(end);
        self.pair.reference.expect_messages(self.pair.subject.store(), mailbox, window);
    }

    fn read_users(&mut self) {
        let end = self.pair.reference.next_ids().next_user;
        let window = self.window(end);
        self.pair.reference.expect_users(self.pair.subject.store(), window);
    }

    fn read_message(&mut self) {
        let id = message_id(self.random.below(self.pair.reference.next_ids().next_event + 2));
        let found = self.pair.subject.store().message(id).unwrap();
        assert_eq!(found.as_deref(), self.pair.reference.message(id), "{id}");
    }

    fn read_history(&mut self) {
        let from = event_id(self.random.below(self.pair.reference.next_ids().next_event + 2));
        let limit = usize::try_from(self.random.low_below(50)).unwrap();
        self.pair.reference.expect_history(self.pair.subject.store(), from, limit);
    }

    fn read_user(&mut self) {
        let id = user_id(1 + self.random.below(self.pair.reference.next_ids().next_user + 2));
        let found = self.pair.subject.store().user(id).unwrap();
        assert_eq!(found.as_deref(), self.pair.reference.user(id), "{id}");
        let name = self.name();
        let found = self.pair.subject.store().user_named(&name).unwrap();
        assert_eq!(found.as_deref(), self.pair.reference.user_named(&name), "{name:?}");
    }

    /// One of more names than there will be users, in either case.
    fn name(&mut self) -> Username {
        let number = self.random.low_below(5000);
        name(&if self.random.once_in(2) { format!("u{number}") } else { format!("U{number}") })
    }

    /// Some user, more often one of the first. Need not exist.
    fn author(&mut self) -> UserId {
        let users = self.pair.reference.next_ids().next_user;
        let end = if self.random.once_in(2) { users.min(12) } else { users };
        user_id(1 + self.random.low_below(end))
    }

    /// 0 for the general chat, or a user, who need not exist.
    fn receiver(&mut self) -> u64 {
        if self.random.below(10) < 4 { 0 } else { self.author().get() }
    }

    fn window(&mut self, end: u64) -> Window {
        let at = match self.random.below(12) {
            0 => 0,
            1 => end,
            2 => *self.random.pick(&[MAX_ID, u64::MAX, end + 1]),
            3..6 => end.saturating_sub(self.random.low_below(200)),
            _ => self.random.below(end + 2),
        };
        let cursor = *self.random.pick(&[Cursor::Newest, Cursor::Before(at), Cursor::From(at)]);
        let limit = match self.random.below(20) {
            0 => MAX_PAGE_LIMIT as u64,
            1..6 => 1 + self.random.low_below(200),
            _ => 1 + self.random.below(10),
        };
        Window { cursor, limit: usize::try_from(limit).unwrap() }
    }
}
