//! The one list of endpoints. What is not in it cannot be reached, and what is in it must be
//! documented: `tests/docs.rs` asks for an example of every status of every route.

use super::{App, Call, Failure, Outcome, Request};
use super::{accounts, messages, users};

/// An endpoint.
pub struct Route {
    /// `GET` answers `HEAD` too.
    pub method: &'static str,
    /// With `{id}` for the one segment that varies.
    pub path: &'static str,
    /// What it can answer, in order. Any route can also answer 500 and, when a queue is full,
    /// 503.
    pub statuses: &'static [u16],
    pub(super) handler: Handler,
}

/// Who may call, and what is called.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// Anyone.
    Open(fn(&mut App, &Request<'_>) -> Result<Outcome, Failure>),
    /// Who brings a token.
    Authenticated(fn(&mut App, &Call<'_>) -> Result<Outcome, Failure>),
}

impl Route {
    /// Whether it wants an access token.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        matches!(self.handler, Handler::Authenticated(_))
    }

    fn answers(&self, method: &str) -> bool {
        self.method == method || (self.method == "GET" && method == "HEAD")
    }
}

const fn open(
    method: &'static str,
    path: &'static str,
    statuses: &'static [u16],
    handler: fn(&mut App, &Request<'_>) -> Result<Outcome, Failure>,
) -> Route {
    Route { method, path, statuses, handler: Handler::Open(handler) }
}

const fn authenticated(
    method: &'static str,
    path: &'static str,
    statuses: &'static [u16],
    handler: fn(&mut App, &Call<'_>) -> Result<Outcome, Failure>,
) -> Route {
    Route { method, path, statuses, handler: Handler::Authenticated(handler) }
}

const REGISTER: &[u16] = &[201, 400, 409, 413, 415, 422];
const LOGIN: &[u16] = &[200, 400, 401, 413, 415, 422];

/// Every endpoint there is.
pub static ROUTES: &[Route] = &[
    open("POST", "/register", REGISTER, accounts::register),
    open("POST", "/users/register", REGISTER, accounts::register),
    open("POST", "/login", LOGIN, accounts::login),
    open("POST", "/users/login", LOGIN, accounts::login),
    authenticated("GET", "/api/messages", &[200, 400, 401, 410], messages::list_general),
    authenticated("POST", "/api/messages", &[201, 400, 401, 413, 415, 422], messages::post_general),
    authenticated("GET", "/api/messages/{id}", &[200, 401, 403, 404], messages::show),
    authenticated("GET", "/api/users", &[200, 400, 401, 410], users::list),
    authenticated("GET", "/api/users/{id}", &[200, 401, 404], users::show),
    authenticated(
        "GET",
        "/api/users/{id}/messages",
        &[200, 400, 401, 403, 404, 410],
        messages::list_private,
    ),
    authenticated(
        "POST",
        "/api/users/{id}/messages",
        &[201, 400, 401, 404, 413, 415, 422],
        messages::post_private,
    ),
];

/// What the table has for a method and a path.
pub enum Match<'a> {
    /// A route, and the segment its path calls `{id}`, or nothing.
    Route(&'static Route, &'a str),
    /// The path exists, with these methods, as the `Allow` field lists them.
    OtherMethods(String),
    /// The path does not exist.
    Nothing,
}

/// Looks a method and a path up.
#[must_use]
pub fn find<'a>(method: &str, path: &'a str) -> Match<'a> {
    let mut allow: Vec<&str> = Vec::new();
    for route in ROUTES {
        let Some(id) = captured(route.path, path) else { continue };
        if route.answers(method) {
            return Match::Route(route, id);
        }
        allow.push(route.method);
        if route.method == "GET" {
            allow.push("HEAD");
        }
    }
    if allow.is_empty() { Match::Nothing } else { Match::OtherMethods(allow.join(", ")) }
}

/// What `pattern`'s `{id}` stands for in `path`: one segment, and not an empty one.
fn captured<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, behind)) = pattern.split_once("{id}") else {
        return (pattern == path).then_some("");
    };
    let id = path.strip_prefix(before)?.strip_suffix(behind)?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> String {
        match find(method, path) {
            Match::Route(route, id) => format!("{} {} {id}", route.method, route.path),
            Match::OtherMethods(allow) => format!("allow {allow}"),
            Match::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_match_whole_segments() {
        assert_eq!(found("GET", "/api/messages"), "GET /api/messages ");
        assert_eq!(found("HEAD", "/api/messages/7"), "GET /api/messages/{id} 7");
        assert_eq!(found("POST", "/api/users/me/messages"), "POST /api/users/{id}/messages me");
        for path in
            ["/", "", "/api/messages/", "/api/users/1/2", "/api/users//messages", "/API/users"]
        {
            assert_eq!(found("GET", path), "nothing", "{path}");
        }
    }

    #[test]
    fn other_methods_are_listed() {
        assert_eq!(found("DELETE", "/api/messages"), "allow GET, HEAD, POST");
        assert_eq!(found("HEAD", "/login"), "allow POST");
        assert_eq!(found("get", "/api/users"), "allow GET, HEAD");
    }
}
