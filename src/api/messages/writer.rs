//! Writes pages of messages as JSON.

use std::hint::black_box;

use crate::api::names::Names;
use crate::api::rendering::{ByteCounter, RenderMode, Renderer, Rendering};
use crate::model::{Message, Timestamp, UserId};

/// Writes messages as [`MessageBody`](crate::api::message_body::MessageBody) serializes them, but
/// faster: pages of messages are most of the loop's work.
///
/// Nearly all texts need no escapes in JSON, and nearly all messages of a page have the same date
/// as the one before, so the date is computed once for many.
pub(super) struct MessageWriter<'a, S> {
    /// The authors' names, if they were requested.
    names: Option<&'a Names>,
    json: S,
    /// The day of the last message, counted from the Unix epoch.
    day: Option<u64>,
    date: String,
}

/// Typical length of a short message in JSON, in bytes.
const TYPICAL_JSON_BYTES: usize = 160;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// Length of a date in RFC 3339 with the `T` after it, in bytes.
const DATE_BYTES: usize = "2026-11-22T".len();

/// A page of messages, or its length.
pub(super) fn page<'m>(
    messages: impl ExactSizeIterator<Item = &'m Message> + Clone,
    names: Option<&Names>,
    mode: RenderMode,
) -> Rendering {
    match mode {
        RenderMode::Full => MessageWriter::<Vec<u8>>::array(messages, names).into_rendering(),
        RenderMode::Length => MessageWriter::<ByteCounter>::array(messages, names).into_rendering(),
    }
}

impl<'a, S: Renderer> MessageWriter<'a, S> {
    fn array<'m>(
        messages: impl ExactSizeIterator<Item = &'m Message> + Clone,
        names: Option<&'a Names>,
    ) -> S {
        fetch(messages.clone());
        let json = S::with_capacity(2 + messages.len() * TYPICAL_JSON_BYTES);
        let mut writer = MessageWriter { names, json, day: None, date: String::new() };
        writer.json.put(b"[");
        for (n, message) in messages.enumerate() {
            if n > 0 {
                writer.json.put(b",");
            }
            writer.message(message);
        }
        writer.json.put(b"]");
        writer.json
    }

    fn message(&mut self, message: &Message) {
        self.number(b"{\"id\":", message.id.get());
        self.number(b",\"from_user\":", message.from.get());
        self.number(b",\"to_user\":", message.to.map_or(0, UserId::get));
        self.text(b",\"text\":", message.text());
        self.json.put(b",\"sent_at\":\"");
        self.timestamp(message.sent_at);
        if message.revision().is_some() {
            self.revision(message);
        }
        if let Some(name) = self.names.and_then(|names| names.of(message.from)) {
            self.text(b",\"from_username\":", name);
        }
        self.json.put(b"}");
    }

    /// Few messages are revised, so this code is kept out of the way of the others.
    #[cold]
    fn revision(&mut self, message: &Message) {
        match message.edited_at() {
            Some(at) => {
                self.json.put(b",\"edited_at\":\"");
                self.timestamp(at);
            }
            None => self.json.put(b",\"deleted\":true"),
        }
    }

    fn number(&mut self, before: &[u8], number: u64) {
        self.json.put(before);
        // Writing to a renderer does not fail.
        let _ = serde_json::to_writer(&mut self.json, &number);
    }

    fn text(&mut self, before: &[u8], text: &str) {
        self.json.put(before);
        if needs_escapes(text) {
            let _ = serde_json::to_writer(&mut self.json, text);
        } else {
            self.json.put(b"\"");
            self.json.put(text.as_bytes());
            self.json.put(b"\"");
        }
    }

    /// Writes a time and the quotation mark after it.
    fn timestamp(&mut self, at: Timestamp) {
        let (day, time) = (at.millis() / DAY_MILLIS, at.millis() % DAY_MILLIS);
        if self.day != Some(day) {
            self.day = Some(day);
            self.date = at.to_string();
            self.date.truncate(DATE_BYTES);
        }
        self.json.put(self.date.as_bytes());
        self.json.put(&clock_time(time));
        self.json.put(b"Z\"");
    }
}

/// Touches all texts, which lie anywhere in memory. The loads overlap, instead of each waiting for
/// the text before it to be written.
fn fetch<'m>(messages: impl Iterator<Item = &'m Message>) {
    let ends = messages.map(|message| {
        let text = message.text().as_bytes();
        text.first().copied().unwrap_or(0) ^ text.last().copied().unwrap_or(0)
    });
    black_box(ends.fold(0, |so_far, end| so_far ^ end));
}

