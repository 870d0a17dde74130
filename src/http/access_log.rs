//! The access log: a line of JSON for each answer, off unless it is asked for.
//!
//! A thread of its own writes it, so that a slow disk does not stop the loop: what the thread's
//! queue has no room for is dropped and counted. It names routes, not paths, and no query: those
//! are the client's own words, and may hold what is nobody's business.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::mem;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use super::request_id::RequestId;
use crate::api::routes::Route;
use crate::model::{Timestamp, UserId};
use crate::sys::shared_mode;

/// Answers that wait to be written.
const QUEUE: usize = 8192;
/// How often a file is looked for that was moved away, so that logs can be rotated.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// The mode of a log that is made: what reads it often runs under another user of a group.
const LOG_MODE: u32 = 0o640;
/// How long the end of the log is waited for when the server stops.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, behind the address.
    Stdout,
    /// A file, to which it is appended. It can be moved away at any time: another is begun.
    File(PathBuf),
}

impl From<PathBuf> for Destination {
    /// `-` is standard output.
    fn from(path: PathBuf) -> Self {
        if path == Path::new("-") { Destination::Stdout } else { Destination::File(path) }
    }
}

/// An answer.
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) id: RequestId,
    pub(super) client: IpAddr,
    pub(super) user: Option<UserId>,
    pub(super) method: &'static str,
    pub(super) route: Option<&'static Route>,
    pub(super) status: u16,
    /// Of the content, in full.
    pub(super) bytes: usize,
    pub(super) took: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    id: &'a str,
    client: IpAddr,
    user: Option<UserId>,
    method: &'a str,
    route: Option<&'a str>,
    status: u16,
    bytes: usize,
    micros: u128,
}

/// The loop's end of it.
pub(super) struct AccessLog {
    /// `None` when it is being closed.
    entries: Option<SyncSender<Entry>>,
    closed: Receiver<()>,
    dropped: Counter,
}

impl AccessLog {
    /// Begins to write. `dropped` counts what is not written.
    pub(super) fn start(destination: Destination, dropped: Counter) -> io::Result<AccessLog> {
        let target = Target::open(destination)?;
        let (entries, queue) = mpsc::sync_channel(QUEUE);
        let (closing, closed) = mpsc::channel();
        let lost = dropped.clone();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            target.write_all(&queue, &lost);
            drop(closing);
        })?;
        Ok(AccessLog { entries: Some(entries), closed, dropped })
    }

    /// Takes a line, or drops it: nobody waits for the log.
    pub(super) fn record(&self, entry: Entry) {
        if self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_err()) {
            self.dropped.inc();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.entries = None;
        let _ = self.closed.recv_timeout(CLOSE_DEADLINE);
    }
}

/// What is written to.
struct Target {
    path: Option<PathBuf>,
    /// Unbuffered below, so that what it still holds is what was not written.
    out: BufWriter<File>,
    inode: u64,
    looked: Instant,
    failing: bool,
}

impl Target {
    fn open(destination: Destination) -> io::Result<Target> {
        let (file, path) = match destination {
            Destination::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Destination::File(path) => (append_to(&path)?, Some(path)),
        };
        let inode = file.metadata()?.ino();
        let (out, looked) = (BufWriter::new(file), Instant::now());
        Ok(Target { path, out, inode, looked, failing: false })
    }

    /// Writes until nobody sends any more.
    fn write_all(mut self, queue: &Receiver<Entry>, dropped: &Counter) {
        loop {
            let entry = queue.try_recv().or_else(|_| {
                // Nothing is left for the moment: what there is can be read now.
                self.flush();
                queue.recv_timeout(REOPEN_INTERVAL)
            });
            match entry {
                Ok(entry) => {
                    dropped.inc_by(self.reopen_if_moved());
                    if let Err(error) = self.write(&entry) {
                        self.complain(&error);
                        dropped.inc();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    dropped.inc_by(self.close());
                    return;
                }
            }
        }
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let id = entry.id.to_string();
        let line = Line {
            time: entry.time,
            id: &id,
            client: entry.client,
            user: entry.user,
            method: entry.method,
            route: entry.route.map(|route| route.path),
            status: entry.status,
            bytes: entry.bytes,
            micros: entry.took.as_micros(),
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        // In one piece: where there is no room for it, nothing of it is buffered.
        self.out.write_all(&line)
    }

    /// Writes what is held back. What cannot be written yet goes on being held back.
    fn flush(&mut self) {
        match self.out.flush() {
            Ok(()) => self.failing = false,
            Err(error) => self.complain(&error),
        }
    }

    /// Says once that writing fails, until it no longer does.
    fn complain(&mut self, error: &io::Error) {
        if !self.failing {
            log::warn!("writing the access log failed: {error}");
        }
        self.failing = true;
    }

    /// Says how many lines are lost by it.
    fn reopen_if_moved(&mut self) -> u64 {
        let Some(path) = &self.path else { return 0 };
        if self.looked.elapsed() < REOPEN_INTERVAL {
            return 0;
        }
        self.looked = Instant::now();
        if path.metadata().is_ok_and(|there| there.ino() == self.inode) {
            return 0;
        }
        match Target::open(Destination::File(path.clone())) {
            // What was buffered still belongs into the old one.
            Ok(moved_to) => mem::replace(self, moved_to).close(),
            Err(_) => 0,
        }
    }

    /// Says how many lines cannot be written.
    fn close(mut self) -> u64 {
        self.flush();
        // Taken out, because to drop it would try again and tell nobody. A line of which only a
        // part was written is lost too, and its end is here.
        let (_, held_back) = self.out.into_parts();
        let held_back = held_back.unwrap_or_default();
        held_back.split_inclusive(|byte| *byte == b'\n').count() as u64
    }
}

/// Opens a log, or makes one that the operator's group may read, unless their umask forbids it.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match options.clone().create_new(true).mode(LOG_MODE).open(path) {
        Ok(file) => {
            if let Some(mode) = shared_mode(LOG_MODE) {
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            Ok(file)
        }
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        failed => failed,
    }
}
