//! Requests of the server to itself. They keep tiny_http from forgetting connections, and show
//! whether the server answers.
//!
//! tiny_http's task pool can queue two new connections for one idle thread; the second is then not
//! served until another connection begins or ends. So a thread opens a connection now and then and
//! sends a small request. It repeats this at once while the process gets more threads by it or an
//! answer is outstanding: each such connection frees a forgotten one.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::http::connections::process::Process;
use crate::sys::{SystemEntropy, random};

/// Pause between rounds while requests come in.
const BUSY_INTERVAL: Duration = Duration::from_millis(25);
/// Additional pause while none do.
const IDLE_INTERVAL: Duration = Duration::from_millis(225);
/// Time to wait for an answer before the next connection is opened.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(4);
/// Connections per round: more than can be forgotten.
const MAX_PROBES: usize = 4096;
/// Limit on the time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The probes of one server. They end when this is dropped.
pub struct SelfProbe {
    /// Prefix of the request targets. The time of sending follows, in microseconds since `begun`.
    path: String,
    shared: Arc<ProbeState>,
    thread: Thread,
}

/// Time for which probes have been unanswered, for other threads.
pub(in crate::http) struct ProbeWait(Arc<ProbeState>);

/// Observer of the probes, on their thread.
pub trait ProbeObserver: Send + 'static {
    /// Called after each pause; `busy` if requests came in meanwhile. Returns what to send.
    fn tick(&mut self, busy: bool) -> ProbePlan {
        let _ = busy;
        ProbePlan::Round
    }

    /// Called after each round.
    fn round_ends(&mut self, outcome: ProbeOutcome) {
        let _ = outcome;
    }
}

/// Always sends a whole round.
impl ProbeObserver for () {}

/// The probes to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePlan {
    /// None.
    Nothing,
    /// One, to see whether it is answered.
    Single,
    /// Probes until no connection is forgotten.
    Round,
}

struct ProbeState {
    begun: Instant,
    busy: AtomicBool,
    stopped: AtomicBool,
    /// Time at which the oldest unanswered probe was sent, in microseconds since `begun`; or
    /// [`NO_REQUEST`].
    awaited: AtomicU64,
}

const NO_REQUEST: u64 = u64::MAX;

impl SelfProbe {
    /// Starts probing the server that listens on `addr`.
    pub fn start(addr: SocketAddr, mut observer: impl ProbeObserver) -> io::Result<SelfProbe> {
        // The path is secret, so it needs no route.
        let secret = u128::from_le_bytes(random(&mut SystemEntropy));
        let path = format!("/self_probe-{secret:032x}/");
        let addr = reachable(addr);
        let shared = Arc::new(ProbeState {
            begun: Instant::now(),
            busy: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            awaited: AtomicU64::new(NO_REQUEST),
        });
        let (its_shared, its_path) = (Arc::clone(&shared), path.clone());
        let thread = thread::Builder::new().name("self-probe".to_owned()).spawn(move || {
            let request = || {
                let now = its_shared.micros(Instant::now());
                let end = "HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";
                format!("GET {its_path}{now} {end}").into_bytes()
            };
            let mut awaited = None;
            while let Some(busy) = its_shared.rest() {
                let round = match observer.tick(busy) {
                    ProbePlan::Nothing => continue,
                    ProbePlan::Single => &SINGLE,
                    ProbePlan::Round => &THOROUGH,
                };
                let outcome = round.run(addr, request, &mut awaited);
                let since = awaited.as_ref().map(|(sent, _)| its_shared.micros(*sent));
                its_shared.awaited.store(since.unwrap_or(NO_REQUEST), Ordering::Relaxed);
                observer.round_ends(outcome);
            }
        })?;
        Ok(SelfProbe { path, shared, thread: thread.thread().clone() })
    }

    /// Returns whether a request target is a probe's. Any answer will do, but it should be quick.
    #[must_use]
    pub fn is_probe(&self, target: &str) -> bool {
        self.wait_of(target).is_some()
    }

    /// Time since a probe was sent; `None` if the target is not a probe's.
    #[must_use]
    pub fn wait_of(&self, target: &str) -> Option<Duration> {
        let sent = target.strip_prefix(&self.path)?.parse().map(Duration::from_micros).ok()?;
        Some(self.shared.begun.elapsed().saturating_sub(sent))
    }

    /// A handle to read how long probes have been unanswered.
    pub(in crate::http) fn probe_wait(&self) -> ProbeWait {
        ProbeWait(Arc::clone(&self.shared))
    }

