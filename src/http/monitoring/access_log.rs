//! The access log: a line of JSON for each answer, off unless it is asked for.
//!
//! A thread of its own writes it, so that a slow disk does not stop the loop: what the thread's
//! queue has no room for is dropped and counted. It names routes, not paths, and no query: those
//! are the client's own words, and may hold what is nobody's business.
//!
//! A file that was moved away is written to until another one is begun in its place. A pipe is
//! opened when somebody reads it, and nobody waits for that.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::mem;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use rustix::fs::OFlags;
use serde::Serialize;

use crate::api::routes::Route;
use crate::http::requests::request_id::RequestId;
use crate::model::{Timestamp, UserId};
use crate::sys::shared_mode;

/// Answers that wait to be written.
const QUEUE: usize = 8192;
/// How often a file is looked for that was moved away, so that logs can be rotated, and one opened
/// that could not be.
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
    /// A file, to which it is appended. It can be moved away at any time: another is begun. If it is
    /// a pipe it is written to while somebody reads it.
    File(PathBuf),
}

impl From<PathBuf> for Destination {
    /// `-` is standard output.
    fn from(path: PathBuf) -> Self {
        if path == Path::new("-") { Destination::Stdout } else { Destination::File(path) }
    }
}

/// An answer.
pub(in crate::http) struct AccessRecord {
    pub(in crate::http) time: Timestamp,
    pub(in crate::http) id: RequestId,
    pub(in crate::http) client: IpAddr,
    pub(in crate::http) user: Option<UserId>,
    pub(in crate::http) method: &'static str,
    pub(in crate::http) route: Option<&'static Route>,
    pub(in crate::http) status: u16,
    /// Of the content, in full.
    pub(in crate::http) bytes: usize,
    pub(in crate::http) took: Duration,
}

#[derive(Serialize)]
struct AccessLine<'a> {
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
pub(in crate::http) struct AccessLog {
    /// `None` when it is being closed.
    entries: Option<SyncSender<AccessRecord>>,
    closed: Receiver<()>,
    losses: Losses,
}

/// What is counted of it.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Losses {
    /// Lines that were not written.
    pub(in crate::http) dropped: Counter,
    /// Attempts to open a file or to write to it that failed.
    pub(in crate::http) errors: Counter,
}

impl AccessLog {
    /// Begins to write.
    pub(in crate::http) fn start(
        destination: Destination,
        losses: Losses,
    ) -> io::Result<AccessLog> {
        let target = Target::start(destination, losses.clone())?;
        let (entries, queue) = mpsc::sync_channel(QUEUE);
        let (closing, closed) = mpsc::channel();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            target.write_all(&queue);
            drop(closing);
        })?;
        Ok(AccessLog { entries: Some(entries), closed, losses })
    }

    /// Takes a line, or drops it: nobody waits for the log.
    pub(in crate::http) fn record(&self, entry: AccessRecord) {
        if self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_err()) {
            self.losses.dropped.inc();
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
    /// Unless it is standard output.
    path: Option<PathBuf>,
    /// `None` until it can be opened.
    file: Option<LogFile>,
    looked: Instant,
    /// Whether the last attempt to open it, or to write to it, has failed.
    unopened: bool,
    failing: bool,
    losses: Losses,
}

/// A file that is open.
struct LogFile {
    /// Unbuffered below, so that what it still holds is what was not written.
    out: BufWriter<File>,
    /// Its device and inode.
    identity: (u64, u64),
}

impl Target {
    /// Opens it. A pipe that nobody reads is opened later; else an error is one.
    fn start(destination: Destination, losses: Losses) -> io::Result<Target> {
        let (file, path) = match destination {
            Destination::Stdout => {
                let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                (LogFile::of(stdout).map(Some), None)
            }
            Destination::File(path) => (LogFile::open(&path).map(Some), Some(path)),
        };
        let (looked, unopened, failing) = (Instant::now(), false, false);
        let mut target = Target { path, file: None, looked, unopened, failing, losses };
        target.file = match file {
            Err(error) if target.is_unread_pipe(&error) => {
                target.fail_to_open(&error);
                None
            }
            file => file?,
        };
        Ok(target)
    }

