//! Those who keep order, and what they do.

use std::collections::BTreeSet;
use std::iter;

use super::wait::Topic;
use super::{App, Failure};
use crate::model::{Mailbox, ModerationAction, User, UserId, Username};
use crate::problem::{self, Problem};

/// A user who keeps order, by name: whoever has registered it. It need not be registered yet.
#[derive(Debug, Clone)]
pub struct Operator(Username);

impl Operator {
    /// The reason, in words for who configures it, when this is no user name.
    pub fn parse(name: &str) -> Result<Operator, &'static str> {
        Username::parse(name).map(Operator)
    }

    /// What the user is called.
    #[must_use]
    pub fn name(&self) -> &Username {
        &self.0
    }
}

/// All users who keep order.
#[derive(Debug, Clone, Default)]
pub struct Operators {
    /// Whatever their case.
    folded: BTreeSet<String>,
}

impl Operators {
    /// These.
    #[must_use]
    pub fn with(operators: &[Operator]) -> Operators {
        Operators { folded: operators.iter().map(|Operator(name)| name.folded()).collect() }
    }

    pub(super) fn includes(&self, user: &User) -> bool {
        self.folded.contains(&user.name.folded())
    }
}

impl App {
    /// Whether a user is an operator. Costs nothing where there are none.
    pub(super) fn is_operator(&mut self, user: UserId) -> Result<bool, Failure> {
        if self.settings.operators.folded.is_empty() {
            return Ok(false);
        }
        let user = self.store.user(user)?;
        Ok(user.is_some_and(|user| self.settings.operators.includes(&user)))
    }

    /// 403 for everybody else.
    pub(super) fn expect_operator(&mut self, user: UserId) -> Result<(), Failure> {
        if self.is_operator(user)? {
            return Ok(());
        }
        Err(Problem::new(problem::NOT_AN_OPERATOR, "you are no operator of this server").into())
    }

    /// Does what an operator wants, and says whether it was not so already.
    pub(super) fn act(&mut self, by: UserId, act: ModerationAction) -> Result<bool, Failure> {
        let event = self.store.moderate(by, self.clock.now(), act)?;
        if let Some(event) = event {
            self.note(Topic::Done, iter::once(Mailbox::General), event);
        }
        Ok(event.is_some())
    }
}
