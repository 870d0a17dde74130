//! A client that means no harm, and measures how long it waits while others do.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Answer;
use crate::line::Line;

/// What 99 of 100 requests are answered within.
pub(crate) const P99: Duration = Duration::from_millis(100);
/// How long it rests between two requests.
const REST: Duration = Duration::from_millis(5);

/// A running one: it reads and writes, on a connection that it keeps and on new ones, until it is
/// asked how it was.
pub(crate) struct Neighbour {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
}

/// How it was.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How long each request took, in ascending order.
    pub(crate) times: Vec<Duration>,
    /// Messages that were acknowledged.
    pub(crate) said: usize,
    /// What went wrong.
    pub(crate) complaints: Vec<String>,
    /// By how much the machine was late in waking it up, in ascending order: what is owed to others
    /// who use the machine.
    lateness: Vec<Duration>,
}

/// What all its messages say.
pub(crate) const TEXT: &str = "good morning";

impl Neighbour {
    pub(crate) fn begin(addr: SocketAddr, token: &str) -> Neighbour {
        let is_over = Arc::new(AtomicBool::new(false));
        let (its_is_over, token) = (Arc::clone(&is_over), token.to_owned());
        let thread =
            thread::spawn(move || live(addr, &token, |_| !its_is_over.load(Ordering::Relaxed)));
        Neighbour { is_over, thread: Some(thread) }
    }

    /// Ends it.
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

/// A neighbour's `requests`, here and now.
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
    let mut kept = None;
    for round in (0..).take_while(|round| goes_on(*round)) {
        let (request, status) = if round % 2 == 0 { (&read, 200) } else { (&write, 201) };
        let mut fresh = None;
        let line = if round % 4 < 2 { &mut kept } else { &mut fresh };
        let begun = Instant::now();
        match ask(line, addr, request) {
            Ok(answer) if answer.status == status => report.said += usize::from(status == 201),
            Ok(answer) => report.complaints.push(format!("request {round}: {answer:?}")),
            Err(error) => {
                *line = None;
                report.complaints.push(format!("request {round}: {error}"));
            }
        }
        report.times.push(begun.elapsed());
        let begun = Instant::now();
        thread::sleep(REST);
        report.lateness.push(begun.elapsed().saturating_sub(REST));
    }
    report.times.sort();
    report.lateness.sort();
    report
}

/// Asks on a connection that may have to be opened first.
fn ask(line: &mut Option<Line>, addr: SocketAddr, request: &str) -> io::Result<Answer> {
    let line = match line {
        Some(line) => line,
        none => none.insert(Line::open(addr)?),
    };
    line.ask(request)
}

impl Report {
    /// Fails the test unless everything was answered, and promptly.
    pub(crate) fn check(&self, meanwhile: &str) {
        println!("{meanwhile}: {self}");
        assert!(self.complaints.is_empty(), "{meanwhile}: {:#?}", self.complaints);
        let allowed = P99 + percentile(&self.lateness, 99);
        assert!(percentile(&self.times, 99) < allowed, "{meanwhile}: {self}");
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report { times, lateness, .. } = self;
        write!(
            f,
            "a neighbour's {} requests took {:?}, {:?} for 99 of 100, {:?} at most; the machine was \
             {:?} late for 99 of 100",
            times.len(),
            percentile(times, 50),
            percentile(times, 99),
            percentile(times, 100),
            percentile(lateness, 99),
        )
    }
}

/// Of durations in ascending order.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}
