//! Reading bodies that clients may send slowly. It blocks, so only workers do it.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::api::MAX_BODY_BYTES;
use crate::http::connections::descriptors::is_at_end;
use crate::http::requests::exchange::{Exchange, Framing, RequestBody};

/// Time that a client may take to send a body.
pub(in crate::http) const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// The same while all readers are busy and others wait for one. An ordinary client takes less for
/// 32 KiB.
pub(in crate::http) const SHORT_BODY_DEADLINE: Duration = Duration::from_secs(2);
/// Bytes of an overlong body that are read and discarded, so that a client which reads only after
/// it has sent everything sees the 413.
const MAX_DISCARDED_BYTES: u64 = 1024 * 1024;

/// The longest declared length that is read. At the end of a connection tiny_http drops its reader,
/// which allocates the unread rest of the declared length; if memory does not suffice, the process
/// ends. So much is only reserved, and never touched.
pub(in crate::http) const MAX_DROPPED_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that a chunked body may take on the wire: twice what is read of it, to allow for its
/// framing.
pub(in crate::http) const MAX_CHUNKED_BYTES: u64 = 2 * MAX_DISCARDED_BYTES;

/// Reads the body of `exchange`. For a chunked body, `socket` is its connection.
pub(in crate::http) fn read(
    exchange: &mut Exchange,
    expects_continue: bool,
    socket: Option<&OwnedFd>,
) {
    let declared = exchange.request.body_length().map(|length| length as u64);
    if is_left_unread(declared, expects_continue) {
        exchange.content = RequestBody::TooLarge;
        exchange.close = true;
        exchange.unread = declared.unwrap_or(0);
        return;
    }
    let reader = exchange.request.as_reader();
    let mut body = Vec::new();
    let mut buffer = [0; 8 * 1024];
    let mut total = 0_u64;
    let complete = loop {
        match reader.read(&mut buffer) {
            // tiny_http does not say whether a chunked body is complete. If the connection has
            // ended, the body may have been cut short, and must not be acted on (RFC 9112, section
            // 8).
            Ok(0) => break declared.map_or(!socket.is_none_or(is_at_end), |len| len == total),
            Ok(n) => {
                total += n as u64;
                if total <= MAX_BODY_BYTES as u64 {
                    body.extend_from_slice(&buffer[..n]);
                } else if total >= MAX_DISCARDED_BYTES {
                    break declared == Some(total);
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
    };
    exchange.close |= !complete;
    exchange.unread = declared.map_or(0, |length| length.saturating_sub(total));
    if complete && exchange.unread == 0 {
        // Dropping the request does not block any more.
        exchange.framing = Framing::Buffered;
    }
    exchange.content = if total > MAX_BODY_BYTES as u64 {
        RequestBody::TooLarge
    } else if complete {
        RequestBody::Bytes(body)
    } else {
        RequestBody::Broken
    };
}

/// Returns whether a body of this declared length is not read.
fn is_left_unread(declared: Option<u64>, expects_continue: bool) -> bool {
    // A client that waits for the 100 need not send its body.
    let most = if expects_continue { MAX_BODY_BYTES as u64 } else { MAX_DROPPED_BYTES };
    declared.is_some_and(|length| length > most)
}

/// Takes a body that tiny_http has read already.
pub(in crate::http) fn take_buffered(exchange: &mut Exchange) {
    let mut body = Vec::with_capacity(exchange.request.body_length().unwrap_or(0));
    exchange.content = match exchange.request.as_reader().read_to_end(&mut body) {
        Ok(_) => RequestBody::Bytes(body),
        Err(_) => RequestBody::Broken,
    };
}

#[cfg(test)]
mod tests {
    use tiny_http::{Header, TestRequest};

    use super::*;

    fn exchange(declared: usize, body: &'static str) -> Exchange {
        let length = declared.to_string();
        let header = Header::from_bytes("Content-Length", length.as_bytes()).unwrap();
        Exchange::new(TestRequest::new().with_header(header).with_body(body).into(), 0)
    }

    /// A request whose body was read is dropped without blocking.
    #[test]
    fn a_body_that_was_read_does_not_block() {
        const BODY: &str = match str::from_utf8(&[b'x'; 2000]) {
            Ok(body) => body,
            Err(_) => "",
        };
        let streamed = Framing::Streamed { expects_continue: false };
        let mut whole = exchange(BODY.len(), BODY);
        assert_eq!(whole.framing, streamed);
        read(&mut whole, false, None);
        assert_eq!((whole.unread, whole.framing), (0, Framing::Buffered));
        let mut short = exchange(BODY.len() + 1, BODY);
        read(&mut short, false, None);
        assert_eq!((short.unread, short.framing), (1, streamed));
    }

    #[test]
    fn a_body_that_is_too_long_to_be_dropped_is_left_unread() {
        assert!(!is_left_unread(None, false));
        assert!(!is_left_unread(Some(MAX_DROPPED_BYTES), false));
        assert!(is_left_unread(Some(MAX_DROPPED_BYTES + 1), false));
        // A client that waits for the 100 need not send its body.
        let most = MAX_BODY_BYTES as u64;
        assert_eq!([most, most + 1].map(|it| is_left_unread(Some(it), true)), [false, true]);
    }
}
