//! Which sessions are live, in memory, so that requests need not ask the store for their own.
//!
//! A token is good while its session is in here: what has ended is gone at once, and nothing has to
//! be remembered of it. One that is not in here is looked for in the store, which is asked for
//! nobody else: the clock may have been ahead when it was left out.
//!
//! A session is over by either of two clocks. The time of day decides when its token expires, and
//! may be set; so nothing is forgotten because of it. The other only goes on: once it has seen as
//! much time pass as the session was to last, it is over whatever the time of day, and is forgotten.
//! Of one that began before the server did it sees no more than since the server began.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::auth::tokens::Bearer;
use crate::model::{Session, SessionId, Timestamp, UserId};
use crate::store::{Backend, StoreError, standing};
use crate::sys::Reading;

/// So many that are over are forgotten with each one that begins: with more than one they become
/// less.
const FORGOTTEN_AT_ONCE: usize = 2;
/// To how many milliseconds a use is known: what is finer says more of a user than it helps them.
const USE_PRECISION: u64 = 60_000;

/// The sessions there are.
#[derive(Debug, Default)]
pub(super) struct Live {
    sessions: HashMap<SessionId, Known>,
    /// In the order in which they are over.
    ends: BTreeSet<(Duration, SessionId)>,
    /// Of each user.
    by_user: HashMap<UserId, HashSet<SessionId>>,
    /// When the server began, by the clock that only goes on.
    begun: Duration,
    /// What has ended since somebody last asked.
    revoked: Vec<Revoked>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    user: UserId,
    /// By the time of day.
    expires_at: Timestamp,
    /// By the clock that only goes on.
    over: Duration,
    /// Rounded down; that of the login, if it was not used since the server started.
    used_at: Timestamp,
}

/// Whose requests are to be answered no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// Those of one session.
    Session(UserId, SessionId),
    /// All of a user's, but those of a session that has begun since.
    User(UserId),
}

/// Whether a session is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is, and goes on for so long at most.
    Live(Duration),
    /// Its time is over.
    Over,
    /// It has ended, if the store does not know it either.
    Unknown,
}

impl Live {
    /// Reads what is so in a store.
    pub(super) fn load(store: &mut dyn Backend, at: Reading) -> Result<Live, StoreError> {
        let mut live = Live { begun: at.elapsed, ..Live::default() };
        standing(store, |session| {
            if session.expires_at > at.now {
                live.insert(&session, live.begun);
            }
        })?;
        Ok(live)
    }

    /// A session has begun.
    pub(super) fn begin(&mut self, session: &Session, at: Reading) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let first = self.ends.first().filter(|(over, _)| *over <= at.elapsed);
            let Some(&(_, id)) = first else { break };
            self.forget(id);
        }
        self.insert(session, at.elapsed);
    }

    /// One that was not known is in the store.
    pub(super) fn recall(&mut self, session: &Session, at: Reading) {
        if !self.is_over(session, at) {
            self.insert(session, self.begun);
        }
    }

    /// `since` is when it began, or as early as the server can tell.
    fn insert(&mut self, session: &Session, since: Duration) {
        let &Session { user, id, created_at, expires_at, .. } = session;
        let over = since.saturating_add(lifetime(session));
        self.forget(id);
        self.sessions.insert(id, Known { user, expires_at, over, used_at: rounded(created_at) });
        self.ends.insert((over, id));
        self.by_user.entry(user).or_default().insert(id);
    }

    fn forget(&mut self, id: SessionId) {
        let Some(Known { user, over, .. }) = self.sessions.remove(&id) else { return };
        self.ends.remove(&(over, id));
        if let Some(ids) = self.by_user.get_mut(&user) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_user.remove(&user);
            }
        }
    }

    /// A session has ended.
    pub(super) fn end(&mut self, user: UserId, id: SessionId) {
        self.forget(id);
        self.revoked.push(Revoked::Session(user, id));
    }

    /// All of a user have ended.
    pub(super) fn end_all(&mut self, user: UserId) {
        for id in self.by_user.get(&user).cloned().unwrap_or_default() {
            self.forget(id);
        }
        self.revoked.push(Revoked::User(user));
    }

    /// Whether the session of a token is there. One lookup.
    pub(super) fn presence(&self, bearer: Bearer, at: Reading) -> Presence {
        match self.sessions.get(&bearer.session) {
            Some(known) if known.user != bearer.user => Presence::Unknown,
            Some(known) if known.expires_at <= at.now || known.over <= at.elapsed => Presence::Over,
            Some(known) => {
                let left = known.expires_at.millis().saturating_sub(at.now.millis());
                Presence::Live(
                    Duration::from_millis(left).min(known.over.saturating_sub(at.elapsed)),
                )
            }
            None => Presence::Unknown,
        }
    }

    /// Notes that a session is used now. A clock that was set back is believed.
    pub(super) fn note_use(&mut self, id: SessionId, now: Timestamp) {
        let Some(known) = self.sessions.get_mut(&id) else { return };
        let (used, now) = (known.used_at.millis(), now.millis());
        if now >= used + USE_PRECISION || now < used {
            known.used_at = rounded(Timestamp::from_millis(now));
        }
    }

    /// When a session was last used, as far as it is known.
    pub(super) fn used_at(&self, id: SessionId) -> Option<Timestamp> {
        self.sessions.get(&id).map(|known| known.used_at)
    }

    /// Whether as much time has certainly passed as a session was to last: it can be forgotten.
    pub(super) fn is_over(&self, session: &Session, at: Reading) -> bool {
        let over = match self.sessions.get(&session.id) {
            Some(known) => known.over,
            None => self.begun.saturating_add(lifetime(session)),
        };
        over <= at.elapsed
    }

    /// What has ended since this was last asked.
    pub(super) fn revoked(&mut self) -> Vec<Revoked> {
        std::mem::take(&mut self.revoked)
    }
}

