//! Reasons for which a server cannot start or continue.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::store::StoreError;

/// Reason for which a server could not start or continue.
#[derive(Debug)]
pub enum ServeError {
    /// The address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// The system gives no more threads.
    Thread(io::Error),
    /// The access log cannot be written.
    AccessLog(io::Error),
    /// The server's own requests through its socket are not answered.
    Silent,
    /// Too many connections were leaked; see `MAX_LEAKED` in `replies::outbox`.
    Abandoned,
    /// The store failed; writes that were not acknowledged may be lost.
    Store(StoreError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            ServeError::Thread(error) => write!(f, "cannot start a thread: {error}"),
            ServeError::AccessLog(error) => write!(f, "cannot write the access log: {error}"),
            ServeError::Silent => f.write_str(
                "the server's own requests are no longer answered: it cannot be reached",
            ),
            ServeError::Abandoned => {
                f.write_str("too many connections are stuck and cannot be closed")
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
