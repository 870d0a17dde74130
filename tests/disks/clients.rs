//! Clients that write to the server under test, and a record of the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::server::PATIENCE;
use crate::verdict::Told;

/// The password of all accounts here.
const PASSWORD: &str = "correct horse";
/// Longest text, in bytes: some records span sectors of both sizes.
const LONGEST_TEXT: u64 = 1500;

/// Everything ever sent, and the results as far as they are known.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    /// Every text and its receiver, before it is sent. No text is sent twice.
    pub(crate) sent: BTreeMap<String, Option<u64>>,
    /// Every name, before it is registered.
    pub(crate) names: BTreeSet<String>,
    /// Messages that were acknowledged.
    pub(crate) messages: BTreeMap<u64, String>,
    /// Accounts that were acknowledged.
    pub(crate) users: BTreeMap<u64, String>,
}

impl Ledger {
    /// The ledger at the time when only this had been told: other writes may have taken effect
    /// under other ids.
    pub(crate) fn after(&self, told: &[Told]) -> Ledger {
        let mut then = self.clone();
        then.messages.retain(|id, _| told.contains(&Told::Message(*id)));
        then.users.retain(|id, _| told.contains(&Told::User(*id)));
        then
    }
}

/// A client.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    addr: SocketAddr,
    pub(crate) token: String,
}

/// An answer's status and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// True if the answer is marked as replayed.
    pub(crate) replayed: bool,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build();
        Client { agent: config.into(), addr, token: String::new() }
    }

    /// The same with a token.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client { token: token.to_owned(), ..self.clone() }
    }

    /// `None` if the connection ended without an answer.
    pub(crate) fn ask(&self, path: &str, body: Option<&Value>) -> Option<Answer> {
        let (url, bearer) =
            (format!("http://{}{path}", self.addr), format!("Bearer {}", self.token));
        let response = match body {
            None => self.agent.get(url).header("Authorization", bearer).call(),
            Some(body) => self
                .agent
                .post(url)
                .header("Authorization", bearer)
                .header("Content-Type", "application/json")
                .send(body.to_string().as_bytes()),
        };
        Answer::read(response.ok()?)
    }

    /// The same under an idempotency key.
    pub(crate) fn ask_under(&self, key: &str, path: &str, body: &Value) -> Option<Answer> {
        let request = self.agent.post(format!("http://{}{path}", self.addr));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let request = request.header("Content-Type", "application/json");
        let request = request.header("Idempotency-Key", key);
        Answer::read(request.send(body.to_string().as_bytes()).ok()?)
    }

    /// Registers, and returns the id.
    pub(crate) fn register(&self, name: &str, ledger: &Mutex<Ledger>) -> Option<u64> {
        ledger.lock().unwrap().names.insert(name.to_owned());
        let answer = self.ask("/register", Some(&credentials(name)))?;
        let id = created(&answer)?;
        let before = ledger.lock().unwrap().users.insert(id, name.to_owned());
        assert_eq!(before, None, "the id of {name} was given before");
        Some(id)
    }

    /// Logs in with a name that is registered.
    pub(crate) fn log_in(&self, name: &str) -> Option<Client> {
        let answer = self.ask("/login", Some(&credentials(name)))?;
        Some(self.with_token(answer.body["token"].as_str()?))
    }

    /// Posts a text, and returns the id.
    pub(crate) fn post(&self, to: Option<u64>, text: &str, ledger: &Mutex<Ledger>) -> Option<u64> {
        let before = ledger.lock().unwrap().sent.insert(text.to_owned(), to);
        assert_eq!(before, None, "{text} is sent once");
        let path = match to {
            None => "/api/messages".to_owned(),
            Some(user) => format!("/api/users/{user}/messages"),
        };
        let answer = self.ask(&path, Some(&json!({ "text": text })))?;
        let id = created(&answer)?;
        let before = ledger.lock().unwrap().messages.insert(id, text.to_owned());
        assert_eq!(before, None, "the id of {text:.20} was given before");
        Some(id)
    }
}

impl Answer {
    fn read(mut response: ureq::http::Response<ureq::Body>) -> Option<Answer> {
        let body = response.body_mut().with_config().limit(64 << 20).read_to_vec().ok()?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let replayed = response.headers().contains_key("Idempotency-Replayed");
        Some(Answer { status: response.status().as_u16(), body, replayed })
    }
}

/// The id, if something was created.
fn created(answer: &Answer) -> Option<u64> {
    (answer.status == 201).then(|| answer.body["id"].as_u64().expect("an id"))
}

fn credentials(name: &str) -> Value {
    json!({ "username": name, "password": PASSWORD })
}

/// A text that describes itself, of some length.
pub(crate) fn text(what: &str, number: u64) -> String {
    let len = usize::try_from(number * 397 % LONGEST_TEXT).expect("a short length");
    format!("{what} {number} {}", "x".repeat(if number.is_multiple_of(3) { len } else { 0 }))
}
