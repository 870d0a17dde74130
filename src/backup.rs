//! Fetches a running server's backup, and keeps it only when all of it is good.
//!
//! Knows HTTP as a client does and what a backup is by [`store::verify`]; serves `main` only.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::{Agent, Body};

use crate::store::{self, Progress, Summary};

/// How long a server may take to accept a connection, to begin its answer, and at each pause while
/// it answers. The whole may take as long as it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How much of what a server says instead of a backup is told.
const MAX_REFUSAL_BYTES: u64 = 512;

/// Fetches `GET /backup` from the admin address `url`, without a slash at its end, into `file`,
/// which must not exist. It appears there when it is complete, verified, and on the disk.
/// `patience` is [`PATIENCE`] but in tests.
pub fn fetch(
    url: &str,
    file: &Path,
    patience: Duration,
    progress: &mut dyn Progress,
) -> Result<Summary, Box<dyn Error>> {
    let named = |e: io::Error| format!("{}: {e}", file.display());
    let dir = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if file.symlink_metadata().is_ok() {
        return Err(named(io::ErrorKind::AlreadyExists.into()).into());
    }
    if !url.starts_with("http://") {
        return Err(format!("{url}: a backup is fetched by plain http:// only").into());
    }
    let url = format!("{url}/backup");
    let (body, len) = ask(&url, patience).map_err(|why| format!("{url}: {why}"))?;

    // Removed when it is let go of, whatever the reason.
    let unfinished = tempfile::Builder::new()
        .prefix(".unfinished-backup-")
        .tempfile_in(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?;
    let written = unfinished.as_file().try_clone().map_err(named)?;
    let again = written.try_clone().map_err(named)?;
    // A proxy may have cut it where nobody can see it but by its length.
    let source = Copied { source: body.take(len), copy: written };
    let again = || {
        again.sync_all()?;
        let mut again = again.try_clone()?;
        again.rewind()?;
        Ok(again)
    };
    let summary =
        store::verify(source, Some(len), again, progress).map_err(|why| format!("{url}: {why}"))?;
    unfinished.persist_noclobber(file).map_err(|e| named(e.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(named)?;
    Ok(summary)
}

/// The backup as it comes, and how long it is.
fn ask(url: &str, patience: Duration) -> Result<(impl Read, u64), Box<dyn Error>> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .build()
        .into();
    let mut response = agent.get(url).call()?;
    if response.status() != 200 {
        return Err(refusal(&mut response).into());
    }
    let len = response.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok());
    let len = len.and_then(|len| len.parse().ok());
    let len = len.ok_or("the server does not say how long the backup is")?;
    Ok((response.into_body().into_reader(), len))
}

/// The status, and of the words that came with it the first ones.
fn refusal(response: &mut Response<Body>) -> String {
    let status = response.status();
    let mut words = Vec::new();
    // Without them there is still the status.
    let _ = response.body_mut().as_reader().take(MAX_REFUSAL_BYTES).read_to_end(&mut words);
    let words = String::from_utf8_lossy(&words);
    format!("the server answered {status} {}", words.trim()).trim_end().to_owned()
}

/// What is read is written too.
struct Copied<R> {
    source: R,
    copy: File,
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..read])?;
        Ok(read)
    }
}
