//! The live sessions, in memory, so that a request need not read its session from the store.
//!
//! A token is good while its session is in the cache. A session that ends leaves the cache at once,
//! and nothing has to be kept of it. A session that is not in the cache is looked for in the store:
//! it may have been left out at the start because the clock was ahead then.
//!
//! A session expires by the first of two clocks. The time of day decides when its token expires; it
//! can be set, so no session is dropped from the cache because of it. The monotonic clock only goes
//! on: once it has seen the session's whole lifetime pass, the session has expired whatever the time
//! of day, and is dropped. For a session that is older than the process, the monotonic clock counts
//! from the start of the process.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::auth::tokens::Bearer;
use crate::model::{Session, SessionId, Timestamp, UserId};
use crate::store::{Backend, StoreError, for_each_session};
use crate::sys::Reading;

/// Most expired sessions that are dropped when one begins. With more than one, they become fewer.
const DROPPED_AT_ONCE: usize = 2;
/// The precision of the time of last use, in milliseconds. A finer time would say more about a user
/// than it helps them.
const USE_PRECISION: u64 = 60_000;

/// The live sessions of all users.
#[derive(Debug, Default)]
pub(super) struct SessionCache {
    sessions: HashMap<SessionId, CachedSession>,
    /// Sessions by the monotonic time at which they expire.
    by_expiry: BTreeSet<(Duration, SessionId)>,
    by_user: HashMap<UserId, HashSet<SessionId>>,
    /// The monotonic time of the start.
    started: Duration,
    /// Sessions that ended since the last call of [`SessionCache::take_revoked`].
    revoked: Vec<Revoked>,
}

#[derive(Debug, Clone, Copy)]
struct CachedSession {
    user: UserId,
    /// By the time of day.
    expires_at: Timestamp,
    /// By the monotonic clock.
    expires_after: Duration,
    /// Rounded down. The time of the login, if the session was not used since the start.
    used_at: Timestamp,
}

/// Sessions that ended, whose requests are answered no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// One session.
    Session(UserId, SessionId),
    /// All sessions of a user, but those that began since.
    User(UserId),
}

/// The state of a session in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionState {
    /// It is live, and lasts this long at most.
    Live(Duration),
    /// It has expired.
    Expired,
    /// It is not in the cache. It has ended, unless the store has it.
    Unknown,
}

impl SessionCache {
    /// Reads the sessions that have not expired from a store.
    pub(super) fn load(store: &mut dyn Backend, at: Reading) -> Result<SessionCache, StoreError> {
        let mut cache = SessionCache { started: at.elapsed, ..SessionCache::default() };
        for_each_session(store, |session| {
            if session.expires_at > at.now {
                cache.insert(&session, cache.started);
            }
        })?;
        Ok(cache)
    }

    /// Adds a session that begins now.
    pub(super) fn begin(&mut self, session: &Session, at: Reading) {
        for _ in 0..DROPPED_AT_ONCE {
            let first = self.by_expiry.first().filter(|(expiry, _)| *expiry <= at.elapsed);
            let Some(&(_, id)) = first else { break };
            self.remove(id);
        }
        self.insert(session, at.elapsed);
    }

    /// Adds a session that was found in the store, unless it has expired.
    pub(super) fn recall(&mut self, session: &Session, at: Reading) {
        if !self.has_expired(session, at) {
            self.insert(session, self.started);
        }
    }

    /// `since` is the monotonic time of its beginning, or of the start of the process.
    fn insert(&mut self, session: &Session, since: Duration) {
        let &Session { user, id, created_at, expires_at, .. } = session;
        let expires_after = since.saturating_add(lifetime(session));
        self.remove(id);
        let used_at = rounded(created_at);
        self.sessions.insert(id, CachedSession { user, expires_at, expires_after, used_at });
        self.by_expiry.insert((expires_after, id));
        self.by_user.entry(user).or_default().insert(id);
    }

    fn remove(&mut self, id: SessionId) {
        let Some(CachedSession { user, expires_after, .. }) = self.sessions.remove(&id) else {
            return;
        };
        self.by_expiry.remove(&(expires_after, id));
        if let Some(ids) = self.by_user.get_mut(&user) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_user.remove(&user);
            }
        }
    }

    /// Ends a session.
    pub(super) fn end(&mut self, user: UserId, id: SessionId) {
        self.remove(id);
        self.revoked.push(Revoked::Session(user, id));
    }

    /// Ends all sessions of a user.
    pub(super) fn end_all(&mut self, user: UserId) {
        for id in self.by_user.get(&user).cloned().unwrap_or_default() {
            self.remove(id);
        }
        self.revoked.push(Revoked::User(user));
    }

    /// The state of a token's session. One lookup.
    pub(super) fn state(&self, bearer: Bearer, at: Reading) -> SessionState {
        match self.sessions.get(&bearer.session) {
            Some(cached) if cached.user != bearer.user => SessionState::Unknown,
            Some(cached) if cached.expires_at <= at.now || cached.expires_after <= at.elapsed => {
                SessionState::Expired
            }
            Some(cached) => {
                let left = cached.expires_at.millis().saturating_sub(at.now.millis());
                let left_elapsed = cached.expires_after.saturating_sub(at.elapsed);
                SessionState::Live(Duration::from_millis(left).min(left_elapsed))
            }
            None => SessionState::Unknown,
        }
    }

    /// Records that a session is used now. A clock that was set back is believed.
    pub(super) fn record_use(&mut self, id: SessionId, now: Timestamp) {
        let Some(cached) = self.sessions.get_mut(&id) else { return };
        let (used, now) = (cached.used_at.millis(), now.millis());
        if now >= used + USE_PRECISION || now < used {
            cached.used_at = rounded(Timestamp::from_millis(now));
        }
    }

    /// The time of a session's last use, if the session is in the cache.
    pub(super) fn used_at(&self, id: SessionId) -> Option<Timestamp> {
        self.sessions.get(&id).map(|cached| cached.used_at)
    }

    /// `true` once a session's whole lifetime has certainly passed: its record can be deleted.
    pub(super) fn has_expired(&self, session: &Session, at: Reading) -> bool {
        let expires_after = match self.sessions.get(&session.id) {
            Some(cached) => cached.expires_after,
            None => self.started.saturating_add(lifetime(session)),
        };
        expires_after <= at.elapsed
    }

    /// The sessions that ended since the last call.
    pub(super) fn take_revoked(&mut self) -> Vec<Revoked> {
        std::mem::take(&mut self.revoked)
    }
}

