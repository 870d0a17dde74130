//! The server: everything that knows sockets, threads and tiny_http. Nothing outside does.
//!
//! | file | what it owns |
//! |---|---|
//! | `turn` | the loop: takes what is there, has it handled, syncs, releases the replies |
//! | `exchange` | one request and what is known of its connection |
//! | `content` | reading bodies that may be slow |
//! | `deadlines` | ending connections on which a worker has waited too long |
//! | `reply` | writing replies to clients that may be slow |
//! | `spending` | for whom long replies were made not long ago |
//! | `unsent` | what clients have not read yet, and whose share that is |
//! | `events` | what workers tell the loop; `waker`: wakes it for that, if it sleeps |
//! | `lanes` | one request in flight per connection |
//! | `streams` | who is told what happens, and how far each has got |
//! | `broadcast` | the thread that tells them; `audience`: all of them; `listener`: one |
//! | `parking` | requests that wait for something to come |
//! | `pool` | bounded workers |
//! | `hashers` | those that hash passwords; `fair_queue`: what clients share |
//! | `pulse` | keeps tiny_http from forgetting connections |
//! | `socket` | the options of the listening socket |
//! | `acceptor` | where requests come from, and starting that anew |
//! | `connections` | the connections that tiny_http does not show; `tcp_info`, `process`: what the system says of them and of us |
//! | `lookout` | on which connection a request came, and ending others, for the loop |
//! | `reaper` | which connections should end |
//! | `warden` | has that done, and notices a server that cannot be reached |
//! | `admin` | the operator's own listener |
//! | `metrics` | what is counted; `rhythm`: where the time goes; `figure`: how either is registered |
//! | `access_log`, `request_id` | what is logged of each request, and what it is called |
//!
//! The loop never waits for a client, a hash or a lock: what may take long is a job of a
//! [pool](pool::Pool), and a pool that is full is a 503.

mod acceptor;
mod access_log;
mod admin;
mod broadcast;
mod connections;
mod content;
mod deadlines;
mod exchange;
mod fair_queue;
mod figure;
mod hashers;
mod in_flight;
mod inspector;
mod loop_message;
mod loop_timings;
mod metrics;
mod parking;
mod pool;
mod process;
mod reaper;
mod reply;
mod request_id;
pub mod self_probe;
mod socket;
mod streams;
mod subscriber;
mod subscribers;
mod tcp_info;
mod turn;
mod turn_shares;
mod unsent;
mod waker;
mod watchdog;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::api::App;
use crate::store::StoreError;

use acceptor::Acceptor;
pub use access_log::Destination;
use admin::Admin;
pub use socket::{first_of_ours, listen};
pub use turn::DRAIN_DEADLINE;
use waker::Waker;

/// A server that has its port and does not answer yet.
pub struct Server {
    acceptor: Acceptor,
    local_addr: SocketAddr,
    admin: Option<Admin>,
    settings: ServerSettings,
    keeper: Box<dyn Keeper>,
    stopping: Arc<AtomicBool>,
}

/// What the operator decides about the server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// After how long a connection ends on which nothing was answered and nothing is in flight.
    /// A client that takes as long to send a request's head is cut off too.
    pub idle_timeout: Duration,
    /// Where to listen for the operator.
    pub admin: Option<SocketAddr>,
    /// Where a line goes for each answer.
    pub access_log: Option<Destination>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings { idle_timeout: Duration::from_mins(1), admin: None, access_log: None }
    }
}

/// Somebody outside who is told how the server is.
pub trait Keeper: Send {
    /// The server has answered a request of its own, through its socket and its loop.
    fn beat(&mut self);

    /// It has not for so long, and cannot even stop by itself: end the process.
    fn give_up(&mut self);
}

/// Nobody.
impl Keeper for () {
    fn beat(&mut self) {}
    fn give_up(&mut self) {}
}

/// Stops a running server from another thread.
#[derive(Clone)]
pub struct Stopper {
    waker: Waker,
    stopping: Arc<AtomicBool>,
}

/// Why a server could not start or go on.
#[derive(Debug)]
pub enum ServeError {
    /// The address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// The system gives no more threads.
    Thread(io::Error),
    /// The access log cannot be written.
    AccessLog(io::Error),
    /// Its own requests through the socket are not answered.
    Silent,
    /// More connections than [`reply::MAX_LEAKED`] had to be given up for good.
    Abandoned,
    /// The store failed; what was not acknowledged may be lost.
    Store(StoreError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            ServeError::Thread(error) => write!(f, "cannot start a thread: {error}"),
            ServeError::AccessLog(error) => write!(f, "cannot write the access log: {error}"),
            ServeError::Silent => {
                f.write_str("its own requests are not answered any more: it cannot be reached")
            }
            ServeError::Abandoned => {
                f.write_str("too many connections are stuck, and cannot be given up otherwise")
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
            | ServeError::AccessLog(error) => Some(error),
            ServeError::Silent | ServeError::Abandoned => None,
            ServeError::Store(error) => Some(error),
        }
    }
}

impl Server {
    /// Listens on an address; port 0 lets the system choose one. Connections are accepted from
    /// here on, and answered once [`Server::run`] is called.
    pub fn bind(addr: SocketAddr, settings: ServerSettings) -> Result<Server, ServeError> {
        let failed = |error| ServeError::Listen(addr, error);
        let acceptor = listen(addr).and_then(Acceptor::start).map_err(failed)?;
        let local_addr = acceptor.local_addr().map_err(failed)?;
        let bind_admin = |addr| Admin::bind(addr).map_err(|error| ServeError::Listen(addr, error));
        let admin = settings.admin.map(bind_admin).transpose()?;
        let (keeper, stopping) = (Box::new(()), Arc::default());
        Ok(Server { acceptor, local_addr, admin, settings, keeper, stopping })
    }

    /// Tells `keeper` how the server is while it runs.
    #[must_use]
    pub fn kept_by(self, keeper: impl Keeper + 'static) -> Server {
        Server { keeper: Box::new(keeper), ..self }
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address that is listened on for the operator, if there is one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::local_addr)
    }

    /// A handle that makes [`Server::run`] return.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { waker: self.acceptor.waker(), stopping: Arc::clone(&self.stopping) }
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
        self.waker.wake();
    }
}
