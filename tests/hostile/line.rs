//! A connection of somebody who waits for the answer before asking for more.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::Answer;
use crate::wire;

/// How long it waits for anything: less than the 30 s that the server gives a body or a reader, so
/// that who is answered has not waited for those.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for who waits behind others whose passwords are hashed.
const PATIENCE_WITH_HASHES: Duration = Duration::from_mins(2);
/// The same for who tries again.
const HASTE: Duration = Duration::from_secs(5);

/// Unlike a [`Wire`](crate::wire::Wire) it takes what a front adds to an answer.
pub(crate) struct Line(BufReader<TcpStream>);

impl Line {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Line> {
        Line::open_within(addr, PATIENCE)
    }

    /// One that waits for a hash, behind those of others.
    pub(crate) fn open_patiently(addr: SocketAddr) -> io::Result<Line> {
        Line::open_within(addr, PATIENCE_WITH_HASHES)
    }

    /// One that gives up soon.
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

    /// Whether the server has ended it, and all that it said was heard.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.peek(), Some(0))
    }

    /// Whether there is an answer to be heard.
    pub(crate) fn has_something(&mut self) -> bool {
        matches!(self.peek(), Some(1))
    }

    /// How many bytes there are at the next look, 1 at most; `None` if that is not certain yet.
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