fn rounded(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis() / USE_PRECISION * USE_PRECISION)
}

fn lifetime(session: &Session) -> Duration {
    Duration::from_millis(session.expires_at.millis().saturating_sub(session.created_at.millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(user: u64, id: u8, created: u64, expires: u64) -> Session {
        Session {
            user: UserId::new(user).unwrap(),
            id: SessionId([id; 16]),
            created_at: Timestamp::from_millis(created),
            expires_at: Timestamp::from_millis(expires),
            user_agent: "".into(),
        }
    }

    fn bearer(user: u64, id: u8) -> Bearer {
        Bearer { user: UserId::new(user).unwrap(), session: SessionId([id; 16]) }
    }

    fn at(millis: u64) -> Reading {
        Reading { now: Timestamp::from_millis(millis), elapsed: Duration::from_millis(millis) }
    }

    fn is_live(cache: &SessionCache, bearer: Bearer) -> bool {
        matches!(cache.state(bearer, at(0)), SessionState::Live(_))
    }

    #[test]
    fn an_ended_session_is_not_live() {
        let mut cache = SessionCache::default();
        for (user, id) in [(1, 1), (1, 2), (2, 3)] {
            cache.begin(&session(user, id, 0, 1000), at(0));
        }
        assert!(is_live(&cache, bearer(1, 1)));
        assert_eq!(
            cache.state(bearer(2, 1), at(0)),
            SessionState::Unknown,
            "another user's session"
        );
        assert_eq!(cache.state(bearer(1, 9), at(0)), SessionState::Unknown, "no session");
        cache.end(UserId::FIRST, SessionId([1; 16]));
        assert!(!is_live(&cache, bearer(1, 1)) && is_live(&cache, bearer(1, 2)));
        cache.end_all(UserId::FIRST);
        assert!(!is_live(&cache, bearer(1, 2)) && is_live(&cache, bearer(2, 3)));
        let ended = Revoked::Session(UserId::FIRST, SessionId([1; 16]));
        assert_eq!(cache.take_revoked(), [ended, Revoked::User(UserId::FIRST)]);
        assert_eq!(cache.take_revoked(), []);
        // A session that begins in the same millisecond is live.
        cache.begin(&session(1, 4, 0, 1000), at(0));
        assert!(is_live(&cache, bearer(1, 4)));
    }

    #[test]
    fn a_session_expires_by_the_first_of_two_clocks() {
        let mut cache = SessionCache::default();
        cache.begin(&session(1, 1, 5000, 6000), Reading { now: at(5000).now, ..at(100) });
        let reading =
            |now, elapsed| Reading { now: at(now).now, elapsed: Duration::from_millis(elapsed) };
        for (now, elapsed, expected) in [
            (5000, 100, SessionState::Live(Duration::from_secs(1))),
            (5999, 100, SessionState::Live(Duration::from_millis(1))),
            (6000, 100, SessionState::Expired),
            (0, 1000, SessionState::Live(Duration::from_millis(100))),
            (0, 1100, SessionState::Expired),
        ] {
            assert_eq!(cache.state(bearer(1, 1), reading(now, elapsed)), expected);
        }
    }

    #[test]
    fn expired_sessions_are_dropped_a_few_at_a_time() {
        let mut cache = SessionCache::default();
        for id in 0..10 {
            cache.begin(&session(1, id, 0, 1000 + u64::from(id)), at(0));
        }
        for id in 10..20 {
            cache.begin(&session(2, id, 2000, 5000), at(2000));
        }
        assert_eq!(cache.sessions.len(), 10);
        assert_eq!((cache.by_expiry.len(), cache.by_user.len()), (10, 1));
    }

    #[test]
    fn the_time_of_last_use_is_rounded_to_the_minute() {
        let mut cache = SessionCache::default();
        cache.begin(&session(1, 1, 61_000, 1_000_000), at(0));
        let used = |cache: &SessionCache| cache.used_at(SessionId([1; 16])).unwrap().millis();
        assert_eq!(used(&cache), 60_000);
        for (now, expected) in
            [(119_999, 60_000), (120_000, 120_000), (200_000, 180_000), (5, 0), (70_000, 60_000)]
        {
            cache.record_use(SessionId([1; 16]), Timestamp::from_millis(now));
            assert_eq!(used(&cache), expected);
        }
    }
}
