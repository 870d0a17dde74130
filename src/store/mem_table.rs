//! Accounts and messages in memory, in order: the whole of [`super::MemoryStore`] and the newest
//! part of [`super::LogStore`].
//!
//! Durability is the caller's task. Ids only ever grow, so every list is kept sorted by appending.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque, hash_map};
use std::ops::{Bound, Range};

use crate::model::{
    Cursor, Event, EventId, EventKind, Mailbox, Message, MessageChange, MessageId,
    ModerationAction, ModerationEvent, Page, Timestamp, User, UserId, Username, Window,
};

/// Accounts and messages in order, with their mailboxes.
#[derive(Debug, Default)]
pub(super) struct MemTable {
    users: BTreeMap<UserId, User>,
    names: HashMap<String, UserId>,
    messages: VecDeque<Message>,
    mailboxes: HashMap<Mailbox, VecDeque<MessageId>>,
    text_bytes: usize,
    /// All activities that are held here, in order of event.
    activities: VecDeque<Activity>,
    /// The ids of these activities, by the readers who may see them: everybody, or a user.
    feeds: HashMap<Mailbox, VecDeque<EventId>>,
    /// The event from which on every activity is held here.
    activities_start: u64,
}

/// An event in memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum HistoryItem<'a> {
    /// A message was posted; this is the message as it is now.
    Posted(&'a Message),
    /// Another event, about a message that may not be held here.
    Done(Activity),
}

/// An event other than a new message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    pub(super) event: EventId,
    by: UserId,
    at: Timestamp,
    what: What,
}

/// The kind of an activity.
#[derive(Debug, Clone, Copy)]
enum What {
    /// A message was edited or deleted.
    Revised { change: MessageChange, message: MessageId, from: UserId, to: Option<UserId> },
    /// An operator acted.
    Moderated(ModerationAction),
}

impl HistoryItem<'_> {
    /// The message that was edited or deleted, if that is the event.
    pub(super) fn revised(self) -> Option<MessageId> {
        match self {
            HistoryItem::Posted(_) => None,
            HistoryItem::Done(activity) => activity.message(),
        }
    }
}

impl Activity {
    /// The edit or deletion of a message; `None` if it is as it was posted.
    pub(super) fn revision(message: &Message) -> Option<Activity> {
        let revision = message.revision()?;
        let change =
            if revision.text.is_some() { MessageChange::Edited } else { MessageChange::Deleted };
        let &Message { id, from, to, .. } = message;
        let what = What::Revised { change, message: id, from, to };
        Some(Activity { event: revision.event, by: revision.by, at: revision.at, what })
    }

    /// A moderation by an operator.
    pub(super) fn moderation(moderation: &ModerationEvent) -> Activity {
        let &ModerationEvent { event, by, at, action } = moderation;
        Activity { event, by, at, what: What::Moderated(action) }
    }

    /// The message that was edited or deleted, if that is the event.
    pub(super) fn message(&self) -> Option<MessageId> {
        match self.what {
            What::Revised { message, .. } => Some(message),
            What::Moderated(_) => None,
        }
    }

    /// The feeds that it is in: that of everybody, or those of the two parties.
    fn feeds(&self) -> impl Iterator<Item = Mailbox> {
        let (private, general) = match self.what {
            What::Revised { from, to, .. } => (Some(Mailbox::feeds(from, to)), None),
            What::Moderated(_) => (None, Some(Mailbox::General)),
        };
        private.into_iter().flatten().chain(general)
    }

    /// The event of this activity. `present` finds its message as it is now.
    pub(super) fn event<'a, E>(
        self,
        present: impl FnOnce(MessageId) -> Result<Cow<'a, Message>, E>,
    ) -> Result<Event<'a>, E> {
        let Activity { event: id, by, at, what } = self;
        let what = match what {
            What::Revised { change, message, .. } => EventKind::Message(change, present(message)?),
            What::Moderated(action) => EventKind::Moderation(action),
        };
        Ok(Event { id, by, at, what })
    }
}

