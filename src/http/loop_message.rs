//! Messages of other threads to the loop.

use std::sync::mpsc::{self, Receiver};

use crate::api::Resume;
use crate::http::connections::reaper::Sweep;
use crate::http::requests::exchange::{Exchange, PipelineId};
use crate::http::requests::in_flight::Verdict;
use crate::http::streams::protocol::StreamMessage;
use crate::http::waker::Waker;
use crate::store::{Snapshot, StoreError};

/// A message to the loop.
pub(super) enum LoopMessage {
    /// A body was read, or could not be.
    BodyRead(Exchange),
    /// A job is finished.
    JobDone(Exchange, Resume),
    /// A reply was sent.
    ReplySent(PipelineId),
    /// A reply was sent as far as possible, and the connection has ended.
    ConnectionEnded(PipelineId),
    /// A report on a stream.
    Stream(StreamMessage),
    /// Verdicts on the connections of unclear requests.
    Settled(PipelineId, Vec<(Verdict, tiny_http::Request)>),
    /// A body cannot be read, as its connection is unknown.
    UnknownConnection(Exchange),
    /// The connections were judged.
    Swept(Sweep),
    /// The accept thread has ended. `shed` connections are closed to make room.
    NotAccepting { shed: usize },
    /// The server's own requests have been unanswered for too long.
    Silent,
    /// The operator asks for a copy of the store.
    Snapshot(mpsc::Sender<Result<Option<Snapshot>, StoreError>>),
}

/// The sending end of the loop's queue. It wakes the loop for each message.
#[derive(Clone)]
pub(super) struct Sender {
    messages: mpsc::Sender<LoopMessage>,
    waker: Waker,
}

impl Sender {
    pub(super) fn send(&self, event: LoopMessage) {
        // It fails if the loop has ended; then nothing waits for the message.
        if self.messages.send(event).is_ok() {
            self.waker.wake();
        }
    }
}

/// Makes the loop's queue. Its length is bounded: one message for each job of the pools and each
/// pipeline, two for each stream, and those of the watchdog, which waits for a probe's answer in
/// between.
pub(super) fn channel(waker: Waker) -> (Sender, Receiver<LoopMessage>) {
    let (messages, receiver) = mpsc::channel();
    (Sender { messages, waker }, receiver)
}
