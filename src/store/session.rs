//! Sessions: a fact each, from a login until they end.
//!
//! A token is good while its session is here, so that there is nothing to remember of those that
//! have ended. None ends here because of the time, as the clock may be ahead: who has seen enough of
//! it pass ends them, and there are [`MAX_SESSIONS`] of a user at most.
//!
//! Facts about tokens of no session are read and kept, but say nothing any more: an earlier version
//! wrote them when it ended all of a user's, and no token of that kind is accepted.

use serde::{Deserialize, Serialize};

use super::fact::{Entry, Layout, subject_user};
use super::facts::{self, EntryReader, RangeEnd};
use super::record::{DecodeError, Fields};
use super::{Backend, RestoreError, Restored, RetryOrderKey, StoreError};
use crate::model::{MAX_ID, MAX_SESSIONS, Session, SessionId, Timestamp, UserId};

/// How many facts are read at once at a start.
const PAGE: usize = 1000;

/// A session of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionKey {
    /// Whose it is.
    pub user: UserId,
    /// Which one.
    pub id: SessionId,
}

/// What is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionValue {
    /// When it began.
    pub at: Timestamp,
    /// When its token expires.
    pub expires_at: Timestamp,
    /// What the client called itself.
    pub user_agent: Box<str>,
}

/// A user's tokens that are of no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrayTokensKey {
    /// Whose they are.
    pub user: UserId,
}

/// That they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrayTokensValue {
    /// Since when.
    pub at: Timestamp,
}

/// user · id
impl Layout for SessionKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
        out.extend(self.id.0);
    }

    fn take(fields: &mut Fields<'_>) -> Result<SessionKey, DecodeError> {
        Ok(SessionKey { user: subject_user(fields)?, id: SessionId(fields.array()?) })
    }
}

/// time · time of expiry · user agent
impl Layout for SessionValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.at.millis().to_le_bytes());
        out.extend(self.expires_at.millis().to_le_bytes());
        out.extend(self.user_agent.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<SessionValue, DecodeError> {
        let (at, expires_at) = (fields.timestamp()?, fields.timestamp()?);
        Ok(SessionValue { at, expires_at, user_agent: fields.rest()?.into() })
    }
}

/// user
impl Layout for StrayTokensKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.user.get().to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<StrayTokensKey, DecodeError> {
        Ok(StrayTokensKey { user: subject_user(fields)? })
    }
}

/// time
impl Layout for StrayTokensValue {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.at.millis().to_le_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<StrayTokensValue, DecodeError> {
        Ok(StrayTokensValue { at: fields.timestamp()? })
    }
}

fn session(of: SessionKey, is: SessionValue) -> Session {
    let SessionValue { at: created_at, expires_at, user_agent } = is;
    Session { user: of.user, id: of.id, created_at, expires_at, user_agent }
}

/// That a session is there.
fn begun(session: Session) -> Entry {
    let Session { user, id, created_at: at, expires_at, user_agent } = session;
    Entry::Session {
        of: SessionKey { user, id },
        is: Some(SessionValue { at, expires_at, user_agent }),
    }
}

fn ended(user: UserId, id: SessionId) -> Entry {
    Entry::Session { of: SessionKey { user, id }, is: None }
}

/// A user's sessions, the oldest first; also such as have expired.
pub(super) fn all(state: &impl EntryReader, user: UserId) -> Result<Vec<Session>, StoreError> {
    let found = facts::of_user::<SessionKey>(state, user, RangeEnd::First, MAX_SESSIONS)?;
    let mut sessions: Vec<Session> = found.into_iter().map(|(of, is)| session(of, is)).collect();
    sessions.sort_by_key(|session| (session.created_at, session.id));
    Ok(sessions)
}

/// What is to be written to begin a session, and which ones end for it, if there are too many: first
/// those that look expired, then the oldest.
pub(super) fn begin(
    state: &impl EntryReader,
    new: Session,
) -> Result<(Vec<Entry>, Vec<SessionId>), StoreError> {
    let mut there = all(state, new.user)?;
    there.sort_by_key(|session| session.expires_at > new.created_at);
    let too_many = (there.len() + 1).saturating_sub(MAX_SESSIONS);
    let ending: Vec<_> = there.iter().take(too_many).map(|session| session.id).collect();
    let mut facts: Vec<Entry> = ending.iter().map(|id| ended(new.user, *id)).collect();
    facts.push(begun(new));
    Ok((facts, ending))
}

/// Refuses a session of an import that would be one more than its user can have.
pub(super) fn expect_room(state: &impl EntryReader, fact: &Entry) -> Result<(), RestoreError> {
    let Entry::Session { of, is: Some(_) } = fact else { return Ok(()) };
    let there = facts::of_user::<SessionKey>(state, of.user, RangeEnd::First, MAX_SESSIONS)?;
    if there.len() < MAX_SESSIONS || there.iter().any(|(other, _)| other == of) {
        return Ok(());
    }
    let what = format!("user {} has more than {MAX_SESSIONS} sessions", of.user);
    Err(RestoreError::Conflict(what))
}

