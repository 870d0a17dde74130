//! The list of all endpoints. A path that is not in it cannot be reached, and one that is in it
//! must be documented: `tests/docs` needs an example of every status of every route.

use super::app::App;
use super::contract::Operation;
use super::failure::Failure;
use super::outcome::Outcome;
use super::request::{Call, OpenCall};
use super::{
    accounts, blocks, conversations, events, health, messages, password, problems, reference,
    registration, revisions, sessions, users,
};

/// An endpoint.
pub struct Route {
    /// The method. `GET` answers `HEAD` too.
    pub method: &'static str,
    /// The path, with a name in braces in the place of the segment that varies.
    pub path: &'static str,
    /// Its parameters and responses.
    pub operation: &'static Operation,
    pub(super) handler: Handler,
}

/// The function that handles requests.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// A handler for any request.
    Open(fn(&mut App, &OpenCall<'_>) -> Result<Outcome, Failure>),
    /// A handler for requests with a valid token.
    Authenticated(fn(&mut App, &Call<'_>) -> Result<Outcome, Failure>),
}

impl Route {
    /// `true` if it needs an access token.
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
    operation: &'static Operation,
    handler: fn(&mut App, &OpenCall<'_>) -> Result<Outcome, Failure>,
) -> Route {
    Route { method, path, operation, handler: Handler::Open(handler) }
}

const fn authenticated(
    method: &'static str,
    path: &'static str,
    operation: &'static Operation,
    handler: fn(&mut App, &Call<'_>) -> Result<Outcome, Failure>,
) -> Route {
    Route { method, path, operation, handler: Handler::Authenticated(handler) }
}

/// All endpoints.
#[rustfmt::skip] // a table is read by its columns
pub static ROUTES: &[Route] = &[
    open("POST", "/register", &accounts::REGISTER, accounts::register),
    open("POST", "/users/register", &accounts::REGISTER_ALIAS, accounts::register),
    open("POST", "/login", &accounts::LOGIN, accounts::login),
    open("POST", "/users/login", &accounts::LOGIN_ALIAS, accounts::login),
    authenticated("POST", "/logout", &sessions::LOGOUT, sessions::logout),
    authenticated("POST", "/logout/all", &sessions::LOGOUT_ALL, sessions::logout_all),
    authenticated("GET", "/api/users/me/sessions", &sessions::LIST, sessions::list),
    authenticated("DELETE", "/api/users/me/sessions/{sid}", &sessions::END, sessions::end),
    authenticated("PUT", "/api/users/me/password", &password::CHANGE, password::change),
    authenticated("POST", "/api/users/me/deletion", &password::DELETE, password::delete),
    authenticated("GET", "/api/messages", &messages::LIST_GENERAL, messages::list_general),
    authenticated("POST", "/api/messages", &messages::POST_GENERAL, messages::post_general),
    authenticated("GET", "/api/messages/{id}", &messages::SHOW, messages::show),
    authenticated("PATCH", "/api/messages/{id}", &revisions::EDIT, revisions::edit),
    authenticated("DELETE", "/api/messages/{id}", &revisions::DELETE, revisions::delete),
    authenticated("GET", "/api/events", &events::LIST, events::list),
    authenticated("GET", "/api/users", &users::LIST, users::list),
    authenticated("GET", "/api/users/{id}", &users::SHOW, users::show),
    authenticated("GET", "/api/users/{id}/messages", &messages::LIST_PRIVATE, messages::list_private),
    authenticated("POST", "/api/users/{id}/messages", &messages::POST_PRIVATE, messages::post_private),
    authenticated("GET", "/api/users/me/conversations", &conversations::LIST, conversations::list),
    authenticated("PUT", "/api/users/me/conversations/{id}/read", &conversations::READ, conversations::mark_read),
    authenticated("GET", "/api/users/me/blocks", &blocks::LIST_OWN, blocks::list_own),
    authenticated("PUT", "/api/users/me/blocks/{id}", &blocks::BLOCK_SENDER, blocks::block_sender),
    authenticated("DELETE", "/api/users/me/blocks/{id}", &blocks::UNBLOCK_SENDER, blocks::unblock_sender),
    authenticated("GET", "/api/blocks", &blocks::LIST, blocks::list),
    authenticated("PUT", "/api/blocks/{id}", &blocks::BLOCK, blocks::block),
    authenticated("DELETE", "/api/blocks/{id}", &blocks::UNBLOCK, blocks::unblock),
    open("GET", "/api/registration", &registration::SHOW, registration::show),
    authenticated("PUT", "/api/registration", &registration::CHANGE, registration::change),
    open("GET", "/openapi.json", &reference::OPENAPI, reference::openapi),
    open("GET", "/docs", &reference::PAGE, reference::page),
    open("GET", "/docs/{file}", &reference::FILE, reference::file),
    open("GET", "/problems", &problems::LIST, problems::list),
    open("GET", "/problems/{kind}", &problems::SHOW, problems::show),
    open("GET", "/healthz", &health::ALIVE, health::alive),
    open("GET", "/readyz", &health::READY, health::ready),
];

/// The entry of the table for a method and a path.
pub enum Match<'a> {
    /// A route, and the segment in the place of its path's braces, or an empty string.
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
        let Some(segment) = captured(route.path, path) else { continue };
        if route.answers(method) {
            return Match::Route(route, segment);
        }
        allow.push(route.method);
        if route.method == "GET" {
            allow.push("HEAD");
        }
    }
    if allow.is_empty() { Match::Nothing } else { Match::OtherMethods(allow.join(", ")) }
}

/// The segment of `path` in the place of the braces of `pattern`. It is not empty.
fn captured<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    // Most patterns differ early, so the braces are searched for only after the equal part.
    // Patterns are ASCII, so that no character is split.
    let alike = |&(it, other): &(u8, u8)| it == other && it != b'{';
    let len = pattern.bytes().zip(path.bytes()).take_while(alike).count();
    let (pattern, path) = (&pattern[len..], &path[len..]);
    let Some((_, behind)) = pattern.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return (pattern.is_empty() && path.is_empty()).then_some("");
    };
    let segment = path.strip_suffix(behind)?;
    (!segment.is_empty() && !segment.contains('/')).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> String {
        match find(method, path) {
            Match::Route(route, segment) => {
                format!("{} {} {segment}", route.method, route.path)
            }
            Match::OtherMethods(allow) => format!("allow {allow}"),
            Match::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn paths_match_whole_segments() {
        assert_eq!(found("GET", "/api/messages"), "GET /api/messages ");
        assert_eq!(found("HEAD", "/api/messages/7"), "GET /api/messages/{id} 7");
        assert_eq!(found("POST", "/api/users/me/messages"), "POST /api/users/{id}/messages me");
        // Braces in a client's path have no meaning.
        assert_eq!(found("GET", "/api/messages/{id}"), "GET /api/messages/{id} {id}");
        assert_eq!(found("GET", "/api/messages/{"), "GET /api/messages/{id} {");
        assert_eq!(found("GET", "/api/users/é/messages"), "GET /api/users/{id}/messages é");
        for path in
            ["/", "", "/api/messages/", "/api/users/1/2", "/api/users//messages", "/API/users"]
        {
            assert_eq!(found("GET", path), "nothing", "{path}");
        }
    }

    #[test]
    fn patterns_are_ascii() {
        assert!(ROUTES.iter().all(|route| route.path.is_ascii()));
    }

    #[test]
    fn other_methods_are_listed() {
        assert_eq!(found("DELETE", "/api/messages"), "allow GET, HEAD, POST");
        assert_eq!(found("HEAD", "/login"), "allow POST");
        assert_eq!(found("get", "/api/users"), "allow GET, HEAD");
    }
}
