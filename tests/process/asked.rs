//! The requests sent on a connection and not yet answered.

use std::collections::VecDeque;

/// The longest head that is parsed, in bytes. After a longer one nothing is known.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Follows the bytes that a client sends, as far as they can be parsed.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: VecDeque<Request>,
    /// Sent, and not yet parsed.
    unread: Vec<u8>,
    next: Next,
}

/// The first line of a request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
}

/// The part that comes next in the sent bytes.
#[derive(Default)]
enum Next {
    #[default]
    Head,
    /// This many bytes of a body.
    Body(usize),
    /// The line with a chunk's size.
    ChunkSize,
    /// This many bytes of a chunk and its end.
    Chunk(usize),
    /// The trailer after the last chunk.
    Trailer,
    /// Unknown.
    Unknown,
}

impl Requests {
    /// These bytes are sent.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if self.is_lost() {
            return;
        }
        self.unread.extend(bytes);
        while let Some((read, next)) = self.step() {
            self.unread.drain(..read);
            self.next = next;
        }
    }

    /// The request that is answered next; `None` if that cannot be known.
    pub(crate) fn answered(&mut self) -> Option<Request> {
        self.waiting.pop_front()
    }

    /// Returns whether an answer may belong to a request that was not recognized.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.next, Next::Unknown)
    }

    /// Nothing is known about answers from now on.
    pub(crate) fn lose(&mut self) {
        *self = Requests { next: Next::Unknown, ..Requests::default() };
    }

    /// The number of bytes that can be parsed now, and the next part.
    fn step(&mut self) -> Option<(usize, Next)> {
        let line = |end: &[u8]| {
            let found = self.unread.windows(end.len()).position(|bytes| bytes == end);
            found.map(|at| (String::from_utf8_lossy(&self.unread[..at]), at + end.len()))
        };
        match self.next {
            Next::Unknown => {
                (!self.unread.is_empty()).then_some((self.unread.len(), Next::Unknown))
            }
            Next::Body(0) => Some((0, Next::Head)),
            Next::Chunk(0) => Some((0, Next::ChunkSize)),
            Next::Body(left) | Next::Chunk(left) => {
                let read = left.min(self.unread.len());
                let is_body = matches!(self.next, Next::Body(_));
                let next = if is_body { Next::Body } else { Next::Chunk };
                (read > 0).then(|| (read, next(left - read)))
            }
            Next::ChunkSize => line(b"\r\n").map(|(line, read)| {
                let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
                (
                    read,
                    match size {
                        Ok(0) => Next::Trailer,
                        Ok(size) => Next::Chunk(size.saturating_add(2)),
                        Err(_) => Next::Unknown,
                    },
                )
            }),
            Next::Trailer => line(b"\r\n").map(|(line, read)| {
                (read, if line.is_empty() { Next::Head } else { Next::Trailer })
            }),
            Next::Head => match line(b"\r\n\r\n") {
                Some((head, read)) => {
                    let (request, next) = understood(&head);
                    self.waiting.extend(request);
                    Some((read, next))
                }
                None if self.unread.len() > MAX_HEAD_BYTES => Some((0, Next::Unknown)),
                None => None,
            },
        }
    }
}

/// A request's head, and the part that must follow it.
fn understood(head: &str) -> (Option<Request>, Next) {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return (None, Next::Unknown);
    };
    let request = Request { method: method.to_owned(), target: target.to_owned() };
    let framing = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.to_ascii_lowercase();
        matches!(&*name, "content-length" | "transfer-encoding").then(|| (name, value.trim()))
    });
    let framing: Vec<_> = framing.collect();
    let next = match framing.as_slice() {
        [] => Next::Head,
        [(_, "chunked")] => Next::ChunkSize,
        [(name, length)] if name == "content-length" => {
            length.parse().map_or(Next::Unknown, Next::Body)
        }
        _ => Next::Unknown,
    };
    (Some(request), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_requests_are_parsed() {
        let sent = "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET \
                    PUT /c HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nGET\r\n0\r\n\r\n\
                    HEAD /d HTTP/1.1\r\ncontent-length: x\r\n\r\nGET /e HTTP/1.1\r\n\r\n";
        for piece in [1, 7, sent.len()] {
            let mut requests = Requests::default();
            sent.as_bytes().chunks(piece).for_each(|bytes| requests.send(bytes));
            let found: Vec<_> = std::iter::from_fn(|| requests.answered())
                .map(|request| format!("{} {}", request.method, request.target))
                .collect();
            assert_eq!(found, ["GET /a", "POST /b", "PUT /c", "HEAD /d"], "{piece} at a time");
        }
    }
}
