//! One stream's connection: what of it is not sent yet, and a socket that is never waited for.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use socket2::SockRef;

use super::chunk::Chunk;

/// In bytes: a subscriber for which more than this waits, behind what its socket has taken, does not
/// keep up.
pub(in crate::http) const MAX_UNSENT_BYTES: usize = 256 * 1024;
/// Pieces that are given to the system at once.
const MAX_SLICES: usize = 64;
/// Who listens.
pub(in crate::http) struct Subscriber {
    /// Until it is found nothing is sent.
    socket: Option<OwnedFd>,
    /// Whether the socket would take something, as far as is known.
    writable: bool,
    /// Whether it is sent in chunks. If not, the end of the connection is the end of the stream.
    in_chunks: bool,
    queue: VecDeque<(Arc<Chunk>, Range<usize>)>,
    unsent: usize,
    /// How many bytes of that are of a page: it was asked for, so that it is not counted.
    page: usize,
    /// Since when that is so, while there are any.
    pub(in crate::http) page_since: Option<Instant>,
    /// Bytes that were sent, the head and the chunks' sizes among them.
    pub(in crate::http) sent: u64,
    /// When the socket took something, or nothing was waiting for it to do so.
    pub(in crate::http) last_progress: Instant,
    /// When something was sent, or is to have been.
    pub(in crate::http) last_sent: Instant,
}

/// What came of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Flushed {
    /// All is out.
    All,
    /// The socket takes no more at the moment.
    Partly,
    /// Nobody is there any more.
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
            page: 0,
            page_since: None,
            sent: 0,
            last_progress: now,
            last_sent: now,
        }
    }

    /// Its socket was found.
    pub(in crate::http) fn attach(&mut self, socket: OwnedFd) {
        self.socket = Some(socket);
    }

    pub(in crate::http) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// There may be room in the socket again.
    pub(in crate::http) fn set_writable(&mut self) {
        self.writable = true;
    }

    pub(in crate::http) fn push_head(&mut self, head: Arc<Chunk>) {
        let whole = 0..head.len();
        self.push_range(head, whole);
    }

    /// Has a chunk sent behind all others.
    pub(in crate::http) fn push(&mut self, chunk: &Arc<Chunk>) {
        let range = if self.in_chunks { 0..chunk.len() } else { chunk.content() };
        self.push_range(Arc::clone(chunk), range);
    }

    /// The same with one that was asked for, and is not held against the subscriber.
    pub(in crate::http) fn push_page(&mut self, chunk: &Arc<Chunk>, now: Instant) {
        self.push(chunk);
        self.page = self.unsent;
        self.page_since = Some(now);
    }

    fn push_range(&mut self, chunk: Arc<Chunk>, range: Range<usize>) {
        if range.start < range.end {
            self.unsent += range.len();
            self.queue.push_back((chunk, range));
        }
    }

    /// Whether everything is out.
    pub(in crate::http) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether more waits for it than may.
    pub(in crate::http) fn is_behind(&self) -> bool {
        self.unsent - self.page > MAX_UNSENT_BYTES
    }

    /// Sends what the socket takes without waiting.
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
        self.page = self.page.saturating_sub(sent);
        if self.page == 0 {
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

    /// Ends the connection: with the end of the stream, if the socket takes all that is before it.
    pub(in crate::http) fn end(&mut self, now: Instant) {
        if self.flush(now) == Flushed::All && self.in_chunks {
            // If the socket has no room for it, the client sees a cut-off stream.
            self.push_head(Chunk::last());
            self.flush(now);
        }
        self.shut_down();
    }

    /// Ends the connection at once. Who reads it wakes: tiny_http's thread.
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
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut subscriber = Subscriber::new(in_chunks, Instant::now());
        subscriber.attach(ours.into());
        (subscriber, theirs)
    }

    #[test]
    fn chunks_are_for_who_takes_them() {
        for (in_chunks, expected) in [
            (true, "HEAD\r\n\r\n5\r\n: hi\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"),
            (false, "HEAD\r\n\r\n: hi\n0123456789abcdef"),
        ] {
            let chunk_bytes = Arc::default();
            let (mut subscriber, mut theirs) = pair(in_chunks);
            subscriber.push_head(Chunk::head(b"HEAD\r\n\r\n".to_vec(), &chunk_bytes));
            subscriber.push(&Chunk::new(b": hi\n", &chunk_bytes));
            subscriber.push_page(&Chunk::new(b"0123456789abcdef", &chunk_bytes), Instant::now());
            assert!(chunk_bytes.load(Ordering::Relaxed) > 0);
            subscriber.end(Instant::now());
            let mut read = String::new();
            theirs.read_to_string(&mut read).unwrap();
            assert_eq!(read, expected);
            assert_eq!(chunk_bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn a_full_socket_is_not_waited_for() {
        let chunk_bytes = Arc::default();
        let (mut subscriber, mut theirs) = pair(true);
        let chunk = Chunk::new(&vec![b'x'; 100_000], &chunk_bytes);
        let mut pushed = 0;
        while !subscriber.is_behind() {
            subscriber.push(&chunk);
            pushed += chunk.len() as u64;
            subscriber.flush(Instant::now());
        }
        assert_eq!(subscriber.flush(Instant::now()), Flushed::Partly);
        assert!(pushed > MAX_UNSENT_BYTES as u64);
        // What was asked for is not held against it.
        subscriber.push_page(&chunk, Instant::now());
        assert!(!subscriber.is_behind());
        pushed += chunk.len() as u64;
        let reader = std::thread::spawn(move || {
            io::copy(&mut theirs.by_ref().take(pushed), &mut io::sink()).unwrap();
            theirs
        });
        while !subscriber.is_idle() {
            subscriber.set_writable();
            assert_ne!(subscriber.flush(Instant::now()), Flushed::Disconnected);
            std::thread::yield_now();
        }
        assert_eq!(subscriber.sent, pushed);
        // There is room for the last chunk once all is read.
        let mut theirs = reader.join().unwrap();
        subscriber.end(Instant::now());
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, LAST_CHUNK);
    }

    #[test]
    fn who_has_gone_is_noticed() {
        let (mut subscriber, theirs) = pair(true);
        drop(theirs);
        subscriber.push(&Chunk::new(b"x", &Arc::default()));
        assert_eq!(subscriber.flush(Instant::now()), Flushed::Disconnected);
    }
}
