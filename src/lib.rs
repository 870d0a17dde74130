//! veche, a REST chat server.
//!
//! A request comes in at [`http`], where one thread, the loop, owns the state. It is matched
//! against the one table of routes in [`api`], whose handlers ask a [`store`] and [`auth`], and
//! leaves as a reply or, from the one table of errors, as a [`problem`].
//!
//! Beside the server stand [`docs`], which runs the documentation's pages against one, and
//! [`backup`], which fetches a copy of the store from one.
//!
//! Imports run one way: `http → api → {store, auth, problem} → {model, sys}`. Only `http` knows
//! sockets, only `store`, `auth`, `docs` and `backup` know files, only [`sys`] knows the time of day and
//! where random bytes come from. A test holds that.

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
