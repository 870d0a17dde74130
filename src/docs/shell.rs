//! The reader's shell: one bash per page, which runs the page's blocks one after the other.
//!
//! A `.curlrc` makes curl report what it sends and receives, and may redirect `localhost:5000` to
//! another port, so that commands run exactly as they are printed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use std::{env, fmt, process, thread};

use rustix::process::{Pid, Signal, kill_process_group};

/// Time limit of a block. After it, the shell is killed.
const DEADLINE: Duration = Duration::from_mins(1);
/// Time limit of a connection's opening, in seconds.
const CONNECT_SECONDS: u32 = 10;
/// Time limit of a whole request, in seconds.
const REQUEST_SECONDS: u32 = 30;
/// Most output of a block, in KiB: a server could send without end.
const MAX_OUTPUT_KIB: u32 = 16 * 1024;
/// Most memory of each process of a block, in KiB: responses are kept in variables too.
const MAX_MEMORY_KIB: u32 = 512 * 1024;
/// Most names that are tried for a directory: killed processes of the same id may have left some.
const MAX_TRIES: u32 = 1000;
/// Environment variables that curl uses to reach other machines.
const NETWORK_VARIABLES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
];

/// curl's exit status after its time limit.
const TIMED_OUT: u32 = 28;

/// The way from curl to the server.
#[derive(Debug, Clone, Copy)]
pub enum ServerAddress {
    /// `localhost:5000` is this port of 127.0.0.1, and nothing of the caller's environment counts.
    Local(u16),
    /// The address itself, through the caller's proxies and with the caller's certificates.
    Direct,
}

/// A running bash. It and what it started are killed on drop.
#[derive(Debug)]
pub struct Shell {
    bash: Child,
    input: ChildStdin,
    /// One line a block: its exit status.
    statuses: Receiver<String>,
    answered: bool,
    home: Home,
}

/// The result of a block.
#[derive(Debug)]
pub struct Run {
    /// Its output.
    pub output: String,
    /// The requests that curl sent, in order.
    pub requests: Vec<CurlRequest>,
}

/// A request, as curl reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurlRequest {
    /// In capitals.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The status of the final response, if there was one.
    pub status: Option<u16>,
    /// The answer's `Location`.
    pub location: Option<String>,
}

/// A failure of a block or of the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellFailure {
    /// The machine lacks something.
    Machine(String),
    /// curl failed.
    Curl {
        /// Its exit status.
        code: u32,
        /// Its message.
        message: String,
    },
    /// Another command failed.
    Command {
        /// The messages of the shell.
        said: String,
    },
    /// The block did not end in time.
    NoEnd,
    /// bash itself ended.
    NoShell,
    /// The block is not allowed in a page, or the responses are not what it needs.
    Unfit(String),
}

impl ShellFailure {
    /// `true` if the server is not reachable. The codes named here are curl's for a server that was
    /// reached and did not answer well.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        const REACHED: [u32; 11] = [1, 8, 18, 22, 23, 52, 55, 56, 61, 63, 92];
        match self {
            ShellFailure::Curl { code, .. } => !REACHED.contains(code),
            ShellFailure::NoEnd | ShellFailure::NoShell | ShellFailure::Machine(_) => true,
            ShellFailure::Command { .. } | ShellFailure::Unfit(_) => false,
        }
    }

    /// `true` if the shell is lost, and with it the page's variables.
    #[must_use]
    pub fn is_of_shell(&self) -> bool {
        matches!(self, ShellFailure::NoEnd | ShellFailure::NoShell)
    }
}

impl fmt::Display for ShellFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShellFailure::Machine(why) | ShellFailure::Unfit(why) => f.write_str(why),
            ShellFailure::Curl { code, message } => write!(f, "curl: ({code}) {message}"),
            ShellFailure::Command { said } => {
                let last = said.lines().last().unwrap_or_default();
                write!(f, "a command failed: {last}")
            }
            ShellFailure::NoEnd => write!(f, "no end after {} s", DEADLINE.as_secs()),
            ShellFailure::NoShell => f.write_str("bash has ended"),
        }
    }
}

