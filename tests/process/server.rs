//! The server under test: the real binary in a directory of its own, killed on drop.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::turnstile::{self, Pass};

/// Both stores.
pub(crate) const STORES: [&str; 2] = ["memory", "sled"];
/// The longest wait for anything. Nothing in a test should take a tenth of it on a busy machine;
/// and it is less than the minute after which the server itself ends an idle connection or a wait,
/// so that a test that waits for an end does not take that one for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);

/// The server's log line when it stops although clients hold it up.
pub(crate) const NOT_FINISHED: &str = "some requests are not finished";

/// A running veche.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
    stderr: PathBuf,
    /// Its standard output after the address, line by line.
    lines: Receiver<String>,
    /// All of that.
    rest_of_stdout: Option<JoinHandle<String>>,
    _pass: Rc<Pass>,
}

/// The binary, without our own environment variables that would configure it.
pub(crate) fn veche() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veche"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VECHE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub(crate) fn run(command: &mut Command) -> Output {
    run_within(command, PATIENCE)
}

/// The same with another time limit.
pub(crate) fn run_within(command: &mut Command, patience: Duration) -> Output {
    let _pass = turnstile::shared();
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = wait(&mut child, patience);
    if status.is_none() {
        let _ = child.kill();
    }
    let status = status.expect("the command ends by itself");
    let read = |reader: JoinHandle<Vec<u8>>| reader.join().expect("a pipe is read");
    Output { status, stdout: read(stdout), stderr: read(stderr) }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

impl Server {
    /// Starts a server with a store in `dir`.
    pub(crate) fn start(store: &str, dir: &Path) -> Server {
        Server::start_with(store, dir, &[] as &[&str])
    }

    /// The same with additional arguments.
    pub(crate) fn start_with(store: &str, dir: &Path, args: &[impl AsRef<OsStr>]) -> Server {
        let mut command = veche();
        command.args(["--listen", "127.0.0.1:0", "--store", store, "--data-dir"]);
        command.arg(dir.join("data")).args(args);
        Server::spawn(&mut command, dir)
    }

    /// Starts `command`, whose log goes to a file in `dir`, and waits for its address.
    pub(crate) fn spawn(command: &mut Command, dir: &Path) -> Server {
        let pass = turnstile::shared();
        let stderr = dir.join("stderr");
        let log = File::options().create(true).append(true).open(&stderr).expect("a log file");
        let mut child =
            command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (line_in, lines) = mpsc::channel();
        let rest = thread::spawn(move || {
            let mut rest = String::new();
            let mut line = String::new();
            while matches!(stdout.read_line(&mut line), Ok(1..)) {
                rest += &line;
                // The receiver may have gone.
                let _ = line_in.send(std::mem::take(&mut line));
            }
            rest.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned())
        });
        // From here on the child is killed whatever happens.
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let rest_of_stdout = Some(rest);
        let mut server = Server { child, addr, stderr, lines, rest_of_stdout, _pass: pass };
        let line = server.lines.recv_timeout(PATIENCE).expect("a first line in time");
        server.addr = line.trim_end().parse().unwrap_or_else(|_| {
            panic!("the first line is no address: {line:?}\n{}", server.log());
        });
        assert!(line.ends_with('\n'), "the address is a whole line: {line:?}");
        server
    }

    /// The address for clients.
    pub(crate) fn addr(&self) -> SocketAddr {
        if self.addr.ip().is_unspecified() {
            return SocketAddr::from(([127, 0, 0, 1], self.addr.port()));
        }
        self.addr
    }

    /// The address for the operator: the second line. To be called once.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        let line = self.lines.recv_timeout(PATIENCE).expect("a second line in time");
        line.trim_end().parse().expect("an address")
    }

    /// The address as it was printed.
    pub(crate) fn printed_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The standard error of this server, and of earlier ones in the directory.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Returns whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// A line of `/proc/PID/status`, in its own unit.
    pub(crate) fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(self.process().join("status"));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a known key");
        let digits = line.trim_start_matches(':').split_whitespace().next().expect("a value");
        digits.parse().expect("a number")
    }

    /// The number of open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.process().join("fd")).expect("a running process has descriptors").count()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The directory of its process in `/proc`.
    pub(crate) fn process(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a running child can be signalled");
    }

    /// Waits for its end, which the test has caused. Returns its exit code and its standard output
    /// after the address.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let status = wait(&mut self.child, PATIENCE).expect("the server ends in time");
        let rest = self.rest_of_stdout.take().map(|rest| rest.join().expect("a pipe is read"));
        (status.code(), rest.unwrap_or_default())
    }

    /// Stops it as its operator would; it must end well.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        let stderr = self.stderr.clone();
        let (code, _) = self.wait();
        assert_eq!(code, Some(0), "{}", fs::read_to_string(stderr).unwrap_or_default());
    }

    /// The same if no client holds it up: it does not wait out the time for slow clients.
    pub(crate) fn stop_at_once(self) {
        let stderr = self.stderr.clone();
        self.stop();
        let log = fs::read_to_string(stderr).expect("a log");
        assert!(!log.contains(NOT_FINISHED), "{log}");
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    until(patience, || child.try_wait().expect("a child can be asked"))
}

/// Asks until there is a result; `None` after `patience`.
pub(crate) fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
