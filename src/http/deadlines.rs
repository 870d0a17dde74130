//! Ends what takes too long: a job that waits for a client is given up by shutting the client's
//! connection down, which wakes the job with an error.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::tcp_info::TcpInfo;

/// The jobs under way that wait for a client.
#[derive(Clone)]
pub(super) struct Deadlines {
    watched: Arc<Mutex<Watched>>,
    connections: Connections,
}

#[derive(Default)]
struct Watched {
    next: u64,
    jobs: HashMap<u64, Job>,
    /// When haste was last needed, and what limit there is then.
    hurried: Option<(Instant, Duration)>,
}

struct Job {
    peer: SocketAddr,
    begun: Instant,
    limit: Duration,
    /// The job's socket, and how many bytes it may have received in its life.
    ceiling: Option<(Arc<OwnedFd>, u64)>,
}

/// How long haste lasts once it was needed.
const HASTE: Duration = Duration::from_secs(1);

/// Held while a job runs.
pub(super) struct Guard {
    deadlines: Deadlines,
    id: u64,
}

impl Deadlines {
    pub(super) fn new(connections: Connections) -> Deadlines {
        Deadlines { watched: Arc::default(), connections }
    }

    /// Gives the calling job `limit` for its dealings with `peer`.
    pub(super) fn watch(&self, peer: SocketAddr, limit: Duration) -> Guard {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let id = watched.next;
        watched.next += 1;
        let limit = match watched.hurried {
            Some((at, hurried)) if at.elapsed() < HASTE => limit.min(hurried),
            _ => limit,
        };
        watched.jobs.insert(id, Job { peer, begun: Instant::now(), limit, ceiling: None });
        Guard { deadlines: self.clone(), id }
    }

    /// Leaves the jobs under way, and those that begin next, no more than `limit`, because others
    /// wait for their worker.
    pub(super) fn hurry(&self, limit: Duration) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.hurried = Some((Instant::now(), limit));
        for job in watched.jobs.values_mut() {
            job.limit = job.limit.min(limit);
        }
    }

    /// Whether haste was needed not long ago.
    #[cfg(test)]
    pub(super) fn is_hurried(&self) -> bool {
        self.watched.lock().unwrap().hurried.is_some()
    }

    /// Shuts the connections of overdue jobs down.
    pub(super) fn enforce(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue: Vec<Job> = watched
            .jobs
            .extract_if(|_, job| job.begun.elapsed() >= job.limit || job.is_flooded())
            .map(|(_, job)| job)
            .collect();
        drop(watched);
        for Job { peer, .. } in overdue {
            log::info!("closing the connection with {peer}: it took too long or sent too much");
            self.connections.sever(peer);
        }
    }
}

impl Job {
    fn is_flooded(&self) -> bool {
        self.ceiling.as_ref().is_some_and(|(fd, ceiling)| received(fd) > *ceiling)
    }
}

impl Guard {
    /// Ends the job also if its socket receives more than `max_bytes` from now on. Looked at with
    /// every pulse: a fast sender gets somewhat further.
    pub(super) fn limit_received(&self, socket: &Arc<OwnedFd>, max_bytes: u64) {
        let ceiling = received(socket).saturating_add(max_bytes);
        let mut watched = self.deadlines.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = watched.jobs.get_mut(&self.id) {
            job.ceiling = Some((Arc::clone(socket), ceiling));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut watched = self.deadlines.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.jobs.remove(&self.id);
    }
}

/// How many bytes a connection has received in its life; 0 where the system does not say.
fn received(socket: &OwnedFd) -> u64 {
    TcpInfo::of(socket).map_or(0, |info| info.received)
}
