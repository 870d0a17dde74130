//! A store that fails, is full, or is crowded on demand.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use veche::model::{
    Block, Event, EventId, Mailbox, Message, MessageId, ModerationAction, Page, Session, SessionId,
    StoreId, Timestamp, User, UserId, Username, Window,
};
use veche::store::{
    Backend, Conversation, Entry, FirstAnswer, IdAllocator, IdempotencyKey, MarkOutcome,
    NewMessage, NewRevision, NewUser, PastStoreIdValue, PostOutcome, Record, RestoreError,
    RetryKey, Snapshot, StoreError,
};

/// The faults to show.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Posting fails.
    pub(crate) failing: AtomicBool,
    /// There is no space to post.
    pub(crate) full: AtomicBool,
    /// The next request for a list of blocked users sees a thousand of them.
    pub(crate) crowded: AtomicBool,
    /// The first user has another session, which no page need show.
    pub(crate) besides: AtomicBool,
}

/// The session of [`Faults::besides`].
pub(crate) const BESIDES: SessionId = SessionId([0; 16]);

/// Another store, with faults.
pub(crate) struct FaultyStore {
    store: Box<dyn Backend>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    pub(crate) fn new(store: Box<dyn Backend>, faults: Arc<Faults>) -> FaultyStore {
        FaultyStore { store, faults }
    }
}

impl Backend for FaultyStore {
    fn store_id(&self) -> StoreId {
        self.store.store_id()
    }

    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError> {
        self.store.create_user(new)
    }

    fn user(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError> {
        self.store.user(id)
    }

    fn user_named(&self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError> {
        self.store.user_named(name)
    }

    fn users(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError> {
        self.store.users(window)
    }

    fn begin_session(
        &mut self,
        new: Session,
        seen: &str,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        self.store.begin_session(new, seen)
    }

    fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let mut sessions = self.store.sessions(user)?;
        if user == UserId::FIRST && self.faults.besides.load(Ordering::SeqCst) {
            let (created_at, expires_at) = (Timestamp::from_millis(0), Timestamp::MAX);
            let (id, user_agent) = (BESIDES, "".into());
            sessions.push(Session { user, id, created_at, expires_at, user_agent });
        }
        Ok(sessions)
    }

    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        self.store.end_session(user, id)
    }

    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        self.store.end_sessions(user)
    }

    fn change_password(
        &mut self,
        fresh: Session,
        seen: &str,
        hash: Box<str>,
    ) -> Result<bool, StoreError> {
        self.store.change_password(fresh, seen, hash)
    }

    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.store.end_account(user, seen, at)
    }

    fn moderate(
        &mut self,
        by: UserId,
        at: Timestamp,
        act: ModerationAction,
    ) -> Result<Option<EventId>, StoreError> {
        self.store.moderate(by, at, act)
    }

    fn account_block(&self, user: UserId) -> Result<Option<Block>, StoreError> {
        self.store.account_block(user)
    }

    fn blocked_accounts(&self, window: Window) -> Result<Page<Block>, StoreError> {
        self.store.blocked_accounts(window)
    }

    fn registration_is_closed(&self) -> Result<bool, StoreError> {
        self.store.registration_is_closed()
    }

    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError> {
        self.store.refuse_sender(block, refused)
    }

    fn refuses(&self, by: UserId, user: UserId) -> Result<bool, StoreError> {
        self.store.refuses(by, user)
    }

    fn refused_senders(&self, by: UserId, window: Window) -> Result<Page<Block>, StoreError> {
        if self.faults.crowded.swap(false, Ordering::SeqCst) {
            let crowd = (0..window.limit as u64).filter_map(|number| UserId::new(1000 + number));
            let at = Timestamp::from_millis(0);
            let items = crowd.map(|user| Block { user, by, at }).collect();
            return Ok(Page { items, older: false });
        }
        self.store.refused_senders(by, window)
    }

    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError> {
        if self.faults.failing.load(Ordering::SeqCst) {
            // An error after which the server goes on, so that the session can.
            return Err(StoreError::OutOfIds);
        }
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full { dir: PathBuf::new(), free: 0, floor: 1 });
        }
        self.store.post(new)
    }

    fn post_once(
        &mut self,
        new: NewMessage,
        once: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError> {
        self.store.post_once(new, once)
    }

    fn first_answer(
        &self,
        of: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError> {
        self.store.first_answer(of, now)
    }

    fn message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError> {
        self.store.message(id)
    }

    fn messages(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError> {
        self.store.messages(mailbox, window)
    }

    fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Result<Option<EventId>, StoreError> {
        self.store.revise(id, seen, new)
    }

    fn events(&self, reader: UserId, window: Window) -> Result<Page<Event<'_>>, StoreError> {
        self.store.events(reader, window)
    }

    fn conversations(
        &self,
        of: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Conversation<'_>>, StoreError> {
        self.store.conversations(of, before, limit)
    }

    fn conversation(
        &self,
        of: UserId,
        with: Option<UserId>,
    ) -> Result<Option<Conversation<'_>>, StoreError> {
        self.store.conversation(of, with)
    }

    fn mark_read(
        &mut self,
        of: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<MarkOutcome>, StoreError> {
        self.store.mark_read(of, with, up_to, at)
    }

    fn history(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError> {
        self.store.history(from, limit)
    }

    fn entries(&self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.entries(after, limit)
    }

    fn next_ids(&self) -> IdAllocator {
        self.store.next_ids()
    }

    fn past_store_ids(&self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError> {
        self.store.past_store_ids()
    }

    fn log_bytes(&self) -> u64 {
        self.store.log_bytes()
    }

    fn takes_writes(&mut self) -> bool {
        !self.faults.full.load(Ordering::SeqCst) && self.store.takes_writes()
    }

    fn adopt(&mut self, store_id: StoreId) -> Result<(), RestoreError> {
        self.store.adopt(store_id)
    }

    fn restore(&mut self, record: Record) -> Result<(), RestoreError> {
        self.store.restore(record)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.store.snapshot()
    }
}