impl MemTable {
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
        self.text_bytes += message.text().len();
        self.messages.push_back(message);
    }

    /// Forgets the oldest message.
    pub(super) fn evict_oldest(&mut self) {
        let Some(message) = self.messages.pop_front() else { return };
        self.text_bytes -= message.text().len();
        for mailbox in Mailbox::of(message.from, message.to) {
            forget_first(&mut self.mailboxes, mailbox);
        }
    }

    /// Applies a revision to a message, whether it is held here or not. Its event must be higher
    /// than any before it.
    pub(super) fn revise(&mut self, message: &Message) {
        let Some(activity) = Activity::revision(message) else { return };
        self.note(activity);
        if let Some(place) = self.place(message.id) {
            let held = &mut self.messages[place];
            self.text_bytes = self.text_bytes - held.text().len() + message.text().len();
            held.content = message.content.clone();
        }
    }

    /// Adds an activity. Its event must be higher than any before it.
    pub(super) fn note(&mut self, activity: Activity) {
        debug_assert!(self.activities.back().is_none_or(|last| last.event < activity.event));
        for feed in activity.feeds() {
            self.feeds.entry(feed).or_default().push_back(activity.event);
        }
        self.activities.push_back(activity);
    }

    /// Forgets the oldest activity as an event. What it made of a message stays.
    pub(super) fn evict_oldest_activity(&mut self) {
        let Some(activity) = self.activities.pop_front() else { return };
        self.activities_start = activity.event.get() + 1;
        for feed in activity.feeds() {
            forget_first(&mut self.feeds, feed);
        }
    }

    /// The number of activities.
    pub(super) fn activity_count(&self) -> usize {
        self.activities.len()
    }

    /// The event from which on every activity is held here.
    pub(super) fn activities_start(&self) -> u64 {
        self.activities_start
    }

    /// Sets the event from which on every activity is held here.
    pub(super) fn begin_at(&mut self, event: u64) {
        self.activities_start = event;
    }

    /// The activities of a feed in a window, ascending.
    pub(super) fn activities(&self, feed: Mailbox, window: Window) -> Page<Activity> {
        let Some(events) = self.feeds.get(&feed) else { return Page::empty() };
        let range = window_of(events, window, EventId::get);
        let MemPart { older, .. } = held(&range);
        let found = |event: &EventId| {
            let place =
                self.activities.binary_search_by_key(event, |activity| activity.event).ok()?;
            self.activities.get(place).copied()
        };
        Page { items: events.range(range).filter_map(found).collect(), older }
    }

    /// The number of items that [`MemTable::activities`] would find.
    pub(super) fn activities_held(&self, feed: Mailbox, window: Window) -> MemPart {
        let events = self.feeds.get(&feed);
        events
            .map_or_else(MemPart::default, |events| held(&window_of(events, window, EventId::get)))
    }

    /// The number of messages, and of bytes of text in them.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.text_bytes)
    }

    /// The lowest message id held here.
    pub(super) fn first_message(&self) -> Option<MessageId> {
        self.messages.front().map(|message| message.id)
    }

    pub(super) fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(self.place(id)?)
    }

    fn place(&self, id: MessageId) -> Option<usize> {
        self.place_from(0, id)
    }

    /// The place of a message that is not before the one at `start`.
    fn place_from(&self, start: usize, id: MessageId) -> Option<usize> {
        let place_of = |place: usize| self.messages.get(place).map(|message| message.id);
        let distance = id.get().checked_sub(place_of(start)?.get())?;
        // It is there if all the numbers between are messages, and before if some are not.
        let farthest = start.saturating_add(usize::try_from(distance).ok()?);
        if place_of(farthest) == Some(id) {
            return Some(farthest);
        }
        let (mut low, mut high) = (start, farthest.min(self.messages.len()));
        while low < high {
            let middle = low.midpoint(high);
            if place_of(middle)? < id { low = middle + 1 } else { high = middle }
        }
        (place_of(low)? == id).then_some(low)
    }

    /// The messages with these ids, which ascend: each is searched for after the one before.
    fn messages_of<'a>(
        &'a self,
        ids: impl Iterator<Item = &'a MessageId>,
    ) -> impl Iterator<Item = &'a Message> {
        let mut start = 0;
        ids.filter_map(move |id| {
            start = self.place_from(start, *id)?;
            self.messages.get(start)
        })
    }

    /// The events from `from` on that are held here, in order.
    pub(super) fn history(&self, from: u64) -> impl Iterator<Item = HistoryItem<'_>> + Clone {
        let start = self.messages.partition_point(|message| message.id.get() < from);
        let mut posted = self.messages.range(start..).peekable();
        let start = self.activities.partition_point(|activity| activity.event.get() < from);
        let mut done = self.activities.range(start..).copied().peekable();
        std::iter::from_fn(move || match (posted.peek(), done.peek()) {
            (Some(message), Some(next)) if next.event < message.id.into() => {
                done.next().map(HistoryItem::Done)
            }
            (Some(_), _) => posted.next().map(HistoryItem::Posted),
            (None, _) => done.next().map(HistoryItem::Done),
        })
    }

    /// The event that an activity is, if its message is held here.
    pub(super) fn event_of(&self, activity: Activity) -> Option<Event<'_>> {
        activity.event(|id| self.message(id).map(Cow::Borrowed).ok_or(())).ok()
    }

    /// The messages of a mailbox in a window, ascending.
    pub(super) fn mailbox(&self, mailbox: Mailbox, window: Window) -> Page<Cow<'_, Message>> {
        let Some(ids) = self.mailboxes.get(&mailbox) else { return Page::empty() };
        let range = window_of(ids, window, MessageId::get);
        let MemPart { len, older } = held(&range);
        let mut items = Vec::with_capacity(len);
        items.extend(self.messages_of(ids.range(range)).map(Cow::Borrowed));
        Page { items, older }
    }

    /// The number of items that [`MemTable::mailbox`] would find.
    pub(super) fn mailbox_held(&self, mailbox: Mailbox, window: Window) -> MemPart {
        let ids = self.mailboxes.get(&mailbox);
        ids.map_or_else(MemPart::default, |ids| held(&window_of(ids, window, MessageId::get)))
    }

    /// Searches the newest messages of a mailbox from an id on, `limit` at most, for those of
    /// authors other than `by`.
    pub(super) fn look(&self, mailbox: Mailbox, by: UserId, from: u64, limit: usize) -> UnreadScan {
        let Some(ids) = self.mailboxes.get(&mailbox) else { return UnreadScan::default() };
        let first = ids.partition_point(|id| id.get() < from);
        let start = first.max(ids.len().saturating_sub(limit));
        let messages = self.messages_of(ids.range(start..));
        let others = messages.filter(|message| message.from != by).count();
        UnreadScan { looked: ids.len() - start, others, more: start > first }
    }
}

