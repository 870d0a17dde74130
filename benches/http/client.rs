//! A client for the bench's own requests, one at a time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};
use ureq::Agent;

use crate::Result;
use crate::wrk::{CONNECTIONS, Load};

/// Every account of the bench has this password.
const PASSWORD: &str = "correct horse battery staple";
/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Threads that log in without pause, in [`while_logging_in`].
pub(crate) const LOGIN_THREADS: usize = 2;

/// A client of one server.
pub(crate) struct Client {
    agent: Agent,
    base: String,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_idle_connections(1)
            .build()
            .new_agent();
        Client { agent, base: format!("http://{address}") }
    }

    /// Returns the body of the answer, which must have `status`.
    pub(crate) fn post(
        &self,
        path: &str,
        token: Option<&str>,
        body: &str,
        status: u16,
    ) -> Result<String> {
        let mut request =
            self.agent.post(format!("{}{path}", self.base)).content_type("application/json");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        expect(request.send(body)?, status, path)
    }

    /// Returns the body of the answer, which must have status 200.
    pub(crate) fn get(&self, path: &str, token: &str) -> Result<String> {
        let request = self.agent.get(format!("{}{path}", self.base));
        expect(request.header("Authorization", format!("Bearer {token}")).call()?, 200, path)
    }

    pub(crate) fn register(&self, name: &str) -> Result<()> {
        self.post("/register", None, &credentials(name), 201).map(drop)
    }

    /// Logs in and returns the token.
    pub(crate) fn log_in(&self, name: &str) -> Result<String> {
        let reply: Value =
            serde_json::from_str(&self.post("/login", None, &credentials(name), 200)?)?;
        let token = reply["token"].as_str().ok_or("a login was answered without a token")?;
        Ok(token.to_owned())
    }

    /// Sends one request as wrk will send it, checks what wrk does not check, and returns the size
    /// of the answer's body.
    pub(crate) fn rehearse(&self, load: &Load, token: &str) -> Result<usize> {
        if load.method == "POST" {
            return Ok(self.post(load.path, Some(token), &load.body, 201)?.len());
        }
        let path = load.path.replace("%d", &load.cursors.0.to_string());
        let body = self.get(&path, token)?;
        let page: Vec<Value> = serde_json::from_str(&body)?;
        if page.len() == Load::PAGE {
            Ok(body.len())
        } else {
            Err(format!("{path}: {} messages", page.len()).into())
        }
    }

    /// The id of the newest message.
    pub(crate) fn newest_id(&self, token: &str) -> Result<u64> {
        let page: Value = serde_json::from_str(&self.get("/api/messages?limit=1", token)?)?;
        Ok(page[0]["id"].as_u64().ok_or("the newest page has no message")?)
    }
}

fn credentials(name: &str) -> String {
    json!({"username": name, "password": PASSWORD}).to_string()
}

fn expect(
    mut response: ureq::http::Response<ureq::Body>,
    status: u16,
    path: &str,
) -> Result<String> {
    let body = response.body_mut().read_to_string()?;
    if response.status().as_u16() == status {
        Ok(body)
    } else {
        Err(format!("{path} answered {} instead of {status}: {body}", response.status()).into())
    }
}

/// The name of the account that every server of the bench has.
pub(crate) const NAME: &str = "bench-0";

/// The name of another one, which has no load: many logins of a user end the tokens of the first
/// ones.
const COMER: &str = "bench-comer";

/// Valid tokens, one for each connection.
#[derive(Clone)]
pub(crate) struct Tokens {
    /// The first of them.
    pub(crate) one: String,
    /// All of them, one a line.
    pub(crate) file: PathBuf,
}

impl Tokens {
    /// Registers as many users as there are connections, and logs them in, and the one for [later
    /// logins](while_logging_in).
    pub(crate) fn earn(client: &Client, file: PathBuf) -> Result<Tokens> {
        let mut tokens = Vec::new();
        for number in 0..CONNECTIONS {
            let name = format!("bench-{number}");
            client.register(&name)?;
            tokens.push(client.log_in(&name)?);
        }
        client.register(COMER)?;
        fs::write(&file, tokens.join("\n"))?;
        Ok(Tokens { one: tokens.swap_remove(0), file })
    }
}

/// Runs `measure` while [`LOGIN_THREADS`] clients log in without pause. Returns its result and the
/// number of logins; a failed login is an error.
pub(crate) fn while_logging_in<T>(
    address: SocketAddr,
    measure: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    let stop = AtomicBool::new(false);
    let log_in = || -> Result<u64> {
        let client = Client::new(address);
        let mut logins = 0;
        while !stop.load(Ordering::Relaxed) {
            client.log_in(COMER)?;
            logins += 1;
        }
        Ok(logins)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..LOGIN_THREADS).map(|_| scope.spawn(log_in)).collect();
        let measured = measure();
        stop.store(true, Ordering::Relaxed);
        let mut logins = 0;
        for client in clients {
            logins += client.join().map_err(|_| "a login thread panicked")??;
        }
        Ok((measured?, logins))
    })
}
