//! A connection of a client that waits for each answer before its next request.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::Answer;
use crate::wire;

/// The longest wait for anything: less than the 30 s that the server gives a body or a reader, so
/// that a client that is answered has not waited for those.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest wait of a client that waits after others whose passwords are hashed.
const PATIENCE_WITH_HASHES: Duration = Duration::from_mins(2);
/// The longest wait of a client that tries again.
const HASTE: Duration = Duration::from_secs(5);

/// Unlike a [`Wire`](crate::wire::Wire) it accepts what a front adds to an answer.
pub(crate) struct Line(BufReader<TcpStream>);

impl Line {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Line> {
        Line::open_within(addr, PATIENCE)
    }

    /// A connection that waits for a hash, after those of others.
    pub(crate) fn open_patiently(addr: SocketAddr) -> io::Result<Line> {
        Line::open_within(addr, PATIENCE_WITH_HASHES)
    }

    /// A connection that gives up soon.
    pub(crate) fn open_hastily(addr: SocketAddr) -> io::Result<Line> {
        Line::open_within(addr, HASTE)
    }

    fn open_within(addr: SocketAddr, patience: Duration) -> io::Result<Line> {
        let stream = TcpStream::connect_timeout(&addr, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Line(BufReader::new(stream)))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        wire::read_one(&mut self.0, false)
    }

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Answer> {
        self.send(request)?;
        self.answer()
    }

    /// Returns whether the server has ended the connection and everything sent was read.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.peek(), Some(0))
    }

    /// Returns whether an answer has arrived.
    pub(crate) fn has_something(&mut self) -> bool {
        matches!(self.peek(), Some(1))
    }

    /// The number of bytes that can be read, 1 at most; `None` if that is not certain yet.
    fn peek(&mut self) -> Option<usize> {
        let socket = self.0.get_ref();
        let _ = socket.set_nonblocking(true);
        let found = match socket.peek(&mut [0]) {
            Ok(n) => Some(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            // A reset.
            Err(_) => Some(0),
        };
        let _ = socket.set_nonblocking(false);
        found
    }
}
