//! Fetches a backup from a running server, and keeps it only if it is complete and sound.
//!
//! The module is an HTTP client, and verifies the backup with [`store::verify`]. Only the `backup`
//! command uses it.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::{Agent, Body};

use crate::store::{self, Progress, Summary};

/// Time limit for the connection, for the beginning of the response, and for each pause in it. The
/// whole transfer has no limit.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of a refusal's body that are shown.
const MAX_REFUSAL_BYTES: u64 = 512;

/// Fetches `GET /backup` from the admin address `url`, which has no slash at its end, into `file`,
/// which must not exist. The file appears when the backup is complete, verified and durable.
/// `patience` is [`PATIENCE`], but shorter in tests.
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

    // The file is removed on drop, unless it is persisted.
    let unfinished = tempfile::Builder::new()
        .prefix(".unfinished-backup-")
        .tempfile_in(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?;
    let written = unfinished.as_file().try_clone().map_err(named)?;
    let again = written.try_clone().map_err(named)?;
    // A proxy may cut the body short in a way that only its length shows.
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

/// The body of the response and its length in bytes.
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

/// The status, and the beginning of the body.
fn refusal(response: &mut Response<Body>) -> String {
    let status = response.status();
    let mut words = Vec::new();
    // A body that cannot be read is left out.
    let _ = response.body_mut().as_reader().take(MAX_REFUSAL_BYTES).read_to_end(&mut words);
    let words = String::from_utf8_lossy(&words);
    format!("the server answered {status} {}", words.trim()).trim_end().to_owned()
}

/// A reader that also writes all it reads to a file.
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
