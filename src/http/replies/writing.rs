//! Writing replies to connections, and closing connections.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::SockRef;

use crate::http::connections::tcp_info::TcpInfo;
use crate::http::requests::body::MAX_DROPPED_BYTES;
use crate::http::requests::exchange::Exchange;

/// The writing half of a connection, as tiny_http gives it.
pub(in crate::http) type ResponseWriter = Box<dyn Write + Send>;

/// The part of a reply that a worker writes.
pub(super) struct Remainder {
    /// The rest of the head, and of a short body.
    pub(super) first: Vec<u8>,
    /// A long body.
    pub(super) second: Cow<'static, [u8]>,
}

impl Remainder {
    /// Memory that it takes, in bytes. A body that is part of the program takes none.
    pub(super) fn len(&self) -> usize {
        let second = if let Cow::Owned(second) = &self.second { second.len() } else { 0 };
        self.first.len() + second
    }

    pub(super) fn write(&self, writer: &mut ResponseWriter) -> io::Result<()> {
        write_all(writer, &self.first)?;
        write_all(writer, &self.second)
    }
}

/// Extent to which bytes were written.
pub(super) enum Written {
    All,
    /// So many bytes of them.
    Partly(usize),
}

/// Writes as much as the socket takes. Its send timeout is short; see `connections::socket`.
pub(super) fn write(writer: &mut ResponseWriter, bytes: &[u8]) -> io::Result<Written> {
    let mut written = 0;
    while written < bytes.len() {
        match writer.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) if written + n < bytes.len() => return Ok(Written::Partly(written + n)),
            Ok(n) => written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Written::Partly(written)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    loop {
        match writer.flush() {
            Ok(()) => return Ok(Written::All),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Written::Partly(written)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes all bytes, however long it takes. The job's deadline ends it.
pub(in crate::http) fn write_all(writer: &mut ResponseWriter, mut bytes: &[u8]) -> io::Result<()> {
    while let Written::Partly(n) = write(writer, bytes)? {
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Writes a reply and closes the connection, without leaving an unread body to tiny_http. If
/// several `sockets` have the same peer, the connection is the one on which bytes were written
/// meanwhile.
pub(super) fn write_and_close(
    mut exchange: Exchange,
    sockets: &[OwnedFd],
    reply: &Remainder,
    abandoned: &AtomicUsize,
) {
    let written = || sockets.iter().map(|socket| TcpInfo::of(socket).map(|info| info.written));
    let before: Vec<_> = written().collect();
    let mut has_failed = false;
    if exchange.unread > MAX_DROPPED_BYTES {
        abandon(exchange, reply, abandoned);
    } else {
        // From here on reading does not block: it gives what has arrived, then the end. If the
        // connection is not known, the job's deadline ends it.
        if let [socket] = sockets {
            let _ = SockRef::from(socket).shutdown(Shutdown::Read);
        }
        if exchange.unread == 0 {
            // The rest of a chunked body must not be taken for the next request.
            let _ = io::copy(
                &mut exchange.request.as_reader().take(MAX_DROPPED_BYTES),
                &mut io::sink(),
            );
        }
        let mut writer = exchange.request.into_writer();
        has_failed = reply.write(&mut writer).is_err();
    }
    let is_own: Vec<bool> = written().zip(before).map(|(now, before)| now > before).collect();
    let is_known = sockets.len() > 1 && (has_failed || is_own.contains(&true));
    for (socket, is_own) in sockets.iter().zip(is_own) {
        if is_own || !is_known {
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
        }
    }
}

/// Leaks a request instead of dropping it: tiny_http would allocate all of the length that the
/// client declared, which can be more than the machine has. Only an upgrade gives access to the
/// socket. It sends a status line of its own first; clients skip an interim one (RFC 9110, section
/// 15.2). Reader and writer are leaked too, and with them a thread and two descriptors.
fn abandon(exchange: Exchange, reply: &Remainder, abandoned: &AtomicUsize) {
    abandoned.fetch_add(1, Ordering::Relaxed);
    log::warn!(
        "abandoning the connection with {}: it declared a body of {} more bytes",
        exchange.peer(),
        exchange.unread
    );
    let interim = tiny_http::Response::empty(100);
    let mut stream = exchange.request.upgrade("none", interim);
    let _ = stream
        .write_all(&reply.first)
        .and_then(|()| stream.write_all(&reply.second))
        .and_then(|()| stream.flush());
    mem::forget(stream);
}
