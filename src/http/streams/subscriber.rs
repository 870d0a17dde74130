//! One subscriber: its unsent chunks, and its socket, which is never waited for.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use socket2::SockRef;

use super::chunk::Chunk;

/// Bytes that may wait for a subscriber, in addition to those that its socket has taken. With more,
/// it does not keep up.
pub(in crate::http) const MAX_UNSENT_BYTES: usize = 256 * 1024;
/// Slices per system call.
const MAX_SLICES: usize = 64;
/// A subscriber of a stream.
pub(in crate::http) struct Subscriber {
    /// Nothing is sent until the socket is found.
    socket: Option<OwnedFd>,
    /// True if the socket may have room.
    writable: bool,
    /// True if the chunked coding is used. If not, the stream ends with its connection.
    in_chunks: bool,
    queue: VecDeque<(Arc<Chunk>, Range<usize>)>,
    unsent: usize,
    /// Bytes of that which belong to a page. A page was asked for, so it does not count against the
    /// limit.
    page_bytes: usize,
    /// Start of the current page, while it is not sent in full.
    pub(in crate::http) page_since: Option<Instant>,
    /// Bytes that were sent, with the head and the framing.
    pub(in crate::http) sent: u64,
    /// Time at which the socket last took bytes, or nothing was unsent.
    pub(in crate::http) last_progress: Instant,
    /// Time at which bytes were last sent, or a heartbeat was queued.
    pub(in crate::http) last_sent: Instant,
}

/// Result of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Flushed {
    /// Everything is sent.
    All,
    /// The socket is full.
    Partly,
    /// The client has disconnected.
    Disconnected,
}

impl Subscriber {
    pub(in crate::http) fn new(in_chunks: bool, now: Instant) -> Subscriber {
        Subscriber {
            socket: None,
            writable: true,
            in_chunks,
            queue: VecDeque::new(),
            unsent: 0,
            page_bytes: 0,
            page_since: None,
            sent: 0,
            last_progress: now,
            last_sent: now,
        }
    }

    /// Sets the socket, once it is found.
    pub(in crate::http) fn attach(&mut self, socket: OwnedFd) {
        self.socket = Some(socket);
    }

    pub(in crate::http) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Notes that the socket may have room again.
    pub(in crate::http) fn set_writable(&mut self) {
        self.writable = true;
    }

    pub(in crate::http) fn push_head(&mut self, head: Arc<Chunk>) {
        let whole = 0..head.len();
        self.push_range(head, whole);
    }

    /// Queues a chunk.
    pub(in crate::http) fn push(&mut self, chunk: &Arc<Chunk>) {
        let range = if self.in_chunks { 0..chunk.len() } else { chunk.content() };
        self.push_range(Arc::clone(chunk), range);
    }

    /// Queues a page, which does not count against the limit.
    pub(in crate::http) fn push_page(&mut self, chunk: &Arc<Chunk>, now: Instant) {
        self.push(chunk);
        self.page_bytes = self.unsent;
        self.page_since = Some(now);
    }

    fn push_range(&mut self, chunk: Arc<Chunk>, range: Range<usize>) {
        if range.start < range.end {
            self.unsent += range.len();
            self.queue.push_back((chunk, range));
        }
    }

    /// Returns whether everything is sent.
    pub(in crate::http) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns whether more is unsent than the limit allows.
    pub(in crate::http) fn is_behind(&self) -> bool {
        self.unsent - self.page_bytes > MAX_UNSENT_BYTES
    }

    /// Sends what the socket takes without blocking.
    pub(in crate::http) fn flush(&mut self, now: Instant) -> Flushed {
        while self.writable && !self.queue.is_empty() {
            let Some(socket) = &self.socket else { return Flushed::Partly };
            let pieces = self.queue.iter().take(MAX_SLICES);
            let slices: Vec<IoSlice<'_>> =
                pieces.map(|(chunk, range)| IoSlice::new(&chunk.bytes()[range.clone()])).collect();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            match SockRef::from(socket).send_vectored_with_flags(&slices, flags) {
                Ok(sent) => self.has_sent(sent, now),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => return Flushed::Disconnected,
            }
        }
        if self.is_idle() {
            self.last_progress = now;
            return Flushed::All;
        }
        Flushed::Partly
    }

