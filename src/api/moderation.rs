//! The rights of operators, and their actions.

use std::iter;

use super::app::App;
use super::failure::Failure;
use super::notices::Topic;
use crate::model::{Mailbox, ModerationAction, UserId};
use crate::problem::{self, Problem};

impl App {
    /// `true` if the user is an operator. Reads nothing if there are none.
    pub(super) fn is_operator(&mut self, user: UserId) -> Result<bool, Failure> {
        if self.settings.operators.is_empty() {
            return Ok(false);
        }
        let user = self.store.user(user)?;
        Ok(user.is_some_and(|user| self.settings.operators.includes(&user)))
    }

    /// 403 for a user who is no operator.
    pub(super) fn expect_operator(&mut self, user: UserId) -> Result<(), Failure> {
        if self.is_operator(user)? {
            return Ok(());
        }
        Err(Problem::new(problem::NOT_AN_OPERATOR, "you are not an operator of this server").into())
    }

    /// Performs an operator's action. `false` if it changes nothing.
    pub(super) fn act(&mut self, by: UserId, action: ModerationAction) -> Result<bool, Failure> {
        let event = self.store.moderate(by, self.clock.now(), action)?;
        if let Some(event) = event {
            self.note(Topic::Done, iter::once(Mailbox::General), event);
        }
        Ok(event.is_some())
    }
}
