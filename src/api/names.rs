//! The names of the users that a page refers to.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Message, UserId};
use crate::store::{Backend, StoreError};

/// The names that users are shown with, each read once.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<UserId, Box<str>>);

impl Names {
    /// The names of some users, at most as many as a page has items.
    pub(super) fn of_users(
        store: &dyn Backend,
        users: impl Iterator<Item = UserId>,
    ) -> Result<Names, StoreError> {
        let users: BTreeSet<UserId> = users.collect();
        store.usernames(&users).map(Names)
    }

    /// The names of the authors of some messages.
    pub(super) fn of_authors<'a>(
        store: &dyn Backend,
        messages: impl Iterator<Item = &'a Message>,
    ) -> Result<Names, StoreError> {
        Names::of_users(store, messages.map(|message| message.from))
    }

    pub(super) fn of(&self, user: UserId) -> Option<&str> {
        self.0.get(&user).map(|name| &**name)
    }
}

#[cfg(test)]
impl<const N: usize> From<[(UserId, &str); N]> for Names {
    fn from(names: [(UserId, &str); N]) -> Names {
        Names(names.map(|(id, name)| (id, name.into())).into())
    }
}
