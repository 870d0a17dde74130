//! Sends replies to clients that may read slowly.
//!
//! The loop writes as much of a reply as the socket takes without blocking; a worker writes the
//! rest.

use std::borrow::Cow;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::head::HeadEncoder;
use super::writing::{Remainder, ResponseWriter, Written, write, write_and_close};
use crate::api::Reply;
use crate::http::connections::deadlines::Deadlines;
use crate::http::connections::descriptors::Connections;
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::replies::unsent::{Unsent, UnsentFull, UnsentKey};
use crate::http::requests::body::MAX_DROPPED_BYTES;
use crate::http::requests::exchange::{Exchange, Framing, PipelineId, peer};
use crate::http::requests::request_id::RequestId;
use crate::http::workers::pool::{Pool, Priority, Slot};
use crate::model::Timestamp;
use crate::problem::{self, Problem};

/// Threads that write replies to slow readers.
const WRITERS: usize = 128;
/// A reply with a body longer than this is written by a worker from its first byte on: with many of
/// them at once, even filling the sockets' buffers would take the loop too long.
const MAX_LOOP_WRITE_BYTES: usize = 64 * 1024;
/// Replies that wait for a worker.
const WRITE_QUEUE: usize = 256;
/// Workers for the reference page's files, which need no token. They must not take the workers of
/// other replies.
const FILE_WRITERS: usize = 16;
const FILE_QUEUE: usize = 48;
/// Full sockets that the loop waits for in a turn, each for a send timeout. After them, workers
/// write all of the turn's replies.
const MAX_WAITS_PER_TURN: usize = 2;
/// Time that a client may take to read a reply.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// The same while all workers are busy and replies wait for one, or memory is short.
const SHORT_WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// Connections that may be leaked, because their request declared a body of more than
/// [`MAX_DROPPED_BYTES`], or because tiny_http does not let go of them. Each costs a thread and two
/// descriptors for good.
pub(in crate::http) const MAX_LEAKED: usize = 1024;

/// Sends replies.
pub(in crate::http) struct Outbox {
    writers: Writers,
    file_writers: Writers,
    connections: Connections,
    to_loop: Sender,
    unsent: Unsent,
    abandoned: Arc<AtomicUsize>,
    stuck: usize,
    head: HeadEncoder,
    buffer: Vec<u8>,
    waits: usize,
}

/// Result of sending a reply.
pub(in crate::http) enum SendOutcome {
    /// It is sent, and the connection is free.
    Sent,
    /// A worker has it, and will send [`LoopMessage::ReplySent`] or
    /// [`LoopMessage::ConnectionEnded`].
    Queued,
    /// The connection has ended.
    Ended,
    /// No worker has room for it, so the connection has to be ended. The request is given back,
    /// unless only its writer was left.
    Refused(Option<tiny_http::Request>),
}

/// Reason for which a reply cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum OutboxFull {
    /// There is no worker for it, or no memory.
    Replies,
    /// There is no worker for files.
    Files,
    /// The client has left so much unread that it gets no more memory.
    Reader,
}

impl OutboxFull {
    /// The problem to answer instead.
    pub(in crate::http) fn problem(self) -> Problem {
        match self {
            OutboxFull::Replies | OutboxFull::Files => Problem::overloaded(),
            OutboxFull::Reader => {
                let why = "too many bytes of replies to this network or user are not read yet";
                Problem::new(problem::OVERLOADED, why)
            }
        }
    }

    /// Value of the metric's label `queue`.
    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            OutboxFull::Replies => "replies",
            OutboxFull::Files => "files",
            OutboxFull::Reader => "unread",
        }
    }
}

/// Workers, and the deadlines of their jobs.
struct Writers {
    pool: Pool,
    deadlines: Deadlines,
}

impl Writers {
    /// Room for a job. It shortens the deadlines of the jobs in progress if all workers are busy,
    /// or memory is short.
    fn slot(&self, unsent: &Unsent) -> Option<Slot<'_>> {
        if self.pool.is_busy() || unsent.is_under_pressure() {
            self.deadlines.shorten(SHORT_WRITE_DEADLINE);
        }
        self.pool.slot()
    }
}

impl Outbox {
    pub(in crate::http) fn start(
        deadlines: Deadlines,
        file_deadlines: Deadlines,
        connections: Connections,
        to_loop: Sender,
    ) -> io::Result<Outbox> {
        let start = |name, writers, waiting| Pool::start(name, writers, waiting, Priority::Normal);
        Ok(Outbox {
            writers: Writers { pool: start("writer", WRITERS, WRITE_QUEUE)?, deadlines },
            file_writers: Writers {
                pool: start("file-writer", FILE_WRITERS, FILE_QUEUE)?,
                deadlines: file_deadlines,
            },
            connections,
            to_loop,
            unsent: Unsent::default(),
            abandoned: Arc::default(),
            stuck: 0,
            head: HeadEncoder::new(),
            buffer: Vec::new(),
            waits: 0,
        })
    }

