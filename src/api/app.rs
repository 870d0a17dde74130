//! The state of the server, which every handler is given.

use super::client::Proxies;
use super::cors::Cors;
use super::failure::Failure;
use super::limits::{Limiters, Limits};
use super::notices::{ReadMark, Topic};
use super::operators::Operators;
use super::reply::Reply;
use super::retry_clock::RetryClock;
use super::session_cache::{Revoked, SessionCache};
use super::stale_keys::StaleKeys;
use crate::auth::tokens::Tokens;
use crate::model::{EventId, Mailbox};
use crate::problem::Problem;
use crate::store::{Backend, IdAllocator, IdKind, Lineage, Snapshot, StoreError, settled_at_start};
use crate::sys::{Clock, Entropy};

/// The state of the server, owned by the loop.
pub struct App {
    pub(super) store: Box<dyn Backend>,
    pub(super) tokens: Tokens,
    pub(super) clock: Box<dyn Clock>,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) settings: Settings,
    pub(super) limiters: Limiters,
    pub(super) sessions: SessionCache,
    pub(super) lineage: Lineage,
    pub(super) retry_clock: RetryClock,
    pub(super) stale_keys: StaleKeys,
    /// Events since the last call of [`App::happened`].
    happened: Vec<(Topic, EventId)>,
    /// Conversations marked as read since the last call of [`App::read_marks`].
    pub(super) read_marks: Vec<ReadMark>,
    /// The store's first fatal error. The next sync returns it.
    failure: Option<StoreError>,
}

/// The operator's settings of the API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The shortest password that can be registered, in characters.
    pub min_password_length: usize,
    /// The origins whose pages may use the API.
    pub cors: Cors,
    /// Rate limits.
    pub limits: Limits,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// The users who moderate.
    pub operators: Operators,
    /// `false` if nobody can register. If `true`, an operator can still close registration.
    pub registration_open: bool,
}

/// Passwords of three characters, open registration, and no limits.
impl Default for Settings {
    fn default() -> Settings {
        Settings {
            min_password_length: 3,
            cors: Cors::default(),
            limits: Limits::default(),
            proxies: Proxies::default(),
            operators: Operators::default(),
            registration_open: true,
        }
    }
}

impl App {
    /// The state around a store, whose sessions and lineage are read. If that fails, the first
    /// sync returns the error.
    #[must_use]
    pub fn new(
        mut store: Box<dyn Backend>,
        tokens: Tokens,
        clock: Box<dyn Clock>,
        entropy: Box<dyn Entropy>,
        settings: Settings,
    ) -> App {
        let limiters = Limiters::new(settings.limits);
        let started = clock.read();
        let mut load = || {
            let sessions = SessionCache::load(&mut *store, started)?;
            let settled = settled_at_start(&mut *store, started.now)?;
            Ok((sessions, Lineage::of(&mut *store)?, settled))
        };
        let (sessions, lineage, settled, failure) = match load() {
            Ok((sessions, lineage, settled)) => (sessions, lineage, settled, None),
            Err(error) => (SessionCache::default(), Lineage::default(), None, Some(error)),
        };
        App {
            store,
            tokens,
            clock,
            entropy,
            settings,
            limiters,
            sessions,
            lineage,
            retry_clock: RetryClock::new(started, settled),
            stale_keys: StaleKeys::default(),
            happened: Vec::new(),
            read_marks: Vec::new(),
            failure,
        }
    }

    /// Makes durable what was handled so far. After an error, no request since the last sync may
    /// be answered with success.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.store.sync(),
        }
    }

    /// `true` if the next sync is certain to fail.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The time of day that handlers see.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The store, for metrics.
    #[must_use]
    pub fn store(&self) -> &dyn Backend {
        &*self.store
    }

    /// The next ids, less those that restores skipped: how many users and events there are.
    #[must_use]
    pub fn counted(&self) -> IdAllocator {
        let IdAllocator { next_user, next_event } = self.store.next_ids();
        let dense = |next, sequence| self.lineage.dense(sequence, next);
        IdAllocator {
            next_user: dense(next_user, IdKind::Users),
            next_event: dense(next_event, IdKind::Events),
        }
    }

    /// `true` if the store would take a message now.
    pub fn takes_writes(&mut self) -> bool {
        self.store.takes_writes()
    }

    /// A copy of what the last sync made durable; `None` for a store that is only in memory.
    pub fn snapshot(&mut self) -> Result<Option<Snapshot>, StoreError> {
        self.store.snapshot()
    }

    /// Random bytes, for unique names.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }

    /// The origins whose pages may use the API. Every reply carries its fields.
    #[must_use]
    pub fn cors(&self) -> &Cors {
        &self.settings.cors
    }

    /// The proxies whose `X-Forwarded-For` is believed.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        &self.settings.proxies
    }

    /// The sessions that ended since the last call. Their held requests and streams are to be
    /// ended.
    pub fn revoked(&mut self) -> Vec<Revoked> {
        self.sessions.take_revoked()
    }

    /// The events since the last call, by topic.
    pub fn happened(&mut self) -> impl ExactSizeIterator<Item = (Topic, EventId)> {
        self.happened.drain(..)
    }

    /// The conversations that were marked as read since the last call, for the users' other
    /// devices.
    pub fn read_marks(&mut self) -> impl ExactSizeIterator<Item = ReadMark> {
        self.read_marks.drain(..)
    }

    /// Records an event of some mailboxes, for the requests that wait for it.
    pub(super) fn note(
        &mut self,
        topic: fn(Mailbox) -> Topic,
        mailboxes: impl Iterator<Item = Mailbox>,
        id: EventId,
    ) {
        self.happened.extend(mailboxes.map(|mailbox| (topic(mailbox), id)));
    }

    /// The reply to a request that failed. Logs an error of the store, and keeps a fatal one for
    /// the next sync.
    pub(super) fn reply_to(&mut self, failure: Failure) -> Reply {
        match failure {
            Failure::Problem(problem) => problem.into(),
            // The store has logged it, once for all requests that are refused.
            Failure::Store(StoreError::Full { .. }) => Problem::no_room().into(),
            Failure::Store(error) => {
                log::error!("{error}");
                if error.is_fatal() {
                    self.failure.get_or_insert(error);
                }
                Problem::internal().into()
            }
        }
    }
}
