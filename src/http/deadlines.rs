//! Ends what takes too long: a job that waits for a client is given up by shutting the client's
//! connection down, which wakes the job with an error.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::socket::Connections;

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
}

#[derive(Clone, Copy)]
struct Job {
    peer: SocketAddr,
    begun: Instant,
    limit: Duration,
}

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
        watched.jobs.insert(id, Job { peer, begun: Instant::now(), limit });
        Guard { deadlines: self.clone(), id }
    }

    /// Leaves the jobs under way no more than `limit`, because others wait for their worker.
    pub(super) fn hurry(&self, limit: Duration) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for job in watched.jobs.values_mut() {
            job.limit = job.limit.min(limit);
        }
    }

    /// Shuts the connections of overdue jobs down.
    pub(super) fn enforce(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue: Vec<Job> = watched
            .jobs
            .extract_if(|_, job| job.begun.elapsed() >= job.limit)
            .map(|(_, job)| job)
            .collect();
        drop(watched);
        for Job { peer, .. } in overdue {
            log::info!("closing the connection with {peer}: it took too long");
            self.connections.sever(peer);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut watched = self.deadlines.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.jobs.remove(&self.id);
    }
}
