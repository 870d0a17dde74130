//! Streams of events as they happen: server-sent events (WHATWG HTML, section 9.2).
//!
//! This module makes the content of streams and decides who may see what. It knows neither sockets
//! nor subscribers. A handler returns a [`Subscription`]. The server then asks for
//! [pages](App::stream_page) of past events, and after that for the [news](App::news).

use std::time::Duration;

use serde::Serialize;

use super::app::App;
use super::contract::Parameter;
use super::event_body::EventBody;
use super::failure::Failure;
use super::notices::ReadMark;
use super::paging::{Links, Query, number};
use super::rendering::to_json;
use super::reply::Reply;
use super::request::Call;
use crate::model::{Cursor, Event, EventId, MessageId, Page, SessionId, Timestamp, UserId, Window};
use crate::problem::Problem;
use crate::store::{IdKind, StoreError};

/// The media type of a stream (WHATWG HTML, section 9.2.6).
pub const MEDIA_TYPE: &str = "text/event-stream";
/// A comment, which clients ignore (WHATWG HTML, section 9.2.5). It is sent after a long time
/// without an event.
pub const HEARTBEAT: &[u8] = b":\n\n";
/// Delay before a client reconnects, in milliseconds.
const RETRY_MILLIS: u64 = 2000;
/// Most events that are read at once.
pub(crate) const MAX_EVENTS: usize = 200;
/// Length in bytes at which a page or the news end. The last event may exceed it, but is shorter
/// than it.
pub(crate) const MAX_PAGE_BYTES: usize = 64 * 1024;

/// A request that is answered with a stream.
pub struct Subscription {
    /// The head, and the beginning of the stream.
    pub reply: Reply,
    /// The subscriber.
    pub user: UserId,
    /// The session of the token.
    pub session: SessionId,
    /// The time of day at which the token expires.
    pub expires: Timestamp,
    /// The most time that the token is still valid.
    pub time_left: Duration,
    /// The number of the first event to be sent.
    pub from: u64,
}

/// Past events, as they are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// Whole events, or nothing.
    pub bytes: Vec<u8>,
    /// The lowest number of the events that follow.
    pub next: u64,
    /// `true` if no event follows yet.
    pub is_last: bool,
}

/// Events that have just become durable, as they are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The two users who may see them; `None` if everybody may.
    pub to: Option<[UserId; 2]>,
    /// Whole events.
    pub bytes: Vec<u8>,
}

impl App {
    /// The subscription of a request for a stream. `Last-Event-ID` overrides `after`: a browser
    /// that reconnects sends it to the address that it was first given.
    pub(super) fn subscribe(
        &mut self,
        call: &Call<'_>,
        query: &Query<'_>,
    ) -> Result<Subscription, Failure> {
        let (window, epoch) = query.page()?;
        let end = self.store.next_ids().next_event;
        let asked = match window.cursor {
            Cursor::Newest => end,
            Cursor::From(from) => from,
            Cursor::Before(_) => {
                let why = "cannot be used for a stream";
                return Err(Problem::parameter(Parameter::Before.name(), why).into());
            }
        };
        let last_seen = call.request.last_event_id.as_deref();
        let from = match last_seen {
            None => asked,
            Some("-1") => 0,
            Some(id) => number(id).map(|id| id + 1).ok_or_else(|| {
                let why = "must be the id of an event, or -1 for the beginning";
                Problem::parameter("Last-Event-ID", why)
            })?,
        };
        // The last event seen may be of a later epoch than the address, which does not change.
        let (at, cursor_epoch) = match last_seen {
            None => (window.cursor, epoch),
            Some(_) => (Cursor::From(from), None),
        };
        self.expect_known(IdKind::Events, Cursor::Newest, epoch)?;
        self.expect_known(IdKind::Events, at, cursor_epoch)?;
        let (expires, time_left) = self.expiry(call)?;
        let last = from.checked_sub(1).map_or_else(|| "-1".to_owned(), |last| last.to_string());
        // The comment is for clients that wait for the first byte. An id without data is no event,
        // but clients remember it, so one that is cut off before the first event can resume.
        let hello = format!(":\nretry: {RETRY_MILLIS}\nid: {last}\n\n");
        let window = Window { cursor: Cursor::From(from), ..window };
        let links = Links::new(call.request.path, window, self.store.store_id());
        let reply = Reply::new(200, MEDIA_TYPE, hello.into_bytes())
            .with("Link", links.field(None, false))
            // nginx would buffer events without it.
            .with("X-Accel-Buffering", "no");
        let (user, session) = (call.caller, call.session);
        Ok(Subscription { reply, user, session, expires, time_left, from })
    }

    /// The number that the next event will have.
    #[must_use]
    pub fn next_event(&self) -> u64 {
        self.store.next_ids().next_event
    }

