//! The [`Engine`] trait: the primitives that a store has to provide.
//!
//! All rules of the chat are over these, once for every engine, in [`backend`]. A method here knows
//! records, lists and entries, and decides nothing.

mod backend;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::entries::reader::EntryReader;
use super::error::StoreError;
use super::id_allocator::IdAllocator;
use super::record::Record;
use super::transfer::snapshot::Snapshot;
use crate::model::{
    Event, EventId, Mailbox, Message, MessageId, Page, StoreId, User, UserId, Username, Window,
};

/// The free space that a write may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpaceClass {
    /// The free space above the floor.
    Ordinary,
    /// The reserve below the floor as well: for writes that must not wait for space, such as
    /// logging in and out, and moderation.
    Reserve,
}

/// The primitives of a store. Each implementation is a [`Backend`](super::Backend).
///
/// Every later call sees the appended records, durable or not.
pub(super) trait Engine: Send {
    /// All entries.
    type Entries: EntryReader;

    /// The entries, by key and by range.
    fn entry_reader(&self) -> &Self::Entries;

    /// The store id.
    fn id(&self) -> StoreId;

    /// The ids that are given out next.
    fn ids(&self) -> IdAllocator;

    /// Begins a write and returns the ids to take for it. Called before the checks that the write
    /// depends on, so that nothing can come between: an engine that several servers share takes its
    /// lock here, which may fail. Ids are given out by [`Engine::append`], which moves the engine's
    /// own past those of the records.
    fn begin_write(&mut self) -> Result<IdAllocator, StoreError>;

    /// Refuses a write of about `bytes` with [`StoreError::Full`] if too little space is free.
    fn admit(&mut self, bytes: usize, class: SpaceClass) -> Result<(), StoreError>;

    /// Appends records as one batch: after a crash all of them are there, or none. Only entries are
    /// followed by another record.
    fn append(&mut self, batch: impl IntoIterator<Item = Record>) -> Result<(), StoreError>;

    /// Makes everything appended so far survive a power cut.
    fn make_durable(&mut self) -> Result<(), StoreError>;

    /// True if there is an account with this id.
    fn has_account(&self, id: UserId) -> Result<bool, StoreError>;

    /// The id of the account with this name, whatever its case.
    fn account_id(&self, name: &Username) -> Result<Option<UserId>, StoreError>;

    /// The account with this id, as it was registered.
    fn account(&self, id: UserId) -> Result<Option<Cow<'_, User>>, StoreError>;

    /// Those of these accounts that exist, as they were registered, in order of id.
    fn accounts(&self, ids: &BTreeSet<UserId>) -> Result<Vec<Cow<'_, User>>, StoreError>;

    /// A page of all accounts, as they were registered.
    fn account_page(&self, window: Window) -> Result<Page<Cow<'_, User>>, StoreError>;

    /// The message with this id, as its last revision left it.
    fn find_message(&self, id: MessageId) -> Result<Option<Cow<'_, Message>>, StoreError>;

    /// A page of the messages of a mailbox, as their last revisions left them.
    fn mailbox(
        &self,
        mailbox: Mailbox,
        window: Window,
    ) -> Result<Page<Cow<'_, Message>>, StoreError>;

    /// A page of the events other than new messages in a feed: the general chat, or a user's
    /// private messages. Their messages are as their last revisions left them.
    fn activity(&self, feed: Mailbox, window: Window) -> Result<Page<Event<'_>>, StoreError>;

    /// At most `limit` events of all mailboxes from `from` on, in order.
    fn events_from(&self, from: EventId, limit: usize) -> Result<Vec<Event<'_>>, StoreError>;

    /// The users that a user has private messages with, and the id of the last message of each: the
    /// `limit` highest ids below `below`, descending.
    fn counterparts(
        &self,
        user: UserId,
        below: u64,
        limit: usize,
    ) -> Result<Vec<(MessageId, UserId)>, StoreError>;

    /// The number of messages that others than `user` wrote to a mailbox from the id `from` on,
    /// among its newest `limit` from there, and whether there are more than those.
    fn count_others(
        &self,
        user: UserId,
        mailbox: Mailbox,
        from: u64,
        limit: usize,
    ) -> Result<(usize, bool), StoreError>;

    /// Gives the store, which must be empty, another id.
    fn set_id(&mut self, id: StoreId) -> Result<(), StoreError>;

    /// Bytes of the log; 0 if the engine has none.
    fn log_length(&self) -> u64;

    /// A copy of what is durable, if the engine has a log: see
    /// [`Backend::snapshot`](super::Backend::snapshot).
    fn durable_copy(&self) -> Result<Option<Snapshot>, StoreError>;
}
