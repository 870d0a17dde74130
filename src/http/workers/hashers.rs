//! The pool that hashes passwords, with a queue that clients share.
//!
//! A hash takes tens of milliseconds of a processor, and anyone can ask for one. One client with
//! some connections could keep all others from logging in. So networks [share](FairQueue) the
//! queue; a [network](Network) counts as one client, as in the limits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::client::Network;
use crate::api::{Job, Resume};
use crate::http::loop_message::{LoopMessage, Sender};
use crate::http::requests::exchange::Exchange;
use crate::http::workers::fair_queue::FairQueue;
use crate::http::workers::pool::{Depth, Pool, Priority};
use crate::problem::Problem;

/// Hashes that wait for a thread: about two seconds' worth.
const QUEUE: usize = 64;

/// The pool and the queue.
pub(in crate::http) struct Hashers {
    /// Each of its jobs takes the next job of the queue.
    pool: Pool,
    queue: Arc<Mutex<FairQueue<Network, (Exchange, Job)>>>,
    to_loop: Sender,
}

impl Hashers {
    pub(in crate::http) fn start(workers: usize, to_loop: Sender) -> io::Result<Hashers> {
        let queue = Arc::new(Mutex::new(FairQueue::new()));
        let pool = Pool::start("hasher", workers, QUEUE, Priority::Low)?;
        Ok(Hashers { pool, queue, to_loop })
    }

    pub(in crate::http) fn depth(&self) -> Depth {
        self.pool.depth()
    }

    /// Queues a job for a client of a network. If there is no room, returns the declined job: this
    /// one, or one of a network with many in the queue.
    pub(in crate::http) fn submit(
        &self,
        network: Network,
        exchange: Exchange,
        job: Job,
    ) -> Option<(Exchange, Resume)> {
        let Some(slot) = self.pool.slot() else {
            let (exchange, job) = lock(&self.queue).displace(network, (exchange, job));
            return Some((exchange, job.declined));
        };
        lock(&self.queue).push(network, (exchange, job));
        let (queue, to_loop) = (Arc::clone(&self.queue), self.to_loop.clone());
        slot.submit(move || {
            let next = lock(&queue).pop();
            if let Some((exchange, job)) = next {
                let done = catch_unwind(AssertUnwindSafe(job.work));
                let resume = done.unwrap_or_else(|_| Box::new(|_| Err(Problem::internal().into())));
                to_loop.send(LoopMessage::JobDone(exchange, resume));
            }
        });
        None
    }
}

fn lock<T>(queue: &Mutex<T>) -> MutexGuard<'_, T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
