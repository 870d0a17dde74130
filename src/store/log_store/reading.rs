//! Reads of data that is older than memory: found in the index, read from the log, and brought up
//! to date.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::store::{LogStore, decode};
use crate::model::{
    Cursor, Event, EventId, EventKind, Message, MessageChange, MessageId, User, Window,
};
use crate::store::engine::Engine as _;
use crate::store::error::StoreError;
use crate::store::index::layout::{List, Posting};
use crate::store::log::Log;
use crate::store::mem_table::{Activity, MemPart};
use crate::store::record::Record;

/// Messages that are not in memory, as they are now.
type OlderMessages<'a> = BTreeMap<MessageId, Cow<'a, Message>>;

impl LogStore {
    pub(super) fn read_users(&self, positions: &[u64]) -> Result<Vec<Cow<'_, User>>, StoreError> {
        let mut users = Vec::with_capacity(positions.len());
        self.log.read(positions, |frame| match decode(&self.log, &frame)?.record {
            Record::User(user) => {
                users.push(Cow::Owned(user));
                Ok(())
            }
            _ => Err(self.view.index.mark_broken("an account's position holds something else")),
        })?;
        Ok(users)
    }

    /// The messages of a list's postings, as they are now.
    pub(super) fn read_messages(
        &self,
        mut postings: Vec<Posting>,
    ) -> Result<Vec<Cow<'_, Message>>, StoreError> {
        self.view.index.redirect(&mut postings)?;
        self.read_redirected(postings)
    }

    /// The messages at some positions, each that of a message's last revision, if there is one.
    fn read_redirected(
        &self,
        mut postings: Vec<Posting>,
    ) -> Result<Vec<Cow<'_, Message>>, StoreError> {
        // The last revision of a message lies after messages with higher ids.
        postings.sort_unstable_by_key(|posting| posting.position);
        let positions: Vec<u64> = postings.iter().map(|posting| posting.position).collect();
        let mut messages: Vec<Cow<'_, Message>> = Vec::with_capacity(postings.len());
        self.log.read(&positions, |frame| match decode(&self.log, &frame)?.record {
            Record::Message(message) | Record::Revision(message)
                if message.id.get() == postings[messages.len()].id =>
            {
                messages.push(Cow::Owned(message));
                Ok(())
            }
            _ => Err(self.view.index.mark_broken("a message's position holds something else")),
        })?;
        messages.sort_unstable_by_key(|message| message.id);
        if !self.view.revised.is_empty() {
            for message in &mut messages {
                if let Some(newest) = self.view.revised.get(&message.id) {
                    *message = Cow::Borrowed(newest);
                }
            }
        }
        Ok(messages)
    }

    /// Those of some messages that were revised and are not in memory, read from the log in one go.
    pub(super) fn older_revised(
        &self,
        ids: impl Iterator<Item = MessageId>,
    ) -> Result<OlderMessages<'_>, StoreError> {
        let ids: BTreeSet<MessageId> = ids.filter(|id| self.view.newest(*id).is_none()).collect();
        let mut postings = Vec::with_capacity(ids.len());
        for id in ids {
            let position = self.view.index.revision(id)?;
            postings.extend(position.map(|position| Posting { id: id.get(), position }));
        }
        let messages = self.read_redirected(postings)?;
        Ok(messages.into_iter().map(|message| (message.id, message)).collect())
    }

    /// The event of an activity, with its message as it is now: from memory, or one of `older`.
    pub(super) fn event_of<'a>(
        &'a self,
        activity: Activity,
        older: &OlderMessages<'a>,
    ) -> Result<Event<'a>, StoreError> {
        activity.event(|id| self.revised_message(id, older))
    }

    fn revised_message<'a>(
        &'a self,
        id: MessageId,
        older: &OlderMessages<'a>,
    ) -> Result<Cow<'a, Message>, StoreError> {
        let missing = || self.view.index.mark_broken("a revised message is missing");
        match self.view.newest(id) {
            Some(newest) => Ok(Cow::Borrowed(newest)),
            None => older.get(&id).cloned().ok_or_else(missing),
        }
    }

    pub(super) fn read_activities(
        &self,
        postings: &[Posting],
    ) -> Result<Vec<Activity>, StoreError> {
        let positions: Vec<u64> = postings.iter().map(|posting| posting.position).collect();
        let mut activities = Vec::with_capacity(postings.len());
        self.log.read(&positions, |frame| {
            let activity = match decode(&self.log, &frame)?.record {
                Record::Revision(message) => Activity::revision(&message),
                Record::Moderation(moderation) => Some(Activity::moderation(&moderation)),
                _ => None,
            };
            let wanted = postings[activities.len()].id;
            let activity = activity.filter(|activity| activity.event.get() == wanted);
            let broken = || self.view.index.mark_broken("an event's position holds something else");
            activities.push(activity.ok_or_else(broken)?);
            Ok(())
        })?;
        Ok(activities)
    }

    /// The part of a window of a list that lies below `boundary`, where memory begins, and whether
    /// there is something older than the window. `held` is what memory has of it.
    pub(super) fn older(
        &self,
        list: List,
        window: Window,
        boundary: u64,
        held: MemPart,
    ) -> Result<(Vec<Posting>, bool), StoreError> {
        let index = &self.view.index;
        if let Cursor::From(start) = window.cursor {
            let postings = index.postings_from(list, start, boundary, window.limit)?;
            let older = held.older || index.any_below(list, start.min(boundary))?;
            return Ok((postings, older));
        }
        if held.older {
            return Ok((Vec::new(), true));
        }
        // One more than the limit shows whether the page is the first.
        let missing = window.limit - held.len;
        let end = boundary.min(window.start(None));
        let mut postings = index.last_postings(list, (0, end), missing + 1)?;
        let older = postings.len() > missing;
        postings.drain(..postings.len().saturating_sub(missing));
        Ok((postings, older))
    }

    /// An event as it was recorded, with the message as it is now: from memory, one of `older`, or
    /// as it was posted.
    pub(super) fn present<'a>(
        &'a self,
        event: Event<'a>,
        older: &OlderMessages<'a>,
    ) -> Result<Event<'a>, StoreError> {
        let EventKind::Message(change, message) = &event.what else { return Ok(event) };
        let (change, id) = (*change, message.id);
        let is_original = || self.view.newest(id).is_none() && !older.contains_key(&id);
        if change == MessageChange::Created && is_original() {
            return Ok(event);
        }
        let message = self.revised_message(id, older)?;
        Ok(Event { what: EventKind::Message(change, message), ..event })
    }

    /// At most `limit` events from `from` on as the log has them, with their messages as they were
    /// then.
    pub(super) fn scan(
        &self,
        from: EventId,
        limit: usize,
    ) -> Result<Vec<Event<'static>>, StoreError> {
        let start = match self.view.index.mark_below(from.get())? {
            Some(mark) => mark.position,
            None => Log::START,
        };
        let mut found = Vec::new();
        let end = self.log.scan(start, |frame| {
            let event = match decode(&self.log, &frame)?.record {
                Record::Message(message) | Record::Revision(message) => {
                    Some(Event::latest(Cow::Owned(message)))
                }
                Record::Moderation(moderation) => Some(moderation.into()),
                Record::User(_) | Record::NextIds(_) | Record::Entry(_) => None,
            };
            found.extend(event.filter(|event| event.id >= from && found.len() < limit));
            let done = found.len() >= limit;
            Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if found.len() < limit && end.position != self.log.end() {
            return Err(self.log.damage_at(end.position, "a record is unreadable"));
        }
        Ok(found)
    }

    /// True if a later revision replaces a recorded version of a message.
    pub(super) fn is_superseded(&self, recorded: &Message) -> Result<bool, StoreError> {
        if let Some(newest) = self.view.newest(recorded.id) {
            return Ok(newest.event() != recorded.event());
        }
        if recorded.revision().is_none() {
            return Ok(self.view.index.revision(recorded.id)?.is_some());
        }
        let newest = self.find_message(recorded.id)?;
        Ok(newest.is_none_or(|newest| newest.event() != recorded.event()))
    }
}
