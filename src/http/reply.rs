//! Writing replies, to clients that may be slow to read.
//!
//! The loop writes a reply as far as the socket takes it without waiting; a worker does the rest.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimePrinter;
use socket2::SockRef;
use tiny_http::StatusCode;

use super::connections::Connections;
use super::content::MAX_DROPPED_BYTES;
use super::deadlines::Deadlines;
use super::exchange::{Exchange, Framing, Persistence, peer};
use super::in_flight::PipelineId;
use super::loop_message::{LoopMessage, Sender};
use super::pool::{Pool, Priority, Slot};
use super::request_id::RequestId;
use super::tcp_info::TcpInfo;
use super::unsent::{Unsent, UnsentFull, UnsentKey};
use crate::api::Reply;
use crate::api::stream::MEDIA_TYPE;
use crate::model::Timestamp;
use crate::problem::{self, Problem};

/// Replies that are written at once to clients that do not keep up.
const WRITERS: usize = 128;
/// A reply whose body is longer than this is a writer's from its first byte on: with many of them
/// at once, even filling the sockets' buffers would keep the loop.
const MAX_LOOP_WRITE_BYTES: usize = 64 * 1024;
/// Replies that wait for a writer.
const WRITE_QUEUE: usize = 256;
/// The same for the files of the reference, which anyone may ask for without reading them: they
/// must not stand in the way of the chat.
const FILE_WRITERS: usize = 16;
const FILE_QUEUE: usize = 48;
/// Full sockets that the loop waits for in a turn, each as long as a send timeout. Behind them
/// all of the turn's replies are the writers'.
const MAX_WAITS_PER_TURN: usize = 2;
/// How long a client may take to read a reply.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// The same while all writers are busy and others wait for one, or memory is short.
const HURRIED_WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Connections that may be leaked: because their request declared a body of more than
/// [`MAX_DROPPED_BYTES`], or because tiny_http does not let go of them. Each costs a thread and two
/// descriptors for good.
pub(super) const MAX_LEAKED: usize = 1024;

/// Sends replies.
pub(super) struct Outbox {
    writers: Writers,
    file_writers: Writers,
    connections: Connections,
    events: Sender,
    unsent: Unsent,
    abandoned: Arc<AtomicUsize>,
    stranded: usize,
    date: (u64, String),
    buffer: Vec<u8>,
    waits: usize,
}

/// How far a reply got.
pub(super) enum SendOutcome {
    /// It is out: the connection is free.
    Now,
    /// A worker has it and will send [`LoopMessage::Sent`] or [`LoopMessage::Ended`].
    Later,
    /// It is not, and the connection has ended: nobody waits for what was asked for behind it.
    Ended,
    /// There is nobody to write it, so that the connection is to be ended. Of what was to be
    /// answered this is left.
    Refused(Option<tiny_http::Request>),
}

/// Why a reply cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// There is no writer for it, or no memory.
    Replies,
    /// There is none for files.
    Files,
    /// The client has left so much unread that there is no room for more of its.
    Reader,
}

impl Busy {
    /// What the client is told instead.
    pub(super) fn problem(self) -> Problem {
        match self {
            Busy::Replies | Busy::Files => Problem::overloaded(),
            Busy::Reader => {
                let why = "too much of what was asked for from here, or by this user, is not read";
                Problem::new(problem::OVERLOADED, why)
            }
        }
    }

    /// As it is counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Busy::Replies => "replies",
            Busy::Files => "files",
            Busy::Reader => "unread",
        }
    }
}

/// Workers that write to clients that may be slow.
struct Writers {
    pool: Pool,
    deadlines: Deadlines,
}

impl Writers {
    /// Room for a reply, for which those before it are hurried if there is no worker left, or
    /// little memory.
    fn slot(&self, unsent: &Unsent) -> Option<Slot<'_>> {
        if self.pool.is_busy() || unsent.is_pressing() {
            self.deadlines.hurry(HURRIED_WRITE_DEADLINE);
        }
        self.pool.slot()
    }
}

/// A reply that a worker is to write.
struct Rest {
    /// The rest of the head, and of a short body.
    first: Vec<u8>,
    /// A long body.
    second: Cow<'static, [u8]>,
}

impl Rest {
    /// The memory it takes: what is part of the program takes none.
    fn len(&self) -> usize {
        let second = if let Cow::Owned(second) = &self.second { second.len() } else { 0 };
        self.first.len() + second
    }

