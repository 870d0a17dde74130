//! Which sessions are live, in memory, so that no request asks the store for its own.
//!
//! A token is good while its session is in here: what has ended is gone at once, and nothing has to
//! be remembered of it. Tokens of versions that had no sessions are good until they expire, unless
//! their user has ended all.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::auth::tokens::Bearer;
use crate::model::{Session, SessionId, Timestamp, UserId};
use crate::store::{Backend, Standing, StoreError, standing};

/// So many expired ones are forgotten with each one that begins: with more than one they become
/// less.
const FORGOTTEN_AT_ONCE: usize = 2;
/// To how many milliseconds a use is known: what is finer says more of a user than it helps them.
const USE_PRECISION: u64 = 60_000;

/// The sessions there are.
#[derive(Debug, Default)]
pub(super) struct Live {
    sessions: HashMap<SessionId, Known>,
    /// In order of expiry.
    expiries: BTreeSet<(Timestamp, SessionId)>,
    /// Of each user.
    by_user: HashMap<UserId, HashSet<SessionId>>,
    /// Whose tokens of no session are refused.
    strays_refused: HashSet<UserId>,
    /// What has ended since somebody last asked.
    revoked: Vec<Revoked>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    user: UserId,
    expires_at: Timestamp,
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

impl Live {
    /// Reads what is so in a store.
    pub(super) fn load(store: &mut dyn Backend, now: Timestamp) -> Result<Live, StoreError> {
        let mut live = Live::default();
        standing(store, |it| match it {
            Standing::Session(session) if session.expires_at <= now => {}
            Standing::Session(session) => live.insert(&session),
            Standing::StrayTokensRefused(user) => drop(live.strays_refused.insert(user)),
        })?;
        Ok(live)
    }

    /// A session has begun.
    pub(super) fn begin(&mut self, session: &Session) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let first = self.expiries.first().filter(|(at, _)| *at <= session.created_at);
            let Some(&(_, id)) = first else { break };
            self.forget(id);
        }
        self.insert(session);
    }

    fn insert(&mut self, session: &Session) {
        let &Session { user, id, created_at, expires_at, .. } = session;
        let used_at = rounded(created_at);
        self.sessions.insert(id, Known { user, expires_at, used_at });
        self.expiries.insert((expires_at, id));
        self.by_user.entry(user).or_default().insert(id);
    }

    fn forget(&mut self, id: SessionId) {
        let Some(Known { user, expires_at, .. }) = self.sessions.remove(&id) else { return };
        self.expiries.remove(&(expires_at, id));
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

    /// All of a user have ended, and their tokens of no session with them.
    pub(super) fn end_all(&mut self, user: UserId) {
        for id in self.by_user.get(&user).cloned().unwrap_or_default() {
            self.forget(id);
        }
        self.strays_refused.insert(user);
        self.revoked.push(Revoked::User(user));
    }

    /// Whether a token is as good as it looks. One lookup; of a token of no session none, while
    /// nobody has ended theirs.
    pub(super) fn is_live(&self, bearer: Bearer) -> bool {
        match bearer.session {
            Some(id) => self.sessions.get(&id).is_some_and(|known| known.user == bearer.user),
            None => self.strays_refused.is_empty() || !self.strays_refused.contains(&bearer.user),
        }
    }

    /// The same for one that is used now, which is noted.
    pub(super) fn admit(&mut self, bearer: Bearer, now: Timestamp) -> bool {
        let Some(id) = bearer.session else { return self.is_live(bearer) };
        match self.sessions.get_mut(&id) {
            Some(known) if known.user == bearer.user => {
                if now.millis() >= known.used_at.millis() + USE_PRECISION {
                    known.used_at = rounded(now);
                }
                true
            }
            _ => false,
        }
    }

    /// When a session was last used, as far as it is known.
    pub(super) fn used_at(&self, id: SessionId) -> Option<Timestamp> {
        self.sessions.get(&id).map(|known| known.used_at)
    }

    /// What has ended since this was last asked.
    pub(super) fn revoked(&mut self) -> Vec<Revoked> {
        std::mem::take(&mut self.revoked)
    }
}

fn rounded(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis() / USE_PRECISION * USE_PRECISION)
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

    fn bearer(user: u64, id: Option<u8>) -> Bearer {
        Bearer { user: UserId::new(user).unwrap(), session: id.map(|id| SessionId([id; 16])) }
    }

    #[test]
    fn what_has_ended_is_not_live() {
        let mut live = Live::default();
        for (user, id) in [(1, 1), (1, 2), (2, 3)] {
            live.begin(&session(user, id, 0, 1000));
        }
        assert!(live.is_live(bearer(1, Some(1))));
        assert!(!live.is_live(bearer(2, Some(1))), "somebody else's");
        assert!(!live.is_live(bearer(1, Some(9))), "nobody's");
        live.end(UserId::FIRST, SessionId([1; 16]));
        assert!(!live.is_live(bearer(1, Some(1))));
        assert!(live.is_live(bearer(1, Some(2))) && live.is_live(bearer(1, None)));
        live.end_all(UserId::FIRST);
        assert!(!live.is_live(bearer(1, Some(2))) && !live.is_live(bearer(1, None)));
        assert!(live.is_live(bearer(2, Some(3))) && live.is_live(bearer(2, None)));
        let ended = Revoked::Session(UserId::FIRST, SessionId([1; 16]));
        assert_eq!(live.revoked(), [ended, Revoked::User(UserId::FIRST)]);
        assert_eq!(live.revoked(), []);
        // One that begins in the same millisecond is good.
        live.begin(&session(1, 4, 0, 1000));
        assert!(live.is_live(bearer(1, Some(4))));
    }

    #[test]
    fn what_has_expired_is_forgotten_a_few_at_a_time() {
        let mut live = Live::default();
        for id in 0..10 {
            live.begin(&session(1, id, 0, 1000 + u64::from(id)));
        }
        for id in 10..20 {
            live.begin(&session(2, id, 2000, 5000));
        }
        assert_eq!(live.sessions.len(), 10);
        assert_eq!((live.expiries.len(), live.by_user.len()), (10, 1));
    }

    #[test]
    fn a_use_is_known_to_the_minute() {
        let mut live = Live::default();
        live.begin(&session(1, 1, 61_000, 1_000_000));
        let used = |live: &Live| live.used_at(SessionId([1; 16])).unwrap().millis();
        assert_eq!(used(&live), 60_000);
        for (now, expected) in
            [(119_999, 60_000), (120_000, 120_000), (200_000, 180_000), (5, 180_000)]
        {
            assert!(live.admit(bearer(1, Some(1)), Timestamp::from_millis(now)));
            assert_eq!(used(&live), expected);
        }
    }
}
