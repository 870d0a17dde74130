//! What records must be to each other, whatever they are kept in.
//!
//! Holds all names and the ids of all sessions in memory, and no messages.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::record::Record;
use super::{Counters, Ended, Epochs, Fact, MAX_PAST_EPOCHS};
use crate::model::{Epoch, MAX_SESSIONS, Message, SessionId, UserId};

/// How much there is of everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accounts.
    pub users: u64,
    /// Messages of the general chat.
    pub general: u64,
    /// Messages between two users.
    pub private: u64,
    /// Edits and deletions.
    pub revisions: u64,
    /// What operators did.
    pub acts: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { users, general, private, revisions, acts } = self;
        let messages = general + private;
        write!(f, "{users} users, {messages} messages ({general} general, {private} private)")?;
        write!(f, ", {revisions} edits and deletions, {acts} acts of operators")
    }
}

/// The records so far.
#[derive(Debug, Default)]
pub(super) struct Audit {
    counters: Counters,
    counts: Counts,
    names: HashSet<String>,
    /// Ascending.
    users: Vec<UserId>,
    sessions: HashMap<UserId, HashSet<SessionId>>,
    past_epochs: HashMap<Epoch, Ended>,
    /// Whether records are missing.
    has_gaps: bool,
}

impl Audit {
    /// The next record. What is refused here no store takes, and no store has written.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), &'static str> {
        let admitted = self.counters.admit(record.step());
        admitted.map_err(|_| "an id is out of order")?;
        match record {
            Record::User(user) => {
                self.counts.users += 1;
                self.users.push(user.id);
                if !self.names.insert(user.name.folded()) {
                    return Err("the user's name is taken");
                }
            }
            Record::Message(Message { to: None, .. }) => self.counts.general += 1,
            Record::Message(_) => self.counts.private += 1,
            Record::Revision(_) => self.counts.revisions += 1,
            Record::Act(acted) => {
                self.counts.acts += 1;
                self.expect_users(acted.users(), "the act is of a user who does not exist")?;
            }
            Record::Fact { fact, .. } => {
                self.expect_users(fact.users(), "the fact is of a user who does not exist")?;
                self.session(fact)?;
                self.past_epoch(fact)?;
            }
            Record::Counters(_) => {}
        }
        Ok(())
    }

    /// Records are missing here: what depends on them cannot be judged from now on.
    pub(super) fn lose_track(&mut self) {
        self.has_gaps = true;
    }

    fn expect_users(
        &self,
        users: [Option<UserId>; 2],
        why: &'static str,
    ) -> Result<(), &'static str> {
        let all_there = users.into_iter().flatten().all(|user| self.knows(user));
        if all_there || self.has_gaps { Ok(()) } else { Err(why) }
    }

    fn session(&mut self, fact: &Fact) -> Result<(), &'static str> {
        let Fact::Session { of, is } = fact else { return Ok(()) };
        let there = self.sessions.entry(of.user).or_default();
        if is.is_none() {
            there.remove(&of.id);
        } else if there.len() < MAX_SESSIONS || there.contains(&of.id) {
            there.insert(of.id);
        } else if !self.has_gaps {
            return Err("the user has more sessions than there can be");
        }
        Ok(())
    }

    fn past_epoch(&mut self, fact: &Fact) -> Result<(), &'static str> {
        let Fact::PastEpoch { of, is } = fact else { return Ok(()) };
        let there = &mut self.past_epochs;
        match is {
            None => drop(there.remove(&of.epoch)),
            Some(ended) if there.len() < MAX_PAST_EPOCHS || there.contains_key(&of.epoch) => {
                there.insert(of.epoch, *ended);
            }
            Some(_) if self.has_gaps => {}
            Some(_) => return Err("there are more epochs of the past than are remembered"),
        }
        Ok(())
    }

    /// Refuses what no chain of restores leaves behind in a store of epoch `current`.
    pub(super) fn expect_epochs(&self, current: Epoch) -> Result<(), &'static str> {
        if self.has_gaps {
            return Ok(());
        }
        let past = self.past_epochs.iter().map(|(epoch, ended)| (*epoch, *ended)).collect();
        Epochs::new(past).expect_sense(current, self.counters)
    }

    /// Whether the parties of a message exist. Stores take them from their callers, and an import
    /// from its file; so it is wrong where they do not, but nothing is unreadable.
    pub(super) fn parties(&self, message: &Message) -> Result<(), &'static str> {
        if !self.knows(message.from) {
            return Err("the message's author does not exist");
        }
        if message.to.is_some_and(|to| !self.knows(to)) {
            return Err("the message's receiver does not exist");
        }
        Ok(())
    }

    fn knows(&self, id: UserId) -> bool {
        self.users.binary_search(&id).is_ok()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Act, Content, EventId, MessageId, MessageText, Timestamp, User, Username};
    use crate::store::{Acted, Begun, SessionOf};

    fn user(id: u64, name: &str) -> Record {
        Record::User(User {
            id: UserId::new(id).unwrap(),
            name: Username::parse(name).unwrap(),
            password_hash: "-".into(),
            created_at: Timestamp::from_millis(1),
            ended_at: None,
        })
    }

    fn message(id: u64, from: u64, to: u64) -> Message {
        Message {
            id: MessageId::new(id).unwrap(),
            from: UserId::new(from).unwrap(),
            to: UserId::new(to),
            content: Content::Original(MessageText::parse("x".into()).unwrap()),
            sent_at: Timestamp::from_millis(1),
        }
    }

    #[test]
    fn records_are_counted_and_held_to_the_rules() {
        let mut audit = Audit::default();
        audit.take(&user(1, "ann")).unwrap();
        audit.take(&user(3, "bob")).unwrap();
        for (id, to) in [(0, 0), (5, 3), (6, 0)] {
            audit.take(&Record::Message(message(id, 1, to))).unwrap();
        }
        assert_eq!(
            audit.counts(),
            Counts { users: 2, general: 2, private: 1, revisions: 0, acts: 0 }
        );
        assert_eq!(audit.counters(), Counters { next_user: 4, next_event: 7 });
        for (refused, why) in [
            (user(3, "carol"), "an id is out of order"),
            (Record::Message(message(6, 1, 0)), "an id is out of order"),
            (Record::Counters(Counters { next_user: 4, next_event: 6 }), "an id is out of order"),
            (user(4, "BOB"), "the user's name is taken"),
        ] {
            assert_eq!(audit.take(&refused), Err(why));
        }
        audit.take(&Record::Counters(Counters { next_user: 9, next_event: 9 })).unwrap();
        assert_eq!(audit.counters(), Counters { next_user: 9, next_event: 9 });
    }

    #[test]
    fn what_is_about_nobody_is_told_unless_records_are_missing() {
        let at = Timestamp::from_millis(1);
        let session = |user, number| Record::Fact {
            fact: Fact::Session {
                of: SessionOf { user: UserId::new(user).unwrap(), id: SessionId([number; 16]) },
                is: Some(Begun { at, expires_at: at, user_agent: "".into() }),
            },
            joined: false,
        };
        let act = |event| {
            let (event, by) = (EventId::new(event).unwrap(), UserId::new(2).unwrap());
            Record::Act(Acted { event, by, at, act: Act::CloseRegistration })
        };
        let mut audit = Audit::default();
        audit.take(&user(1, "ann")).unwrap();
        let most = u8::try_from(MAX_SESSIONS).unwrap();
        for number in (0..most).chain([0]) {
            audit.take(&session(1, number)).unwrap();
        }
        for (refused, why) in [
            (session(1, most), "the user has more sessions than there can be"),
            (session(2, 0), "the fact is of a user who does not exist"),
            (act(0), "the act is of a user who does not exist"),
        ] {
            assert_eq!(audit.take(&refused), Err(why));
        }
        audit.lose_track();
        for good in [session(1, most), session(2, 0), act(1)] {
            audit.take(&good).unwrap();
        }
    }

    #[test]
    fn who_writes_and_who_is_written_to_must_exist() {
        let mut audit = Audit::default();
        audit.take(&user(1, "ann")).unwrap();
        audit.take(&user(3, "bob")).unwrap();
        for good in [message(0, 1, 0), message(0, 3, 1), message(0, 3, 3)] {
            audit.parties(&good).unwrap();
        }
        assert_eq!(audit.parties(&message(0, 2, 0)), Err("the message's author does not exist"));
        assert_eq!(audit.parties(&message(0, 1, 4)), Err("the message's receiver does not exist"));
    }
}