    fn write(&self, writer: &mut ResponseWriter) -> io::Result<()> {
        write_all(writer, &self.first)?;
        write_all(writer, &self.second)
    }
}

pub(super) type ResponseWriter = Box<dyn Write + Send>;

impl Outbox {
    pub(super) fn start(
        deadlines: Deadlines,
        file_deadlines: Deadlines,
        connections: Connections,
        events: Sender,
    ) -> io::Result<Outbox> {
        let start = |name, writers, waiting| Pool::start(name, writers, waiting, Priority::Normal);
        Ok(Outbox {
            writers: Writers { pool: start("writer", WRITERS, WRITE_QUEUE)?, deadlines },
            file_writers: Writers {
                pool: start("file-writer", FILE_WRITERS, FILE_QUEUE)?,
                deadlines: file_deadlines,
            },
            connections,
            events,
            unsent: Unsent::default(),
            abandoned: Arc::default(),
            stranded: 0,
            date: (u64::MAX, String::new()),
            buffer: Vec::new(),
            waits: 0,
        })
    }

    /// Its pools of workers, by what they do.
    pub(super) fn pools(&self) -> [(&'static str, &Pool); 2] {
        [("replies", &self.writers.pool), ("files", &self.file_writers.pool)]
    }

    /// Whether so many connections were leaked that the process should be started anew.
    pub(super) fn is_exhausted(&self) -> bool {
        // Those that were abandoned are among the stranded, some seconds later.
        self.abandoned.load(Ordering::Relaxed).max(self.stranded) >= MAX_LEAKED
    }

    /// So many connections more are given up for good.
    #[cfg(test)]
    pub(super) fn lose(&self, connections: usize) {
        self.abandoned.fetch_add(connections, Ordering::Relaxed);
    }

    /// So many connections have ended, and tiny_http does not let go of them.
    pub(super) fn set_stranded(&mut self, connections: usize) {
        self.stranded = connections;
    }

    /// Bytes of replies that clients have not read.
    pub(super) fn unread_bytes(&self) -> usize {
        self.unsent.bytes()
    }

    /// A turn's replies follow.
    pub(super) fn begin_turn(&mut self) {
        self.waits = 0;
    }

    /// Whether the reply could be written by whoever has to write it; else what is full.
    pub(super) fn has_room(&self, exchange: &Exchange, reply: &Reply) -> Result<(), Busy> {
        if exchange.is_head() || !is_long(&reply.body) {
            return Ok(());
        }
        let (writers, queue) = match &reply.body {
            Cow::Borrowed(_) => (&self.file_writers, Busy::Files),
            Cow::Owned(_) => (&self.writers, Busy::Replies),
        };
        if writers.slot(&self.unsent).is_none() {
            return Err(queue);
        }
        match &reply.body {
            Cow::Borrowed(_) => Ok(()),
            Cow::Owned(body) => {
                self.unsent.room(UnsentKey::of(exchange), body.len()).map_err(|full| match full {
                    UnsentFull::ForAll => Busy::Replies,
                    UnsentFull::ForReader => Busy::Reader,
                })
            }
        }
    }

    /// Who writes it.
    fn writers_of(&self, rest: &Rest) -> &Writers {
        match &rest.second {
            Cow::Borrowed(file) if !file.is_empty() => &self.file_writers,
            _ => &self.writers,
        }
    }

    /// Answers `exchange`.
    pub(super) fn send(
        &mut self,
        exchange: Exchange,
        reply: Reply,
        id: &RequestId,
        now: Timestamp,
    ) -> SendOutcome {
        self.encode_head(&exchange, &reply, id, now);
        let mut body = if exchange.is_head() { Cow::Borrowed(&[][..]) } else { reply.body };
        let is_long = is_long(&body);
        if !is_long {
            self.buffer.extend(&*body);
            body = Cow::Borrowed(&[]);
        }
        let reader = UnsentKey::of(&exchange);
        if exchange.close {
            let rest = Rest { first: mem::take(&mut self.buffer), second: body };
            return self.send_and_close(exchange, reader, rest);
        }
        let lane = exchange.lane();
        let mut writer = exchange.request.into_writer();
        if is_long || self.waits >= MAX_WAITS_PER_TURN {
            let rest = Rest { first: self.buffer.clone(), second: body };
            return self.finish_later(writer, lane, reader, rest);
        }
        match write(&mut writer, &self.buffer) {
            Ok(Written::All) => SendOutcome::Now,
            Err(_) => SendOutcome::Ended,
            Ok(Written::Some(len)) => {
                self.waits += 1;
                let rest = Rest { first: self.buffer[len..].to_vec(), second: body };
                // Of a socket that was not offered anything it is not known that it is full.
                if self.unsent.room(reader, rest.len()) == Err(UnsentFull::ForReader) {
                    return cut_off(lane);
                }
                self.finish_later(writer, lane, reader, rest)
            }
        }
    }

    /// Has a worker write what the socket did not take, or was not offered.
    fn finish_later(
        &self,
        mut writer: ResponseWriter,
        lane: PipelineId,
        reader: UnsentKey,
        rest: Rest,
    ) -> SendOutcome {
        let peer = lane.peer;
        let writers = self.writers_of(&rest);
        let Some(slot) = self.slot_of(writers, reader, &rest) else { return cut_off(lane) };
        let (deadlines, events) = (writers.deadlines.clone(), self.events.clone());
        let held = self.unsent.hold(reader, rest.len());
        slot.submit(move || {
            let deadline = deadlines.watch(peer, WRITE_DEADLINE);
            let sent = rest.write(&mut writer);
            drop(deadline);
            drop(writer);
            drop(rest);
            drop(held);
            events.send(match sent {
                Ok(()) => LoopMessage::Sent(lane),
                Err(_) => LoopMessage::Ended(lane),
            });
        });
        SendOutcome::Later
    }

    /// A writer, if there is memory for what it is to write. The reader's share is no matter any
    /// more.
    fn slot_of<'a>(
        &self,
        writers: &'a Writers,
        reader: UnsentKey,
        rest: &Rest,
    ) -> Option<Slot<'a>> {
        let has_memory = self.unsent.room(reader, rest.len()) != Err(UnsentFull::ForAll);
        writers.slot(&self.unsent).filter(|_| has_memory)
    }

    /// Has a worker write the reply and end the connection.
    fn send_and_close(&self, exchange: Exchange, reader: UnsentKey, rest: Rest) -> SendOutcome {
        let lane = exchange.lane();
        let peer = lane.peer;
        let writers = self.writers_of(&rest);
        let Some(slot) = self.slot_of(writers, reader, &rest) else {
            return SendOutcome::Refused(Some(exchange.request));
        };
        let (deadlines, abandoned) = (writers.deadlines.clone(), Arc::clone(&self.abandoned));
        let (connections, events) = (self.connections, self.events.clone());
        let held = self.unsent.hold(reader, rest.len());
        slot.submit(move || {
            let sockets = connections.all(peer);
            let limit = if sockets.len() > 1 { HURRIED_WRITE_DEADLINE } else { WRITE_DEADLINE };
            let deadline = deadlines.watch(peer, limit);
            close(exchange, &sockets, &rest, &abandoned);
            drop(deadline);
            drop(rest);
            drop(held);
            events.send(LoopMessage::Ended(lane));
        });
        SendOutcome::Later
    }

    /// Lets go of a request whose connection was severed. Nothing of it is written, and if there
    /// is a body to be read, a worker does it.
    pub(super) fn discard(&self, request: tiny_http::Request) {
        if matches!(Framing::of(&request), Framing::None | Framing::Buffered) {
            drop(request.into_writer());
            return;
        }
        let unread = request.body_length().unwrap_or(0) as u64;
        let slot = self.writers.pool.slot().filter(|_| unread <= MAX_DROPPED_BYTES);
        let Some(slot) = slot else {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            mem::forget(request);
            return;
        };
        let deadlines = self.writers.deadlines.clone();
        slot.submit(move || {
            let deadline = deadlines.watch(peer(&request), HURRIED_WRITE_DEADLINE);
            drop(request.into_writer());
            drop(deadline);
        });
    }

    /// The head of a stream, whose connection ends with it.
    pub(super) fn head_of_stream(
        &mut self,
        exchange: &mut Exchange,
        reply: &Reply,
        id: &RequestId,
        now: Timestamp,
    ) -> Vec<u8> {
        exchange.close = true;
        self.encode_head(exchange, reply, id, now);
        mem::take(&mut self.buffer)
    }

    /// Lays the head of the reply out in `self.buffer` (RFC 9112).
    fn encode_head(&mut self, exchange: &Exchange, reply: &Reply, id: &RequestId, now: Timestamp) {
        if self.date.0 != now.seconds() {
            self.date = (now.seconds(), http_date(now));
        }
        let out = &mut self.buffer;
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
        // What is JSON is not to be run as a script, whatever is in it.
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

/// Whether the loop leaves a body to a writer.
fn is_long(body: &[u8]) -> bool {
    body.len() > MAX_LOOP_WRITE_BYTES
}

/// The reason phrase of RFC 9110, section 15; tiny_http has the older ones of these two.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => StatusCode(status).default_reason_phrase(),
    }
}

