//! The server under test: the real binary, with everything in memory.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use crate::wait::PATIENCE;

/// A running veche, killed on drop.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_with(&[])
    }

    /// The same with additional arguments.
    pub(crate) fn start_with(args: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_veche"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("VECHE_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--store", "memory", "--log", "warn"])
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("its output is piped");
        // From here on the child is killed whatever happens.
        let mut server = Server { child, addr: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let line = first_line(stdout, |_| true).expect("a first line in time");
        server.addr = line.trim_end().parse().expect("the first line is the address");
        server
    }

    /// Its origin, in the form that browsers use.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Registers an account, logs it in, and returns the token, without the browser.
    pub(crate) fn sign_up(&self, username: &str, password: &str) -> String {
        let credentials = json!({ "username": username, "password": password });
        let post = |path| {
            let request = ureq::post(self.url(path)).header("Content-Type", "application/json");
            content(request.send(credentials.to_string()))
        };
        post("/register");
        post("/login")["token"].as_str().expect("a token").to_owned()
    }

    /// The messages of the general chat.
    pub(crate) fn messages(&self, token: &str) -> Value {
        let request = ureq::get(self.url("/api/messages"));
        content(request.header("Authorization", format!("Bearer {token}")).call())
    }
}

fn content(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let mut body = response.expect("it succeeds").into_body();
    serde_json::from_slice(&body.read_to_vec().expect("a whole body")).expect("JSON")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of a child's output that is `wanted`. The rest is read and discarded, so that the
/// child can go on writing.
pub(crate) fn first_line(
    output: impl Read + Send + 'static,
    wanted: impl Fn(&str) -> bool + Send + 'static,
) -> Option<String> {
    let (line_in, line) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if wanted(&line) {
                let _ = line_in.send(line);
            }
        }
    });
    line.recv_timeout(PATIENCE).ok()
}
