//! The server: everything that knows sockets, threads and tiny_http. Nothing outside does.
//!
//! | file | what it owns |
//! |---|---|
//! | `turn` | the loop: takes what is there, has it handled, syncs, releases the replies |
//! | `exchange` | one request and what is known of its connection |
//! | `content` | reading bodies that may be slow |
//! | `deadlines` | ending connections on which a worker has waited too long |
//! | `reply` | writing replies to clients that may be slow |
//! | `events` | what workers tell the loop |
//! | `lanes` | one request in flight per connection |
//! | `pool` | bounded workers |
//! | `pulse` | keeps tiny_http from forgetting connections |
//! | `socket` | the options of the listening socket; finding a connection again |
//!
//! The loop never waits for a client, a hash or a lock: what may take long is a job of a
//! [pool](pool::Pool), and a pool that is full is a 503.

mod content;
mod deadlines;
mod events;
mod exchange;
mod lanes;
mod pool;
pub mod pulse;
mod reply;
mod socket;
mod turn;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::api::App;
use crate::store::StoreError;

pub use socket::listen;

/// A server that has its port and does not answer yet.
pub struct Server {
    inner: Arc<tiny_http::Server>,
    /// A second handle on the listening socket, to close it while tiny_http has it.
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    stopping: Arc<AtomicBool>,
}

/// Stops a running server from another thread.
#[derive(Clone)]
pub struct Stopper {
    server: Arc<tiny_http::Server>,
    stopping: Arc<AtomicBool>,
}

/// Why a server could not start or go on.
#[derive(Debug)]
pub enum ServeError {
    /// The address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// The system gives no more threads.
    Thread(io::Error),
    /// No connection can be accepted any more.
    Accept(io::Error),
    /// More connections than [`reply::MAX_ABANDONED`] had to be given up for good.
    Abandoned,
    /// The store failed; what was not acknowledged may be lost.
    Store(StoreError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            ServeError::Thread(error) => write!(f, "cannot start a thread: {error}"),
            ServeError::Accept(error) => write!(f, "cannot accept connections: {error}"),
            ServeError::Abandoned => {
                f.write_str("too many connections were abandoned with bodies that cannot be read")
            }
            ServeError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Listen(_, error)
            | ServeError::Thread(error)
            | ServeError::Accept(error) => Some(error),
            ServeError::Abandoned => None,
            ServeError::Store(error) => Some(error),
        }
    }
}

impl Server {
    /// Listens on an address; port 0 lets the system choose one. Connections are accepted from
    /// here on, and answered once [`Server::run`] is called.
    pub fn bind(addr: SocketAddr) -> Result<Server, ServeError> {
        let failed = |error| ServeError::Listen(addr, error);
        let listener = listen(addr).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let second = listener.try_clone().map_err(failed)?;
        let server = tiny_http::Server::from_listener(listener, None)
            .map_err(|error| failed(io::Error::other(error)))?;
        let stopping = Arc::new(AtomicBool::new(false));
        Ok(Server { inner: Arc::new(server), listener: second, local_addr, stopping })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A handle that makes [`Server::run`] return.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { server: Arc::clone(&self.inner), stopping: Arc::clone(&self.stopping) }
    }

    /// Answers requests until it is stopped: then what is under way is finished and synced. An
    /// error means that it could not go on; what had been acknowledged is durable all the same.
    pub fn run(self, app: App) -> Result<(), ServeError> {
        turn::Loop::new(self, app)?.run()
    }
}

impl Stopper {
    /// Stops the server. It takes no new connections and finishes what is under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.server.unblock();
    }
}
