//! Child processes that end with their owner, and for which every wait is limited.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// The longest time from SIGTERM to the end of a server.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The pause between two checks whether a child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A child process, killed on drop.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Process> {
        let child = command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))?;
        Ok(Process(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the end, but no longer than `patience`; a process that has not ended by then is
    /// killed.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.kill()?;
                return Err(format!(
                    "a child process did not end within {patience:?} and was killed"
                )
                .into());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends it as `kill -9` does.
    fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    pub(crate) fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.0.stdout.take().ok_or_else(|| "the child's standard output was not piped".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors cannot be reported here; a child that has already ended is no error.
        let _ = self.kill();
    }
}

/// A server in a child process, which has printed its address.
pub(crate) struct Server {
    process: Process,
    /// The address on which it listens.
    pub(crate) address: SocketAddr,
    /// The time from the start of the process to its address.
    pub(crate) opened_in: Duration,
}

impl Server {
    /// Starts it and waits, at most `patience`, for the address on its first line.
    pub(crate) fn start(command: &mut Command, patience: Duration) -> Result<Server> {
        let started = Instant::now();
        let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let (line, opened_in) = first_line(process.take_stdout()?, patience)
            .map_err(|error| format!("{command:?} printed no address: {error}"))?;
        let address = line.trim().trim_start_matches("http://").trim_end_matches('/');
        let address = address
            .parse()
            .map_err(|_| format!("{command:?} printed {line:?}, which is no address"))?;
        Ok(Server { process, address, opened_in: opened_in.duration_since(started) })
    }

    /// Stops it; an error unless it ends cleanly.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM)?;
        let status = self.process.wait(STOP_WITHIN)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a server asked to stop ended with {status}").into())
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kilobytes: Option<u64> = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse().ok());
        kilobytes.map(|kb| kb * 1024).ok_or_else(|| "/proc has no VmRSS for the server".into())
    }
}

/// The first line and its time. Reads on in the background, so that the child never meets a full or
/// closed pipe.
fn first_line(stdout: ChildStdout, patience: Duration) -> Result<(String, Instant)> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = stdout.read_line(&mut line).map(|_| (line, Instant::now()));
        // The receiver may have stopped waiting.
        let _ = tell.send(read);
        let _ = io::copy(&mut stdout, &mut io::sink());
    });
    let line = told.recv_timeout(patience).map_err(|_| format!("none within {patience:?}"))??;
    Ok(line)
}