    /// The pools of workers, with the metric's label `queue`.
    pub(in crate::http) fn pools(&self) -> [(&'static str, &Pool); 2] {
        [("replies", &self.writers.pool), ("files", &self.file_writers.pool)]
    }

    /// Returns whether so many connections were leaked that the process should restart.
    pub(in crate::http) fn is_exhausted(&self) -> bool {
        // Abandoned connections are counted as stuck too, some seconds later.
        self.abandoned.load(Ordering::Relaxed).max(self.stuck) >= MAX_LEAKED
    }

    /// So many connections more are given up for good.
    #[cfg(test)]
    pub(in crate::http) fn abandon_for_tests(&self, connections: usize) {
        self.abandoned.fetch_add(connections, Ordering::Relaxed);
    }

    /// Sets the number of ended connections that tiny_http does not let go of.
    pub(in crate::http) fn set_stuck(&mut self, connections: usize) {
        self.stuck = connections;
    }

    /// Bytes of replies that clients have not read.
    pub(in crate::http) fn unread_bytes(&self) -> usize {
        self.unsent.bytes()
    }

    /// Begins a turn's replies.
    pub(in crate::http) fn begin_turn(&mut self) {
        self.waits = 0;
    }

    /// Returns whether a long reply could be written by a worker; the error is the reason.
    pub(in crate::http) fn has_room(
        &self,
        exchange: &Exchange,
        reply: &Reply,
    ) -> Result<(), OutboxFull> {
        if exchange.is_head() || !is_long(&reply.body) {
            return Ok(());
        }
        let (writers, queue) = match &reply.body {
            Cow::Borrowed(_) => (&self.file_writers, OutboxFull::Files),
            Cow::Owned(_) => (&self.writers, OutboxFull::Replies),
        };
        if writers.slot(&self.unsent).is_none() {
            return Err(queue);
        }
        match &reply.body {
            Cow::Borrowed(_) => Ok(()),
            Cow::Owned(body) => {
                self.unsent.room(UnsentKey::of(exchange), body.len()).map_err(|full| match full {
                    UnsentFull::ForAll => OutboxFull::Replies,
                    UnsentFull::ForReader => OutboxFull::Reader,
                })
            }
        }
    }

    /// The workers that write it.
    fn writers_of(&self, rest: &Remainder) -> &Writers {
        match &rest.second {
            Cow::Borrowed(file) if !file.is_empty() => &self.file_writers,
            _ => &self.writers,
        }
    }

    /// Answers `exchange`.
    pub(in crate::http) fn send(
        &mut self,
        exchange: Exchange,
        reply: Reply,
        id: &RequestId,
        now: Timestamp,
    ) -> SendOutcome {
        self.head.encode(&mut self.buffer, &exchange, &reply, id, now);
        let mut body = if exchange.is_head() { Cow::Borrowed(&[][..]) } else { reply.body };
        let is_long = is_long(&body);
        if !is_long {
            self.buffer.extend(&*body);
            body = Cow::Borrowed(&[]);
        }
        let reader = UnsentKey::of(&exchange);
        if exchange.close {
            let rest = Remainder { first: mem::take(&mut self.buffer), second: body };
            return self.send_and_close(exchange, reader, rest);
        }
        let pipeline = exchange.pipeline();
        let mut writer = exchange.request.into_writer();
        if is_long || self.waits >= MAX_WAITS_PER_TURN {
            let rest = Remainder { first: self.buffer.clone(), second: body };
            return self.finish_later(writer, pipeline, reader, rest);
        }
        match write(&mut writer, &self.buffer) {
            Ok(Written::All) => SendOutcome::Sent,
            Err(_) => SendOutcome::Ended,
            Ok(Written::Partly(len)) => {
                self.waits += 1;
                let rest = Remainder { first: self.buffer[len..].to_vec(), second: body };
                // Only a socket that did not take all is known to be full.
                if self.unsent.room(reader, rest.len()) == Err(UnsentFull::ForReader) {
                    return cut_off(pipeline);
                }
                self.finish_later(writer, pipeline, reader, rest)
            }
        }
    }

    /// Has a worker write what the socket did not take, or was not offered.
    fn finish_later(
        &self,
        mut writer: ResponseWriter,
        pipeline: PipelineId,
        reader: UnsentKey,
        rest: Remainder,
    ) -> SendOutcome {
        let peer = pipeline.peer;
        let writers = self.writers_of(&rest);
        let Some(slot) = self.slot_of(writers, reader, &rest) else { return cut_off(pipeline) };
        let (deadlines, to_loop) = (writers.deadlines.clone(), self.to_loop.clone());
        let held = self.unsent.hold(reader, rest.len());
        slot.submit(move || {
            let deadline = deadlines.watch(peer, WRITE_DEADLINE);
            let sent = rest.write(&mut writer);
            drop(deadline);
            drop(writer);
            drop(rest);
            drop(held);
            to_loop.send(match sent {
                Ok(()) => LoopMessage::ReplySent(pipeline),
                Err(_) => LoopMessage::ConnectionEnded(pipeline),
            });
        });
        SendOutcome::Queued
    }

    /// Room for a job, if there is memory for the rest of its reply. The reader's share is not
    /// checked again.
    fn slot_of<'a>(
        &self,
        writers: &'a Writers,
        reader: UnsentKey,
        rest: &Remainder,
    ) -> Option<Slot<'a>> {
        let has_memory = self.unsent.room(reader, rest.len()) != Err(UnsentFull::ForAll);
        writers.slot(&self.unsent).filter(|_| has_memory)
    }

    /// Has a worker write the reply and end the connection.
    fn send_and_close(
        &self,
        exchange: Exchange,
        reader: UnsentKey,
        rest: Remainder,
    ) -> SendOutcome {
        let pipeline = exchange.pipeline();
        let peer = pipeline.peer;
        let writers = self.writers_of(&rest);
        let Some(slot) = self.slot_of(writers, reader, &rest) else {
            return SendOutcome::Refused(Some(exchange.request));
        };
        let (deadlines, abandoned) = (writers.deadlines.clone(), Arc::clone(&self.abandoned));
        let (connections, to_loop) = (self.connections, self.to_loop.clone());
        let held = self.unsent.hold(reader, rest.len());
        slot.submit(move || {
            let sockets = connections.all(peer);
            let limit = if sockets.len() > 1 { SHORT_WRITE_DEADLINE } else { WRITE_DEADLINE };
            let deadline = deadlines.watch(peer, limit);
            write_and_close(exchange, &sockets, &rest, &abandoned);
            drop(deadline);
            drop(rest);
            drop(held);
            to_loop.send(LoopMessage::ConnectionEnded(pipeline));
        });
        SendOutcome::Queued
    }

    /// Lets go of a request whose connection was shut down. Nothing is written; if a body is left
    /// to be read, a worker does it.
    pub(in crate::http) fn discard(&self, request: tiny_http::Request) {
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
            let deadline = deadlines.watch(peer(&request), SHORT_WRITE_DEADLINE);
            drop(request.into_writer());
            drop(deadline);
        });
    }

    /// The head of a stream, whose connection ends with it.
    pub(in crate::http) fn head_of_stream(
        &mut self,
        exchange: &mut Exchange,
        reply: &Reply,
        id: &RequestId,
        now: Timestamp,
    ) -> Vec<u8> {
        exchange.close = true;
        self.head.encode(&mut self.buffer, exchange, reply, id, now);
        mem::take(&mut self.buffer)
    }
}

