//! Keeps tiny_http from forgetting connections.
//!
//! Its task pool can queue two new connections for one idle thread; the second is then not
//! served until another connection begins or ends. So a thread of ours opens a connection now
//! and then, sends a tiny request and goes on to do so at once for as long as the process gets
//! more threads by it or an answer is outstanding: each such connection frees one that was
//! forgotten.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::http::connections::process::Process;
use crate::sys::{SystemEntropy, random};

/// How long the self-probe rests while requests come in.
const BUSY_INTERVAL: Duration = Duration::from_millis(25);
/// How much longer it rests while none do.
const IDLE_INTERVAL: Duration = Duration::from_millis(225);
/// How long an answer is waited for before the next connection is opened.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(4);
/// Connections in a round at most: nobody has more forgotten ones than this.
const MAX_PROBES: usize = 4096;
/// How long the connection itself may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The pulse of one server. It ends when this is dropped.
pub struct SelfProbe {
    /// What its requests' targets begin with. Behind it stands when each was sent, in microseconds
    /// since the self-probe began.
    path: String,
    shared: Arc<ProbeState>,
    thread: Thread,
}

/// A look at the requests of a self-probe from elsewhere.
pub(in crate::http) struct ProbeWait(Arc<ProbeState>);

/// Somebody who goes along with the self-probe, in its thread.
pub trait ProbeObserver: Send + 'static {
    /// Time has passed. Says what there is to do; it is `busy` if requests came in meanwhile.
    fn tick(&mut self, busy: bool) -> ProbePlan {
        let _ = busy;
        ProbePlan::Round
    }

    /// A round is over.
    fn round_ends(&mut self, outcome: ProbeOutcome) {
        let _ = outcome;
    }
}

/// Nobody.
impl ProbeObserver for () {}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePlan {
    /// Nothing.
    Nothing,
    /// One connection, to see whether it is answered.
    Single,
    /// As many as it takes for nobody to be forgotten.
    Round,
}

struct ProbeState {
    begun: Instant,
    busy: AtomicBool,
    stopped: AtomicBool,
    /// When a request was sent that is not answered, in microseconds since the self-probe began; or
    /// [`NO_REQUEST`].
    awaited: AtomicU64,
}

const NO_REQUEST: u64 = u64::MAX;

impl SelfProbe {
    /// Starts the pulse of the server that listens on `addr`.
    pub fn start(addr: SocketAddr, mut observer: impl ProbeObserver) -> io::Result<SelfProbe> {
        // Nobody else can ask for it, so it is no route.
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

    /// Whether a request target is the self-probe's own: answer it with anything, quickly.
    #[must_use]
    pub fn is_probe(&self, target: &str) -> bool {
        self.wait_of(target).is_some()
    }

    /// How long ago a request was sent, if it is the self-probe's own.
    #[must_use]
    pub fn wait_of(&self, target: &str) -> Option<Duration> {
        let sent = target.strip_prefix(&self.path)?.parse().map(Duration::from_micros).ok()?;
        Some(self.shared.begun.elapsed().saturating_sub(sent))
    }

    /// For who wants to know how long its requests wait that are not answered.
    pub(in crate::http) fn probe_wait(&self) -> ProbeWait {
        ProbeWait(Arc::clone(&self.shared))
    }

    /// Says that clients are active, so that the self-probe does not rest for long.
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
    /// How long a request has waited by now that is not answered. It is looked at with every
    /// round: what is answered within milliseconds does not count.
    pub(in crate::http) fn wait(&self) -> Duration {
        let since = self.0.awaited.load(Ordering::Relaxed);
        if since == NO_REQUEST {
            return Duration::ZERO;
        }
        self.0.begun.elapsed().saturating_sub(Duration::from_micros(since))
    }
}

impl ProbeState {
    /// Since the self-probe began.
    fn micros(&self, time: Instant) -> u64 {
        let micros = time.saturating_duration_since(self.begun).as_micros();
        u64::try_from(micros).unwrap_or(NO_REQUEST)
    }

