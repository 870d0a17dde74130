//! Health checks, for load balancers and service managers.

use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::contract::{Operation, ResponseSpec, SchemaRef, Tag};
use super::failure::Failure;
use super::outcome::Outcome;
use super::rendering::to_json;
use super::reply::Reply;
use super::request::OpenCall;
use crate::problem::{self, Problem};

/// The server is well.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Health {
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

pub(super) const ALIVE: Operation = Operation {
    answers: &[ResponseSpec::json(200, "The server is alive", SchemaRef::of::<Health>())],
    ..Operation::new("alive", Tag::Health, "Check that the server is alive")
};

pub(super) const READY: Operation = Operation {
    answers: &[ResponseSpec::json(200, "The server takes messages", SchemaRef::of::<Health>())],
    problems: &[problem::INSUFFICIENT_STORAGE],
    ..Operation::new("ready", Tag::Health, "Check that the server takes messages")
};

fn well() -> Outcome {
    Outcome::Reply(Reply::json(200, to_json(&Health { status: "ok" })))
}

/// A server that answers is alive.
///
/// `GET /healthz`
#[expect(clippy::unnecessary_wraps, reason = "handlers are of one type")]
pub(super) fn alive(_: &mut App, _: &OpenCall<'_>) -> Result<Outcome, Failure> {
    Ok(well())
}

/// `GET /readyz`
pub(super) fn ready(app: &mut App, _: &OpenCall<'_>) -> Result<Outcome, Failure> {
    if app.takes_writes() { Ok(well()) } else { Err(Problem::no_room().into()) }
}