/// `true` if JSON needs escapes for a text (RFC 8259, section 7).
fn needs_escapes(text: &str) -> bool {
    // The loop has no early exit, so that many bytes are compared in one step.
    let found = |so_far, b| so_far | u8::from(b < b' ' || b == b'"' || b == b'\\');
    text.bytes().fold(0, found) != 0
}

/// A time of day in milliseconds as text: `23:59:59.999`.
fn clock_time(millis: u64) -> [u8; 12] {
    /// The position of each digit, its unit, and its base.
    const DIGITS: [(usize, u64, u64); 9] = [
        (0, 36_000_000, 10),
        (1, 3_600_000, 10),
        (3, 600_000, 6),
        (4, 60_000, 10),
        (6, 10_000, 6),
        (7, 1_000, 10),
        (9, 100, 10),
        (10, 10, 10),
        (11, 1, 10),
    ];
    let mut time = *b"00:00:00.000";
    for (place, unit, base) in DIGITS {
        time[place] = b"0123456789"[usize::try_from(millis / unit % base).unwrap_or(0)];
    }
    time
}

#[cfg(test)]
mod tests {
    use super::super::MessageBody;
    use super::*;
    use crate::model::{EventId, MAX_ID, MessageContent, MessageId, MessageText, Revision};

    fn message(id: u64, to: Option<u64>, text: &str, sent_at: u64) -> Message {
        Message {
            id: MessageId::new(id).unwrap(),
            from: UserId::FIRST,
            to: to.and_then(UserId::new),
            content: MessageContent::Original(MessageText::parse(text.into()).unwrap()),
            sent_at: Timestamp::from_millis(sent_at),
        }
    }

    fn revised(text: Option<&str>) -> Message {
        let mut message = message(3, None, "before", 1_700_000_000_007);
        message.content = MessageContent::Revised(Box::new(Revision {
            event: EventId::new(4).unwrap(),
            by: UserId::FIRST,
            at: Timestamp::from_millis(1_700_000_060_008),
            text: text.map(|text| MessageText::parse(text.into()).unwrap()),
        }));
        message
    }

    /// A page, whose measured length is compared with its length.
    fn array<'m>(
        messages: impl ExactSizeIterator<Item = &'m Message> + Clone,
        names: Option<&Names>,
    ) -> Vec<u8> {
        let Rendering::Length(length) = page(messages.clone(), names, RenderMode::Length) else {
            panic!("only its length is wanted")
        };
        let Rendering::Bytes(bytes) = page(messages, names, RenderMode::Full) else {
            panic!("all of it is wanted")
        };
        assert_eq!(bytes.len(), length);
        bytes
    }

    #[test]
    fn the_writer_writes_what_serde_would() {
        let messages = [
            message(0, None, "plain", 0),
            message(1, Some(9), "\"quoted\" \\ \u{7}\n \u{2028} привет 🦀", 1_700_000_000_007),
            message(2, None, "same second", 1_700_000_000_999),
            message(3, None, "next second", 1_700_000_001_000),
            message(4, None, "same millisecond, another day", 1_700_086_401_000),
            revised(Some("\"edited\"")),
            revised(None),
            message(MAX_ID, None, "last", Timestamp::MAX.millis()),
        ];
        for count in 0..=messages.len() {
            let page = &messages[..count];
            let bodies: Vec<MessageBody<'_>> = page.iter().map(Into::into).collect();
            assert_eq!(
                String::from_utf8(array(page.iter(), None)).unwrap(),
                serde_json::to_string(&bodies).unwrap()
            );
            for names in [Names::default(), Names::from([(UserId::FIRST, "anna")])] {
                let bodies: Vec<_> = page.iter().map(|it| MessageBody::named(it, &names)).collect();
                assert_eq!(
                    String::from_utf8(array(page.iter(), Some(&names))).unwrap(),
                    serde_json::to_string(&bodies).unwrap()
                );
            }
        }
    }

    #[test]
    fn every_character_of_ascii_is_written_as_serde_would() {
        for byte in 1..=127 {
            let text = format!("a{}z", char::from(byte));
            let page = [message(1, None, &text, 0)];
            assert_eq!(
                String::from_utf8(array(page.iter(), None)).unwrap(),
                serde_json::to_string(&page.each_ref().map(MessageBody::from)).unwrap()
            );
        }
    }

    #[test]
    fn times_are_as_timestamps_show_them() {
        // The step is such that every digit occurs.
        for millis in (0..DAY_MILLIS).step_by(7_919).chain([DAY_MILLIS - 1]) {
            let shown = Timestamp::from_millis(millis).to_string();
            assert_eq!(&shown.as_bytes()[DATE_BYTES..shown.len() - 1], clock_time(millis));
        }
    }
}
