//! One stream's connection: what of it is not sent yet, and a socket that is never waited for.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use socket2::SockRef;

/// In bytes: a listener for which more than this waits, behind what its socket has taken, does not
/// keep up.
pub(super) const MAX_UNSENT_BYTES: usize = 256 * 1024;
/// Pieces that are given to the system at once.
const MAX_SLICES: usize = 64;
/// The last chunk, and no trailers (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes for one or many listeners. They are there once, however many are to send them.
#[derive(Debug)]
pub(super) struct Chunk {
    /// As one chunk of the chunked coding, or as they are.
    bytes: Box<[u8]>,
    /// Where in it the bytes themselves are.
    content: Range<usize>,
    /// How many bytes of all chunks are in memory.
    held: Arc<AtomicUsize>,
}

impl Chunk {
    /// Content of a stream.
    pub(super) fn new(content: &[u8], held: &Arc<AtomicUsize>) -> Arc<Chunk> {
        let size = format!("{:x}\r\n", content.len());
        let start = size.len();
        let bytes = [size.as_bytes(), content, b"\r\n"].concat();
        Chunk::of(bytes, start..start + content.len(), held)
    }

    /// What stands before the content.
    pub(super) fn head(bytes: Vec<u8>, held: &Arc<AtomicUsize>) -> Arc<Chunk> {
        let content = 0..bytes.len();
        Chunk::of(bytes, content, held)
    }

    fn of(bytes: Vec<u8>, content: Range<usize>, held: &Arc<AtomicUsize>) -> Arc<Chunk> {
        held.fetch_add(bytes.len(), Ordering::Relaxed);
        Arc::new(Chunk { bytes: bytes.into(), content, held: Arc::clone(held) })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Who listens.
pub(super) struct Subscriber {
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
    pub(super) page_since: Option<Instant>,
    /// Bytes that were sent, the head and the chunks' sizes among them.
    pub(super) sent: u64,
    /// When the socket took something, or nothing was waiting for it to do so.
    pub(super) progress: Instant,
    /// When something was sent, or is to have been.
    pub(super) spoken: Instant,
}

/// What came of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All is out.
    All,
    /// The socket takes no more at the moment.
    Some,
    /// Nobody is there any more.
    Gone,
}

impl Subscriber {
    pub(super) fn new(in_chunks: bool, now: Instant) -> Subscriber {
        Subscriber {
            socket: None,
            writable: true,
            in_chunks,
            queue: VecDeque::new(),
            unsent: 0,
            page: 0,
            page_since: None,
            sent: 0,
            progress: now,
            spoken: now,
        }
    }

