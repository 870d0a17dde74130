//! A bounded pool of threads for jobs that block.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type PoolJob = Box<dyn FnOnce() + Send>;

/// Threads that run jobs from one bounded queue. There are as many as there are jobs, and at least
/// one. They end when the pool is dropped and the queue is empty; the drop does not wait for them.
pub(in crate::http) struct Pool {
    shared: Arc<PoolState>,
    /// Limit on running and waiting jobs together. With separate limits, a thread that is slow to
    /// wake would make the queue look full, or a full pool look free.
    capacity: usize,
    max_threads: usize,
    name: String,
    priority: Priority,
}

struct PoolState {
    queue: Mutex<PoolQueue>,
    changed: Condvar,
}

struct PoolQueue {
    jobs: VecDeque<PoolJob>,
    running: usize,
    threads: usize,
    closed: bool,
}

/// Scheduling priority of a pool's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Priority {
    /// The default.
    Normal,
    /// Below the default, for work that would keep a whole processor busy.
    Low,
}

/// Time without work after which a thread ends, unless it is the last one.
const WORKER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Added to the nice value for [`Priority::Low`].
const LOW_PRIORITY: i32 = 10;

/// Room in a pool. Only one thread submits jobs, so the room remains.
pub(in crate::http) struct Slot<'a>(&'a Pool);

impl Pool {
    /// Makes a pool of up to `max_threads` threads, the first of which is started, and a queue of
    /// `waiting` jobs.
    pub(in crate::http) fn start(
        name: &str,
        max_threads: usize,
        waiting: usize,
        priority: Priority,
    ) -> io::Result<Pool> {
        let queue =
            Mutex::new(PoolQueue { jobs: VecDeque::new(), running: 0, threads: 0, closed: false });
        let shared = Arc::new(PoolState { queue, changed: Condvar::new() });
        let capacity = max_threads + waiting;
        let pool = Pool { shared, capacity, max_threads, name: name.to_owned(), priority };
        pool.add_worker()?;
        Ok(pool)
    }

    fn add_worker(&self) -> io::Result<()> {
        let (shared, priority) = (Arc::clone(&self.shared), self.priority);
        thread::Builder::new().name(self.name.clone()).spawn(move || {
            if priority == Priority::Low {
                // On Linux it applies to the calling thread. If it fails, the thread runs at normal
                // priority.
                let _ = rustix::process::setpriority_process(None, LOW_PRIORITY);
            }
            while let Some(job) = shared.next() {
                // A panic is reported already, and must not end the thread.
                let _ = catch_unwind(AssertUnwindSafe(job));
                shared.lock().running -= 1;
            }
        })?;
        self.shared.lock().threads += 1;
        Ok(())
    }

    pub(in crate::http) fn depth(&self) -> Depth {
        Depth(Arc::clone(&self.shared))
    }

    /// Returns whether a new job would have to wait.
    pub(in crate::http) fn is_busy(&self) -> bool {
        let queue = self.shared.lock();
        queue.jobs.len() + queue.running >= self.max_threads
    }

    /// Room for a job; `None` if the queue is full.
    pub(in crate::http) fn slot(&self) -> Option<Slot<'_>> {
        let queue = self.shared.lock();
        (queue.jobs.len() + queue.running < self.capacity).then_some(Slot(self))
    }
}

/// A handle to read a pool's load.
pub(in crate::http) struct Depth(Arc<PoolState>);

impl Depth {
    /// Number of waiting and of running jobs.
    pub(in crate::http) fn read(&self) -> (usize, usize) {
        let queue = self.0.lock();
        (queue.jobs.len(), queue.running)
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
    pub(in crate::http) fn submit(self, job: impl FnOnce() + Send + 'static) {
        let Slot(pool) = self;
        let mut queue = pool.shared.lock();
        queue.jobs.push_back(Box::new(job));
        let all_busy = queue.jobs.len() + queue.running > queue.threads;
        let short_of_workers = all_busy && queue.threads < pool.max_threads;
        drop(queue);
        pool.shared.changed.notify_one();
        if short_of_workers && let Err(error) = pool.add_worker() {
            log::warn!("cannot start another worker: {error}");
        }
    }
}

impl PoolState {
    fn lock(&self) -> MutexGuard<'_, PoolQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<PoolJob> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.running += 1;
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            let waited = self.changed.wait_timeout(queue, WORKER_IDLE_TIMEOUT);
            let waited = waited.unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            if waited.1.timed_out() && queue.jobs.is_empty() && queue.threads > 1 {
                queue.threads -= 1;
                return None;
            }
        }
    }
}
