//! What records must be to each other, whatever they are kept in.
//!
//! Holds all names in memory, and no messages.

use std::collections::HashSet;
use std::fmt;

use super::Counters;
use super::record::Record;
use crate::model::{Message, UserId};

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
}

impl Audit {
    /// The next record. What is refused here no store takes, and no store has written.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), &'static str> {
        let admitted = self.counters.admit(&record.clone().into());
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
            Record::Act(_) => self.counts.acts += 1,
            Record::Counters(_) | Record::Fact { .. } => {}
        }
        Ok(())
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
    use crate::model::{Content, MessageId, MessageText, Timestamp, User, Username};

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
