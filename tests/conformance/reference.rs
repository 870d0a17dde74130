//! The simplest possible store: three lists, and filters over them.
//!
//! It shares no code with the stores it is compared with except the types of the model, and decides
//! nothing by an index, a boundary or a cache.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use veche::model::{
    Block, Cursor, Event, EventId, EventKind, MAX_ID, MAX_SESSIONS, Mailbox, Message,
    MessageChange, MessageContent, MessageId, ModerationAction, ModerationEvent, Page, Revision,
    Session, SessionId, Timestamp, User, UserId, Username, Window,
};
use veche::store::{
    Backend, Conversation, FirstAnswer, IdAllocator, IdempotencyKey, MAX_RETRIES, MarkOutcome,
    NewMessage, NewRevision, NewUser, PostOutcome, RETRY_LIFETIME, Record, RetryKey, UNREAD_LOOK,
    Unread,
};

/// The expected answers of a store. Ids ascend, so that the lists are sorted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reference {
    users: Vec<User>,
    /// The messages as they are now.
    messages: Vec<Message>,
    /// The effect of each event.
    story: Vec<Story>,
    /// Every message ever sent under a key, in order.
    once: Vec<(RetryKey, FirstAnswer)>,
    /// Every mark ever set, in order, and the number of these marks that were synced.
    marks: Vec<Mark>,
    synced_marks: usize,
    /// Sessions that have not ended.
    sessions: Vec<Session>,
    /// In order of user.
    account_blocks: BTreeMap<UserId, Block>,
    /// By blocking and blocked user.
    refused: BTreeMap<(UserId, UserId), Block>,
    /// True if registration is closed.
    closed: bool,
    next_ids: IdAllocator,
    /// The first hash of each account that has another one by now.
    first_hashes: BTreeMap<UserId, Box<str>>,
    /// The state that the next ids do not show, at the last sync and after each change of it since.
    standings: Vec<Standing>,
}

/// The part of the state that the next ids do not show.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    /// In order.
    sessions: Vec<Session>,
    /// The hash and the end of each account that was changed.
    accounts: BTreeMap<UserId, (Box<str>, Option<Timestamp>)>,
    refused: BTreeMap<(UserId, UserId), Block>,
    /// The next ids from which on this was the state.
    from: IdAllocator,
    /// The next ids before it was changed; `None` if it is still the state.
    until: Option<IdAllocator>,
}

impl Standing {
    /// Returns whether a store may have come back to this state.
    fn can_be_at(&self, next_ids: IdAllocator) -> bool {
        let is_behind = |a: IdAllocator, b: IdAllocator| {
            a.next_event <= b.next_event && a.next_user <= b.next_user
        };
        is_behind(self.from, next_ids) && self.until.is_none_or(|until| is_behind(next_ids, until))
    }
}

/// The effect of an event.
#[derive(Debug, Clone)]
enum Story {
    /// This version of a message.
    Version(Message),
    /// A moderation action.
    Act(ModerationEvent),
}

impl Story {
    fn event(&self) -> EventId {
        match self {
            Story::Version(message) => message.event(),
            Story::Act(acted) => acted.event,
        }
    }

    fn is_visible_to(&self, reader: UserId) -> bool {
        match self {
            Story::Version(message) => message.is_visible_to(reader),
            Story::Act(_) => true,
        }
    }
}

/// A mark of a conversation as read.
#[derive(Debug, Clone, Copy)]
struct Mark {
    of: UserId,
    with: Option<UserId>,
    up_to: MessageId,
    /// The next ids before it.
    behind: IdAllocator,
}

impl Reference {
    pub(crate) fn next_ids(&self) -> IdAllocator {
        self.next_ids
    }

    pub(crate) fn create_user(&mut self, new: NewUser) -> Option<UserId> {
        if self.user_named(&new.name).is_some() {
            return None;
        }
        let id = UserId::new(self.next_ids.next_user)?;
        self.next_ids.next_user += 1;
        let NewUser { name, password_hash, created_at } = new;
        self.users.push(User { id, name, password_hash, created_at, ended_at: None });
        Some(id)
    }

    /// The account, if it has not ended and has this hash.
    fn open_with(&mut self, user: UserId, seen: &str) -> Option<&mut User> {
        let is_blocked = self.account_blocks.contains_key(&user);
        let open = |it: &&mut User| it.id == user && it.ended_at.is_none() && !is_blocked;
        self.users.iter_mut().find(open).filter(|user| *user.password_hash == *seen)
    }

