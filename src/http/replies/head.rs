//! The head of a reply: status line and header section (RFC 9112).

use std::io::Write as _;

use jiff::fmt::rfc2822::DateTimePrinter;
use tiny_http::StatusCode;

use crate::api::Reply;
use crate::api::stream::MEDIA_TYPE;
use crate::http::requests::exchange::{Exchange, Persistence};
use crate::http::requests::request_id::RequestId;
use crate::model::Timestamp;

/// Encodes heads. It formats the `Date` field once a second.
pub(super) struct HeadEncoder {
    /// Seconds since the epoch, and the field's value for them.
    date: (u64, String),
}

impl HeadEncoder {
    pub(super) fn new() -> HeadEncoder {
        HeadEncoder { date: (u64::MAX, String::new()) }
    }

    /// Replaces the contents of `out` by the head of a reply.
    pub(super) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        exchange: &Exchange,
        reply: &Reply,
        id: &RequestId,
        now: Timestamp,
    ) {
        if self.date.0 != now.seconds() {
            self.date = (now.seconds(), http_date(now));
        }
        out.clear();
        let reason = reason_phrase(reply.status);
        // Writing to a Vec does not fail.
        let _ = write!(out, "HTTP/1.1 {} {reason}\r\nDate: {}\r\n", reply.status, self.date.1);
        if !matches!(reply.status, 204 | 304) {
            let _ = write!(out, "Content-Type: {}\r\n", reply.content_type);
            if reply.content_type != MEDIA_TYPE {
                let _ = write!(out, "Content-Length: {}\r\n", reply.content_length());
            } else if exchange.takes_chunks() {
                out.extend(b"Transfer-Encoding: chunked\r\n");
            }
        }
        let _ = write!(out, "Cache-Control: {}\r\n", reply.cache_control);
        // A browser must not run JSON as a script, whatever it contains.
        out.extend(b"X-Content-Type-Options: nosniff\r\n");
        out.extend(b"X-Request-Id: ");
        out.extend(id.as_bytes());
        out.extend(b"\r\n");
        for (name, value) in &reply.headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        match exchange.persistence {
            Persistence::Implied if !exchange.close => {}
            Persistence::Granted if !exchange.close => out.extend(b"Connection: keep-alive\r\n"),
            _ => out.extend(b"Connection: close\r\n"),
        }
        out.extend(b"\r\n");
    }
}

/// The reason phrase of RFC 9110, section 15; tiny_http has the older phrases of these two.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => StatusCode(status).default_reason_phrase(),
    }
}

/// The value of the `Date` field (RFC 9110, section 5.6.7).
fn http_date(now: Timestamp) -> String {
    let seconds = i64::try_from(now.seconds()).unwrap_or(0);
    let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).unwrap_or_default()
}
