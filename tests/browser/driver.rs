//! `ChromeDriver`, and everything that it starts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::extent::Extent;
use crate::server::first_line;

/// A running `ChromeDriver` in a process group and a directory of its own; both are removed with
/// it.
pub(crate) struct Driver {
    child: Child,
    port: u16,
    dir: TempDir,
}

/// Showing a page takes seconds of a processor.
const WITH_A_BROWSER: Extent<bool> = Extent { short: false, long: true };

/// The two programs, if they are installed.
pub(crate) struct Programs {
    pub(crate) chromium: PathBuf,
    chromedriver: PathBuf,
}

impl Programs {
    /// A short run tests nothing here, and nothing can be tested without the programs; a notice
    /// says each once. CI must have the programs.
    pub(crate) fn find() -> Option<Programs> {
        let is_picture = std::env::var_os("VECHE_DOCS").is_some_and(|what| what == "rewrite");
        if !(WITH_A_BROWSER.now() || is_picture) {
            say("VECHE_TESTS=long does that");
            return None;
        }
        if let (Some(chromium), Some(chromedriver)) = (which("chromium"), which("chromedriver")) {
            return Some(Programs { chromium, chromedriver });
        }
        assert!(std::env::var_os("CI").is_none(), "CI needs chromium and chromedriver");
        say("there is no `chromium` and `chromedriver` here (Debian: chromium, chromium-driver)");
        None
    }
}

/// Says once why nothing is tested.
fn say(why: &str) {
    static NOTICE: Once = Once::new();
    // Not printed by a macro: the test harness shows that output only when a test fails.
    NOTICE.call_once(|| {
        let _ = io::stderr().write_all(format!("\nNOT TESTED in a browser: {why}\n").as_bytes());
    });
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

impl Driver {
    pub(crate) fn start(programs: &Programs) -> Driver {
        let dir = tempfile::tempdir().expect("a directory");
        let log = File::create(log_in(dir.path())).expect("a log file");
        let mut child = Command::new(&programs.chromedriver)
            .arg("--port=0")
            // For the files that the browser leaves behind.
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("chromedriver starts");
        let stdout = child.stdout.take().expect("its output is piped");
        // From here on it is killed whatever happens.
        let mut driver = Driver { child, port: 0, dir };
        let line = first_line(stdout, |line| port_in(line).is_some());
        driver.port = line.as_deref().and_then(port_in).expect("it says its port in time");
        driver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The directory for the browser's profile.
    pub(crate) fn profile(&self) -> PathBuf {
        self.dir.path().join("profile")
    }
}

/// The port in "`ChromeDriver` was started successfully on port 34567."
fn port_in(line: &str) -> Option<u16> {
    let (_, port) = line.split_once("successfully on port ")?;
    port.trim_end_matches('.').parse().ok()
}

fn log_in(dir: &Path) -> PathBuf {
    dir.join("stderr")
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(log_in(self.dir.path())).unwrap_or_default();
            eprintln!("--- chromedriver's log:\n{log}");
        }
    }
}
