//! A well-behaved client.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contract::{self, Answered, Asked};
use crate::server::{PATIENCE, Server};

/// The password of all accounts here.
pub(crate) const PASSWORD: &str = "correct horse";
/// The longest that a request of a well-behaved client may take while others misbehave: less than
/// the 30 s that the server gives a body or a reader, so that a client that is served has not
/// waited for those.
const SERVED_WITHIN: Duration = Duration::from_secs(20);

/// Keeps its connections alive, and one account's token. Every answer to it is checked against the
/// contract.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    addr: SocketAddr,
    token: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client without an account.
    pub(crate) fn new(server: &Server) -> Client {
        Client::at(server.addr())
    }

    /// The same, for a server whose address is known.
    pub(crate) fn at(addr: SocketAddr) -> Client {
        Client::with_patience(addr, PATIENCE)
    }

    fn with_patience(addr: SocketAddr, patience: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .max_response_header_size(64 * 1024)
            .proxy(None)
            .build();
        Client { agent: config.into(), addr, token: String::new() }
    }

    /// A client with a new account, logged in.
    pub(crate) fn signed_up(server: &Server, username: &str) -> Client {
        Client::new(server).sign_up(username)
    }

    /// The same on this client's connections.
    pub(crate) fn sign_up(self, username: &str) -> Client {
        let registered = self.post("/register", &credentials(username, PASSWORD));
        assert_eq!(registered.status, 201, "{registered:?}");
        self.log_in(username)
    }

    /// Logged in with an existing account.
    pub(crate) fn log_in(self, username: &str) -> Client {
        let answer = self.post("/login", &credentials(username, PASSWORD));
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        self.with_token(token)
    }

    /// The same client with a token from elsewhere.
    pub(crate) fn with_token(self, token: impl Into<String>) -> Client {
        Client { token: token.into(), ..self }
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The client's own id.
    pub(crate) fn id(&self) -> u64 {
        self.get("/api/users/me").json()["id"].as_u64().expect("an id")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The error is that of the connection.
    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.send("GET", path, &[], None)
    }

    /// Any method, with a body if one is given.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        let answer = self.send(method, path, &[], body.as_deref().map(str::as_bytes));
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let uri = format!("http://{}{path}", self.addr);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        Answer::read(Asked { method, target: path }, response)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// The error is that of the connection.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        self.post_as(path, "application/json", body.to_string().as_bytes())
    }

    /// The same under an idempotency key, as it is in the field. The error is that of the
    /// connection.
    pub(crate) fn try_post_under(
        &self,
        key: &str,
        path: &str,
        body: &Value,
    ) -> Result<Answer, ureq::Error> {
        let fields = [("Idempotency-Key", key), ("Content-Type", "application/json")];
        self.send("POST", path, &fields, Some(body.to_string().as_bytes()))
    }

    pub(crate) fn post_under(&self, key: &str, path: &str, body: &Value) -> Answer {
        let answer = self.try_post_under(key, path, body);
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Any bytes, of any declared type.
    pub(crate) fn post_as(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        self.send("POST", path, &[("Content-Type", content_type)], Some(body))
    }

    /// Posts to the general chat, and returns the message's id.
    pub(crate) fn say(&self, text: &str) -> u64 {
        self.post("/api/messages", &json!({ "text": text })).created()
    }

    /// Posts to a user, and returns the message's id.
    pub(crate) fn tell(&self, user: u64, text: &str) -> u64 {
        self.post(&format!("/api/users/{user}/messages"), &json!({ "text": text })).created()
    }

    /// Every item of a list from the beginning, and the path of the last `rel=next`.
    pub(crate) fn follow(&self, list: &str, limit: usize) -> (Vec<Value>, String) {
        let (mut items, mut path) = (Vec::new(), format!("{list}?after=-1&limit={limit}"));
        loop {
            let page = self.get(&path);
            assert_eq!(page.status, 200, "{page:?}");
            path = page.link("next").expect("there is always a next page");
            let page = page.items();
            if page.is_empty() {
                return (items, path);
            }
            items.extend(page);
            assert!(ids(&items).is_sorted_by(|a, b| a < b), "{list}: {:?}", ids(&items));
        }
    }

    /// Uses the server like an ordinary client, a page, a short message and a long one in turn,
    /// half of the time on a new connection. Every request must be answered well, and without
    /// waiting for the others to be given up.
    pub(crate) fn is_served(&self, meanwhile: &str) {
        let long = "long ".repeat(600);
        let fresh = || Client::with_patience(self.addr, SERVED_WITHIN).with_token(&self.token);
        let kept = fresh();
        for round in 0..21 {
            let client = if round % 2 == 0 { kept.clone() } else { fresh() };
            let (answer, expected) = match round % 3 {
                0 => (client.get("/api/messages?limit=1"), 200),
                1 => (client.post("/api/messages", &json!({ "text": "short" })), 201),
                _ => (client.post("/api/messages", &json!({ "text": long })), 201),
            };
            assert_eq!(answer.status, expected, "{meanwhile}, request {round}: {answer:?}");
        }
    }
}

impl Answer {
    pub(crate) fn new(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Answer {
        Answer { status, headers, body }
    }

    /// Reads the whole answer to a request.
    fn read(
        asked: Asked<'_>,
        response: ureq::http::Response<ureq::Body>,
    ) -> Result<Answer, ureq::Error> {
        let (head, mut body) = response.into_parts();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let body = body.with_config().limit(64 * 1024 * 1024).read_to_vec()?;
        let answer = Answer { status: head.status.as_u16(), headers, body };
        contract::check(Some(asked), &answer.answered()).unwrap_or_else(|why| panic!("{why}"));
        Ok(answer)
    }

    /// The answer for the contract.
    pub(crate) fn answered(&self) -> Answered<'_> {
        Answered { status: self.status, fields: &self.headers, body: &self.body }
    }

    /// The first field of a name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(its_name, _)| its_name.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The fields that are the same when the request is repeated.
    pub(crate) fn lasting_headers(&self) -> Vec<&(String, String)> {
        let passing = ["date", "x-request-id"];
        let lasts = |name: &str| !passing.iter().any(|it| it.eq_ignore_ascii_case(name));
        self.headers.iter().filter(|(name, _)| lasts(name)).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is no JSON ({error}): {self:?}"))
    }

    /// The items of a page.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.json().as_array().expect("a list").clone()
    }

    /// The ids on a page.
    pub(crate) fn ids(&self) -> Vec<u64> {
        ids(&self.items())
    }

    /// The id of the posted message.
    pub(crate) fn created(&self) -> u64 {
        assert_eq!(self.status, 201, "{self:?}");
        self.json()["id"].as_u64().expect("an id")
    }

    /// The target of a `Link`.
    pub(crate) fn link(&self, rel: &str) -> Option<String> {
        let links = self.header("Link").expect("a page has links").split(", ");
        let mut found = links.filter(|link| link.ends_with(&format!("rel=\"{rel}\"")));
        let link = found.next()?;
        Some(link[1..link.find('>').expect("a link in brackets")].to_owned())
    }

    /// The last segment of a problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
        kind.expect("a problem's type").to_owned()
    }
}

/// The ids of a list's items.
pub(crate) fn ids(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["id"].as_u64().expect("an id")).collect()
}

/// The body for registering and logging in.
pub(crate) fn credentials(username: &str, password: &str) -> Value {
    json!({ "username": username, "password": password })
}

/// Runs a number of threads to their end, and returns their results in order.
pub(crate) fn each<T: Send>(count: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread ends well")).collect()
    })
}
