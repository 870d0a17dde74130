//! Drives a server with wrk, and rejects the figures of a run with errors or unserved connections.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use serde::Deserialize;

use crate::Result;
use crate::process::Process;
use crate::sockets::{self, Connection};

/// Keep-alive connections of every run.
pub(crate) const CONNECTIONS: usize = 64;
/// Every message of the bench: 40 bytes.
pub(crate) const TEXT: &str = "Is anybody there? I have a question. Hi!";
/// The longest that a connection may wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The time after the start, and before the end, at which the connections are checked.
const MARGIN: Duration = Duration::from_millis(300);
/// The longest time for wrk to end after its time is up.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The request of a run.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// GET or POST.
    pub(crate) method: &'static str,
    /// Path and query, in which `%d` stands for a number from `cursors`.
    pub(crate) path: &'static str,
    /// Inclusive bounds of the number.
    pub(crate) cursors: (u64, u64),
    /// Empty for none.
    pub(crate) body: String,
    /// The idempotency keys.
    pub(crate) keys: Keys,
}

/// The idempotency keys of the requests of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// None.
    None,
    /// A new one each time, so that each message is posted.
    Fresh,
    /// The same one, so that all but the first of each user are replayed.
    Same,
}

impl Keys {
    /// The name in `load.lua`.
    fn name(self) -> &'static str {
        match self {
            Keys::None => "none",
            Keys::Fresh => "fresh",
            Keys::Same => "same",
        }
    }
}

/// Distinguishes the keys of one run from those of another.
static RUNS: AtomicU64 = AtomicU64::new(0);

impl Load {
    /// Messages a page.
    pub(crate) const PAGE: usize = 50;

    /// The newest page of the general chat.
    pub(crate) const NEWEST: Load = Load {
        method: "GET",
        path: "/api/messages?limit=50",
        cursors: (0, 0),
        body: String::new(),
        keys: Keys::None,
    };

    /// The page that follows a message between these two, a random one each time: a single page
    /// would soon be in every cache.
    fn after(first: u64, last: u64) -> Load {
        Load { path: "/api/messages?limit=50&after=%d", cursors: (first, last), ..Load::NEWEST }
    }

    /// Pages from the middle fifth of a history of `len` messages.
    pub(crate) fn middle_of(len: u64) -> Load {
        Load::after(len / 5 * 2, len / 5 * 3)
    }

    /// Pages from the first hundredth of a history of `len` messages.
    pub(crate) fn beginning_of(len: u64) -> Load {
        Load::after(0, len / 100)
    }

    /// A message to the general chat.
    pub(crate) fn post() -> Load {
        let body = format!(r#"{{"text":"{TEXT}"}}"#);
        Load { method: "POST", path: "/api/messages", cursors: (0, 0), body, keys: Keys::None }
    }

    /// The same under idempotency keys.
    pub(crate) fn post_under(keys: Keys) -> Load {
        Load { keys, ..Load::post() }
    }
}

/// The figures of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) throughput: f64,
    /// Median latency in milliseconds.
    pub(crate) p50: f64,
    /// 99th percentile of latency in milliseconds.
    pub(crate) p99: f64,
}

/// The reason why the figures of a run are rejected.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Socket errors, late answers, or answers that are errors.
    Errors(Summary),
    /// Connections that got no answer, or none for [`TIMEOUT`].
    Unserved { unserved: usize },
    /// There should be [`CONNECTIONS`], the same from the start to the end.
    NotKeptAlive { at_start: usize, at_end: usize, both: usize },
}

impl Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Errors(summary) => {
                let Summary { requests, connect, read, write, status, timeout, .. } = summary;
                write!(
                    f,
                    "{requests} requests, {status} answers of status 400 or above, {timeout} late ones; \
                     errors: {connect} connect, {read} read, {write} write"
                )
            }
            Refused::Unserved { unserved } => {
                write!(
                    f,
                    "{unserved} of {CONNECTIONS} connections were not served within {TIMEOUT:?}"
                )
            }
            Refused::NotKeptAlive { at_start, at_end, both } => write!(
                f,
                "{at_start} connections at the start and {at_end} at the end, {both} of them the same, \
                 instead of {CONNECTIONS} all the time"
            ),
        }
    }
}

