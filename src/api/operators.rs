//! The users who moderate.

use std::collections::BTreeSet;

use crate::model::{User, Username};

/// A user who moderates, by name: whoever has registered the name. It need not be registered yet.
#[derive(Debug, Clone)]
pub struct Operator(Username);

impl Operator {
    /// Reads a user name. The error says why it is none, in words for the operator.
    pub fn parse(name: &str) -> Result<Operator, &'static str> {
        Username::parse(name).map(Operator)
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &Username {
        &self.0
    }
}

/// All users who moderate.
#[derive(Debug, Clone, Default)]
pub struct Operators {
    /// Names in lower case.
    folded: BTreeSet<String>,
}

impl Operators {
    /// The set of these.
    #[must_use]
    pub fn with(operators: &[Operator]) -> Operators {
        Operators { folded: operators.iter().map(|Operator(name)| name.folded()).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.folded.is_empty()
    }

    pub(super) fn includes(&self, user: &User) -> bool {
        self.folded.contains(&user.name.folded())
    }
}
