//! The [`Backend`] trait, which every store implements, and the types of its arguments and results.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::error::{RestoreError, StoreError};
use super::id_allocator::IdAllocator;
use super::record::Record;
use crate::model::{
    Block, Event, EventId, Mailbox, Message, MessageContent, MessageId, MessageText,
    ModerationAction, Page, Revision, Session, SessionId, StoreId, Timestamp, User, UserId,
    Username, Window,
};
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::past_store_id::PastStoreIdValue;
use crate::store::entries::retry::{FirstAnswer, Hash, RetryKey};
use crate::store::transfer::snapshot::Snapshot;

/// The state of the chat, owned by one thread.
///
/// The contract, which `tests/conformance` holds every implementation to:
///
/// * **Ids are the store's.** Users count from 1, events from 0, each one higher than any before it.
///   No id is given out twice, not after a crash either, nor by a store restored from a backup. A
///   message's id is the number of the event that posted it.
/// * **Uniqueness is the store's.** The call that writes decides whether a name is free and a receiver
///   exists, so that several servers can share a store.
/// * **Read your turn.** Every later call sees what a call applied.
/// * **No gaps to come.** Once a reader has seen an id, nothing below it will appear any more.
/// * **`sync` is durability.** When it returns, everything applied before it survives a power
///   cut. A write must not be acknowledged or shown before that.
/// * **Failure is final.** After an [`StoreError::Failed`] the store must not be used again, and
///   what was applied since the last `sync` may or may not be there after a restart.
pub trait Backend: Send {
    /// The store's identity.
    fn store_id(&self) -> StoreId;

    /// Registers an account; `None` when the name is taken.
    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError>;

