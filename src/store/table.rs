//! Accounts and messages in memory, in order: the whole of [`super::MemoryStore`] and the newest
//! part of [`super::SledStore`].
//!
//! Knows nothing of durability. Ids only ever grow, so every list is kept sorted by appending.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use crate::model::{Cursor, Mailbox, Message, MessageId, User, UserId, Username, Window};

/// Ordered accounts and messages, with the mailboxes they lie in.
#[derive(Debug, Default)]
pub(super) struct Table {
    users: BTreeMap<UserId, User>,
    names: HashMap<String, UserId>,
    messages: VecDeque<Message>,
    mailboxes: HashMap<Mailbox, VecDeque<MessageId>>,
    text_bytes: usize,
}

impl Table {
    pub(super) fn insert_user(&mut self, user: User) {
        self.names.insert(user.name.folded(), user.id);
        self.users.insert(user.id, user);
    }

    pub(super) fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id)
    }

    pub(super) fn user_named(&self, name: &Username) -> Option<&User> {
        self.users.get(self.names.get(&name.folded())?)
    }

    /// The accounts of a window, ascending.
    pub(super) fn users(&self, window: Window) -> Vec<&User> {
        let newest_below = |end: Bound<UserId>| {
            let newest_first = self.users.range((Bound::Unbounded, end)).rev();
            let mut items: Vec<&User> =
                newest_first.map(|(_, user)| user).take(window.limit).collect();
            items.reverse();
            items
        };
        match window.cursor {
            Cursor::Newest => newest_below(Bound::Unbounded),
            Cursor::Before(0) => Vec::new(),
            // An id there cannot be lies above all there are.
            Cursor::Before(end) => {
                newest_below(UserId::new(end).map_or(Bound::Unbounded, Bound::Excluded))
            }
            Cursor::From(start) => UserId::new(start.max(1)).map_or_else(Vec::new, |start| {
                self.users.range(start..).map(|(_, user)| user).take(window.limit).collect()
            }),
        }
    }

    pub(super) fn first_user(&self) -> Option<UserId> {
        self.users.keys().next().copied()
    }

    /// Forgets the accounts up to `last`.
    pub(super) fn evict_users(&mut self, last: UserId) {
        while let Some(entry) = self.users.first_entry() {
            if *entry.key() > last {
                return;
            }
            let user = entry.remove();
            self.names.remove(&user.name.folded());
        }
    }

    /// `message.id` must be higher than any before it.
    pub(super) fn push(&mut self, message: Message) {
        debug_assert!(self.messages.back().is_none_or(|last| last.id < message.id));
        for mailbox in Mailbox::of(message.from, message.to) {
            self.mailboxes.entry(mailbox).or_default().push_back(message.id);
        }
        self.text_bytes += message.text.as_str().len();
        self.messages.push_back(message);
    }

    /// Forgets the oldest message.
    pub(super) fn evict_oldest(&mut self) {
        let Some(message) = self.messages.pop_front() else { return };
        self.text_bytes -= message.text.as_str().len();
        for mailbox in Mailbox::of(message.from, message.to) {
            if let Some(ids) = self.mailboxes.get_mut(&mailbox) {
                ids.pop_front();
                if ids.is_empty() {
                    self.mailboxes.remove(&mailbox);
                }
            }
        }
    }

    /// How many messages there are, and how many bytes of text in them.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.text_bytes)
    }

    /// The lowest message id held here.
    pub(super) fn first_message(&self) -> Option<MessageId> {
        self.messages.front().map(|message| message.id)
    }

    pub(super) fn message(&self, id: MessageId) -> Option<&Message> {
        let first = self.messages.front()?.id;
        // Without gaps, which is the rule, the place is the distance from the first.
        let guess = usize::try_from(id.get().checked_sub(first.get())?).ok()?;
        if let Some(message) = self.messages.get(guess).filter(|message| message.id == id) {
            return Some(message);
        }
        let place = self.messages.binary_search_by_key(&id, |message| message.id).ok()?;
        self.messages.get(place)
    }

    /// Messages of all mailboxes from `from` on.
    pub(super) fn history(&self, from: MessageId) -> impl Iterator<Item = &Message> {
        let start = self.messages.partition_point(|message| message.id < from);
        self.messages.range(start..)
    }

    /// The messages of a mailbox in a window, ascending, and whether the mailbox holds older ones
    /// here.
    pub(super) fn mailbox(&self, mailbox: Mailbox, window: Window) -> (Vec<&Message>, bool) {
        let Some(ids) = self.mailboxes.get(&mailbox) else { return (Vec::new(), false) };
        let below = |id: u64| ids.partition_point(|it| it.get() < id);
        let (start, end) = match window.cursor {
            Cursor::Newest => (ids.len().saturating_sub(window.limit), ids.len()),
            Cursor::Before(id) => {
                let end = below(id);
                (end.saturating_sub(window.limit), end)
            }
            Cursor::From(id) => {
                let start = below(id);
                (start, ids.len().min(start.saturating_add(window.limit)))
            }
        };
        let items = ids.range(start..end).filter_map(|id| self.message(*id)).collect();
        (items, start > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageText, Timestamp};

    /// General messages and private ones, with an id in every three.
    fn table(messages: u64) -> Table {
        let mut table = Table::default();
        for n in 0..messages {
            table.push(Message {
                id: MessageId::new(3 * n).unwrap(),
                from: UserId::new(1 + n % 3).unwrap(),
                to: UserId::new(n % 4),
                text: MessageText::parse("five!".into()).unwrap(),
                sent_at: Timestamp::from_millis(n),
            });
        }
        table
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let mut table = table(100);
        for left in (0..100).rev() {
            table.evict_oldest();
            assert_eq!(table.size(), (left, 5 * left));
            let listed: usize = table.mailboxes.values().map(VecDeque::len).sum();
            let lie_in = |message: &Message| Mailbox::of(message.from, message.to).count();
            assert_eq!(listed, table.messages.iter().map(lie_in).sum::<usize>());
        }
        assert!(table.mailboxes.is_empty());
        assert_eq!(table.first_message(), None);
        table.evict_oldest();
        assert_eq!(table.size(), (0, 0));
    }

    #[test]
    fn messages_are_found_between_gaps_and_behind_what_is_forgotten() {
        let mut table = table(100);
        for forgotten in 0..100 {
            for id in 0..310 {
                let there = id % 3 == 0 && (3 * forgotten..300).contains(&id);
                let id = MessageId::new(id).unwrap();
                assert_eq!(table.message(id).map(|message| message.id), there.then_some(id));
            }
            assert_eq!(table.first_message(), MessageId::new(3 * forgotten));
            table.evict_oldest();
        }
    }

    #[test]
    fn users_are_forgotten_with_their_names() {
        let mut table = Table::default();
        for id in 1..=9 {
            table.insert_user(User {
                id: UserId::new(id).unwrap(),
                name: Username::parse(&format!("User{id}")).unwrap(),
                password_hash: "".into(),
                created_at: Timestamp::from_millis(id),
            });
        }
        for last in [3, 3, 1, 9] {
            table.evict_users(UserId::new(last).unwrap());
            assert_eq!(table.names.len(), table.users.len());
            assert_eq!(table.first_user(), UserId::new(last.max(3) + 1).filter(|id| id.get() < 10));
        }
        assert!(table.names.is_empty());
    }
}
