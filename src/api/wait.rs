//! Requests that are held until an event happens.
//!
//! A handler that finds nothing returns the topics to wait for and a closure that checks again. It
//! neither waits itself nor knows what does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::app::App;
use super::authentication::token_expired;
use super::failure::Failure;
use super::notices::Topic;
use super::reply::Reply;
use crate::auth::tokens::Bearer;
use crate::model::{SessionId, Timestamp, UserId, Window};
use crate::problem::Problem;

/// A request that is answered when an event happens, or at its time limit.
pub struct Wait {
    /// The user whose request it is. Waiting requests are counted by user.
    pub user: UserId,
    /// The session of its token.
    pub session: SessionId,
    /// The time limit.
    pub time: Duration,
    /// The topics: an event of any of them ends the wait.
    pub topics: Vec<Topic>,
    /// The lowest event number that ends the wait.
    pub from: u64,
    /// The time of day at which its token expires. After it, nothing is shown.
    pub expires: Timestamp,
    look: PollCheck,
}

/// A check for something new, which makes a reply in either case.
type PollCheck = Box<dyn FnMut(&mut App) -> Result<PollResult, Failure>>;

/// The result of a check.
pub(super) enum PollResult {
    /// Something new.
    News(Reply),
    /// Nothing new. The reply is sent at the time limit.
    Nothing(Reply),
}

impl PollResult {
    pub(super) fn map(self, change: impl FnOnce(Reply) -> Reply) -> PollResult {
        match self {
            PollResult::News(reply) => PollResult::News(change(reply)),
            PollResult::Nothing(reply) => PollResult::Nothing(change(reply)),
        }
    }
}

impl Wait {
    /// A wait for an event of these topics on the page that `window` describes, which `look` reads,
    /// with a token that is valid until `expires`.
    pub(super) fn new(
        bearer: Bearer,
        expires: Timestamp,
        time: Duration,
        topics: Vec<Topic>,
        window: Window,
        look: impl FnMut(&mut App) -> Result<PollResult, Failure> + 'static,
    ) -> Wait {
        let from = window.start(None);
        let Bearer { user, session } = bearer;
        Wait { user, session, time, topics, from, expires, look: Box::new(look) }
    }

    /// A wait that never finds anything.
    #[cfg(test)]
    pub(crate) fn for_tests(user: UserId, time: Duration, topics: Vec<Topic>, from: u64) -> Wait {
        let look = |_: &mut App| Ok(PollResult::Nothing(Reply::empty(204)));
        let (session, expires) = (SessionId([0; 16]), Timestamp::MAX);
        Wait { user, session, time, topics, from, expires, look: Box::new(look) }
    }
}

impl App {
    /// Checks again for a waiting request. `None` if there is nothing new.
    pub fn look(&mut self, wait: &mut Wait) -> Option<Reply> {
        match self.see(wait) {
            Ok(PollResult::News(reply)) | Err(reply) => Some(reply),
            Ok(PollResult::Nothing(_)) => None,
        }
    }

    /// The reply to a request at its time limit: what there is now, perhaps nothing.
    pub fn give_up(&mut self, wait: &mut Wait) -> Reply {
        match self.see(wait) {
            Ok(PollResult::News(reply) | PollResult::Nothing(reply)) | Err(reply) => reply,
        }
    }

    fn see(&mut self, wait: &mut Wait) -> Result<PollResult, Reply> {
        if wait.expires <= self.clock.now() {
            return Err(token_expired().into());
        }
        let bearer = Bearer { user: wait.user, session: wait.session };
        self.expect_live(bearer).map_err(|failure| self.reply_to(failure))?;
        match catch_unwind(AssertUnwindSafe(|| (wait.look)(self))) {
            Ok(seen) => seen.map_err(|failure| self.reply_to(failure)),
            Err(_) => Err(Problem::internal().into()),
        }
    }
}