/// Returns whether a worker writes the body.
fn is_long(body: &[u8]) -> bool {
    body.len() > MAX_LOOP_WRITE_BYTES
}

/// Gives up a connection whose client does not read.
fn cut_off(pipeline: PipelineId) -> SendOutcome {
    log::warn!(
        "cutting {} off: it does not read its reply, and there is no room to wait for it",
        pipeline.peer
    );
    SendOutcome::Refused(None)
}

#[cfg(test)]
mod tests {
    use tiny_http::TestRequest;

    use super::*;
    use crate::http::replies::unsent::PRESSURE_BYTES;

    /// They are shortened when memory is short, even if workers are free.
    #[test]
    fn deadlines_are_shortened_when_memory_is_short() {
        let deadlines = Deadlines::new(Connections { local_port: 0 });
        let pool = Pool::start("writer", 2, 2, Priority::Normal).unwrap();
        let writers = Writers { pool, deadlines };
        let unsent = Unsent::default();
        let reader = UnsentKey::of(&Exchange::new(TestRequest::new().into(), 0));
        let _held = unsent.hold(reader, PRESSURE_BYTES - 1);
        assert!(writers.slot(&unsent).is_some() && !writers.deadlines.is_shortened());
        let _more = unsent.hold(reader, 1);
        assert!(writers.slot(&unsent).is_some() && writers.deadlines.is_shortened());
    }
}
