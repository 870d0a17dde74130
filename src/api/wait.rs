//! Requests that are held until something has come: long polls (RFC 6202, section 2).
//!
//! A handler that finds nothing says for what it would wait, and how to look again. It neither
//! waits itself nor knows who does.

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

/// A request that is answered when something has come, or when its time is over.
pub struct Wait {
    /// Whose it is, for who counts them.
    pub user: UserId,
    /// Of which session its token is.
    pub session: SessionId,
    /// How long it waits at most.
    pub time: Duration,
    /// What it waits for: an event of one of these.
    pub topics: Vec<Topic>,
    /// Only events with this number or a higher one are of interest.
    pub from: u64,
    /// When its token expires, by the time of day; nothing is shown to it then.
    pub expires: Timestamp,
    look: PollCheck,
}

/// What is there now, for a reply either way.
type PollCheck = Box<dyn FnMut(&mut App) -> Result<PollResult, Failure>>;

/// What came of looking.
pub(super) enum PollResult {
    /// What was waited for.
    News(Reply),
    /// Nothing, which is what is answered when the time is over.
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
    /// One for an event of these topics on the page that `window` asks for, which `look` reads, by
    /// a token that is good until it `expires`.
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

    /// One that never sees anything.
    #[cfg(test)]
    pub(crate) fn for_tests(user: UserId, time: Duration, topics: Vec<Topic>, from: u64) -> Wait {
        let look = |_: &mut App| Ok(PollResult::Nothing(Reply::empty(204)));
        let (session, expires) = (SessionId([0; 16]), Timestamp::MAX);
        Wait { user, session, time, topics, from, expires, look: Box::new(look) }
    }
}

impl App {
    /// Looks again for a request that waits. `None` if there is nothing yet.
    pub fn look(&mut self, wait: &mut Wait) -> Option<Reply> {
        match self.see(wait) {
            Ok(PollResult::News(reply)) | Err(reply) => Some(reply),
            Ok(PollResult::Nothing(_)) => None,
        }
    }

    /// The reply to a request that waits no longer: with what there is now, which may be nothing.
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
