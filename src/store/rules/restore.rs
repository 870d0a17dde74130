//! The checks of a record that another store gave out.

use crate::model::{Message, User, UserId};
use crate::store::error::{RestoreError, StoreError};

pub(in crate::store) fn name_taken(user: &User) -> RestoreError {
    RestoreError::Conflict(format!("the name of user {} is taken", user.id))
}

/// Refuses a record about users that do not exist. Messages of unknown authors are accepted:
/// nothing is looked up by author.
pub(in crate::store) fn expect_users(
    users: [Option<UserId>; 2],
    mut exists: impl FnMut(UserId) -> Result<bool, StoreError>,
) -> Result<(), RestoreError> {
    for user in users.into_iter().flatten() {
        if !exists(user)? {
            return Err(RestoreError::Conflict(format!("there is no user {user}")));
        }
    }
    Ok(())
}

/// Refuses a revision that does not fit the message in the store.
pub(in crate::store) fn expect_revision_of(
    there: Option<&Message>,
    revised: &Message,
) -> Result<(), RestoreError> {
    let unchanged = |message: &&Message| {
        (message.from, message.to, message.sent_at) == (revised.from, revised.to, revised.sent_at)
    };
    if there.as_ref().is_some_and(unchanged) && revised.revision().is_some() {
        return Ok(());
    }
    let what = format!("event {} is of another message", revised.event());
    Err(RestoreError::Conflict(what))
}