    fn has_sent(&mut self, sent: usize, now: Instant) {
        self.unsent -= sent;
        self.page_bytes = self.page_bytes.saturating_sub(sent);
        if self.page_bytes == 0 {
            self.page_since = None;
        }
        self.sent += sent as u64;
        (self.last_progress, self.last_sent) = (now, now);
        let mut rest = sent;
        while rest > 0
            && let Some((_, range)) = self.queue.front_mut()
        {
            let taken = rest.min(range.len());
            range.start += taken;
            rest -= taken;
            if range.start == range.end {
                self.queue.pop_front();
            }
        }
    }

    /// Ends the connection, with the last chunk if the socket takes everything before it.
    pub(in crate::http) fn end(&mut self, now: Instant) {
        if self.flush(now) == Flushed::All && self.in_chunks {
            // If the socket has no room for it, the client sees a cut-off stream.
            self.push_head(Chunk::last());
            self.flush(now);
        }
        self.shut_down();
    }

    /// Ends the connection at once. It wakes tiny_http's thread, which reads from it.
    pub(in crate::http) fn shut_down(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::os::unix::net::UnixStream;

    use std::sync::atomic::Ordering;

    use super::super::chunk::LAST_CHUNK;
    use super::*;

    fn pair(in_chunks: bool) -> (Subscriber, UnixStream) {
        let (ours, client) = UnixStream::pair().unwrap();
        let mut subscriber = Subscriber::new(in_chunks, Instant::now());
        subscriber.attach(ours.into());
        (subscriber, client)
    }

    #[test]
    fn chunked_coding_is_used_only_where_it_is_known() {
        for (in_chunks, expected) in [
            (true, "HEAD\r\n\r\n5\r\n: hi\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"),
            (false, "HEAD\r\n\r\n: hi\n0123456789abcdef"),
        ] {
            let chunk_bytes = Arc::default();
            let (mut subscriber, mut client) = pair(in_chunks);
            subscriber.push_head(Chunk::head(b"HEAD\r\n\r\n".to_vec(), &chunk_bytes));
            subscriber.push(&Chunk::new(b": hi\n", &chunk_bytes));
            subscriber.push_page(&Chunk::new(b"0123456789abcdef", &chunk_bytes), Instant::now());
            assert!(chunk_bytes.load(Ordering::Relaxed) > 0);
            subscriber.end(Instant::now());
            let mut read = String::new();
            client.read_to_string(&mut read).unwrap();
            assert_eq!(read, expected);
            assert_eq!(chunk_bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn a_full_socket_is_not_waited_for() {
        let chunk_bytes = Arc::default();
        let (mut subscriber, mut client) = pair(true);
        let chunk = Chunk::new(&vec![b'x'; 100_000], &chunk_bytes);
        let mut pushed = 0;
        while !subscriber.is_behind() {
            subscriber.push(&chunk);
            pushed += chunk.len() as u64;
            subscriber.flush(Instant::now());
        }
        assert_eq!(subscriber.flush(Instant::now()), Flushed::Partly);
        assert!(pushed > MAX_UNSENT_BYTES as u64);
        // A page does not count against the limit.
        subscriber.push_page(&chunk, Instant::now());
        assert!(!subscriber.is_behind());
        pushed += chunk.len() as u64;
        let reader = std::thread::spawn(move || {
            io::copy(&mut client.by_ref().take(pushed), &mut io::sink()).unwrap();
            client
        });
        while !subscriber.is_idle() {
            subscriber.set_writable();
            assert_ne!(subscriber.flush(Instant::now()), Flushed::Disconnected);
            std::thread::yield_now();
        }
        assert_eq!(subscriber.sent, pushed);
        // There is room for the last chunk once all is read.
        let mut client = reader.join().unwrap();
        subscriber.end(Instant::now());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, LAST_CHUNK);
    }

    #[test]
    fn a_disconnected_client_is_noticed() {
        let (mut subscriber, client) = pair(true);
        drop(client);
        subscriber.push(&Chunk::new(b"x", &Arc::default()));
        assert_eq!(subscriber.flush(Instant::now()), Flushed::Disconnected);
    }
}
