//! veche, a REST chat server.
//!
//! A request enters at [`http`], where one thread, the loop, owns the state. It is matched against
//! the table of routes in [`api`]. Its handler uses a [`store`] and [`auth`], and returns a reply or,
//! from the table of errors, a [`problem`].
//!
//! [`docs`] runs the documentation's pages against a server, and [`backup`] fetches a copy of a
//! server's store.
//!
//! Imports run one way: `http → api → {store, auth, problem} → {model, sys}`. Sockets are used in
//! `http` only. Files are used in `store`, `auth`, `http` (for its access log and `/proc`), `docs`,
//! `backup` and the program's commands. The time of day and random bytes come from [`sys`] only.
//! `tests/house` checks all of this.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "veche runs on Linux only: it waits for streams with epoll, reads a connection's state from \
     TCP_INFO, and finds connections in /proc"
);

pub mod api;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod docs;
#[cfg(test)]
#[path = "../tests/extent/mod.rs"]
mod extent;
pub mod http;
pub mod model;
pub mod printable;
pub mod problem;
pub mod progress;
pub mod store;
pub mod sys;
