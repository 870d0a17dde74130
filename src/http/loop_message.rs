//! What workers tell the loop, and how they wake it.

use std::sync::mpsc::{self, Receiver};

use crate::api::Resume;
use crate::http::connections::reaper::Sweep;
use crate::http::requests::exchange::{Exchange, PipelineId};
use crate::http::requests::in_flight::Verdict;
use crate::http::streams::protocol::StreamMessage;
use crate::http::waker::Waker;
use crate::store::{Snapshot, StoreError};

/// Something that a worker has finished.
pub(super) enum LoopMessage {
    /// A body is read, or could not be.
    Received(Exchange),
    /// A job is done.
    Done(Exchange, Resume),
    /// A reply is out.
    Sent(PipelineId),
    /// A reply is out, as far as that was possible, and the connection has ended.
    Ended(PipelineId),
    /// Something has become of a stream.
    Stream(StreamMessage),
    /// It is known on which connections requests came, as far as that can be.
    Settled(PipelineId, Vec<(Verdict, tiny_http::Request)>),
    /// A body cannot be read: which connection it comes on is not known.
    UnknownConnection(Exchange),
    /// The connections were looked at.
    Swept(Sweep),
    /// Nobody accepts connections any more. So many give way to those that wait.
    NotAccepting { shed: usize },
    /// The server's own requests have not been answered for too long.
    Silent,
    /// The operator wants a copy of the store.
    Snapshot(mpsc::Sender<Result<Option<Snapshot>, StoreError>>),
}

/// The workers' end of the loop's queue: an event, and waking the loop.
#[derive(Clone)]
pub(super) struct Sender {
    messages: mpsc::Sender<LoopMessage>,
    waker: Waker,
}

impl Sender {
    pub(super) fn send(&self, event: LoopMessage) {
        // When the loop is gone, so is everybody who waits for the event.
        if self.messages.send(event).is_ok() {
            self.waker.wake();
        }
    }
}

/// The two ends of the loop's queue for messages. There are never more in it than the pools have
/// jobs, one for each pipeline and two for each stream, and what the self-probe's thread has to say, which waits for the answer of the loop between.
pub(super) fn channel(waker: Waker) -> (Sender, Receiver<LoopMessage>) {
    let (messages, receiver) = mpsc::channel();
    (Sender { messages, waker }, receiver)
}
