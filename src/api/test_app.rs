//! An [`App`] for tests, within `api` and beside it.

use super::app::{App, Settings};
use crate::auth::tokens::Tokens;
use crate::model::{Session, SessionId, Timestamp, UserId};
use crate::store::Backend;
use crate::sys::{Clock, FixedClock, SeededEntropy};

impl App {
    /// A server with default settings and a clock that stands still.
    pub(crate) fn for_tests(store: Box<dyn Backend>) -> App {
        let clock = FixedClock(Timestamp::from_millis(1));
        App::timed_for_tests(store, Box::new(clock))
    }

    /// The same with a clock. Tokens last an hour.
    pub(crate) fn timed_for_tests(store: Box<dyn Backend>, clock: Box<dyn Clock>) -> App {
        let tokens = Tokens::new(&[7; 32], 3600, store.store_id());
        App::new(store, tokens, clock, Box::new(SeededEntropy(1)), Settings::default())
    }

    /// The `Authorization` field of a user whose session begins now and lasts as long as
    /// configured.
    pub(crate) fn token_for_tests(&mut self, user: UserId) -> String {
        let session = self.new_session(user, "".into());
        self.sessions.begin(&session, self.clock.read());
        let token = self.tokens.issue(user, session.created_at, session.id);
        format!("Bearer {}", token.expect("a token"))
    }

    /// The `Authorization` field of a user who logged in at a given time.
    pub(crate) fn logged_in_for_tests(&mut self, user: UserId, at: Timestamp) -> String {
        let session = Session {
            user,
            id: SessionId([0; 16]),
            created_at: at,
            expires_at: Timestamp::MAX,
            user_agent: "".into(),
        };
        self.sessions.begin(&session, self.clock.read());
        let token = self.tokens.issue(user, at, session.id);
        format!("Bearer {}", token.expect("a token"))
    }
}
