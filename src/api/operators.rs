//! Those who keep order, and what they do.

use std::collections::BTreeSet;
use std::iter;

use super::wait::Topic;
use super::{App, Failure};
use crate::model::{Act, Mailbox, User, UserId, Username};
use crate::problem::{self, Problem};

/// The users that keep order, by name: whoever has registered one of them is an operator. They need
/// not be registered yet.
#[derive(Debug, Clone, Default)]
pub struct Operators {
    /// Whatever their case.
    folded: BTreeSet<String>,
}

impl Operators {
    /// Those of these names.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a Username>) -> Operators {
        Operators { folded: names.into_iter().map(Username::folded).collect() }
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

    /// Does what an operator wants, unless it is so already.
    pub(super) fn act(&mut self, by: UserId, act: Act) -> Result<(), Failure> {
        if let Some(event) = self.store.act(by, self.clock.now(), act)? {
            self.note(Topic::Done, iter::once(Mailbox::General), event);
        }
        Ok(())
    }
}
