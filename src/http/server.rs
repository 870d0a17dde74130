//! A server: its address, its settings, and a handle that stops it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::admin::Admin;
use super::connections::acceptor::Acceptor;
use super::connections::socket::listen;
use super::error::ServeError;
use super::monitoring::access_log::Destination;
use super::supervisor::Supervisor;
use super::waker::Waker;

/// A server that accepts connections and does not answer yet. `Server::run` is in `turn`.
pub struct Server {
    pub(super) acceptor: Acceptor,
    pub(super) local_addr: SocketAddr,
    pub(super) admin: Option<Admin>,
    pub(super) settings: ServerSettings,
    pub(super) supervisor: Box<dyn Supervisor>,
    pub(super) stopping: Arc<AtomicBool>,
}

/// The operator's settings of a server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Time after which a connection ends on which nothing was answered and nothing is in flight.
    /// It limits the time to send a request's head too.
    pub idle_timeout: Duration,
    /// Address of the operator's listener.
    pub admin: Option<SocketAddr>,
    /// Destination of the access log, which has a line for each answer.
    pub access_log: Option<Destination>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings { idle_timeout: Duration::from_mins(1), admin: None, access_log: None }
    }
}

/// Stops a running server from another thread.
#[derive(Clone)]
pub struct Stopper {
    waker: Waker,
    stopping: Arc<AtomicBool>,
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
        let (supervisor, stopping) = (Box::new(()), Arc::default());
        Ok(Server { acceptor, local_addr, admin, settings, supervisor, stopping })
    }

    /// Reports to `supervisor` while the server runs.
    #[must_use]
    pub fn supervised_by(self, supervisor: impl Supervisor + 'static) -> Server {
        Server { supervisor: Box::new(supervisor), ..self }
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address of the operator's listener, if there is one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::local_addr)
    }

    /// A handle that makes [`Server::run`] return.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { waker: self.acceptor.waker(), stopping: Arc::clone(&self.stopping) }
    }
}

impl Stopper {
    /// Stops the server. It takes no new connections and finishes the requests in progress.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}
