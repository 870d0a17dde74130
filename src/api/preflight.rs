//! Preflight requests: a browser asks what a page of another origin may send (the Fetch standard's
//! CORS protocol).

use super::contract::{Operation, RequestHeader};
use super::cors::Cors;
use super::reply::Reply;
use super::request::Request;
use super::routes::{self, Match};

/// Lifetime of a preflight response in a browser, in seconds.
const PREFLIGHT_MAX_AGE: &str = "600";

/// The answer to a preflight request of an origin that is allowed; `None` for any other request.
/// `allow` lists the methods of the path.
pub(super) fn preflight(cors: &Cors, request: &Request<'_>, allow: &str) -> Option<Reply> {
    cors.allowed(request.origin)?;
    let method = request.requested_method.filter(|_| request.method == "OPTIONS")?;
    let mut reply = Reply::empty(204)
        .with("Access-Control-Allow-Methods", allow.to_owned())
        .with("Access-Control-Max-Age", PREFLIGHT_MAX_AGE);
    if let Match::Route(route, _) = routes::find(method, request.path) {
        let fields = request_fields(route.operation, route.needs_token());
        if !fields.is_empty() {
            reply = reply.with("Access-Control-Allow-Headers", fields.join(", "));
        }
    }
    Some(reply)
}

/// The request fields that an operation reads and that a page may not set without permission.
fn request_fields(operation: &Operation, needs_token: bool) -> Vec<&'static str> {
    let anywhere = [(needs_token, "Authorization"), (operation.body.is_some(), "Content-Type")];
    let anywhere = anywhere.into_iter().filter_map(|(wanted, field)| wanted.then_some(field));
    anywhere.chain(operation.heeds().map(RequestHeader::name)).collect()
}
