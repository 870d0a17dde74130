//! Accounts and messages in memory, in order: the whole of [`super::MemoryStore`] and the newest
//! part of [`super::SledStore`].
//!
//! Knows nothing of durability. Ids only ever grow, so every list is kept sorted by appending.

use std::collections::{BTreeMap, HashMap, VecDeque};

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
        let newest_below = |end: u64| {
            let mut items: Vec<&User> = self
                .users_from(0)
                .rev()
                .skip_while(|u| u.id.get() >= end)
                .take(window.limit)
                .collect();
            items.reverse();
            items
        };
        match window.cursor {
            Cursor::Newest => newest_below(u64::MAX),
            Cursor::Before(end) => newest_below(end),
            Cursor::From(start) => self.users_from(start).take(window.limit).collect(),
        }
    }

    fn users_from(&self, start: u64) -> impl DoubleEndedIterator<Item = &User> {
        let start = UserId::new(start.max(1));
        start.into_iter().flat_map(|start| self.users.range(start..).map(|(_, user)| user))
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