    /// Writes until nobody sends any more.
    fn write_all(mut self, queue: &Receiver<AccessRecord>) {
        loop {
            let entry = queue.try_recv().or_else(|_| {
                // Nothing is left for the moment: what there is can be read now.
                self.flush();
                queue.recv_timeout(REOPEN_INTERVAL)
            });
            match entry {
                Ok(entry) => {
                    self.reopen();
                    self.write(&entry);
                }
                Err(RecvTimeoutError::Timeout) => self.reopen(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.flush();
                    let lost = self.file.map_or(0, LogFile::lose);
                    self.losses.dropped.inc_by(lost);
                    return;
                }
            }
        }
    }

    fn write(&mut self, entry: &AccessRecord) {
        let Some(file) = &mut self.file else {
            self.losses.dropped.inc();
            return;
        };
        if let Err(error) = file.write(entry) {
            self.losses.dropped.inc();
            self.complain(&error);
        }
    }

    /// Writes what is held back. What cannot be written yet goes on being held back.
    fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.out.flush() {
            Ok(()) if self.failing => {
                self.failing = false;
                log::info!("the access log is written again");
            }
            Ok(()) => {}
            Err(error) => self.complain(&error),
        }
    }

    /// Says once that writing fails, until it no longer does.
    fn complain(&mut self, error: &io::Error) {
        self.losses.errors.inc();
        if !mem::replace(&mut self.failing, true) {
            log::warn!("writing the access log failed: {error}");
        }
    }

    /// Begins another file if the one there was is not where it was, or none could be opened so far.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        if self.looked.elapsed() < REOPEN_INTERVAL {
            return;
        }
        self.looked = Instant::now();
        let is_there = |file: &LogFile| path.metadata().is_ok_and(|it| file.is(&it));
        if self.file.as_ref().is_some_and(is_there) {
            self.unopened = false;
            return;
        }
        match LogFile::open(path) {
            Ok(file) => {
                if self.unopened {
                    log::info!("the access log is opened");
                }
                // What was held back still belongs into the old one.
                self.flush();
                let lost = self.file.replace(file).map_or(0, LogFile::lose);
                self.losses.dropped.inc_by(lost);
                (self.unopened, self.failing) = (false, false);
            }
            Err(error) => self.fail_to_open(&error),
        }
    }

    /// Says once that it cannot be opened, until it can.
    fn fail_to_open(&mut self, error: &io::Error) {
        self.losses.errors.inc();
        if mem::replace(&mut self.unopened, true) {
            return;
        }
        let path = self.path.as_deref().unwrap_or(Path::new("-")).display();
        let meanwhile =
            if self.file.is_some() { "go to the old one" } else { "are dropped and counted" };
        let why = if self.is_unread_pipe(error) {
            "nobody reads this pipe".to_owned()
        } else {
            error.to_string()
        };
        log::warn!(
            "cannot open the access log {path}: {why}; it is tried again, and lines {meanwhile} \
             until then"
        );
    }

    /// Whether opening it failed because it is a pipe that nobody reads.
    fn is_unread_pipe(&self, error: &io::Error) -> bool {
        let metadata = self.path.as_deref().and_then(|path| path.metadata().ok());
        error.raw_os_error() == Some(libc::ENXIO)
            && metadata.is_some_and(|it| it.file_type().is_fifo())
    }
}

impl LogFile {
    fn open(path: &Path) -> io::Result<LogFile> {
        LogFile::of(append_to(path)?)
    }

    fn of(file: File) -> io::Result<LogFile> {
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(LogFile { out: BufWriter::new(file), identity })
    }

    fn is(&self, there: &Metadata) -> bool {
        self.identity == (there.dev(), there.ino())
    }

    fn write(&mut self, entry: &AccessRecord) -> io::Result<()> {
        let id = entry.id.to_string();
        let line = AccessLine {
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

    /// Lets go of it, and says how many lines could not be written.
    fn lose(self) -> u64 {
        // Taken out, because to drop it would try again and tell nobody. A line of which only a
        // part was written is lost too, and its end is here.
        let (_, held_back) = self.out.into_parts();
        let held_back = held_back.unwrap_or_default();
        held_back.split_inclusive(|byte| *byte == b'\n').count() as u64
    }
}

/// Opens a log to append to it, or makes one that the operator's group may read, unless their umask
/// forbids it. A pipe that nobody reads is not waited for.
fn append_to(path: &Path) -> io::Result<File> {
    let file = open_or_create(path)?;
    // Once it is open its own thread may wait for whoever reads it.
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
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