/// The part of a page that a table holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemPart {
    /// The number of items.
    pub(super) len: usize,
    /// True if the table has older ones.
    pub(super) older: bool,
}

/// The result of a search for unread messages in a mailbox.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnreadScan {
    /// The number of messages that were looked at.
    pub(super) looked: usize,
    /// The number of those that others wrote.
    pub(super) others: usize,
    /// True if there were more of them here.
    pub(super) more: bool,
}

/// The range of a window in a list of ids.
fn window_of<T: Copy>(ids: &VecDeque<T>, window: Window, number: fn(T) -> u64) -> Range<usize> {
    let below = |id: u64| ids.partition_point(|it| number(*it) < id);
    match window.cursor {
        Cursor::Newest => ids.len().saturating_sub(window.limit)..ids.len(),
        Cursor::Before(id) => {
            let end = below(id);
            end.saturating_sub(window.limit)..end
        }
        Cursor::From(id) => {
            let start = below(id);
            start..ids.len().min(start.saturating_add(window.limit))
        }
    }
}

/// The part of a page in a range of places.
fn held(range: &Range<usize>) -> MemPart {
    MemPart { len: range.len(), older: range.start > 0 }
}

/// Forgets the first of a list, and the list with the last.
fn forget_first<T>(lists: &mut HashMap<Mailbox, VecDeque<T>>, of: Mailbox) {
    let hash_map::Entry::Occupied(mut list) = lists.entry(of) else { return };
    list.get_mut().pop_front();
    if list.get().is_empty() {
        list.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageContent, MessageText};

    /// General messages and private ones, with an id in every three.
    fn table(messages: u64) -> MemTable {
        let mut table = MemTable::default();
        for n in 0..messages {
            table.push(Message {
                id: MessageId::new(3 * n).unwrap(),
                from: UserId::new(1 + n % 3).unwrap(),
                to: UserId::new(n % 4),
                content: MessageContent::Original(MessageText::parse("five!".into()).unwrap()),
                sent_at: Timestamp::from_millis(n),
            });
        }
        table
    }

    #[test]
    fn evicted_messages_leave_nothing() {
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
    fn messages_are_found_between_gaps_and_after_evicted_ones() {
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
    fn pages_of_a_mailbox_hold_its_messages() {
        let mut table = table(100);
        (0..9).for_each(|_| table.evict_oldest());
        for mailbox in [Mailbox::General, Mailbox::Private(UserId::FIRST)] {
            let lies_in = |it: &&Message| Mailbox::of(it.from, it.to).any(|its| its == mailbox);
            let all: Vec<&Message> = table.messages.iter().filter(lies_in).collect();
            let cursors = |id| [Cursor::From(id), Cursor::Before(id), Cursor::Newest];
            for cursor in (0..310).flat_map(cursors) {
                for limit in [1, 2, 7, 1000] {
                    let below = |id| all.partition_point(|message| message.id.get() < id);
                    let (first, end) = match cursor {
                        Cursor::From(id) => (below(id), all.len().min(below(id) + limit)),
                        Cursor::Before(id) => (below(id).saturating_sub(limit), below(id)),
                        Cursor::Newest => (all.len().saturating_sub(limit), all.len()),
                    };
                    let wanted = &all[first..end];
                    let window = Window { cursor, limit };
                    let page = table.mailbox(mailbox, window);
                    assert_eq!(page.items.iter().map(|item| &**item).collect::<Vec<_>>(), wanted);
                    let held = MemPart { len: wanted.len(), older: first > 0 };
                    assert_eq!(table.mailbox_held(mailbox, window), held);
                    assert_eq!(page.older, held.older);
                }
            }
        }
    }

    #[test]
    fn users_are_forgotten_with_their_names() {
        let mut table = MemTable::default();
        for id in 1..=9 {
            table.insert_user(User {
                id: UserId::new(id).unwrap(),
                name: Username::parse(&format!("User{id}")).unwrap(),
                password_hash: "".into(),
                created_at: Timestamp::from_millis(id),
                ended_at: None,
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
