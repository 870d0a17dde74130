//! The reader's shell: one bash a page, which is given the page's blocks one after the other.
//!
//! curl finds a `.curlrc` that leads `localhost:5000` to where the server really listens, so that
//! the commands run exactly as they are printed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// How long a block may take before the shell is killed.
const DEADLINE: Duration = Duration::from_mins(1);

/// A running bash. It and what it started are killed on drop.
pub(crate) struct Shell {
    bash: Child,
    input: ChildStdin,
    /// One line a block: its exit status.
    statuses: Receiver<String>,
    home: TempDir,
}

/// What a block did.
pub(crate) struct Run {
    /// What it printed.
    pub(crate) output: String,
    /// The method and the target of each request that curl sent for it.
    pub(crate) requests: Vec<(String, String)>,
    /// The status of each answer.
    pub(crate) statuses: Vec<u16>,
}

impl Shell {
    /// A bash for whom `localhost:5000` is the local `port`.
    pub(crate) fn start(port: u16) -> Shell {
        let home = TempDir::new().unwrap();
        // `verbose` shows on standard error what is really sent; `show-error` why nothing came.
        let curlrc = format!(
            "connect-to = \"localhost:5000:127.0.0.1:{port}\"\n\
             silent\nshow-error\nverbose\nmax-time = 30\n"
        );
        fs::write(home.path().join(".curlrc"), curlrc).unwrap();
        let mut bash = Command::new("bash")
            .args(["--noprofile", "--norc"])
            // Nothing of the developer's own environment: proxies, aliases, locales.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", home.path())
            .env("CURL_HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("bash is there");
        let input = bash.stdin.take().unwrap();
        let output = BufReader::new(bash.stdout.take().unwrap());
        let (sender, statuses) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Shell { bash, input, statuses, home }
    }

    /// Runs a block. A command that fails, or a block that takes too long, is a panic.
    pub(crate) fn run(&mut self, script: &str) -> Run {
        let read = |name| fs::read_to_string(self.home.path().join(name)).unwrap_or_default();
        write!(self.input, "{{\n{script}\n}} >output 2>errors </dev/null\necho $?\n").unwrap();
        match self.statuses.recv_timeout(DEADLINE).as_deref() {
            Ok("0") => {}
            Ok(status) => panic!("exit status {status} of\n{script}\n{}", read("errors")),
            Err(RecvTimeoutError::Timeout) => panic!("no end of\n{script}\n{}", read("errors")),
            Err(RecvTimeoutError::Disconnected) => panic!("bash does not understand\n{script}"),
        }
        let trace = read("errors");
        let requests = trace.lines().filter_map(request_line).collect();
        let statuses = trace.lines().filter_map(status).collect();
        Run { output: read("output"), requests, statuses }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.bash.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.bash.wait();
    }
}

/// `> GET /api/messages HTTP/1.1`, as `curl --verbose` reports it.
fn request_line(line: &str) -> Option<(String, String)> {
    let mut words = line.strip_prefix("> ")?.strip_suffix(" HTTP/1.1")?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// `< HTTP/1.1 200 OK`, likewise.
fn status(line: &str) -> Option<u16> {
    line.strip_prefix("< HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}
