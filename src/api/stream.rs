//! Events as they happen: a stream of server-sent events (WHATWG HTML, section 9.2).
//!
//! Here is what a stream says, and to whom: nothing of sockets, and nothing of who listens. A
//! handler gives a [`Subscription`]; whoever has the connection asks for [pages](App::stream_page)
//! of what happened before, and then for the [news](App::news).

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
/// A comment, which clients pass over (WHATWG HTML, section 9.2.5): what is sent to who has not
/// been sent anything for long.
pub const HEARTBEAT: &[u8] = b":\n\n";
/// After how many milliseconds a client should connect again.
const RETRY_MILLIS: u64 = 2000;
/// Events that are looked for at once, at most.
pub(crate) const MAX_EVENTS: usize = 200;
/// In bytes: when a page or the news are as long as this, the rest waits for the next ones. The
/// last event may go beyond it, but is shorter than it.
pub(crate) const MAX_PAGE_BYTES: usize = 64 * 1024;

/// A request that is answered with a stream.
pub struct Subscription {
    /// The head, and with what the stream begins.
    pub reply: Reply,
    /// Who listens.
    pub user: UserId,
    /// Of which session the token is.
    pub session: SessionId,
    /// When the token expires, by the time of day.
    pub expires: Timestamp,
    /// For how long the token is good at most.
    pub time_left: Duration,
    /// The number of the first event of interest.
    pub from: u64,
}

/// Events of the past, as they are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// None, or whole events.
    pub bytes: Vec<u8>,
    /// The number from which on there may be more.
    pub next: u64,
    /// Whether it has all that there is by now.
    pub is_last: bool,
}

/// Events that were just made durable, as they are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The two that may see them; `None` if everybody may.
    pub to: Option<[UserId; 2]>,
    /// Whole events.
    pub bytes: Vec<u8>,
}

impl App {
    /// What is answered to who wants a stream. `Last-Event-ID` goes before `after`: a browser that
    /// connects again sends it to the address that it was first given.
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
                let why = "has no meaning for a stream";
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
        // What was seen last may be of a later epoch than the address, which stays what it was.
        let (at, cursor_epoch) = match last_seen {
            None => (window.cursor, epoch),
            Some(_) => (Cursor::From(from), None),
        };
        self.expect_known(IdKind::Events, Cursor::Newest, epoch)?;
        self.expect_known(IdKind::Events, at, cursor_epoch)?;
        let (expires, time_left) = self.expiry(call)?;
        let last = from.checked_sub(1).map_or_else(|| "-1".to_owned(), |last| last.to_string());
        // The comment is for who waits for the first byte. An id without data is no event, but is
        // remembered: who is cut off before the first event can go on all the same.
        let hello = format!(":\nretry: {RETRY_MILLIS}\nid: {last}\n\n");
        let window = Window { cursor: Cursor::From(from), ..window };
        let links = Links::new(call.request.path, window, self.store.store_id());
        let reply = Reply::new(200, MEDIA_TYPE, hello.into_bytes())
            .with("Link", links.field(None, false))
            // nginx would hold events back until it has a buffer full of them.
            .with("X-Accel-Buffering", "no");
        let (user, session) = (call.caller, call.session);
        Ok(Subscription { reply, user, session, expires, time_left, from })
    }

    /// The number that the next event will have.
    #[must_use]
    pub fn next_event(&self) -> u64 {
        self.store.next_ids().next_event
    }

    /// What `reader` may see of what happened from `from` on, as far as it fits on a page. `None`
    /// if the store cannot say: then the next sync fails, too.
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

    /// What happened from `from` on, in order, for those who `listen`, and the number from which on
    /// there may be more. Neighbours that go to everybody are one piece.
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
        // What it answers is nobody's; that it is logged and ends the server is what counts.
        let _ = self.reply_to(error.into());
        None
    }
}

/// An event as it is sent: its object is one line, because a string in JSON has no line breaks.
fn write(event: &Event<'_>, out: &mut Vec<u8>) {
    let body = EventBody::from(event);
    out.extend(format!("id: {}\nevent: {}\ndata: ", event.id.get(), body.kind()).as_bytes());
    // Writing to a Vec does not fail.
    let _ = serde_json::to_writer(&mut *out, &body);
    out.extend(b"\n\n");
}

/// What a device has read, for the user's others: no `id`, so that where they go on from stays
/// where it is.
#[derive(Serialize)]
struct ReadBody {
    /// 0 is the general chat.
    with_user: u64,
    up_to: MessageId,
}

/// A mark as it is sent.
#[must_use]
pub fn told(mark: ReadMark) -> Vec<u8> {
    let body = ReadBody { with_user: mark.with.map_or(0, UserId::get), up_to: mark.up_to };
    [b"event: conversation.read\ndata: ", &*to_json(&body), b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::model::{Message, MessageContent, MessageText, Timestamp};

    /// Whatever is in a text, an event is one line of data.
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
