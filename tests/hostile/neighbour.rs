//! An ordinary client, beside hostile ones.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Answer;
use crate::line::Line;

/// The longest pause before a connection is used again: the server ends idle connections, after 15
/// s in these tests.
const FRESH: Duration = Duration::from_secs(5);
/// The pause between two requests.
const REST: Duration = Duration::from_millis(50);

/// A running neighbour: it reads and writes, on a connection that it keeps and on new ones, until
/// its report is requested.
pub(crate) struct Neighbour {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
}

/// The results of a neighbour.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Requests sent.
    pub(crate) requests: usize,
    /// Messages acknowledged.
    pub(crate) said: usize,
    /// Errors seen.
    pub(crate) complaints: Vec<String>,
}

/// The text of all its messages.
pub(crate) const TEXT: &str = "good morning";

impl Neighbour {
    pub(crate) fn begin(addr: SocketAddr, token: &str) -> Neighbour {
        let is_over = Arc::new(AtomicBool::new(false));
        let (its_is_over, token) = (Arc::clone(&is_over), token.to_owned());
        let thread =
            thread::spawn(move || live(addr, &token, |_| !its_is_over.load(Ordering::Relaxed)));
        Neighbour { is_over, thread: Some(thread) }
    }

    /// Ends the neighbour and returns its report.
    pub(crate) fn report(mut self) -> Report {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is asked once");
        thread.join().expect("it ends well")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Sends `requests` of a neighbour in this thread.
pub(crate) fn visit(addr: SocketAddr, token: &str, requests: usize) -> Report {
    live(addr, token, |round| round < requests)
}

fn live(addr: SocketAddr, token: &str, goes_on: impl Fn(usize) -> bool) -> Report {
    let head = |line: &str| format!("{line}\r\nHost: veche\r\nAuthorization: Bearer {token}\r\n");
    let body = format!(r#"{{"text":"{TEXT}"}}"#);
    let read = format!("{}\r\n", head("GET /api/messages?limit=1 HTTP/1.1"));
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let write = format!("{}{length}", head("POST /api/messages HTTP/1.1"));
    let mut report = Report::default();
    let (mut kept, mut used) = (None, Instant::now());
    for round in (0..).take_while(|round| goes_on(*round)) {
        let (request, status) = if round % 2 == 0 { (&read, 200) } else { (&write, 201) };
        let mut fresh = None;
        let line = if round % 4 < 2 { &mut kept } else { &mut fresh };
        if used.elapsed() > FRESH {
            *line = None;
        }
        used = if round % 4 < 2 { Instant::now() } else { used };
        match ask(line, addr, request) {
            Ok(answer) if answer.status == status => report.said += usize::from(status == 201),
            Ok(answer) => report.complaints.push(format!("request {round}: {answer:?}")),
            Err(error) => {
                *line = None;
                report.complaints.push(format!("request {round}: {error}"));
            }
        }
        report.requests += 1;
        thread::sleep(REST);
    }
    report
}

/// Sends a request, on a connection that may have to be opened first.
fn ask(line: &mut Option<Line>, addr: SocketAddr, request: &str) -> io::Result<Answer> {
    let line = match line {
        Some(line) => line,
        none => none.insert(Line::open(addr)?),
    };
    line.ask(request)
}

impl Report {
    /// Fails the test unless something was sent and everything was answered.
    pub(crate) fn check(&self, meanwhile: &str) {
        let Report { requests, said, complaints } = self;
        println!("{meanwhile}: a neighbour's {requests} requests, {said} of them messages");
        assert!(*requests > 0, "{meanwhile}: nothing was asked");
        assert!(complaints.is_empty(), "{meanwhile}: {complaints:#?}");
    }
}
