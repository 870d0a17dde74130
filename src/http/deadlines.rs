//! Ends what takes too long: a job that waits for a client is given up by shutting the client's
//! connection down, which wakes the job with an error.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::socket;

/// The jobs under way that wait for a client.
#[derive(Clone, Default)]
pub(super) struct Deadlines(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    next: u64,
    jobs: HashMap<u64, (Instant, SocketAddr)>,
}

/// Held while a job runs.
pub(super) struct Guard {
    deadlines: Deadlines,
    id: u64,
}

impl Deadlines {
    /// Gives the calling job `limit` for its dealings with `peer`.
    pub(super) fn watch(&self, peer: SocketAddr, limit: Duration) -> Guard {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = watched.next;
        watched.next += 1;
        watched.jobs.insert(id, (Instant::now() + limit, peer));
        Guard { deadlines: self.clone(), id }
    }

    /// Shuts the connections of overdue jobs down.
    pub(super) fn enforce(&self) {
        let now = Instant::now();
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue: Vec<SocketAddr> = watched
            .jobs
            .extract_if(|_, (deadline, _)| *deadline <= now)
            .map(|(_, job)| job.1)
            .collect();
        drop(watched);
        for peer in overdue {
            log::info!("closing the connection with {peer}: it took too long");
            sever(peer);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut watched = self.deadlines.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.jobs.remove(&self.id);
    }
}

/// Ends a connection from outside: whoever reads or writes it is woken, and never waits again.
pub(super) fn sever(peer: SocketAddr) {
    if let Some(fd) = socket::find(peer) {
        // It fails only if the connection has ended by itself.
        let _ = SockRef::from(&fd).shutdown(Shutdown::Both);
    }
}