    /// Its socket was found.
    pub(super) fn attach(&mut self, socket: OwnedFd) {
        self.socket = Some(socket);
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// There may be room in the socket again.
    pub(super) fn set_writable(&mut self) {
        self.writable = true;
    }

    pub(super) fn push_head(&mut self, head: Arc<Chunk>) {
        let whole = 0..head.len();
        self.push_range(head, whole);
    }

    /// Has a chunk sent behind all others.
    pub(super) fn push(&mut self, chunk: &Arc<Chunk>) {
        let range = if self.in_chunks { 0..chunk.len() } else { chunk.content.clone() };
        self.push_range(Arc::clone(chunk), range);
    }

    /// The same with one that was asked for, and is not held against the listener.
    pub(super) fn push_page(&mut self, chunk: &Arc<Chunk>, now: Instant) {
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
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether more waits for it than may.
    pub(super) fn is_behind(&self) -> bool {
        self.unsent - self.page > MAX_UNSENT_BYTES
    }

    /// Sends what the socket takes without waiting.
    pub(super) fn flush(&mut self, now: Instant) -> Flushed {
        while self.writable && !self.queue.is_empty() {
            let Some(socket) = &self.socket else { return Flushed::Some };
            let pieces = self.queue.iter().take(MAX_SLICES);
            let slices: Vec<IoSlice<'_>> =
                pieces.map(|(chunk, range)| IoSlice::new(&chunk.bytes[range.clone()])).collect();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            match SockRef::from(socket).send_vectored_with_flags(&slices, flags) {
                Ok(sent) => self.has_sent(sent, now),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(_) => return Flushed::Gone,
            }
        }
        if self.is_idle() {
            self.progress = now;
            return Flushed::All;
        }
        Flushed::Some
    }

    fn has_sent(&mut self, sent: usize, now: Instant) {
        self.unsent -= sent;
        self.page = self.page.saturating_sub(sent);
        if self.page == 0 {
            self.page_since = None;
        }
        self.sent += sent as u64;
        (self.progress, self.spoken) = (now, now);
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
    pub(super) fn end(&mut self, now: Instant) {
        if self.flush(now) == Flushed::All && self.in_chunks {
            // Should there be no room for it, the end of the connection says as much.
            let last = Chunk {
                bytes: LAST_CHUNK.into(),
                content: 0..0,
                held: Arc::new(AtomicUsize::new(LAST_CHUNK.len())),
            };
            self.push_head(Arc::new(last));
            self.flush(now);
        }
        self.cut();
    }

    /// Ends the connection at once. Who reads it wakes: tiny_http's thread.
    pub(super) fn cut(&mut self) {
        if let Some(socket) = &self.socket {
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair(in_chunks: bool) -> (Subscriber, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut listener = Subscriber::new(in_chunks, Instant::now());
        listener.attach(ours.into());
        (listener, theirs)
    }

    #[test]
    fn chunks_are_for_who_takes_them() {
        for (in_chunks, expected) in [
            (true, "HEAD\r\n\r\n5\r\n: hi\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"),
            (false, "HEAD\r\n\r\n: hi\n0123456789abcdef"),
        ] {
            let held = Arc::default();
            let (mut listener, mut theirs) = pair(in_chunks);
            listener.push_head(Chunk::head(b"HEAD\r\n\r\n".to_vec(), &held));
            listener.push(&Chunk::new(b": hi\n", &held));
            listener.push_page(&Chunk::new(b"0123456789abcdef", &held), Instant::now());
            assert!(held.load(Ordering::Relaxed) > 0);
            listener.end(Instant::now());
            let mut read = String::new();
            theirs.read_to_string(&mut read).unwrap();
            assert_eq!(read, expected);
            assert_eq!(held.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn a_full_socket_is_not_waited_for() {
        let held = Arc::default();
        let (mut listener, mut theirs) = pair(true);
        let chunk = Chunk::new(&vec![b'x'; 100_000], &held);
        let mut pushed = 0;
        while !listener.is_behind() {
            listener.push(&chunk);
            pushed += chunk.len() as u64;
            listener.flush(Instant::now());
        }
        assert_eq!(listener.flush(Instant::now()), Flushed::Some);
        assert!(pushed > MAX_UNSENT_BYTES as u64);
        // What was asked for is not held against it.
        listener.push_page(&chunk, Instant::now());
        assert!(!listener.is_behind());
        pushed += chunk.len() as u64;
        let reader = std::thread::spawn(move || {
            io::copy(&mut theirs.by_ref().take(pushed), &mut io::sink()).unwrap();
            theirs
        });
        while !listener.is_idle() {
            listener.set_writable();
            assert_ne!(listener.flush(Instant::now()), Flushed::Gone);
            std::thread::yield_now();
        }
        assert_eq!(listener.sent, pushed);
        // There is room for the last chunk once all is read.
        let mut theirs = reader.join().unwrap();
        listener.end(Instant::now());
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, LAST_CHUNK);
    }

    #[test]
    fn who_has_gone_is_noticed() {
        let (mut listener, theirs) = pair(true);
        drop(theirs);
        listener.push(&Chunk::new(b"x", &Arc::default()));
        assert_eq!(listener.flush(Instant::now()), Flushed::Gone);
    }
}
