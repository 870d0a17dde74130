//! Keeps tiny_http from forgetting connections.
//!
//! Its task pool can queue two new connections for one idle thread; the second is then not
//! served until another connection begins or ends. So a thread of ours opens a connection now
//! and then, sends a tiny request and goes on to do so at once for as long as the process gets
//! more threads by it or an answer is outstanding: each such connection frees one that was
//! forgotten.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use socket2::SockRef;

use crate::sys::{SystemEntropy, random};

/// How long the pulse rests while requests come in.
const BUSY_INTERVAL: Duration = Duration::from_millis(25);
/// How much longer it rests while none do.
const IDLE_INTERVAL: Duration = Duration::from_millis(225);
/// How long an answer is waited for before the next connection is opened.
const PATIENCE: Duration = Duration::from_millis(4);
/// So many connections in a row that changed nothing end a round.
const QUIET_BEATS: usize = 2;
/// Connections in a round at most: nobody has more forgotten ones than this.
const MAX_BEATS: usize = 4096;
/// Unanswered connections in a round at most.
const MAX_OUTSTANDING: usize = 64;
/// How long the connection itself may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The pulse of one server. It ends when this is dropped.
pub struct Pulse {
    path: String,
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    busy: AtomicBool,
    stopped: AtomicBool,
}

impl Pulse {
    /// Starts the pulse of the server that listens on `addr`. `on_beat` runs with each round.
    pub fn start(
        addr: SocketAddr,
        mut on_beat: impl FnMut() + Send + 'static,
    ) -> io::Result<Pulse> {
        // Nobody else can ask for it, so it is no route.
        let secret = u128::from_le_bytes(random(&mut SystemEntropy));
        let path = format!("/pulse-{secret:032x}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: pulse\r\nConnection: close\r\n\r\n");
        let addr = reachable(addr);
        let shared = Arc::new(Shared::default());
        let its_shared = Arc::clone(&shared);
        let thread = thread::Builder::new().name("pulse".to_owned()).spawn(move || {
            while its_shared.rest() {
                on_beat();
                beat_until_quiet(addr, request.as_bytes());
            }
        })?;
        Ok(Pulse { path, shared, thread: thread.thread().clone() })
    }

    /// Whether a request target is the pulse's own: answer it with anything, quickly.
    #[must_use]
    pub fn is_beat(&self, target: &str) -> bool {
        target == self.path
    }

    /// Says that clients are active, so that the pulse does not rest for long.
    pub fn quicken(&self) {
        if !self.shared.busy.swap(true, Ordering::Relaxed) {
            self.thread.unpark();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl Shared {
    /// `false` when the pulse has ended.
    fn rest(&self) -> bool {
        thread::sleep(BUSY_INTERVAL);
        if !self.busy.swap(false, Ordering::Relaxed) && !self.stopped.load(Ordering::Relaxed) {
            thread::park_timeout(IDLE_INTERVAL);
        }
        !self.stopped.load(Ordering::Relaxed)
    }
}

fn beat_until_quiet(addr: SocketAddr, request: &[u8]) {
    let mut outstanding: Vec<TcpStream> = Vec::new();
    let mut threads = thread_count();
    let mut quiet = 0;
    for _ in 0..MAX_BEATS {
        let Ok(beat) = open(addr, request) else { return };
        if !is_answered(&beat) && beat.set_nonblocking(true).is_ok() {
            outstanding.push(beat);
        }
        outstanding.retain(|beat| !is_answered(beat));
        let threads_now = thread_count();
        let calm = outstanding.is_empty() && threads_now <= threads;
        quiet = if calm { quiet + 1 } else { 0 };
        threads = threads_now;
        if quiet == QUIET_BEATS || outstanding.len() == MAX_OUTSTANDING {
            return;
        }
    }
}

fn open(addr: SocketAddr, request: &[u8]) -> io::Result<TcpStream> {
    let mut beat = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)?;
    beat.set_read_timeout(Some(PATIENCE))?;
    // The answer is of no interest, and a reset leaves no connection in TIME-WAIT.
    SockRef::from(&beat).set_linger(Some(Duration::ZERO))?;
    beat.write_all(request)?;
    Ok(beat)
}

fn is_answered(beat: &TcpStream) -> bool {
    let mut answer = [0; 64];
    match beat.peek(&mut answer) {
        // The end of the connection is an answer too: it was served.
        Ok(_) => true,
        Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

/// How many threads the process has: the 20th field of its stat line, the second of which is a
/// name in parentheses that may hold spaces. 0 where the system does not say.
fn thread_count() -> usize {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name.split_whitespace().nth(17).and_then(|field| field.parse().ok()).unwrap_or(0)
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