    /// Whether requests came in meanwhile. `None` when the self-probe has ended.
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

/// What came of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// A request was answered, of this round or of an earlier one.
    Answer {
        /// When it was sent, or a little earlier.
        sent: Instant,
    },
    /// Requests were sent, and none was answered yet.
    Silence,
    /// Not even a connection could be made.
    Nothing,
}

/// When a round ends.
struct ProbeRound {
    /// So many connections in a row that changed nothing end it.
    quiet: usize,
    /// So many that were not answered do too.
    outstanding: usize,
}

const SINGLE: ProbeRound = ProbeRound { quiet: 1, outstanding: 1 };
const THOROUGH: ProbeRound = ProbeRound { quiet: 2, outstanding: 64 };

impl ProbeRound {
    /// What was `awaited` is still listened to, and of what is not answered in this round something
    /// is awaited: a server that is far behind answers all the same.
    fn run(
        &self,
        addr: SocketAddr,
        request: impl Fn() -> Vec<u8>,
        awaited: &mut Option<(Instant, TcpStream)>,
    ) -> ProbeOutcome {
        let begun = Instant::now();
        let mut outstanding: Vec<TcpStream> = Vec::new();
        let mut threads = Process::look().threads;
        let (mut quiet, mut outcome) = (0, ProbeOutcome::Nothing);
        for _ in 0..MAX_PROBES {
            let Ok(probe) = open(addr, &request) else { break };
            if outcome == ProbeOutcome::Nothing {
                outcome = ProbeOutcome::Silence;
            }
            match answer(&probe) {
                ProbeReply::None if probe.set_nonblocking(true).is_ok() => {
                    // It ends with a goodbye, also if nobody has accepted it yet.
                    let _ = SockRef::from(&probe).set_linger(None);
                    outstanding.push(probe);
                }
                ProbeReply::Some => outcome = ProbeOutcome::Answer { sent: begun },
                _ => {}
            }
            outstanding.retain(|probe| {
                let answer = answer(probe);
                if answer == ProbeReply::Some {
                    outcome = ProbeOutcome::Answer { sent: begun };
                }
                answer == ProbeReply::None
            });
            let threads_now = Process::look().threads;
            let calm = outstanding.is_empty() && threads_now <= threads;
            quiet = if calm { quiet + 1 } else { 0 };
            threads = threads_now;
            if quiet == self.quiet || outstanding.len() == self.outstanding {
                break;
            }
        }
        if matches!(outcome, ProbeOutcome::Answer { .. }) {
            *awaited = None;
            return outcome;
        }
        let earlier = awaited.take();
        match earlier.as_ref().map(|(sent, probe)| (*sent, answer(probe))) {
            Some((sent, ProbeReply::Some)) => return ProbeOutcome::Answer { sent },
            Some((_, ProbeReply::None)) => *awaited = earlier,
            Some((_, ProbeReply::End)) | None => {
                *awaited = outstanding.into_iter().next().map(|probe| (begun, probe));
            }
        }
        outcome
    }
}

fn open(addr: SocketAddr, request: impl Fn() -> Vec<u8>) -> io::Result<TcpStream> {
    let mut probe = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?;
    probe.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // The answer is of no interest, and a reset leaves no connection in TIME-WAIT.
    SockRef::from(&probe).set_linger(Some(Duration::ZERO))?;
    probe.write_all(&request())?;
    Ok(probe)
}

#[derive(PartialEq, Eq)]
enum ProbeReply {
    /// Not yet.
    None,
    Some,
    /// The connection has ended without one.
    End,
}

fn answer(probe: &TcpStream) -> ProbeReply {
    match probe.peek(&mut [0; 64]) {
        Ok(0) => ProbeReply::End,
        Ok(_) => ProbeReply::Some,
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            ProbeReply::None
        }
        Err(_) => ProbeReply::End,
    }
}

/// Where to reach a server that may listen on all addresses.
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

    struct StreamMessage(Sender<ProbeOutcome>);

    impl ProbeObserver for StreamMessage {
        fn round_ends(&mut self, outcome: ProbeOutcome) {
            let _ = self.0.send(outcome);
        }
    }

    /// A server that is rounds behind is not silent.
    #[test]
    fn a_late_answer_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (told, outcome) = mpsc::channel();
        let _pulse = SelfProbe::start(listener.local_addr().unwrap(), StreamMessage(told)).unwrap();
        let (mut first, _) = listener.accept().unwrap();
        let deadline = Instant::now() + Duration::from_mins(2);
        for _ in 0..2 {
            assert_eq!(outcome.recv().unwrap(), ProbeOutcome::Silence);
        }
        first.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        while !matches!(outcome.recv().unwrap(), ProbeOutcome::Answer { .. }) {
            assert!(Instant::now() < deadline, "the answer is not outcome");
        }
    }
}