    /// A page of the events from `from` on that `reader` may see. `None` if the store fails: then
    /// the next sync fails too.
    pub fn stream_page(&mut self, reader: UserId, from: u64) -> Option<StreamPage> {
        let end = self.next_event();
        if from >= end {
            return Some(StreamPage { bytes: Vec::new(), next: from, is_last: true });
        }
        let window = Window { cursor: Cursor::From(from), limit: MAX_EVENTS };
        let Page { items, .. } = match self.store.events(reader, window) {
            Ok(page) => page,
            Err(error) => return self.failed(error),
        };
        let (mut bytes, mut next, mut written) = (Vec::new(), end, 0);
        for event in &items {
            if bytes.len() >= MAX_PAGE_BYTES {
                break;
            }
            write(event, &mut bytes);
            (next, written) = (event.id.get() + 1, written + 1);
        }
        let is_last = written == items.len() && items.len() < MAX_EVENTS;
        Some(StreamPage { bytes, next: if is_last { end } else { next }, is_last })
    }

    /// The events from `from` on, in order, for the users that `listens` accepts, and the lowest
    /// number of those that follow. Neighbouring events for everybody are one batch.
    pub fn news(
        &mut self,
        from: u64,
        listens: impl Fn(UserId) -> bool,
    ) -> Option<(Vec<EventBatch>, u64)> {
        let end = self.next_event();
        let events = match self.store.history(EventId::new(from)?, MAX_EVENTS) {
            Ok(events) => events,
            Err(error) => return self.failed(error),
        };
        let (mut news, mut bytes, mut next): (Vec<EventBatch>, usize, u64) = (Vec::new(), 0, from);
        for event in &events {
            if bytes >= MAX_PAGE_BYTES {
                return Some((news, next));
            }
            next = event.id.get() + 1;
            let to = event.parties();
            if to.is_some_and(|parties| !parties.into_iter().any(&listens)) {
                continue;
            }
            if to.is_some() || news.last().is_none_or(|last| last.to.is_some()) {
                news.push(EventBatch { to, bytes: Vec::new() });
            }
            if let Some(last) = news.last_mut() {
                let before = last.bytes.len();
                write(event, &mut last.bytes);
                bytes += last.bytes.len() - before;
            }
        }
        let all = events.len() < MAX_EVENTS;
        Some((news, if all { end } else { next }))
    }

    fn failed<T>(&mut self, error: StoreError) -> Option<T> {
        // There is no request to answer. The error is logged, and if it is fatal the next sync fails.
        let _ = self.reply_to(error.into());
        None
    }
}

/// Writes an event. Its object is one line, because a string in JSON has no line breaks.
fn write(event: &Event<'_>, out: &mut Vec<u8>) {
    let body = EventBody::from(event);
    out.extend(format!("id: {}\nevent: {}\ndata: ", event.id.get(), body.kind()).as_bytes());
    // Writing to a Vec does not fail.
    let _ = serde_json::to_writer(&mut *out, &body);
    out.extend(b"\n\n");
}

/// A read mark, for the user's other devices. It is sent without an `id`, so that the position of
/// the stream does not change.
#[derive(Serialize)]
struct ReadBody {
    /// 0 is the general chat.
    with_user: u64,
    up_to: MessageId,
}

/// A read mark, as it is sent.
#[must_use]
pub fn read_mark_event(mark: ReadMark) -> Vec<u8> {
    let body = ReadBody { with_user: mark.with.map_or(0, UserId::get), up_to: mark.up_to };
    [b"event: conversation.read\ndata: ", &*to_json(&body), b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::model::{Message, MessageContent, MessageText, Timestamp};

    /// An event is one line of data, whatever its text.
    #[test]
    fn an_event_has_one_line_of_data() {
        for text in ["a\nid: 9\n\ndata: b", "\r", "\r\n\r\n", "\u{85}\u{2028}\u{2029}", "\u{feff}"]
        {
            let text = format!("x{text}y");
            let message = Message {
                id: MessageId::new(7).unwrap(),
                from: UserId::FIRST,
                to: None,
                content: MessageContent::Original(
                    MessageText::parse(text.as_str().into()).unwrap(),
                ),
                sent_at: Timestamp::from_millis(0),
            };
            let mut out = Vec::new();
            write(&Event::created(Cow::Owned(message)), &mut out);
            let out = String::from_utf8(out).unwrap();
            let lines: Vec<_> = out.split(['\n', '\r']).collect();
            let [id, event, data, "", ""] = lines[..] else { panic!("{lines:?}") };
            assert_eq!((id, event), ("id: 7", "event: message.created"));
            let data: serde_json::Value =
                serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(data["message"]["text"], text);
        }
    }
}
