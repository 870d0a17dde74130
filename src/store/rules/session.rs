//! Sessions: an entry each, from a login until they end.
//!
//! A token is valid while its session is here, so nothing needs to be remembered of sessions that
//! have ended. No session ends here because of the time, as the clock may be ahead: a caller that
//! has seen enough time pass ends it. A user has at most [`MAX_SESSIONS`].
//!
//! Entries about tokens of no session are read and kept, but have no effect any more. An earlier
//! version wrote them when it ended all of a user's tokens, and no token of that kind is accepted.

use crate::model::{MAX_ID, MAX_SESSIONS, Session, SessionId, UserId};
use crate::store::backend::Backend;
use crate::store::entries::keyspaces::Entry;
use crate::store::entries::reader;
use crate::store::entries::reader::{EntryReader, RangeEnd};
use crate::store::entries::retry::RetryOrderKey;
use crate::store::entries::session::{SessionKey, SessionValue};
use crate::store::error::{RestoreError, StoreError};
use crate::store::record::Record;

/// Entries read at once.
const PAGE: usize = 1000;

fn session(key: SessionKey, value: SessionValue) -> Session {
    let SessionValue { at: created_at, expires_at, user_agent } = value;
    Session { user: key.user, id: key.id, created_at, expires_at, user_agent }
}

/// The entry that begins a session.
fn begun(session: Session) -> Entry {
    let Session { user, id, created_at: at, expires_at, user_agent } = session;
    Entry::Session {
        key: SessionKey { user, id },
        value: Some(SessionValue { at, expires_at, user_agent }),
    }
}

fn ended(user: UserId, id: SessionId) -> Entry {
    Entry::Session { key: SessionKey { user, id }, value: None }
}

/// A user's sessions, the oldest first; also such as have expired.
pub(in crate::store) fn all(
    state: &impl EntryReader,
    user: UserId,
) -> Result<Vec<Session>, StoreError> {
    let found = reader::of_user::<SessionKey>(state, user, RangeEnd::First, MAX_SESSIONS)?;
    let mut sessions: Vec<Session> =
        found.into_iter().map(|(key, value)| session(key, value)).collect();
    sessions.sort_by_key(|session| (session.created_at, session.id));
    Ok(sessions)
}

/// The entries that begin a session, and the ids of those that end for it, if there are too many:
/// first those that look expired, then the oldest.
pub(in crate::store) fn begin(
    state: &impl EntryReader,
    new: Session,
) -> Result<(Vec<Entry>, Vec<SessionId>), StoreError> {
    let mut there = all(state, new.user)?;
    there.sort_by_key(|session| session.expires_at > new.created_at);
    let too_many = (there.len() + 1).saturating_sub(MAX_SESSIONS);
    let ending: Vec<_> = there.iter().take(too_many).map(|session| session.id).collect();
    let mut entries: Vec<Entry> = ending.iter().map(|id| ended(new.user, *id)).collect();
    entries.push(begun(new));
    Ok((entries, ending))
}

/// Refuses a session of an import that would be one more than its user can have.
pub(in crate::store) fn expect_room(
    state: &impl EntryReader,
    entry: &Entry,
) -> Result<(), RestoreError> {
    let Entry::Session { key, value: Some(_) } = entry else { return Ok(()) };
    let there = reader::of_user::<SessionKey>(state, key.user, RangeEnd::First, MAX_SESSIONS)?;
    if there.len() < MAX_SESSIONS || there.iter().any(|(other, _)| other == key) {
        return Ok(());
    }
    let what = format!("user {} has more than {MAX_SESSIONS} sessions", key.user);
    Err(RestoreError::Conflict(what))
}

/// The entry that ends a session; `None` if there is no such session.
pub(in crate::store) fn end(
    state: &impl EntryReader,
    user: UserId,
    id: SessionId,
) -> Result<Option<Entry>, StoreError> {
    let there = reader::get(state, &SessionKey { user, id })?;
    Ok(there.map(|_| ended(user, id)))
}

/// The entries that end all sessions of a user and begin `fresh`.
pub(in crate::store) fn end_all(
    state: &impl EntryReader,
    user: UserId,
    fresh: Option<Session>,
) -> Result<Vec<Entry>, StoreError> {
    let there = all(state, user)?;
    let mut entries: Vec<Entry> = there.iter().map(|session| ended(user, session.id)).collect();
    entries.extend(fresh.map(begun));
    Ok(entries)
}

/// Ends all sessions; returns their number. All but the last of them are synced.
pub(in crate::store) fn end_every_session(store: &mut dyn Backend) -> Result<u64, RestoreError> {
    let Some(before) = before_all() else { return Ok(0) };
    let mut count = 0;
    loop {
        let entries = store.entries(Some(&before), PAGE)?;
        let ids = entries.iter().map_while(|entry| match entry {
            Entry::Session { key, .. } => Some(*key),
            _ => None,
        });
        let before = count;
        for SessionKey { user, id } in ids {
            store.restore(Record::Entry(ended(user, id)))?;
            count += 1;
        }
        if count == before {
            return Ok(count);
        }
        store.sync()?;
    }
}

/// An upper bound of the keys before the first session: keyspaces are in order of their numbers,
/// and this is the last possible key of the one before.
fn before_all() -> Option<Entry> {
    let key = RetryOrderKey { user: UserId::new(MAX_ID)?, number: u64::MAX };
    Some(Entry::RetryOrder { key, value: None })
}

/// Calls `visit` with every session of a store, expired ones included. Entries are read a page at a
/// time.
pub fn for_each_session(
    store: &mut dyn Backend,
    mut visit: impl FnMut(Session),
) -> Result<(), StoreError> {
    let mut after = before_all();
    while let Some(last) = after.take() {
        let entries = store.entries(Some(&last), PAGE)?;
        let whole = entries.len() == PAGE;
        for entry in entries {
            let Entry::Session { key, value: Some(value) } = &entry else { return Ok(()) };
            visit(session(*key, value.clone()));
            after = whole.then_some(entry);
        }
    }
    Ok(())
}
