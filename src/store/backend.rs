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
/// * **Ids are the store's.** Users count from 1, all that happens from 0, each one higher
///   than any before it; neither is ever given out twice, not after a crash either, nor by what is
///   restored from a backup. A message's id is the number of the event that it was posted.
/// * **Uniqueness is the store's.** Whether a name is free and whether a receiver exists is
///   decided in the call that writes, so that several servers can share a store.
/// * **Read your turn.** What a call applied, every later call sees.
/// * **No gaps to come.** Once a reader has seen an id, nothing below it will appear any more.
/// * **`sync` is durability.** When it returns, everything applied before it survives a power
///   cut. Nobody may be told of a write, or shown one, before that.
/// * **Failure is final.** After an [`StoreError::Failed`] the store must not be used again, and
///   what was applied since the last `sync` may or may not be there after a restart.
pub trait Backend: Send {
    /// The store's identity.
    fn store_id(&self) -> StoreId;

    /// Registers an account; `None` when the name is taken.
    fn create_user(&mut self, new: NewUser) -> Result<Option<UserId>, StoreError>;

    /// The account with this id, as it is; also one that has ended.
    fn user(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError>;

    /// The account with this name, whatever its case; also one that has ended.
    fn user_named(&self, name: &Username) -> Result<Option<Cow<'_, User>>, StoreError>;

    /// By what names these users are [shown](User::shown_name); of who does not exist, none.
    fn usernames(&self, ids: &BTreeSet<UserId>) -> Result<BTreeMap<UserId, Box<str>>, StoreError> {
        let mut names = BTreeMap::new();
        for &id in ids {
            names.extend(self.user(id)?.map(|user| (id, user.shown_name().into())));
        }
        Ok(names)
    }

    /// A page of all accounts.
    fn users(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError>;

    /// Begins a session of an account that is not blocked and whose password hash still is `seen`,
    /// and says which ones of it end for that: of more than
    /// [`MAX_SESSIONS`](crate::model::MAX_SESSIONS) one that has expired when it begins, or else the
    /// oldest. `None` if the hash is another by now, or the account blocked.
    fn begin_session(
        &mut self,
        new: Session,
        seen: &str,
    ) -> Result<Option<Vec<SessionId>>, StoreError>;

    /// A user's sessions, the oldest first; also such as have expired.
    fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError>;

    /// Ends a session of a user; `false` if there is none.
    fn end_session(&mut self, user: UserId, id: SessionId) -> Result<bool, StoreError>;

    /// Ends all sessions of a user. After a crash either all have ended or none.
    fn end_sessions(&mut self, user: UserId) -> Result<(), StoreError>;

    /// Gives the user of a session that is to begin another password, unless the hash is not
    /// `seen` any more, or the account is blocked: then `false`. All their other sessions end, as one with it.
    fn change_password(
        &mut self,
        fresh: Session,
        seen: &str,
        hash: Box<str>,
    ) -> Result<bool, StoreError>;

    /// Ends an account, and all its sessions as one with it, unless its password hash is not `seen`
    /// any more, or it is blocked: then `false`. Its name stays taken, and messages to it are not taken any more.
    fn end_account(&mut self, user: UserId, seen: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Does what an operator wants, and says by which event; `None` if it is so already, or is to be
    /// done to an account that is not there or has ended. With a block all sessions of the account
    /// end. After a crash all of it is so, or nothing.
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

    /// Whether an operator has closed registration. Accounts can be created all the same: that is
    /// for who asks to decide.
    fn registration_is_closed(&self) -> Result<bool, StoreError>;

    /// Has a user's private messages to another refused, or taken again, and says whether that is
    /// new. They are [posted](Backend::post) all the same: that is for who asks to decide.
    fn refuse_sender(&mut self, block: Block, refused: bool) -> Result<bool, StoreError>;

    /// Whether `by` refuses private messages of `user`.
    fn refuses(&self, by: UserId, user: UserId) -> Result<bool, StoreError>;

    /// A page of those whose messages `by` refuses, in order of id.
    fn refused_senders(&self, by: UserId, window: Window) -> Result<Page<Block>, StoreError>;

    /// Posts a message; `None` when its receiver does not exist, or has ended.
    fn post(&mut self, new: NewMessage) -> Result<Option<MessageId>, StoreError>;

    /// Edits or deletes a message, and says by which event. `None` if it is not any more what
    /// `seen` made it: whoever decides by what it was has to look again.
    fn revise(
        &mut self,
        id: MessageId,
        seen: EventId,
        new: NewRevision,
    ) -> Result<Option<EventId>, StoreError>;

    /// Posts a message unless its author has sent something under the same key within
    /// [`RETRY_LIFETIME`] before its time, and remembers it under the key; `None` when its receiver
    /// does not exist. After a crash either both are there or neither. Of each user the last
    /// [`MAX_RETRIES`] keys are remembered.
    fn post_once(
        &mut self,
        new: NewMessage,
        key: IdempotencyKey,
    ) -> Result<Option<PostOutcome>, StoreError>;

    /// What a user has sent under a key within [`RETRY_LIFETIME`] before `now`.
    fn first_answer(
        &self,
        key: RetryKey,
        now: Timestamp,
    ) -> Result<Option<FirstAnswer>, StoreError>;

    /// The message with this id, whoever may read it, as its last revision left it.
    fn message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError>;

    /// A page of a mailbox.
    fn messages(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError>;

    /// A page of what happened in the general chat and to `reader`'s private messages.
    fn events(&self, reader: UserId, window: Window) -> Result<Page<Event<'_>>, StoreError>;

    /// A page of a user's conversations, in descending order of their last messages' ids: those
    /// whose last message lies below `before`, if it is given. The general chat is one, once
    /// something was said in it.
    fn conversations(
        &self,
        user: UserId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<Conversation<'_>>, StoreError>;

    /// A conversation as it stands for a user, with another or, for `None`, in the general chat;
    /// `None` if nothing was said in it.
    fn conversation(
        &self,
        user: UserId,
        with: Option<UserId>,
    ) -> Result<Option<Conversation<'_>>, StoreError>;

    /// Marks a conversation as read up to a message or, if that is beyond it, up to its last; what
    /// is read stays so. `None` if nothing was said in it.
    fn mark_read(
        &mut self,
        user: UserId,
        with: Option<UserId>,
        up_to: MessageId,
        at: Timestamp,
    ) -> Result<Option<MarkOutcome>, StoreError>;

    /// Up to `limit` events of all mailboxes, in order, from `from` on.
    fn history(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError>;

    /// Up to `limit` entries behind `after`, in order of their keys, also such as are over: for who
    /// needs all of a keyspace, or of the store, as an export and a start do.
    fn entries(&self, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// The ids that will be given out next.
    fn next_ids(&self) -> IdAllocator;

    /// The store ids that ended when a backup of them was restored, up to [`MAX_PAST_EPOCHS`], and
    /// where each did: for [`Lineage`], which says what that means.
    fn past_store_ids(&self) -> Result<Vec<(StoreId, PastStoreIdValue)>, StoreError>;

    /// Bytes of the log; 0 if the store has none.
    fn log_bytes(&self) -> u64;

    /// Whether a write would be taken now, or refused with [`StoreError::Full`].
    fn takes_writes(&mut self) -> bool;

    /// Takes over the identity of the store that an import comes from. Only while empty.
    fn adopt(&mut self, store_id: StoreId) -> Result<(), RestoreError>;

    /// Puts a record of another store back, ids included. Ids must ascend, users whom an entry or an act
    /// is about must be there, and nobody has more sessions than there can be.
    fn restore(&mut self, record: Record) -> Result<(), RestoreError>;

    /// Makes everything applied so far survive a power cut.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// A copy of what the last `sync` made durable, neither more nor less. It costs the caller no
    /// more than opening files, is read elsewhere, at any time and at any pace, and stays the same
    /// while the store goes on.
    ///
    /// `None` from a store without a log of its own: one in memory has nothing that is durable,
    /// and one over a database leaves it to that. `PostgreSQL` has `pg_dump`, which reads in one
    /// transaction what it sees at its beginning; a server beside it could do it no better.
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError>;
}

/// An account to be.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// As its owner writes it.
    pub name: Username,
    /// In the PHC string format.
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

/// A message to be.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The author; must exist.
    pub from: UserId,
    /// The receiver; `None` is the general chat.
    pub to: Option<UserId>,
    /// What is said.
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

/// What is to become of a message.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// Who does it; must exist.
    pub by: UserId,
    /// When.
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

/// What is sent under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key's hash.
    pub key: Hash,
    /// The hash of what is asked for.
    pub fingerprint: Hash,
    /// Which secret both were made with. With another one neither can be compared.
    pub secret: Hash,
    /// Only what is over at this time, too, is forgotten for it, as the present may be wrong.
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

/// Messages of a conversation that are looked at to count what is unread: the newest ones.
pub const UNREAD_LOOK: usize = 1000;

/// A conversation as it stands for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation<'a> {
    /// The other one; `None` is the general chat.
    pub with: Option<UserId>,
    /// The message in it with the highest id.
    pub last: Cow<'a, Message>,
    /// What others said behind `read_up_to`.
    pub unread: Unread,
    /// The last message that the user has read, as far as is known.
    pub read_up_to: Option<MessageId>,
}

impl Conversation<'_> {
    /// The same, with nothing of the store's.
    #[must_use]
    pub fn into_owned(self) -> Conversation<'static> {
        let Conversation { with, last, unread, read_up_to } = self;
        Conversation { with, last: Cow::Owned(last.into_owned()), unread, read_up_to }
    }
}

/// How many messages are unread.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Those of others among the newest [`UNREAD_LOOK`].
    pub count: usize,
    /// Whether there are messages before these that are not marked as read, which nobody counted.
    pub more: bool,
}

/// What came of marking a conversation as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkOutcome {
    /// The message up to which it is read.
    pub up_to: MessageId,
    /// Whether that was not so before.
    pub moved: bool,
}
