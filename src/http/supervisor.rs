//! Observer of a running server, such as a service manager.

use std::time::Duration;

/// Time that requests in progress may take to finish when the server stops. A supervisor that stops
/// the server should allow more than this before it ends the process.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Receiver of reports on whether the server works.
pub trait Supervisor: Send {
    /// The server has answered a request of its own, through its socket and its loop.
    fn report_alive(&mut self);

    /// The server has been silent for too long and does not stop by itself: end the process.
    fn abort(&mut self);
}

/// Ignores all reports.
impl Supervisor for () {
    fn report_alive(&mut self) {}
    fn abort(&mut self) {}
}
