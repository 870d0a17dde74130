//! Deadlines of jobs that wait for a client. An overdue job is ended by shutting down the client's
//! connection, which wakes the job with an error.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{Pid, gettid};

use crate::http::connections::descriptors::Connections;
use crate::http::connections::process::Process;
use crate::http::connections::tcp_info::TcpInfo;

/// The jobs in progress that wait for a client.
#[derive(Clone)]
pub(in crate::http) struct Deadlines {
    watched: Arc<Mutex<WatchedJobs>>,
    connections: Connections,
}

#[derive(Default)]
struct WatchedJobs {
    next: u64,
    jobs: HashMap<u64, WatchedJob>,
    /// All jobs in progress, also those that `enforce` has taken out of `jobs`.
    running: HashSet<u64>,
    /// The last call of [`Deadlines::shorten`], and its limit.
    shortened: Option<(Instant, Duration)>,
}

struct WatchedJob {
    peer: SocketAddr,
    /// The thread that runs the job.
    thread: Pid,
    begun: Instant,
    limit: Duration,
    /// The job's socket, and the limit on the bytes that it receives in its life.
    ceiling: Option<(Arc<OwnedFd>, u64)>,
    /// First attempt to end it, if its connection is not known.
    overdue_since: Option<Instant>,
}

/// Time for which it may be unknown on which of several connections with one peer a job waits.
/// After it, all of them are ended, so that the worker becomes free.
const MAX_UNKNOWN: Duration = Duration::from_secs(1);
/// Time for which new jobs get the shortened limit too.
const SHORTENED_FOR: Duration = Duration::from_secs(1);

/// Keeps a job watched until it is dropped.
pub(in crate::http) struct DeadlineGuard {
    deadlines: Deadlines,
    id: u64,
}

impl Deadlines {
    pub(in crate::http) fn new(connections: Connections) -> Deadlines {
        Deadlines { watched: Arc::default(), connections }
    }

    /// Gives the calling job `limit` to finish its exchange with `peer`.
    pub(in crate::http) fn watch(&self, peer: SocketAddr, limit: Duration) -> DeadlineGuard {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let id = watched.next;
        watched.next += 1;
        let limit = match watched.shortened {
            Some((at, shortened)) if at.elapsed() < SHORTENED_FOR => limit.min(shortened),
            _ => limit,
        };
        let (begun, thread) = (Instant::now(), gettid());
        watched.jobs.insert(
            id,
            WatchedJob { peer, thread, begun, limit, ceiling: None, overdue_since: None },
        );
        watched.running.insert(id);
        DeadlineGuard { deadlines: self.clone(), id }
    }

    /// Lowers the limit of the jobs in progress, and of those that begin soon, to `limit`: others
    /// wait for their workers.
    pub(in crate::http) fn shorten(&self, limit: Duration) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.shortened = Some((Instant::now(), limit));
        for job in watched.jobs.values_mut() {
            job.limit = job.limit.min(limit);
        }
    }

    /// Returns whether limits were ever shortened.
    #[cfg(test)]
    pub(in crate::http) fn is_shortened(&self) -> bool {
        self.watched.lock().unwrap().shortened.is_some()
    }

    /// Shuts down the connections of overdue jobs.
    pub(in crate::http) fn enforce(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue: Vec<(u64, WatchedJob)> = watched
            .jobs
            .extract_if(|_, job| job.begun.elapsed() >= job.limit || job.is_flooded())
            .collect();
        drop(watched);
        for (id, mut job) in overdue {
            if self.end(&job) {
                let peer = job.peer;
                log::info!("closing the connection with {peer}: it took too long or sent too much");
                continue;
            }
            // The next probe tries again, unless the job is finished by then.
            let overdue_since = *job.overdue_since.get_or_insert_with(Instant::now);
            if overdue_since.elapsed() >= MAX_UNKNOWN {
                log::info!("closing all connections with {}: one of them took too long", job.peer);
                self.connections.shut_down_all(job.peer);
                continue;
            }
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.running.contains(&id) {
                watched.jobs.insert(id, job);
            }
        }
    }

    /// Ends the connection on which a job waits. Returns whether it is known.
    fn end(&self, job: &WatchedJob) -> bool {
        self.connections.shut_down(job.peer).is_ok()
            || Process::waits_on(job.thread)
                .is_some_and(|fd| self.connections.shut_down_descriptor(fd, job.peer))
    }
}

impl WatchedJob {
    fn is_flooded(&self) -> bool {
        self.ceiling.as_ref().is_some_and(|(fd, ceiling)| received(fd) > *ceiling)
    }
}

impl DeadlineGuard {
    /// Ends the job also if its socket receives more than `max_bytes` from now on. The limit is
    /// checked with every probe; a fast sender gets somewhat further.
    pub(in crate::http) fn limit_received(&self, socket: &Arc<OwnedFd>, max_bytes: u64) {
        let ceiling = received(socket).saturating_add(max_bytes);
        let mut watched = self.deadlines.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = watched.jobs.get_mut(&self.id) {
            job.ceiling = Some((Arc::clone(socket), ceiling));
        }
    }
}

impl Drop for DeadlineGuard {
    fn drop(&mut self) {
        let mut watched = self.deadlines.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.jobs.remove(&self.id);
        watched.running.remove(&self.id);
    }
}

/// Bytes that a connection has received in its life; 0 if the kernel does not say.
fn received(socket: &OwnedFd) -> u64 {
    TcpInfo::of(socket).map_or(0, |info| info.received)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::thread;

    use super::*;
    use crate::http::connections::descriptors::tests::Twins;

    #[test]
    fn a_job_that_takes_too_long_ends_its_own_connection() {
        for which in [0, 1] {
            let twins = Twins::connect();
            let deadlines = Deadlines::new(twins.connections);
            let (peer, its_deadlines) = (twins.peer, deadlines.clone());
            let [mut its_own, mut other] = twins.pairs;
            if which == 1 {
                std::mem::swap(&mut its_own, &mut other);
            }
            let job = thread::spawn(move || {
                let _guard = its_deadlines.watch(peer, Duration::ZERO);
                its_own.1.read(&mut [0]).unwrap()
            });
            while !job.is_finished() {
                deadlines.enforce();
                thread::yield_now();
            }
            assert_eq!(job.join().unwrap(), 0);
            other.1.write_all(b"goes on").unwrap();
            let mut received = [0; 7];
            other.0.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"goes on");
        }
    }
}
