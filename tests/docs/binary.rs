//! The real server: a process with its own clock, secret and epoch.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::host::{Host, Set, Stage, Store};

/// The longest time for a start.
const DEADLINE: Duration = Duration::from_mins(2);

/// A running process. It is killed on drop.
pub(crate) struct Binary {
    veche: Child,
    port: u16,
    dir: TempDir,
}

impl Binary {
    /// Starts it on a fresh store, with additional `arguments`.
    pub(crate) fn start(store: Store, arguments: &[&str]) -> Binary {
        let dir = TempDir::new().unwrap();
        let store = match store {
            Store::Memory => "memory",
            Store::Sled => "sled",
        };
        let mut veche = Command::new(env!("CARGO_BIN_EXE_veche"))
            .args(["--listen", "127.0.0.1:0", "--store", store, "--data-dir"])
            .arg(dir.path().join("data"))
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(veche.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || sender.send(stdout.lines().next()));
        let mut binary = Binary { veche, port: 0, dir };
        let Ok(Some(Ok(address))) = lines.recv_timeout(DEADLINE) else {
            panic!("it does not say where it listens\n{}", binary.log());
        };
        binary.port = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();
        binary
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = i32::try_from(self.veche.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.veche.wait().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Host for Binary {
    fn port(&self) -> u16 {
        self.port
    }

    fn stage(&self, stage: Stage) -> Option<Set> {
        matches!(stage, Stage::Plain | Stage::FreshStore).then(|| Set::until(|| {}))
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.veche.kill();
        let _ = self.veche.wait();
    }
}
