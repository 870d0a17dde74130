//! Outcomes of handlers: a reply, or how the request goes on.

use super::app::App;
use super::failure::Failure;
use super::reply::Reply;
use super::stream::Subscription;
use super::wait::Wait;
use crate::problem::Problem;

/// The outcome of a request.
pub enum Outcome {
    /// A reply, to be sent after the sync that makes durable what the request wrote.
    Reply(Reply),
    /// A job that blocks. Its result becomes the reply.
    Offload(Job),
    /// A wait for an event, or until a time limit.
    Park(Wait),
    /// A stream of events from now on.
    Stream(Box<Subscription>),
}

/// Work that blocks, for a worker. The loop runs the closure that it returns, which makes the
/// reply.
pub struct Job {
    /// The worker's part.
    pub work: Box<dyn FnOnce() -> Resume + Send>,
    /// The loop's part if no worker is free.
    pub declined: Resume,
}

/// The rest of a handler, after its job.
pub type Resume = Box<dyn FnOnce(&mut App) -> Result<Reply, Failure> + Send>;

impl Job {
    pub(super) fn new(work: impl FnOnce() -> Resume + Send + 'static) -> Job {
        Job { work: Box::new(work), declined: Box::new(|_| Err(Problem::overloaded().into())) }
    }

    /// The same job, with a function that takes back what was done for it if no worker is free.
    pub(super) fn or_else(self, undo: impl FnOnce(&mut App) + Send + 'static) -> Job {
        let declined = |app: &mut App| {
            undo(app);
            Err(Problem::overloaded().into())
        };
        Job { declined: Box::new(declined), ..self }
    }
}