    /// Reports a request, which shortens the pause.
    pub fn report_activity(&self) {
        if !self.shared.busy.swap(true, Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

impl Drop for SelfProbe {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl ProbeWait {
    /// Time for which the oldest probe has been unanswered. It is updated with every round, so that
    /// answers within milliseconds do not count.
    pub(in crate::http) fn wait(&self) -> Duration {
        let since = self.0.awaited.load(Ordering::Relaxed);
        if since == NO_REQUEST {
            return Duration::ZERO;
        }
        self.0.begun.elapsed().saturating_sub(Duration::from_micros(since))
    }
}

impl ProbeState {
    /// Microseconds since `begun`.
    fn micros(&self, time: Instant) -> u64 {
        let micros = time.saturating_duration_since(self.begun).as_micros();
        u64::try_from(micros).unwrap_or(NO_REQUEST)
    }

    /// Sleeps until the next round. Returns whether requests came in meanwhile, and `None` at the
    /// end.
    fn rest(&self) -> Option<bool> {
        thread::sleep(BUSY_INTERVAL);
        let mut busy = self.busy.swap(false, Ordering::Relaxed);
        if !busy && !self.stopped.load(Ordering::Relaxed) {
            thread::park_timeout(IDLE_INTERVAL);
            busy = self.busy.load(Ordering::Relaxed);
        }
        (!self.stopped.load(Ordering::Relaxed)).then_some(busy)
    }
}

/// Result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// A probe of this round or of an earlier one was answered.
    Answered {
        /// Time of sending, or a little earlier.
        sent: Instant,
    },
    /// Probes were sent, and none is answered yet.
    Unanswered,
    /// No connection could be made.
    Unreachable,
}

/// Conditions that end a round.
struct ProbeRound {
    /// Connections in a row that changed nothing.
    quiet: usize,
    /// Connections without an answer.
    outstanding: usize,
}

const SINGLE: ProbeRound = ProbeRound { quiet: 1, outstanding: 1 };
const THOROUGH: ProbeRound = ProbeRound { quiet: 2, outstanding: 64 };

impl ProbeRound {
    /// Runs a round. An earlier unanswered probe is kept in `awaited`, and replaced by one of this
    /// round only if its connection has ended: a server that is far behind still answers.
    fn run(
        &self,
        addr: SocketAddr,
        request: impl Fn() -> Vec<u8>,
        awaited: &mut Option<(Instant, TcpStream)>,
    ) -> ProbeOutcome {
        let begun = Instant::now();
        let mut outstanding: Vec<TcpStream> = Vec::new();
        let mut threads = Process::read().threads;
        let (mut quiet, mut outcome) = (0, ProbeOutcome::Unreachable);
        for _ in 0..MAX_PROBES {
            let Ok(probe) = open(addr, &request) else { break };
            if outcome == ProbeOutcome::Unreachable {
                outcome = ProbeOutcome::Unanswered;
            }
            match answer(&probe) {
                ProbeReply::Pending if probe.set_nonblocking(true).is_ok() => {
                    // From now on its end is a FIN instead of a reset, also if it is not accepted
                    // yet.
                    let _ = SockRef::from(&probe).set_linger(None);
                    outstanding.push(probe);
                }
                ProbeReply::Received => outcome = ProbeOutcome::Answered { sent: begun },
                _ => {}
            }
            outstanding.retain(|probe| {
                let answer = answer(probe);
                if answer == ProbeReply::Received {
                    outcome = ProbeOutcome::Answered { sent: begun };
                }
                answer == ProbeReply::Pending
            });
            let threads_now = Process::read().threads;
            let calm = outstanding.is_empty() && threads_now <= threads;
            quiet = if calm { quiet + 1 } else { 0 };
            threads = threads_now;
            if quiet == self.quiet || outstanding.len() == self.outstanding {
                break;
            }
        }
        if matches!(outcome, ProbeOutcome::Answered { .. }) {
            *awaited = None;
            return outcome;
        }
        let earlier = awaited.take();
        match earlier.as_ref().map(|(sent, probe)| (*sent, answer(probe))) {
            Some((sent, ProbeReply::Received)) => return ProbeOutcome::Answered { sent },
            Some((_, ProbeReply::Pending)) => *awaited = earlier,
            Some((_, ProbeReply::Closed)) | None => {
                *awaited = outstanding.into_iter().next().map(|probe| (begun, probe));
            }
        }
        outcome
    }
}

fn open(addr: SocketAddr, request: impl Fn() -> Vec<u8>) -> io::Result<TcpStream> {
    let mut probe = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?;
    probe.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // Its answer is not read, and a reset leaves no connection in TIME-WAIT.
    SockRef::from(&probe).set_linger(Some(Duration::ZERO))?;
    probe.write_all(&request())?;
    Ok(probe)
}

#[derive(PartialEq, Eq)]
enum ProbeReply {
    Pending,
    Received,
    /// The connection has ended without an answer.
    Closed,
}

fn answer(probe: &TcpStream) -> ProbeReply {
    match probe.peek(&mut [0; 64]) {
        Ok(0) => ProbeReply::Closed,
        Ok(_) => ProbeReply::Received,
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            ProbeReply::Pending
        }
        Err(_) => ProbeReply::Closed,
    }
}

/// An address that reaches a server which may listen on all addresses.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::{self, Sender};

    use super::*;

    struct Report(Sender<ProbeOutcome>);

    impl ProbeObserver for Report {
        fn round_ends(&mut self, outcome: ProbeOutcome) {
            let _ = self.0.send(outcome);
        }
    }

    /// A server that answers rounds later is not silent.
    #[test]
    fn a_late_answer_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, outcome) = mpsc::channel();
        let _probe = SelfProbe::start(listener.local_addr().unwrap(), Report(sender)).unwrap();
        let (mut first, _) = listener.accept().unwrap();
        let deadline = Instant::now() + Duration::from_mins(2);
        for _ in 0..2 {
            assert_eq!(outcome.recv().unwrap(), ProbeOutcome::Unanswered);
        }
        first.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        while !matches!(outcome.recv().unwrap(), ProbeOutcome::Answered { .. }) {
            assert!(Instant::now() < deadline, "the answer is not noticed");
        }
    }
}