/// What is to be written to end one; `None` if it is not there.
pub(super) fn end(
    state: &impl EntryReader,
    user: UserId,
    id: SessionId,
) -> Result<Option<Entry>, StoreError> {
    let there = facts::get(state, &SessionKey { user, id })?;
    Ok(there.map(|_| ended(user, id)))
}

/// What is to be written to end all of a user's, but to begin `fresh`.
pub(super) fn end_all(
    state: &impl EntryReader,
    user: UserId,
    fresh: Option<Session>,
) -> Result<Vec<Entry>, StoreError> {
    let there = all(state, user)?;
    let mut facts: Vec<Entry> = there.iter().map(|session| ended(user, session.id)).collect();
    facts.extend(fresh.map(begun));
    Ok(facts)
}

/// Ends every session there is, and says how many there were. Synced but for the last of them.
pub(super) fn end_everybodys(store: &mut dyn Backend) -> Result<u64, RestoreError> {
    let Some(before) = before_all() else { return Ok(0) };
    let mut count = 0;
    loop {
        let facts = store.facts(Some(&before), PAGE)?;
        let ids = facts.iter().map_while(|fact| match fact {
            Entry::Session { of, .. } => Some(*of),
            _ => None,
        });
        let before = count;
        for SessionKey { user, id } in ids {
            store.restore(Restored::Fact(ended(user, id)))?;
            count += 1;
        }
        if count == before {
            return Ok(count);
        }
        store.sync()?;
    }
}

/// What comes before the first session in the order of facts: families are in order of their
/// numbers, and this is the last that there could be of the one before.
fn before_all() -> Option<Entry> {
    let of = RetryOrderKey { user: UserId::new(MAX_ID)?, number: u64::MAX };
    Some(Entry::RetryOrder { of, is: None })
}

/// Tells of all sessions in a store, a page at a time; also of such as have expired.
pub fn standing(store: &mut dyn Backend, mut tell: impl FnMut(Session)) -> Result<(), StoreError> {
    let mut after = before_all();
    while let Some(last) = after.take() {
        let facts = store.facts(Some(&last), PAGE)?;
        let whole = facts.len() == PAGE;
        for fact in facts {
            let Entry::Session { of, is: Some(is) } = &fact else { return Ok(()) };
            tell(session(*of, is.clone()));
            after = whole.then_some(fact);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::AccountKey;
    use super::super::account::AccountValue;
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// The bytes on every disk out there, and the lines of every export: these literals never
    /// change.
    #[test]
    fn golden() {
        let user = UserId::new(0x0a0b).unwrap();
        let at = Timestamp::from_millis(1_700_000_000_123);
        let is = SessionValue { at, expires_at: at, user_agent: "curl".into() };
        let of = SessionKey { user, id: SessionId([0xab; 16]) };
        let hash = "$x".into();
        let account = AccountKey { user };
        for (fact, subject, value, line) in [
            (
                Entry::Session { of, is: Some(is) },
                "030000000000000a0babababababababababababababababab",
                "7b68e5cf8b0100007b68e5cf8b0100006375726c",
                r#"{"session":{"of":{"user":2571,"id":"abababababababababababababababab"},"is":{"at":"2023-11-14T22:13:20.123Z","expires_at":"2023-11-14T22:13:20.123Z","user_agent":"curl"}}}"#,
            ),
            (
                Entry::Account { of: account, is: Some(AccountValue::Password { hash, at }) },
                "040000000000000a0b",
                "017b68e5cf8b0100002478",
                r#"{"account":{"of":{"user":2571},"is":{"password":{"hash":"$x","at":"2023-11-14T22:13:20.123Z"}}}}"#,
            ),
            (
                Entry::Account { of: account, is: Some(AccountValue::Ended { at }) },
                "040000000000000a0b",
                "027b68e5cf8b010000",
                r#"{"account":{"of":{"user":2571},"is":{"ended":{"at":"2023-11-14T22:13:20.123Z"}}}}"#,
            ),
            (
                Entry::StrayTokens {
                    of: StrayTokensKey { user },
                    is: Some(StrayTokensValue { at }),
                },
                "050000000000000a0b",
                "7b68e5cf8b010000",
                r#"{"stray_tokens":{"of":{"user":2571},"is":{"at":"2023-11-14T22:13:20.123Z"}}}"#,
            ),
        ] {
            assert_eq!(hex(&fact.subject()), subject);
            assert_eq!(hex(&fact.value().unwrap()), value);
            assert_eq!(serde_json::to_string(&fact).unwrap(), line);
            assert_eq!(serde_json::from_str::<Entry>(line).unwrap().checked(), Some(fact.clone()));
            let value = fact.value().unwrap();
            assert_eq!(Entry::decode(&fact.subject(), &value), Ok(fact.clone()));
            for len in 0..8 {
                assert!(Entry::decode(&fact.subject(), &value[..len]).is_err(), "{len}");
            }
        }
    }
}