    /// The account with this id as it is now, also if it has ended.
    fn user(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError>;

    /// The account with this name, whatever its case, also if it has ended.
    fn user_named(&self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError>;

    /// The names by which users are [shown](User::shown_name), of those that exist.
    fn usernames(&self, ids: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, Box<str>>, StoreError> {
        let mut names = BTreeMap::new();
        for &id in ids {
            names.extend(self.user(id)?.map(|user| (id, user.shown_name().into())));
        }
        Ok(names)
    }

    /// A page of all accounts.
    fn users(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError>;

    /// Begins a session and returns the ids of the sessions that end for it: with more than
    /// [`MAX_SESSIONS`](crate::model::MAX_SESSIONS) one that has expired, or else the oldest.
    /// `None` if the password hash of the account is not `seen` any more, or the account is
    /// blocked.
    fn begin_session(
        &mut self,
        new: Session,
        seen: &str,
    ) -> Result<Option<Vec<SessionId>>, StoreError>;

    /// A user's sessions, the oldest first, expired ones included.
    fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError>;

    /// Ends a session of a user; `false` if there is none.
    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError>;

    /// Ends all sessions of a user. After a crash either all have ended or none.
    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError>;

    /// Changes the password of a user, begins the session `fresh` and ends all others, in one batch.
    /// `false` if the password hash is not `seen` any more, or the account is blocked.
    fn change_password(
        &mut self,
        fresh: Session,
        seen: &str,
        hash: Box<str>,
    ) -> Result<bool, StoreError>;

    /// Ends an account and all its sessions, in one batch. Its name stays taken, and messages to it
    /// are refused from then on. `false` if its password hash is not `seen` any more, or it is
    /// blocked.
    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Applies a moderation and returns the number of its event, in one batch. A block ends all
    /// sessions of the account. `None` if nothing would change, or the account does not exist or
    /// has ended.
    fn moderate(
        &mut self,
        by: UserId,
        at: Timestamp,
        action: ModerationAction,
    ) -> Result<Option<EventId>, StoreError>;

    /// The block of an account, if it is blocked.
    fn account_block(&self, user: UserId) -> Result<Option<Block>, StoreError>;

    /// A page of the accounts that are blocked, in order of id.
    fn blocked_accounts(&self, window: Window) -> Result<Page<Block>, StoreError>;

    /// True if an operator has closed registration. Accounts can be created all the same: the
    /// caller has to ask.
    fn registration_is_closed(&self) -> Result<bool, StoreError>;

    /// Sets or lifts a user's block of a sender, and returns whether that changed anything.
    /// Messages are [posted](Backend::post) all the same: the caller has to ask.
    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError>;

    /// True if `by` refuses private messages of `user`.
    fn refuses(&self, by: UserId, user: UserId) -> Result<bool, StoreError>;

    /// A page of the senders that `by` has blocked, in order of id.
    fn refused_senders(&self, by: UserId, window: Window) -> Result<Page<Block>, StoreError>;

    /// Posts a message; `None` when its receiver does not exist, or has ended.
    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError>;

    /// Edits or deletes a message and returns the number of the event. `None` if `seen` is not the
    /// last event of the message any more: the caller has to read it again.
    fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Result<Option<EventId>, StoreError>;

    /// Posts a message and remembers it under an idempotency key, in one batch, unless its author
    /// has sent something under the same key within [`RETRY_LIFETIME`](super::RETRY_LIFETIME)
    /// before. `None` when its receiver does not exist. The last
    /// [`MAX_RETRIES`](super::MAX_RETRIES) keys of a user are remembered.
    fn post_once(
        &mut self,
        new: NewMessage,
        key: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError>;

    /// The first answer to a key, if it came within [`RETRY_LIFETIME`](super::RETRY_LIFETIME) before
    /// `now`.
    fn first_answer(
        &self,
        key: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError>;

    /// The message with this id as its last revision left it, whoever may read it.
    fn message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError>;

    /// A page of a mailbox.
    fn messages(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError>;

    /// A page of the events in the general chat and of `reader`'s private messages.
    fn events(&self, reader: UserId, window: Window) -> Result<Page<Event<'_>>, StoreError>;

    /// A page of a user's conversations, in descending order of their last messages' ids: those
    /// whose last message is below `before`, if it is given. The general chat is one, once it has a
    /// message.
    fn conversations(
        &self,
        user: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Conversation<'_>>, StoreError>;

    /// A conversation of a user with another or, for `None`, in the general chat; `None` if it has
    /// no message.
    fn conversation(
        &self,
        user: UserId,
        with: Option<UserId>,
    ) -> Result<Option<Conversation<'_>>, StoreError>;

    /// Marks a conversation as read up to a message, or up to its last one if that is lower. A mark
    /// never moves back. `None` if the conversation has no message.
    fn mark_read(
        &mut self,
        user: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<MarkOutcome>, StoreError>;

    /// At most `limit` events of all mailboxes, in order, from `from` on.
    fn history(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError>;

    /// At most `limit` entries after the key of `after`, in order of key, expired ones included: to
    /// read all of a keyspace or of the store, as an export and a start do.
    fn entries(&self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// The ids that will be given out next.
    fn next_ids(&self) -> IdAllocator;

    /// The store ids that ended when a backup of them was restored, up to
    /// [`MAX_PAST_STORE_IDS`](super::MAX_PAST_STORE_IDS), with the ids at which each ended: see
    /// [`Lineage`](super::Lineage).
    fn past_store_ids(&self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError>;

    /// Bytes of the log; 0 if the store has none.
    fn log_bytes(&self) -> u64;

    /// False if a write would be refused with [`StoreError::Full`] now.
    fn takes_writes(&mut self) -> bool;

    /// Takes over the id of the store that an import comes from. Refused unless the store is empty.
    fn adopt(&mut self, store_id: StoreId) -> Result<(), RestoreError>;

    /// Writes a record of another store, ids included. Refused unless ids ascend, the users that an
    /// entry or a moderation is about exist, and no user has too many sessions.
    fn restore(&mut self, record: Record) -> Result<(), RestoreError>;

    /// Makes everything applied so far survive a power cut.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// A copy of exactly what the last `sync` made durable. It costs the caller no more than opening
    /// files, can be read by another thread at any time and pace, and stays the same while the store
    /// goes on.
    ///
    /// `None` from a store without a log of its own: one in memory has nothing that is durable,
    /// and one over a database leaves it to the database. `PostgreSQL` has `pg_dump`, which reads
    /// in one transaction the state at its beginning; a server beside it could do it no better.
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError>;
}

/// An account to create.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The name, as its owner writes it.
    pub name: Username,
    /// The password hash, in the PHC string format.
    pub password_hash: Box<str>,
    /// The time of registration.
    pub created_at: Timestamp,
}

impl NewUser {
    /// The account with the id that the store gives it.
    pub(super) fn with_id(self, id: UserId) -> User {
        let NewUser { name, password_hash, created_at } = self;
        User { id, name, password_hash, created_at, ended_at: None }
    }
}

/// A message to post.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The author; must exist.
    pub from: UserId,
    /// The receiver; `None` is the general chat.
    pub to: Option<UserId>,
    /// The text.
    pub text: MessageText,
    /// The time of sending.
    pub sent_at: Timestamp,
}

impl NewMessage {
    /// The message with the id that the store gives it.
    pub(super) fn with_id(self, id: MessageId) -> Message {
        let NewMessage { from, to, text, sent_at } = self;
        Message { id, from, to, content: MessageContent::Original(text), sent_at }
    }
}

/// An edit or a deletion of a message.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// The user who revises the message; must exist.
    pub by: UserId,
    /// The time of it.
    pub at: Timestamp,
    /// The new text; `None` deletes the message.
    pub text: Option<MessageText>,
}

impl NewRevision {
    /// The message as this revision leaves it, with the number that the store gives the revision.
    pub(super) fn of(self, message: &Message, event: EventId) -> Message {
        let NewRevision { by, at, text } = self;
        let content = MessageContent::Revised(Box::new(Revision { event, by, at, text }));
        let &Message { id, from, to, sent_at, .. } = message;
        Message { id, from, to, content, sent_at }
    }
}

/// The idempotency key of a request, with the hash of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key's hash.
    pub key: Hash,
    /// The hash of the request.
    pub fingerprint: Hash,
    /// The id of the secret that both hashes were made with. Hashes of different secrets cannot be
    /// compared.
    pub secret: Hash,
    /// The time at which a key must have expired as well to be forgotten, as the clock may be
    /// ahead.
    pub settled: Timestamp,
}

#[cfg(test)]
impl IdempotencyKey {
    /// One that was made with a secret of the tests', in a process that has seen all time pass.
    pub(super) fn for_tests(key: [u8; 16], fingerprint: [u8; 16]) -> IdempotencyKey {
        let (key, fingerprint, secret) = (Hash(key), Hash(fingerprint), Hash([2; 16]));
        IdempotencyKey { key, fingerprint, secret, settled: Timestamp::MAX }
    }
}

/// The outcome of posting a message under an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostOutcome {
    /// The message is posted.
    Posted(MessageId),
    /// A request with the same key came before, and nothing is posted now.
    Replayed(FirstAnswer),
}

/// Newest messages of a conversation that are searched for unread ones.
pub const UNREAD_LOOK: usize = 1000;

/// A conversation of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation<'a> {
    /// The other user; `None` is the general chat.
    pub with: Option<UserId>,
    /// The message in it with the highest id.
    pub last: Cow<'a, Message>,
    /// The messages of others after `read_up_to`.
    pub unread: Unread,
    /// The last message that the user has read, as far as is known.
    pub read_up_to: Option<MessageId>,
}

/// The number of unread messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Messages of others among the newest [`UNREAD_LOOK`].
    pub count: usize,
    /// True if there are older messages that are not marked as read, which are not counted.
    pub more: bool,
}

/// The outcome of marking a conversation as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkOutcome {
    /// The message up to which it is read.
    pub up_to: MessageId,
    /// True if the mark moved.
    pub moved: bool,
}