impl Shell {
    /// Starts a bash with a directory of its own.
    pub fn start(way: ServerAddress) -> Result<Shell, ShellFailure> {
        let home =
            Home::new().map_err(|e| ShellFailure::Machine(format!("a directory for it: {e}")))?;
        // `verbose` shows on standard error what is really sent; `show-error` why nothing came.
        let mut curlrc = format!(
            "silent\nshow-error\nverbose\nhttp1.1\nmax-time = {REQUEST_SECONDS}\n\
             connect-timeout = {CONNECT_SECONDS}\nmax-filesize = {}\n",
            u64::from(MAX_OUTPUT_KIB) * 1024,
        );
        // A response may become part of an address, which must stay one address.
        curlrc.push_str("globoff\n");
        let mut network = Vec::new();
        match way {
            ServerAddress::Local(port) => {
                let _ = writeln!(curlrc, "connect-to = \"localhost:5000:127.0.0.1:{port}\"");
            }
            ServerAddress::Direct => {
                // The response of a proxy is not the server's.
                curlrc.push_str("suppress-connect-headers\n");
                let variable = |name: &&'static str| Some((*name, env::var_os(name)?));
                network.extend(NETWORK_VARIABLES.iter().filter_map(variable));
            }
        }
        fs::write(home.0.join(".curlrc"), curlrc)
            .map_err(|e| ShellFailure::Machine(format!("a configuration for curl: {e}")))?;
        let mut bash = bash(&home, network).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                ShellFailure::Machine("bash is needed, and not there".to_owned())
            }
            _ => ShellFailure::Machine(format!("bash: {error}")),
        })?;
        let (Some(input), Some(output)) = (bash.stdin.take(), bash.stdout.take()) else {
            return Err(ShellFailure::NoShell);
        };
        let (sender, statuses) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut shell = Shell { bash, input, statuses, answered: false, home };
        // The directory is removed also when this process is killed and bash finds its input ended.
        shell.say(&format!(
            "trap 'rm -rf -- \"$HOME\"' EXIT; ulimit -f {MAX_OUTPUT_KIB}; ulimit -v {MAX_MEMORY_KIB}"
        ))?;
        match shell.run("command -v curl") {
            Err(ShellFailure::Command { .. }) => {
                Err(ShellFailure::Machine("curl is needed, and not there".to_owned()))
            }
            other => other.map(|_| shell),
        }
    }

    /// Runs a block.
    pub fn run(&mut self, script: &str) -> Result<Run, ShellFailure> {
        self.answered = false;
        self.say(&format!("{{\n{script}\n}} >output 2>errors </dev/null\necho $?"))?;
        let status = self.statuses.recv_timeout(DEADLINE).map_err(|error| match error {
            RecvTimeoutError::Timeout => ShellFailure::NoEnd,
            RecvTimeoutError::Disconnected => ShellFailure::NoShell,
        });
        let trace = self.read("errors");
        let requests = requests(&trace);
        self.answered = requests.iter().any(|request| request.status.is_some());
        let status = status?;
        // A stream has no end, so its example has a time limit.
        let may_be_cut = self.answered && script.contains("--max-time");
        let is_cut = |(code, _): &(u32, &str)| may_be_cut && *code == TIMED_OUT;
        let complaints = trace.lines().filter_map(complaint);
        if let Some((code, message)) = complaints.clone().find(|complaint| !is_cut(complaint)) {
            return Err(ShellFailure::Curl { code, message: message.to_owned() });
        }
        let was_cut = complaints.clone().next().is_some() && status == TIMED_OUT.to_string();
        if status != "0" && !was_cut {
            return Err(ShellFailure::Command { said: format!("{trace}\nexit status {status}") });
        }
        Ok(Run { output: self.read("output"), requests })
    }

    /// `true` if a request of the last block was answered, even if the block failed.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.answered
    }

    fn say(&mut self, commands: &str) -> Result<(), ShellFailure> {
        writeln!(self.input, "{commands}").map_err(|_| ShellFailure::NoShell)
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.home.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
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

fn bash(home: &Home, network: Vec<(&str, OsString)>) -> io::Result<Child> {
    Command::new("bash")
        .args(["--noprofile", "--norc"])
        // Nothing is taken from the caller's environment: no aliases, locales or `.curlrc`.
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", &home.0)
        .env("CURL_HOME", &home.0)
        .envs(network)
        .current_dir(&home.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

/// A private directory, because it will hold tokens. It is removed on drop.
#[derive(Debug)]
struct Home(PathBuf);

impl Home {
    fn new() -> io::Result<Home> {
        // No number is used twice. A shell that ends by itself removes its directory, and its drop
        // would remove the directory of another shell with the same name.
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let base = env::temp_dir();
        for _ in 0..MAX_TRIES {
            let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("veche-docs-{}-{number}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Home(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{}: {error}", path.display()),
                    ));
                }
            }
        }
        Err(io::Error::other(format!("too many are left in {}", base.display())))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `curl: (7) Failed to connect`, its code and its message.
fn complaint(line: &str) -> Option<(u32, &str)> {
    let (code, message) = line.strip_prefix("curl: (")?.split_once(") ")?;
    Some((code.parse().ok()?, message))
}

/// The requests in the output of `curl --verbose`, without those that ask a proxy for a tunnel.
fn requests(trace: &str) -> Vec<CurlRequest> {
    let mut requests: Vec<CurlRequest> = Vec::new();
    for line in trace.lines() {
        if let Some((method, target)) = line.strip_prefix("> ").and_then(request_line) {
            let (method, target) = (method.to_owned(), target.to_owned());
            requests.push(CurlRequest { method, target, status: None, location: None });
        } else if let (Some(field), Some(request)) = (line.strip_prefix("< "), requests.last_mut())
        {
            if let Some(status) = status(field) {
                request.status = Some(status).filter(|status| *status >= 200);
            } else if let Some((name, value)) = field.split_once(": ")
                && name.eq_ignore_ascii_case("location")
            {
                request.location = Some(value.to_owned());
            }
        }
    }
    requests.retain(|request| request.method != "CONNECT");
    requests
}

/// `GET /api/messages HTTP/1.1`, the method and the target.
fn request_line(line: &str) -> Option<(&str, &str)> {
    line.strip_suffix(" HTTP/1.1")?.split_once(' ')
}

/// `HTTP/1.1 200 OK`, the status.
fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read() {
        let trace = "* Trying\n> CONNECT chat:443 HTTP/1.1\n< HTTP/1.1 200 Fine\n\
                     > POST /register HTTP/1.1\n> Host: chat\n< HTTP/1.1 100 Continue\n\
                     < HTTP/1.1 201 Created\n< location: /api/users/7\n\
                     > GET /api/users/me HTTP/1.1\n";
        let request = |method: &str, target: &str, status, location: Option<&str>| CurlRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            status,
            location: location.map(str::to_owned),
        };
        assert_eq!(
            requests(trace),
            [
                request("POST", "/register", Some(201), Some("/api/users/7")),
                request("GET", "/api/users/me", None, None),
            ]
        );
        assert_eq!(
            complaint("curl: (7) Failed to connect: (1)"),
            Some((7, "Failed to connect: (1)"))
        );
    }

    #[test]
    fn a_block_that_fails_says_how() {
        let mut shell = Shell::start(ServerAddress::Local(1)).unwrap();
        let home = shell.home.0.clone();
        let failed = shell.run("curl -i http://localhost:5000/ | cat").unwrap_err();
        assert!(matches!(failed, ShellFailure::Curl { code: 7, .. }), "{failed}");
        assert!(failed.is_unreachable());
        let failed = shell.run("echo because >&2; false").unwrap_err();
        assert!(matches!(&failed, ShellFailure::Command { said } if said.starts_with("because")));
        assert!(!failed.is_unreachable());
        assert_eq!(shell.run("KEPT=x").unwrap().output, "");
        assert_eq!(shell.run("echo $KEPT").unwrap().output, "x\n");
        assert_eq!(shell.run("fi").unwrap_err(), ShellFailure::NoShell);
        assert_eq!(shell.run("true").unwrap_err(), ShellFailure::NoShell);
        drop(shell);
        assert!(!home.exists());
    }

    #[test]
    fn a_directory_that_is_gone_lends_its_name_to_no_other() {
        let first = Home::new().unwrap();
        fs::remove_dir(&first.0).unwrap();
        let second = Home::new().unwrap();
        drop(first);
        assert!(second.0.is_dir());
    }

    #[test]
    fn nobody_fills_the_disk() {
        let mut shell = Shell::start(ServerAddress::Direct).unwrap();
        let failed = shell.run("head -c 20000000 /dev/zero").unwrap_err();
        assert!(matches!(failed, ShellFailure::Command { .. }), "{failed}");
    }

    #[test]
    fn nobody_fills_the_memory() {
        // One ends a program, the other bash itself.
        let failed =
            |script: &str| Shell::start(ServerAddress::Direct).unwrap().run(script).unwrap_err();
        let line = "head -c 1000000000 /dev/zero | tr '\\0' a";
        let program = failed(&format!("{line} | cut -d x -f 4 >/dev/null"));
        assert!(matches!(program, ShellFailure::Command { .. }), "{program}");
        let bash = failed(&format!("X=$({line})"));
        assert_eq!(bash, ShellFailure::NoShell);
    }

    #[test]
    fn an_address_is_one_address() {
        let mut shell = Shell::start(ServerAddress::Local(1)).unwrap();
        let failed = shell.run("curl 'http://localhost:5000/{a'").unwrap_err();
        assert!(matches!(failed, ShellFailure::Curl { code: 7, .. }), "{failed}");
    }
}