/// The output of `load.lua`; durations in microseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    requests: f64,
    micros: f64,
    p50: f64,
    p99: f64,
    connect: u64,
    read: u64,
    write: u64,
    status: u64,
    timeout: u64,
}

impl Summary {
    fn accept(self) -> Result<Sample> {
        let errors = self.connect + self.read + self.write + self.status + self.timeout;
        if errors > 0 || self.requests < 1.0 {
            return Err(Refused::Errors(self).into());
        }
        Ok(Sample {
            throughput: self.requests / (self.micros / 1e6),
            p50: self.p50 / 1e3,
            p99: self.p99 / 1e3,
        })
    }
}

/// The load generator.
pub(crate) struct Wrk {
    script: PathBuf,
    seconds: u64,
}

impl Wrk {
    /// Every run will take `seconds`; the script is written to `dir`. An error if wrk is not
    /// installed.
    pub(crate) fn new(dir: &Path, seconds: u64) -> Result<Wrk> {
        match Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(_) => {} // -v ends with 1
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(
                    "wrk is not on the PATH; Debian and Ubuntu have it: apt-get install wrk".into(),
                );
            }
            Err(error) => return Err(format!("cannot run wrk: {error}").into()),
        }
        let script = dir.join("load.lua");
        fs::write(&script, include_str!("load.lua"))?;
        Ok(Wrk { script, seconds })
    }

    /// Sends `load` to `address` over [`CONNECTIONS`] connections, each request with one of the
    /// tokens in the file `tokens`. Only a run without a single error gives a sample.
    pub(crate) fn run(&self, address: SocketAddr, tokens: &Path, load: &Load) -> Result<Sample> {
        let started = Instant::now();
        let duration = Duration::from_secs(self.seconds);
        let mut wrk = Process::spawn(&mut self.command(address, tokens, load))?;

        let at_start = connections_at(&wrk, started + MARGIN)?;
        let at_end = connections_at(&wrk, started + duration.saturating_sub(MARGIN))?;

        let status = wrk.wait(duration + END_WITHIN)?;
        let mut output = String::new();
        wrk.take_stdout()?.read_to_string(&mut output)?;
        let summary = output
            .lines()
            .find_map(|line| line.strip_prefix("sample "))
            .ok_or_else(|| format!("wrk ended with {status} and no summary:\n{output}"))?;
        let sample = serde_json::from_str::<Summary>(summary)?.accept()?;
        check_all_served(&at_start, &at_end)?;
        Ok(sample)
    }

    fn command(&self, address: SocketAddr, tokens: &Path, load: &Load) -> Command {
        let mut command = Command::new("wrk");
        command
            .arg("-t2")
            .arg(format!("-c{CONNECTIONS}"))
            .arg(format!("-d{}s", self.seconds))
            .arg(format!("--timeout={}s", TIMEOUT.as_secs()))
            .arg("-s")
            .arg(&self.script)
            .arg(format!("http://{address}"))
            .arg("--")
            .args([load.method, load.path])
            .args([load.cursors.0, load.cursors.1].map(|cursor| cursor.to_string()))
            .arg(tokens)
            .arg(&load.body)
            .arg(load.keys.name())
            .arg(RUNS.fetch_add(1, Ordering::Relaxed).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

fn connections_at(wrk: &Process, when: Instant) -> Result<Vec<Connection>> {
    thread::sleep(when.saturating_duration_since(Instant::now()));
    sockets::of_process(wrk.id())
}

/// Checks that the same connections were open from the start to the end and that each of them was
/// answered to the end.
fn check_all_served(
    at_start: &[Connection],
    at_end: &[Connection],
) -> std::result::Result<(), Refused> {
    let inodes =
        |connections: &[Connection]| connections.iter().map(|c| c.inode).collect::<BTreeSet<_>>();
    let both = inodes(at_start).intersection(&inodes(at_end)).count();
    if [at_start.len(), at_end.len(), both] != [CONNECTIONS; 3] {
        return Err(Refused::NotKeptAlive { at_start: at_start.len(), at_end: at_end.len(), both });
    }
    let unserved = at_end.iter().filter(|c| c.received == 0 || c.silent >= TIMEOUT).count();
    if unserved > 0 { Err(Refused::Unserved { unserved }) } else { Ok(()) }
}
