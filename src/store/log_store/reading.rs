//! Reads of what is older than memory: looked up in the index, read from the log, and shown as it is
//! now.

use std::borrow::Cow;
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
        // A message that was revised lies behind those that follow it.
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

    pub(super) fn event_of(&self, activity: Activity) -> Result<Event<'_>, StoreError> {
        activity.event(|id| self.revised_message(id))
    }

    fn revised_message(&self, id: MessageId) -> Result<Cow<'_, Message>, StoreError> {
        let missing = || self.view.index.mark_broken("what was revised is not there");
        self.find_message(id)?.ok_or_else(missing)
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
        // One more than wanted tells whether the page is the first.
        let missing = window.limit - held.len;
        let end = boundary.min(window.start(None));
        let mut postings = index.last_postings(list, (0, end), missing + 1)?;
        let older = postings.len() > missing;
        postings.drain(..postings.len().saturating_sub(missing));
        Ok((postings, older))
    }

    /// An event as it was recorded, with the message as it is now.
    pub(super) fn present<'a>(&'a self, event: Event<'a>) -> Result<Event<'a>, StoreError> {
        let EventKind::Message(change, message) = &event.what else { return Ok(event) };
        let (change, id) = (*change, message.id);
        let untouched = || Ok::<_, StoreError>(self.view.index.revision(id)?.is_none());
        let message = match self.view.newest(id) {
            Some(newest) => Cow::Borrowed(newest),
            None if change == MessageChange::Created && untouched()? => return Ok(event),
            None => self.revised_message(id)?,
        };
        Ok(Event { what: EventKind::Message(change, message), ..event })
    }

    /// Up to `limit` events from `from` on as the log has them, with their messages as they were
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

    /// Whether a later revision has taken the place of what is recorded of a message.
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
