//! Connections: accepting them, finding them among the descriptors of the process, and ending those
//! that should end.
//!
//! | file | purpose |
//! |---|---|
//! | `socket` | the options of the listening socket |
//! | `acceptor` | tiny_http on the listening socket, and restarting it when its accept thread ends |
//! | `descriptors` | the connections that tiny_http holds and does not show |
//! | `tcp_info`, `process` | the kernel's data on a connection, and on this process |
//! | `deadlines` | ends connections on which a worker has waited too long |
//! | `inspector` | a thread that finds out on which connection a request came, and ends connections for the loop |
//! | `reaper` | decides which connections should end |
//! | `self_probe` | requests of the server to itself |
//! | `watchdog` | runs the reaper and the deadlines with each probe, and detects a server that does not answer |

pub(super) mod acceptor;
pub(super) mod deadlines;
pub(super) mod descriptors;
pub(super) mod inspector;
pub(super) mod process;
pub(super) mod reaper;
pub mod self_probe;
pub(super) mod socket;
pub(super) mod tcp_info;
pub(super) mod watchdog;