enum Written {
    All,
    Some(usize),
}

/// Writes as much as the socket takes; its send timeout is short (see [`super::listen`]).
fn write(writer: &mut ResponseWriter, bytes: &[u8]) -> io::Result<Written> {
    let mut written = 0;
    while written < bytes.len() {
        match writer.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) if written + n < bytes.len() => return Ok(Written::Some(written + n)),
            Ok(n) => written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Written::Some(written)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    loop {
        match writer.flush() {
            Ok(()) => return Ok(Written::All),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Written::Some(written)),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes everything, however long it takes. The job's deadline ends it.
pub(super) fn write_all(writer: &mut ResponseWriter, mut bytes: &[u8]) -> io::Result<()> {
    while let Written::Some(n) = write(writer, bytes)? {
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Has the connection of a client ended that does not read.
fn cut_off(lane: PipelineId) -> SendOutcome {
    log::warn!("cutting {} off: too many clients do not read their replies", lane.peer);
    SendOutcome::Refused(None)
}

/// Writes a reply and ends the connection, leaving no unread body to tiny_http. If `sockets` are
/// several with the same peer, the connection is the one on which the reply is seen to be written.
fn close(mut exchange: Exchange, sockets: &[OwnedFd], reply: &Rest, abandoned: &AtomicUsize) {
    let written = || sockets.iter().map(|socket| TcpInfo::of(socket).map(|info| info.written));
    let before: Vec<_> = written().collect();
    let mut has_ended = false;
    if exchange.unread > MAX_DROPPED_BYTES {
        abandon(exchange, reply, abandoned);
    } else {
        // From here on reading does not wait: it yields what has arrived, then the end. If it is
        // not known which it is, the job's deadline ends it.
        if let [socket] = sockets {
            let _ = SockRef::from(socket).shutdown(Shutdown::Read);
        }
        if exchange.unread == 0 {
            // A chunked body: what is left of it must not be taken for the next request.
            let _ = io::copy(
                &mut exchange.request.as_reader().take(MAX_DROPPED_BYTES),
                &mut io::sink(),
            );
        }
        let mut writer = exchange.request.into_writer();
        // The connection ends either way.
        has_ended = reply.write(&mut writer).is_err();
    }
    let is_it: Vec<bool> = written().zip(before).map(|(now, before)| now > before).collect();
    let is_known = sockets.len() > 1 && (has_ended || is_it.contains(&true));
    for (socket, is_it) in sockets.iter().zip(is_it) {
        if is_it || !is_known {
            let _ = SockRef::from(socket).shutdown(Shutdown::Both);
        }
    }
}

/// Lets go of a request without dropping it: tiny_http would allocate all that the client
/// declared, which can be more than there is. The only way to get at the socket is an upgrade,
/// which sends a status line of its own first; an interim one (RFC 9110, section 15.2) is passed
/// over by clients. Reader and writer are leaked, and with them a thread and two descriptors.
fn abandon(exchange: Exchange, reply: &Rest, abandoned: &AtomicUsize) {
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

/// The `Date` field's value (RFC 9110, section 5.6.7).
fn http_date(now: Timestamp) -> String {
    let seconds = i64::try_from(now.seconds()).unwrap_or(0);
    let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tiny_http::TestRequest;

    use super::*;
    use crate::http::unsent::PRESSING_BYTES;

    /// As many as there are writers, or half of the memory: whatever is short first.
    #[test]
    fn readers_are_hurried_where_memory_is_short() {
        let deadlines = Deadlines::new(Connections { local_port: 0 });
        let pool = Pool::start("writer", 2, 2, Priority::Normal).unwrap();
        let writers = Writers { pool, deadlines };
        let unsent = Unsent::default();
        let reader = UnsentKey::of(&Exchange::new(TestRequest::new().into(), 0));
        let _held = unsent.hold(reader, PRESSING_BYTES - 1);
        assert!(writers.slot(&unsent).is_some() && !writers.deadlines.is_hurried());
        let _more = unsent.hold(reader, 1);
        assert!(writers.slot(&unsent).is_some() && writers.deadlines.is_hurried());
    }
}
