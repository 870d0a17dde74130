//! The API: what a request means, and what is answered to it.
//!
//! Handlers see no socket and no thread, and never wait. A handler returns an
//! [`Outcome`]: a reply, a [`Job`] for work that blocks, a
//! [`Wait`](wait::Wait) for a request that is held until something happens, or a
//! [`Subscription`](stream::Subscription) for a stream of events. A new endpoint is a row in
//! [`routes::ROUTES`] and a function in the file of its resource.
//!
//! * The state is in `app`. `dispatch` routes a request to its handler, and `authentication`
//!   checks its token.
//! * A request comes as `request`, is read by `body`, `paging`, `negotiation` and
//!   `conditional`, and leaves as `outcome`, `reply` or `failure`.
//! * [`contract`] has the types in which each resource declares what it takes and answers;
//!   [`openapi`] makes the `OpenAPI` document of these declarations.
//! * Resources, each with its wire types, operations and handlers: `accounts`, `password`,
//!   `sessions`, `users`, `messages`, `revisions`, `conversations`, `events`,
//!   `blocks`, `registration`, `health`, `problems` and `reference`.
//! * Live events and held requests: [`stream`], [`wait`], `long_poll` and [`notices`].
//! * Rules that several resources share: [`idempotency`] with `retry_clock` and `stale_keys`,
//!   [`limits`], `moderation` with [`operators`], `session_cache`, [`cors`] with `preflight`,
//!   and [`client`], which tells clients apart.

mod accounts;
mod app;
mod authentication;
mod blocks;
mod body;
pub mod client;
#[cfg(test)]
mod clock_tests;
mod conditional;
pub mod contract;
mod conversations;
pub mod cors;
mod dispatch;
mod event_body;
mod events;
mod failure;
mod health;
pub mod idempotency;
pub mod limits;
mod long_poll;
mod message_body;
mod messages;
mod moderation;
mod names;
mod negotiation;
pub mod notices;
pub mod openapi;
pub mod operators;
mod outcome;
mod paging;
mod password;
mod preflight;
mod problems;
mod reference;
mod registration;
mod rendering;
mod reply;
mod request;
mod retry_clock;
mod revisions;
pub mod routes;
mod session_cache;
mod sessions;
mod stale_keys;
pub mod stream;
#[cfg(test)]
mod test_app;
mod users;
pub mod wait;

pub use self::app::{App, Settings};
pub use self::dispatch::RequestInfo;
pub use self::failure::Failure;
pub use self::outcome::{Job, Outcome, Resume};
pub use self::reply::Reply;
pub use self::request::{Body, MAX_BODY_BYTES, Request};
pub use self::session_cache::Revoked;