fn rounded(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis() / USE_PRECISION * USE_PRECISION)
}

/// How long a session was to last.
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

    fn is_live(live: &Live, bearer: Bearer) -> bool {
        matches!(live.presence(bearer, at(0)), Presence::Live(_))
    }

    #[test]
    fn what_has_ended_is_not_live() {
        let mut live = Live::default();
        for (user, id) in [(1, 1), (1, 2), (2, 3)] {
            live.begin(&session(user, id, 0, 1000), at(0));
        }
        assert!(is_live(&live, bearer(1, 1)));
        assert_eq!(live.presence(bearer(2, 1), at(0)), Presence::Unknown, "somebody else's");
        assert_eq!(live.presence(bearer(1, 9), at(0)), Presence::Unknown, "nobody's");
        live.end(UserId::FIRST, SessionId([1; 16]));
        assert!(!is_live(&live, bearer(1, 1)) && is_live(&live, bearer(1, 2)));
        live.end_all(UserId::FIRST);
        assert!(!is_live(&live, bearer(1, 2)) && is_live(&live, bearer(2, 3)));
        let ended = Revoked::Session(UserId::FIRST, SessionId([1; 16]));
        assert_eq!(live.revoked(), [ended, Revoked::User(UserId::FIRST)]);
        assert_eq!(live.revoked(), []);
        // One that begins in the same millisecond is good.
        live.begin(&session(1, 4, 0, 1000), at(0));
        assert!(is_live(&live, bearer(1, 4)));
    }

    #[test]
    fn a_session_is_over_by_the_first_of_two_clocks() {
        let mut live = Live::default();
        live.begin(&session(1, 1, 5000, 6000), Reading { now: at(5000).now, ..at(100) });
        let reading =
            |now, elapsed| Reading { now: at(now).now, elapsed: Duration::from_millis(elapsed) };
        for (now, elapsed, expected) in [
            (5000, 100, Presence::Live(Duration::from_secs(1))),
            (5999, 100, Presence::Live(Duration::from_millis(1))),
            (6000, 100, Presence::Over),
            (0, 1000, Presence::Live(Duration::from_millis(100))),
            (0, 1100, Presence::Over),
        ] {
            assert_eq!(live.presence(bearer(1, 1), reading(now, elapsed)), expected);
        }
    }

    #[test]
    fn what_is_over_is_forgotten_a_few_at_a_time() {
        let mut live = Live::default();
        for id in 0..10 {
            live.begin(&session(1, id, 0, 1000 + u64::from(id)), at(0));
        }
        for id in 10..20 {
            live.begin(&session(2, id, 2000, 5000), at(2000));
        }
        assert_eq!(live.sessions.len(), 10);
        assert_eq!((live.ends.len(), live.by_user.len()), (10, 1));
    }

    #[test]
    fn a_use_is_known_to_the_minute() {
        let mut live = Live::default();
        live.begin(&session(1, 1, 61_000, 1_000_000), at(0));
        let used = |live: &Live| live.used_at(SessionId([1; 16])).unwrap().millis();
        assert_eq!(used(&live), 60_000);
        for (now, expected) in
            [(119_999, 60_000), (120_000, 120_000), (200_000, 180_000), (5, 0), (70_000, 60_000)]
        {
            live.note_use(SessionId([1; 16]), Timestamp::from_millis(now));
            assert_eq!(used(&live), expected);
        }
    }
}
