//! A connection on which anything can be sent, and everything received on it so far.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::client::Answer;
use crate::server::until;
use crate::wire;

/// Stands for bytes that are no answer, in the place of a status.
pub(crate) const RAW: u16 = 0;
/// The longest time for which the server may take none of the sent bytes.
const WRITE_PATIENCE: Duration = Duration::from_secs(40);
/// The longest time until the server begins to read.
const BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// The most received bytes that are kept. No case is sent more.
const MAX_HEARD: usize = 256 << 20;

/// Another thread reads while this one writes: a server that answers early may close the
/// connection, and its answer would be lost with the next write.
pub(crate) struct Talk {
    stream: TcpStream,
    ears: Arc<Ears>,
    listener: Option<JoinHandle<()>>,
    /// True if the connection ends with a reset.
    is_abrupt: bool,
}

#[derive(Default)]
struct Ears {
    heard: Mutex<Heard>,
    changed: Condvar,
}

/// The bytes received.
#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    /// True if the server has ended the connection, with a FIN or with a reset.
    pub(crate) has_ended: bool,
}

impl Talk {
    pub(crate) fn connect(addr: SocketAddr, is_deaf: bool) -> io::Result<Talk> {
        let stream = TcpStream::connect_timeout(&addr, WRITE_PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        let ears = Arc::new(Ears::default());
        let mut listener = None;
        if !is_deaf {
            let (mut reader, its_ears) = (stream.try_clone()?, Arc::clone(&ears));
            listener = Some(thread::spawn(move || its_ears.listen(&mut reader)));
        }
        Ok(Talk { stream, ears, listener, is_abrupt: false })
    }

    /// Sends; the server may have closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Half-closes the connection.
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits until the other end's process has taken everything sent out of its socket, or has
    /// ended the connection, but no longer than the time until it begins to read: it need not read
    /// ahead.
    pub(crate) fn wait_until_begun(&self) {
        let (Ok(local), Ok(peer)) = (self.stream.local_addr(), self.stream.peer_addr()) else {
            return;
        };
        let is_read = || wire::receive_queue(peer, local).is_none_or(|unread| unread == 0);
        let _ = until(BEGUN_WITHIN, || is_read().then_some(()));
    }

    /// Ends the connection with a reset. Returns the bytes received until then.
    pub(crate) fn reset(mut self) -> Heard {
        self.is_abrupt = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).is_ok();
        self.ears.lock().clone()
    }

    /// Waits until the bytes received are `enough`, and returns the result; also if they never are.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        enough: impl Fn(&Heard) -> Option<T>,
    ) -> Result<T, Heard> {
        let deadline = Instant::now() + patience;
        let mut heard = self.ears.lock();
        loop {
            if let Some(found) = enough(&heard) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Nothing more comes on a connection that has ended.
            if left.is_zero() || heard.has_ended {
                return Err(heard.clone());
            }
            let waited = self.ears.changed.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // Otherwise the reading thread would hold the socket open. The other end is not told of the
        // end of reading.
        let how = if self.is_abrupt { Shutdown::Read } else { Shutdown::Both };
        let _ = self.stream.shutdown(how);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Ears {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, stream: &mut TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = stream.read(&mut buffer);
            let mut heard = self.lock();
            match read {
                Ok(n @ 1..) if heard.bytes.len() + n <= MAX_HEARD => {
                    heard.bytes.extend(&buffer[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => heard.has_ended = true,
            }
            self.changed.notify_all();
            if heard.has_ended {
                return;
            }
        }
    }
}

impl Heard {
    /// The complete answers, interim ones included.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        let mut rest = self.bytes.as_slice();
        let mut answers = Vec::new();
        while let Ok(answer) = wire::read_one(&mut rest, false) {
            answers.push(answer);
        }
        answers
    }

    /// Their statuses, followed by [`RAW`] if the rest does not begin like an answer.
    ///
    /// A bare 400 after an answer that ends the connection is left out: tiny_http sends it for the
    /// rest of a body whose end was not clear, and no client reads on there.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        const BEGINNING: &[u8] = b"HTTP/1.";
        let mut rest = self.bytes.as_slice();
        let (mut statuses, mut has_closed) = (Vec::new(), false);
        loop {
            let begins_well = rest.iter().zip(BEGINNING).all(|(found, expected)| found == expected);
            if !begins_well {
                statuses.push(RAW);
                return statuses;
            }
            let Ok(answer) = wire::read_one(&mut rest, false) else { return statuses };
            let is_bare = answer.status == 400 && answer.body.is_empty();
            if !(has_closed && is_bare) {
                statuses.push(answer.status);
            }
            has_closed |= answer.header("Connection") == Some("close");
        }
    }
}
