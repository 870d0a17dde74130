//! The HTTP server. It alone knows sockets, threads and tiny_http.
//!
//! | file or folder | purpose |
//! |---|---|
//! | `server` | [`Server`], its settings, and [`Stopper`]; `error`, `supervisor`: its other public types |
//! | `turn` | the loop: takes requests, has them handled, syncs the store, releases the replies |
//! | `loop_message` | messages of other threads to the loop; `waker`: wakes the loop for them |
//! | `requests` | requests and their bodies, one in flight per connection, and long polls |
//! | `replies` | writing replies to clients that may read slowly |
//! | `streams` | event streams: their registry, and the thread that sends to subscribers |
//! | `workers` | bounded pools of threads, and the one that hashes passwords |
//! | `connections` | accepting connections, finding them among the descriptors, ending them, and probing the server itself |
//! | `monitoring` | metrics and the access log |
//! | `admin` | the operator's listener |
//!
//! The loop never waits for a client, a hash or a lock. Work that may take long is a job of a
//! bounded pool (`workers::pool`); a request for which the pool has no room is answered 503.

mod admin;
mod connections;
mod error;
mod loop_message;
mod monitoring;
mod replies;
mod requests;
mod server;
mod streams;
mod supervisor;
mod turn;
mod waker;
mod workers;

pub use connections::self_probe;
pub use connections::socket::{first_local, listen};
pub use error::ServeError;
pub use monitoring::access_log::Destination;
pub use server::{Server, ServerSettings, Stopper};
pub use supervisor::{DRAIN_DEADLINE, Supervisor};