    pub(crate) fn begin_session(&mut self, new: Session, seen: &str) -> Option<Vec<SessionId>> {
        self.open_with(new.user, seen)?;
        let mut ended = Vec::new();
        let there = self.sessions(new.user);
        if there.len() == MAX_SESSIONS {
            let expired = there.iter().find(|session| session.expires_at <= new.created_at);
            ended.push(expired.unwrap_or(&there[0]).id);
        }
        self.sessions.retain(|session| !ended.contains(&session.id) || session.user != new.user);
        self.sessions.retain(|session| session.id != new.id || session.user != new.user);
        self.sessions.push(new);
        Some(ended)
    }

    pub(crate) fn sessions(&self, user: UserId) -> Vec<Session> {
        let theirs = self.sessions.iter().filter(|session| session.user == user);
        let mut theirs: Vec<Session> = theirs.cloned().collect();
        theirs.sort_by_key(|session| (session.created_at, session.id));
        theirs
    }

    pub(crate) fn end_session(&mut self, user: UserId, id: SessionId) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|session| session.user != user || session.id != id);
        self.sessions.len() < before
    }

    pub(crate) fn end_sessions(&mut self, user: UserId) {
        self.sessions.retain(|session| session.user != user);
    }

    pub(crate) fn change_password(&mut self, fresh: Session, seen: &str, hash: Box<str>) -> bool {
        let Some(user) = self.open_with(fresh.user, seen) else { return false };
        let before = std::mem::replace(&mut user.password_hash, hash);
        self.first_hashes.entry(fresh.user).or_insert(before);
        self.end_sessions(fresh.user);
        self.sessions.push(fresh);
        true
    }

    pub(crate) fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> bool {
        let Some(account) = self.open_with(user, seen) else { return false };
        let before = std::mem::take(&mut account.password_hash);
        account.ended_at = Some(at);
        self.first_hashes.entry(user).or_insert(before);
        self.end_sessions(user);
        true
    }

    pub(crate) fn act(
        &mut self,
        by: UserId,
        at: Timestamp,
        act: ModerationAction,
    ) -> Option<EventId> {
        let is_open = |user| self.user(user).is_some_and(|user| user.ended_at.is_none());
        let changes = match act {
            ModerationAction::Block(user) => {
                is_open(user) && !self.account_blocks.contains_key(&user)
            }
            ModerationAction::Unblock(user) => self.account_blocks.contains_key(&user),
            ModerationAction::CloseRegistration => !self.closed,
            ModerationAction::OpenRegistration => self.closed,
        };
        if !changes {
            return None;
        }
        let event = EventId::new(self.next_ids.next_event)?;
        self.next_ids.next_event += 1;
        self.acted(ModerationEvent { event, by, at, action: act });
        Some(event)
    }

    fn acted(&mut self, acted: ModerationEvent) {
        let ModerationEvent { by, at, action: act, .. } = acted;
        match act {
            ModerationAction::Block(user) => {
                self.account_blocks.insert(user, Block { user, by, at });
                self.end_sessions(user);
            }
            ModerationAction::Unblock(user) => drop(self.account_blocks.remove(&user)),
            ModerationAction::CloseRegistration => self.closed = true,
            ModerationAction::OpenRegistration => self.closed = false,
        }
        self.story.push(Story::Act(acted));
    }

    pub(crate) fn account_block(&self, user: UserId) -> Option<Block> {
        self.account_blocks.get(&user).copied()
    }

    pub(crate) fn refuse_sender(&mut self, block: Block, refused: bool) -> bool {
        let pair = (block.by, block.user);
        let before = self.refused.contains_key(&pair);
        if refused {
            self.refused.entry(pair).or_insert(block);
        } else {
            self.refused.remove(&pair);
        }
        before != refused
    }

    /// Asks `store` for pages of blocked users and compares them with the expected ones.
    pub(crate) fn expect_blocks(&self, store: &mut dyn Backend, by: UserId, window: Window) {
        let expected = |blocks: Vec<Block>| {
            let Page { items, older } = page(&blocks, |block| block.user.get(), |_| true, window);
            Page { items: items.into_iter().copied().collect::<Vec<_>>(), older }
        };
        let accounts = expected(self.account_blocks.values().copied().collect());
        assert_eq!(store.blocked_accounts(window).unwrap(), accounts, "{window:?}");
        let theirs = self.refused.values().filter(|block| block.by == by);
        let senders = expected(theirs.copied().collect());
        assert_eq!(store.refused_senders(by, window).unwrap(), senders, "{by}, {window:?}");
    }

    pub(crate) fn post(&mut self, new: NewMessage) -> Option<MessageId> {
        let takes = |to| self.user(to).is_some_and(|user| user.ended_at.is_none());
        if new.to.is_some_and(|to| !takes(to)) {
            return None;
        }
        let id = MessageId::new(self.next_ids.next_event)?;
        self.next_ids.next_event += 1;
        let NewMessage { from, to, text, sent_at } = new;
        self.add(Message { id, from, to, content: MessageContent::Original(text), sent_at });
        Some(id)
    }

    pub(crate) fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Option<EventId> {
        let mut message = self.message(id).filter(|message| message.event() == seen)?.clone();
        let event = EventId::new(self.next_ids.next_event)?;
        self.next_ids.next_event += 1;
        let NewRevision { by, at, text } = new;
        message.content = MessageContent::Revised(Box::new(Revision { event, by, at, text }));
        self.add(message);
        Some(event)
    }

    fn add(&mut self, message: Message) {
        match self.messages.binary_search_by_key(&message.id, |message| message.id) {
            Ok(place) => self.messages[place] = message.clone(),
            Err(place) => self.messages.insert(place, message.clone()),
        }
        self.story.push(Story::Version(message));
    }

    pub(crate) fn post_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Option<PostOutcome> {
        let (of, at) = (RetryKey { user: new.from, key: once.key }, new.sent_at);
        if let Some(first) = self.first_answer(of, at) {
            return Some(PostOutcome::Replayed(first));
        }
        let message = self.post(new)?;
        self.once.push((of, FirstAnswer { fingerprint: once.fingerprint, message, at }));
        Some(PostOutcome::Posted(message))
    }

    /// Among the last keys of the user, and not expired.
    pub(crate) fn first_answer(&self, of: RetryKey, now: Timestamp) -> Option<FirstAnswer> {
        let newest_first = self.once.iter().rev().filter(|(it, _)| it.user == of.user);
        let mut remembered = newest_first.take(usize::try_from(MAX_RETRIES).unwrap());
        let (_, first) = remembered.find(|(it, _)| *it == of)?;
        let age = now.millis().saturating_sub(first.at.millis());
        (u128::from(age) < RETRY_LIFETIME.as_millis()).then_some(*first)
    }

    pub(crate) fn mark_read(
        &mut self,
        of: UserId,
        with: Option<UserId>,
        up_to: MessageId,
    ) -> Option<MarkOutcome> {
        let last = self.talk(of, with).next()?.id;
        let up_to = up_to.min(last);
        let before = self.read_up_to(of, with);
        if let Some(up_to) = before.filter(|before| *before >= up_to) {
            return Some(MarkOutcome { up_to, moved: false });
        }
        self.marks.push(Mark { of, with, up_to, behind: self.next_ids });
        Some(MarkOutcome { up_to, moved: true })
    }

    fn read_up_to(&self, of: UserId, with: Option<UserId>) -> Option<MessageId> {
        let mut newest_first = self.marks.iter().rev();
        newest_first.find(|mark| (mark.of, mark.with) == (of, with)).map(|mark| mark.up_to)
    }

    /// The messages of a conversation, newest first.
    fn talk(&self, of: UserId, with: Option<UserId>) -> impl Iterator<Item = &Message> {
        let is_in = move |message: &&Message| match with {
            None => message.to.is_none(),
            Some(with) => {
                let parties = (message.from, message.to);
                parties == (of, Some(with)) || parties == (with, Some(of))
            }
        };
        self.messages.iter().rev().filter(is_in)
    }

    pub(crate) fn conversation(
        &self,
        of: UserId,
        with: Option<UserId>,
    ) -> Option<Conversation<'_>> {
        let last = Cow::Borrowed(self.talk(of, with).next()?);
        let read_up_to = self.read_up_to(of, with);
        let mut unread = Unread::default();
        if with != Some(of) {
            let new = self.talk(of, with).take_while(|message| Some(message.id) > read_up_to);
            let new: Vec<_> = new.take(UNREAD_LOOK + 1).collect();
            unread.more = new.len() > UNREAD_LOOK;
            unread.count =
                new.iter().take(UNREAD_LOOK).filter(|message| message.from != of).count();
        }
        Some(Conversation { with, last, unread, read_up_to })
    }

    pub(crate) fn conversations(
        &self,
        of: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Page<Conversation<'_>> {
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for message in self.messages.iter().rev().filter(|message| message.is_visible_to(of)) {
            let with = message.to.map(|to| if to == of { message.from } else { to });
            let is_last = seen.insert(with);
            if is_last && before.is_none_or(|before| message.id.get() < before) {
                if items.len() == limit {
                    return Page { items, older: true };
                }
                items.extend(self.conversation(of, with));
            }
        }
        Page { items, older: false }
    }

    /// Asks `store` for a page of conversations and compares it with the expected one.
    pub(crate) fn expect_conversations(
        &self,
        store: &mut dyn Backend,
        of: UserId,
        before: Option<u64>,
        limit: usize,
    ) {
        let found = store.conversations(of, before, limit).unwrap();
        assert_eq!(found, self.conversations(of, before, limit), "{of}, {before:?}, {limit}");
    }

    /// All marks so far are durable.
    pub(crate) fn synced(&mut self) {
        self.synced_marks = self.marks.len();
        self.standings = vec![self.standing()];
    }

    /// Forgets the last marks if they are not synced and `store` has not kept them: if nothing else
    /// was written after them, the next ids do not show it.
    pub(crate) fn settle_marks(&mut self, store: &mut dyn Backend) {
        while self.marks.len() > self.synced_marks
            && let Some(&Mark { of, with, .. }) = self.marks.last()
        {
            let found = store.conversation(of, with).unwrap();
            if found.is_some_and(|found| found.read_up_to == self.read_up_to(of, with)) {
                break;
            }
            self.marks.pop();
        }
        self.synced();
    }

    /// Applies a record that a store accepted.
    pub(crate) fn restore(&mut self, record: Record) {
        match record {
            Record::User(user) => {
                self.next_ids.next_user = user.id.get() + 1;
                self.users.push(user);
            }
            Record::Message(message) => {
                self.next_ids.next_event = message.id.get() + 1;
                self.add(message);
            }
            Record::Revision(message) => {
                self.next_ids.next_event = message.event().get() + 1;
                self.add(message);
            }
            Record::Moderation(acted) => {
                self.next_ids.next_event = acted.event.get() + 1;
                self.story.push(Story::Act(acted));
            }
            Record::NextIds(next_ids) => self.next_ids = next_ids,
            Record::Entry(fact) => unreachable!("{fact:?} is nothing that a case restores"),
        }
    }

    /// Forgets everything after `next ids`.
    pub(crate) fn go_back(&mut self, next_ids: IdAllocator) {
        self.users.retain(|user| user.id.get() < next_ids.next_user);
        self.messages.clear();
        self.account_blocks.clear();
        self.closed = false;
        let mut story = std::mem::take(&mut self.story);
        story.retain(|story| story.event().get() < next_ids.next_event);
        for story in story {
            match story {
                Story::Version(message) => self.add(message),
                Story::Act(acted) => self.acted(acted),
            }
        }
        self.once.retain(|(_, first)| first.message.get() < next_ids.next_event);
        self.marks.retain(|Mark { behind, .. }| {
            behind.next_event <= next_ids.next_event && behind.next_user <= next_ids.next_user
        });
        self.next_ids = next_ids;
    }

    /// Records that state not shown by the next ids may have changed; `before` are the next ids
    /// until then.
    pub(crate) fn note_standing(&mut self, before: IdAllocator) {
        let standing = self.standing();
        if let Some(last) = self.standings.last_mut() {
            last.until = Some(before);
        }
        self.standings.push(standing);
    }

    fn standing(&self) -> Standing {
        let mut sessions = self.sessions.clone();
        sessions.sort_by_key(|session| (session.user, session.id));
        let changed = self.users.iter().filter(|user| self.first_hashes.contains_key(&user.id));
        Standing {
            sessions,
            accounts: changed
                .map(|user| (user.id, (user.password_hash.clone(), user.ended_at)))
                .collect(),
            refused: self.refused.clone(),
            from: self.next_ids,
            until: None,
        }
    }

    /// Goes to the standing since the last sync that `store` has come back to, after
    /// [`Reference::go_back`].
    pub(crate) fn settle_standing(&mut self, store: &mut dyn Backend) {
        const ALL: Window = Window { cursor: Cursor::Newest, limit: 1000 };
        let mut standings = std::mem::take(&mut self.standings);
        standings.retain(|standing| standing.can_be_at(self.next_ids));
        let (mut sessions, mut refused) = (Vec::new(), BTreeMap::new());
        for user in &self.users {
            sessions.extend(store.sessions(user.id).unwrap());
            for block in store.refused_senders(user.id, ALL).unwrap().items {
                refused.insert((user.id, block.user), block);
            }
        }
        sessions.sort_by_key(|session| (session.user, session.id));
        let hashes = std::mem::take(&mut self.first_hashes);
        let is_so = |standing: &Standing| {
            let accounts = hashes.iter().filter(|(id, _)| self.user(**id).is_some());
            let mut accounts = accounts.map(|(id, first)| {
                let user = store.user(*id).unwrap().unwrap();
                let found = (&user.password_hash, user.ended_at);
                let expected = standing.accounts.get(id);
                found == expected.map_or((first, None), |(hash, ended_at)| (hash, *ended_at))
            });
            standing.sessions == sessions && standing.refused == refused && accounts.all(|it| it)
        };
        let found = standings.iter().rev().find(|standing| is_so(standing));
        let Standing { sessions, accounts, refused, .. } =
            found.cloned().expect("one of what was so since the last sync");
        for user in &mut self.users {
            if let Some(first) = hashes.get(&user.id) {
                let now = accounts.get(&user.id).cloned();
                (user.password_hash, user.ended_at) = now.unwrap_or((first.clone(), None));
            }
        }
        self.first_hashes =
            hashes.into_iter().filter(|(id, _)| accounts.contains_key(id)).collect();
        (self.sessions, self.refused) = (sessions, refused);
        self.standings = vec![self.standing()];
    }

    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub(crate) fn user_named(&self, name: &Username) -> Option<&User> {
        self.users.iter().find(|user| user.name.as_str().eq_ignore_ascii_case(name.as_str()))
    }

    pub(crate) fn message(&self, id: MessageId) -> Option<&Message> {
        let place = self.messages.binary_search_by_key(&id, |message| message.id).ok()?;
        self.messages.get(place)
    }

    pub(crate) fn history(&self, from: EventId, limit: usize) -> Vec<Event<'_>> {
        let start = self.story.partition_point(|story| story.event() < from);
        self.story[start..].iter().take(limit).map(|story| self.event(story)).collect()
    }

    fn event(&self, story: &Story) -> Event<'_> {
        let version = match story {
            Story::Version(version) => version,
            &Story::Act(ModerationEvent { event: id, by, at, action: act }) => {
                return Event { id, by, at, what: EventKind::Moderation(act) };
            }
        };
        let message = Cow::Borrowed(self.message(version.id).unwrap());
        let (change, by, at) = match version.revision() {
            None => (MessageChange::Created, version.from, version.sent_at),
            Some(Revision { by, at, text: Some(_), .. }) => (MessageChange::Edited, *by, *at),
            Some(Revision { by, at, text: None, .. }) => (MessageChange::Deleted, *by, *at),
        };
        Event { id: version.event(), by, at, what: EventKind::Message(change, message) }
    }

    pub(crate) fn events(&self, reader: UserId, window: Window) -> Page<Event<'_>> {
        let visible = |story: &Story| story.is_visible_to(reader);
        let Page { items, older } = page(&self.story, |story| story.event().get(), visible, window);
        Page { items: items.into_iter().map(|story| self.event(story)).collect(), older }
    }

    /// Asks `store` for a page of events and compares it with the expected one.
    pub(crate) fn expect_events(&self, store: &mut dyn Backend, reader: UserId, window: Window) {
        let found = store.events(reader, window).unwrap();
        assert_eq!(found, self.events(reader, window), "{reader}, {window:?}");
    }

    /// Asks `store` for its history and compares it with the expected one.
    pub(crate) fn expect_history(&self, store: &mut dyn Backend, from: EventId, limit: usize) {
        let found = store.history(from, limit).unwrap();
        assert!(found == self.history(from, limit), "from {from}, {limit}");
    }

    pub(crate) fn users(&self, window: Window) -> Page<&User> {
        page(&self.users, |user| user.id.get(), |_| true, window)
    }

    pub(crate) fn messages(&self, mailbox: Mailbox, window: Window) -> Page<&Message> {
        let inside = |message: &Message| lies_in(message, mailbox);
        page(&self.messages, |message| message.id.get(), inside, window)
    }

    /// Asks `store` for a page of a mailbox and compares it with the expected one.
    pub(crate) fn expect_messages(&self, store: &mut dyn Backend, box_: Mailbox, window: Window) {
        let Page { items, older } = store.messages(box_, window).unwrap();
        let found = Page { items: items.iter().map(AsRef::as_ref).collect(), older };
        assert_eq!(found, self.messages(box_, window), "{box_:?}, {window:?}");
    }

    /// Asks `store` for a page of accounts and compares it with the expected one.
    pub(crate) fn expect_users(&self, store: &mut dyn Backend, window: Window) {
        let Page { items, older } = store.users(window).unwrap();
        let found = Page { items: items.iter().map(AsRef::as_ref).collect(), older };
        assert_eq!(found, self.users(window), "users, {window:?}");
        // And their names, with names that do not exist.
        let ids = found.items.iter().map(|user| user.id);
        let asked: BTreeSet<UserId> = ids.chain(UserId::new(MAX_ID)).collect();
        let shown = |id: &UserId| Some((*id, self.user(*id)?.shown_name().into()));
        let named: BTreeMap<_, Box<str>> = asked.iter().filter_map(shown).collect();
        assert_eq!(store.usernames(&asked).unwrap(), named, "names, {window:?}");
    }

    /// Expects `store` to hold exactly the same accounts and messages, and to remember the same of
    /// the newest messages sent under a key.
    pub(crate) fn expect_all(&self, store: &mut dyn Backend) {
        const STEP: usize = 1000;
        assert_eq!(store.next_ids(), self.next_ids);
        let mut from = 0;
        while from <= self.next_ids.next_user {
            self.expect_users(store, Window { cursor: Cursor::From(from), limit: STEP });
            from += STEP as u64;
        }
        let mut next = Some(EventId::from(MessageId::FIRST));
        while let Some(from) = next {
            self.expect_history(store, from, STEP);
            let found = self.history(from, STEP);
            next = found.last().and_then(|last| EventId::new(last.id.get() + 1));
        }
        for user in (1..4).filter_map(UserId::new) {
            self.expect_conversations(store, user, None, 20);
        }
        assert_eq!(store.registration_is_closed().unwrap(), self.closed);
        for user in &self.users {
            let all = Window { cursor: Cursor::Newest, limit: STEP };
            self.expect_blocks(store, user.id, all);
            assert_eq!(store.account_block(user.id).unwrap(), self.account_block(user.id));
            assert_eq!(store.sessions(user.id).unwrap(), self.sessions(user.id), "{}", user.id);
        }
        let now = self.once.last().map_or(Timestamp::from_millis(0), |(_, first)| first.at);
        for (of, _) in self.once.iter().rev().take(STEP) {
            assert_eq!(
                store.first_answer(*of, now).unwrap(),
                self.first_answer(*of, now),
                "{of:?}"
            );
        }
    }
}

fn lies_in(message: &Message, mailbox: Mailbox) -> bool {
    match (mailbox, message.to) {
        (Mailbox::General, to) => to.is_none(),
        (_, None) => false,
        (Mailbox::Private(user), Some(to)) => user == message.from || user == to,
        (Mailbox::Conversation(a, b), Some(to)) => {
            (message.from, to) == (a, b) || (message.from, to) == (b, a)
        }
    }
}

fn page<T>(
    list: &[T],
    id: impl Fn(&T) -> u64,
    inside: impl Fn(&T) -> bool,
    window: Window,
) -> Page<&T> {
    let (older, newer) = match window.cursor {
        Cursor::Newest => (list, [].as_slice()),
        Cursor::Before(at) | Cursor::From(at) => {
            list.split_at(list.partition_point(|item| id(item) < at))
        }
    };
    let mut older = older.iter().rev().filter(|item| inside(item));
    let items = if let Cursor::From(_) = window.cursor {
        newer.iter().filter(|item| inside(item)).take(window.limit).collect()
    } else {
        let mut items: Vec<&T> = older.by_ref().take(window.limit).collect();
        items.reverse();
        items
    };
    Page { items, older: older.next().is_some() }
}
