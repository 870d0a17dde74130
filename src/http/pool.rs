//! Bounded workers for what blocks.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// Threads that run jobs from one queue of limited length. They end when the pool is dropped and
/// the queue is empty; nobody waits for that.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// Jobs that may be under way or waiting, together: were they counted apart, a worker that is
    /// slow to wake would make the queue look full, or a full pool look free.
    capacity: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    under_way: usize,
    closed: bool,
}

/// How eagerly the system runs a pool's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Like any other.
    Normal,
    /// Behind the others: for work that would keep a whole processor busy.
    Low,
}

/// What is added to the nice value of [`Priority::Low`].
const LOW_PRIORITY: i32 = 10;

/// Room in a pool. The loop is the only one who submits, so it stays.
pub(super) struct Slot<'a>(&'a Shared);

impl Pool {
    /// Starts `threads` workers behind a queue of `waiting` jobs.
    pub(super) fn start(
        name: &str,
        threads: usize,
        waiting: usize,
        priority: Priority,
    ) -> io::Result<Pool> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), under_way: 0, closed: false });
        let shared = Arc::new(Shared { queue, changed: Condvar::new() });
        let pool = Pool { shared, capacity: threads + waiting };
        for _ in 0..threads {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                if priority == Priority::Low {
                    // On Linux this is the thread's own; where it is refused, it only runs sooner.
                    let _ = rustix::process::setpriority_process(None, LOW_PRIORITY);
                }
                while let Some(job) = shared.next() {
                    // A job that panics has said so; it must not take the worker along.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                    shared.lock().under_way -= 1;
                }
            })?;
        }
        Ok(pool)
    }

    /// A place in the queue, or `None` if it is full.
    pub(super) fn slot(&self) -> Option<Slot<'_>> {
        let queue = self.shared.lock();
        (queue.jobs.len() + queue.under_way < self.capacity).then_some(Slot(&self.shared))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Slot<'_> {
    /// Queues a job.
    pub(super) fn submit(self, job: impl FnOnce() + Send + 'static) {
        self.0.lock().jobs.push_back(Box::new(job));
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.under_way += 1;
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
