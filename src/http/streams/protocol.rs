//! Messages between the loop and the broadcaster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::chunk::Chunk;
use crate::http::requests::exchange::Exchange;
use crate::model::UserId;

/// Identifies a stream in this process. Ids are never reused.
pub(in crate::http) type StreamId = u64;

/// Command of the loop to the broadcaster.
pub(in crate::http) enum StreamCommand<E = Exchange> {
    /// Begins a stream. It receives no live events before its last page.
    Open(Box<StreamOpening<E>>),
    /// A page of past events. Once it is sent, the broadcaster reports
    /// [`StreamMessage::PageSent`]. After the last page, which is not reported, the stream is live.
    Page { id: StreamId, page: Option<Arc<Chunk>>, is_last: bool },
    /// New events, for the live streams that may see them.
    Publish(Vec<StreamSegment>),
    /// State that these streams receive at once, live or not.
    Notify { ids: Vec<StreamId>, chunk: Arc<Chunk> },
    /// Ends a stream.
    End(StreamId),
}

/// A stream that begins.
pub(in crate::http) struct StreamOpening<E> {
    pub(in crate::http) id: StreamId,
    /// Kept until the stream ends: while it is unanswered, nothing else uses the connection.
    pub(in crate::http) exchange: E,
    pub(in crate::http) peer: SocketAddr,
    /// Arrival of the request.
    pub(in crate::http) begun: Instant,
    pub(in crate::http) user: UserId,
    pub(in crate::http) in_chunks: bool,
    pub(in crate::http) head: Arc<Chunk>,
    /// The first bytes of the content.
    pub(in crate::http) hello: Arc<Chunk>,
    pub(in crate::http) expires: Instant,
}

/// Neighbouring new events that the same users may see.
pub(in crate::http) struct StreamSegment {
    /// The two parties of a private message; `None` for all users.
    pub(in crate::http) to: Option<[UserId; 2]>,
    pub(in crate::http) chunk: Arc<Chunk>,
}

/// Report of the broadcaster to the loop.
pub(in crate::http) enum StreamMessage<E = Exchange> {
    /// A page that is not the last one was sent.
    PageSent(StreamId),
    /// A stream and its connection have ended.
    Ended(EndedStream<E>),
}

/// A stream that has ended.
pub(in crate::http) struct EndedStream<E> {
    pub(in crate::http) id: StreamId,
    pub(in crate::http) exchange: E,
    /// Bytes that were sent.
    pub(in crate::http) sent: u64,
    pub(in crate::http) reason: StreamEnd,
}

/// Reason for the end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum StreamEnd {
    /// The loop asked for it.
    Requested,
    /// Its token has expired.
    Expired,
    /// Its client has closed the connection, or its side of it.
    Disconnected,
    /// Its client does not keep up.
    TooSlow,
    /// Its client sends an overlong request head after the one of the stream.
    EndlessHead,
    /// Several connections have its peer, and it is unknown which one is its own. Nothing was sent,
    /// and the connection continues.
    UnknownConnection,
}

impl<E> StreamCommand<E> {
    /// Bytes of new events in it, which count against the backlog.
    pub(super) fn event_bytes(&self) -> usize {
        match self {
            StreamCommand::Publish(segments) => {
                segments.iter().map(|segment| segment.chunk.len()).sum()
            }
            StreamCommand::Notify { chunk, .. } => chunk.len(),
            StreamCommand::Open(_) | StreamCommand::Page { .. } | StreamCommand::End(_) => 0,
        }
    }
}
