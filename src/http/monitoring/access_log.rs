//! The access log: a line of JSON for each answer. It is off by default.
//!
//! A thread writes it, so that a slow disk does not stop the loop; entries for which the queue has
//! no room are dropped and counted. It contains routes, but neither paths nor queries, which
//! clients choose and which may be confidential.
//!
//! A file that was moved away is written to until a new one is opened in its place. A pipe is
//! opened once it has a reader, without blocking.

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

/// Entries that wait to be written.
const QUEUE: usize = 8192;
/// Time between checks whether the file was moved away (log rotation), and between attempts to open
/// it.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// Mode of a new log. Its reader often runs as another user of the group.
const LOG_MODE: u32 = 0o640;
/// Time that the end of the log may take when the server stops.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Destination of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, after the line with the address.
    Stdout,
    /// A file, which is appended to, or a pipe, which is written to while it has a reader. A file
    /// can be moved away at any time; a new one is opened.
    File(PathBuf),
}

impl From<PathBuf> for Destination {
    /// `-` is standard output.
    fn from(path: PathBuf) -> Self {
        if path == Path::new("-") { Destination::Stdout } else { Destination::File(path) }
    }
}

/// One answer.
pub(in crate::http) struct AccessRecord {
    pub(in crate::http) time: Timestamp,
    pub(in crate::http) id: RequestId,
    pub(in crate::http) client: IpAddr,
    pub(in crate::http) user: Option<UserId>,
    pub(in crate::http) method: &'static str,
    pub(in crate::http) route: Option<&'static Route>,
    pub(in crate::http) status: u16,
    /// Length of the content, also for `HEAD`.
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

/// The loop's handle on the log.
pub(in crate::http) struct AccessLog {
    /// `None` while it is being closed.
    entries: Option<SyncSender<AccessRecord>>,
    closed: Receiver<()>,
    losses: Losses,
}

/// Counters of failures.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Losses {
    /// Lines that were not written.
    pub(in crate::http) dropped: Counter,
    /// Failed attempts to open the file or to write to it.
    pub(in crate::http) errors: Counter,
}

impl AccessLog {
    /// Opens the destination and starts the thread.
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

    /// Queues an entry, or drops it if the queue is full.
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

/// The open destination.
struct Target {
    /// `None` for standard output.
    path: Option<PathBuf>,
    /// `None` until it can be opened.
    file: Option<LogFile>,
    looked: Instant,
    /// True if the last attempt to open it, or to write to it, has failed.
    unopened: bool,
    failing: bool,
    losses: Losses,
}

/// An open file.
struct LogFile {
    /// `File` has no buffer, so this one holds exactly the bytes that are not written.
    out: BufWriter<File>,
    /// Device and inode.
    identity: (u64, u64),
}

impl Target {
    /// Opens the destination. A pipe without a reader is opened later; other failures are returned.
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
                target.open_failed(&error);
                None
            }
            file => file?,
        };
        Ok(target)
    }

    /// Writes entries until the queue is closed.
    fn write_all(mut self, queue: &Receiver<AccessRecord>) {
        loop {
            let entry = queue.try_recv().or_else(|_| {
                // The queue is empty, so readers can have all lines.
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
                    let lost = self.file.map_or(0, LogFile::close);
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
            self.write_failed(&error);
        }
    }

    /// Writes the buffer. What cannot be written stays in it.
    fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.out.flush() {
            Ok(()) if self.failing => {
                self.failing = false;
                log::info!("writing the access log works again");
            }
            Ok(()) => {}
            Err(error) => self.write_failed(&error),
        }
    }

    /// Logs the first of several failures to write.
    fn write_failed(&mut self, error: &io::Error) {
        self.losses.errors.inc();
        if !mem::replace(&mut self.failing, true) {
            log::warn!("writing the access log failed: {error}");
        }
    }

    /// Opens a new file if the old one was moved away, or none is open.
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
                    log::info!("the access log was opened");
                }
                // The buffer belongs to the old file.
                self.flush();
                let lost = self.file.replace(file).map_or(0, LogFile::close);
                self.losses.dropped.inc_by(lost);
                (self.unopened, self.failing) = (false, false);
            }
            Err(error) => self.open_failed(&error),
        }
    }

    /// Logs the first of several failures to open it.
    fn open_failed(&mut self, error: &io::Error) {
        self.losses.errors.inc();
        if mem::replace(&mut self.unopened, true) {
            return;
        }
        let path = self.path.as_deref().unwrap_or(Path::new("-")).display();
        let meanwhile =
            if self.file.is_some() { "go to the old one" } else { "are dropped and counted" };
        let why = if self.is_unread_pipe(error) {
            "the pipe has no reader".to_owned()
        } else {
            error.to_string()
        };
        log::warn!(
            "cannot open the access log {path}: {why}; it is tried again, and lines {meanwhile} \
             until then"
        );
    }

    /// Returns whether opening it failed because it is a pipe without a reader.
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
        // In one call: if it fails, no part of the line is in the buffer.
        self.out.write_all(&line)
    }

    /// Closes the file. Returns the number of lines that were not written.
    fn close(self) -> u64 {
        // Dropping the writer would try to write again, and ignore the failure. A line that was
        // written in part counts too, as its end is in the buffer.
        let (_, held_back) = self.out.into_parts();
        let held_back = held_back.unwrap_or_default();
        held_back.split_inclusive(|byte| *byte == b'\n').count() as u64
    }
}

/// Opens a log to append to it, or creates one that the operator's group may read, unless the umask
/// forbids it. It does not block on a pipe without a reader.
fn append_to(path: &Path) -> io::Result<File> {
    let file = open_or_create(path)?;
    // The thread of the log may block on an open pipe.
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
        // Another process has created it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        failed => failed,
    }
}
