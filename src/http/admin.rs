//! The operator's own listener: how the server is, and its figures.
//!
//! It has a thread, an acceptor and a pulse of its own, so that it answers when the loop does not.
//! It takes no bodies, and trusts whoever reaches it.

use std::collections::HashSet;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use tiny_http::{Header, Method, Response};

mod backup;

use crate::http::connections::acceptor::{Acceptor, Arrival};
use crate::http::connections::deadlines::Deadlines;
use crate::http::connections::descriptors::Connections;
use crate::http::connections::reaper::Reaper;
use crate::http::connections::self_probe::SelfProbe;
use crate::http::connections::socket::listen;
use crate::http::connections::watchdog::Watchdog;
use crate::http::loop_message::{self, LoopMessage, Sender};
use crate::http::monitoring::metrics::Metrics;
use crate::http::requests::body::MAX_DROPPED_BYTES;
use crate::http::requests::exchange::{Exchange, Framing};
use backup::Backups;

/// After how long an idle connection ends: longer than figures are usually asked for again.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// The media type of `OpenMetrics` 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The listener, before and while it answers.
pub(super) struct Admin {
    acceptor: Acceptor,
    local_addr: SocketAddr,
}

/// What answers.
struct AdminLoop {
    acceptor: Acceptor,
    connections: Connections,
    self_probe: SelfProbe,
    events: Receiver<LoopMessage>,
    metrics: Arc<Metrics>,
    backups: Backups,
    /// Connections to which a backup is on its way. What else they ask is not heard.
    busy: HashSet<SocketAddr>,
}

/// How a request is answered.
enum AdminReply {
    Now(Response<io::Cursor<Vec<u8>>>),
    Backup,
}

impl Admin {
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Admin> {
        let acceptor = listen(addr).and_then(Acceptor::start)?;
        let local_addr = acceptor.local_addr()?;
        Ok(Admin { acceptor, local_addr })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers until the process ends. `server` is who has the store.
    pub(super) fn start(self, metrics: Arc<Metrics>, server: Sender) -> io::Result<()> {
        let Admin { acceptor, local_addr } = self;
        let (sender, events) = loop_message::channel(acceptor.waker());
        let connections = Connections { local_port: local_addr.port() };
        let reaper = Reaper::new(connections, IDLE_TIMEOUT, None);
        let deadlines = Deadlines::new(connections);
        let backups = Backups::start(server, sender.clone(), deadlines.clone(), connections)?;
        let watched = vec![deadlines];
        let watchdog =
            Watchdog::new(watched, reaper, acceptor.listen_state(), sender, Box::new(()));
        let self_probe = SelfProbe::start(local_addr, watchdog)?;
        let busy = HashSet::new();
        let mut admin_loop =
            AdminLoop { acceptor, connections, self_probe, events, metrics, backups, busy };
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            loop {
                admin_loop.turn();
            }
        })?;
        Ok(())
    }
}

impl AdminLoop {
    fn turn(&mut self) {
        let mut arrival = self.acceptor.wait();
        while let Some(arrived) = arrival {
            match arrived {
                Arrival::Request(request, _) => self.take(request),
                Arrival::Dead(error) => {
                    log::warn!("cannot accept the operator's connections at the moment: {error}");
                    self.self_probe.report_activity();
                }
            }
            arrival = self.acceptor.next();
        }
        while let Ok(event) = self.events.try_recv() {
            match event {
                LoopMessage::Swept(sweep) => {
                    let idle = sweep.overdue.iter().map(|(descriptor, _)| descriptor);
                    for descriptor in idle.filter(|it| !self.busy.contains(&it.peer)) {
                        descriptor.shut_down();
                    }
                }
                LoopMessage::NotAccepting { shed } => {
                    if let Err(error) = self.acceptor.renew(shed) {
                        log::warn!("still cannot accept the operator's connections: {error}");
                    }
                }
                LoopMessage::Ended(pipeline) => {
                    self.busy.remove(&pipeline.peer);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, request: tiny_http::Request) {
        if self.self_probe.is_probe(request.url()) {
            let _ = request.respond(Response::empty(204));
            return;
        }
        self.self_probe.report_activity();
        // Who has a request in flight gets no other, so that there are no pipelines.
        let exchange = Exchange::new(request, 0);
        let peer = exchange.peer();
        let takes_no_wait = matches!(exchange.framing, Framing::None | Framing::Buffered);
        if !takes_no_wait || self.busy.contains(&peer) {
            self.refuse(exchange);
            return;
        }
        let response = match self.answer(&exchange) {
            AdminReply::Now(response) => response,
            AdminReply::Backup => match self.backups.slot() {
                Some(slot) => {
                    self.busy.insert(peer);
                    slot.send(exchange);
                    return;
                }
                None => with(plain(503, "another backup is on its way\n"), "Retry-After", "60"),
            },
        };
        // One that does not read as much as fits into its socket is not waited for.
        if exchange.request.respond(response).is_err() {
            self.connections.shut_down_all(peer);
        }
    }

    /// Nothing here takes a body that has to be waited for, nor a request behind another.
    fn refuse(&self, exchange: Exchange) {
        self.connections.shut_down_all(exchange.peer());
        let unread = exchange.request.body_length().unwrap_or(0) as u64;
        if unread > MAX_DROPPED_BYTES {
            // To drop it would allocate as much.
            mem::forget(exchange);
        }
    }

    fn answer(&self, exchange: &Exchange) -> AdminReply {
        let request = &exchange.request;
        let path = request.url().split('?').next().unwrap_or_default();
        let (status, content_type, body) = match path {
            "/healthz" | "/readyz" | "/metrics" | "/backup"
                if !matches!(request.method(), Method::Get | Method::Head) =>
            {
                return AdminReply::Now(with(
                    plain(405, "only GET and HEAD\n"),
                    "Allow",
                    "GET, HEAD",
                ));
            }
            // A page that a browser was led to under a name of its own could read all of it.
            "/backup" if !is_plainly_addressed(exchange) => {
                let why = "ask for it by an IP address or as localhost\n";
                return AdminReply::Now(plain(403, why));
            }
            "/backup" if *request.method() == Method::Get => return AdminReply::Backup,
            "/backup" => (200, backup::CONTENT_TYPE, String::new()),
            "/healthz" | "/readyz" if !self.metrics.is_alive() => state(503, "silent"),
            "/readyz" if !self.metrics.is_writable() => state(507, "full"),
            "/healthz" | "/readyz" => state(200, "ok"),
            "/metrics" => (200, OPEN_METRICS, self.metrics.text()),
            _ => {
                let known = "there are /healthz, /readyz, /metrics and /backup\n";
                return AdminReply::Now(plain(404, known));
            }
        };
        let response = Response::from_string(body).with_status_code(status);
        AdminReply::Now(with(response, "Content-Type", content_type))
    }
}

/// Whether the host asked for is an address or this machine, and so nobody's to rename.
fn is_plainly_addressed(exchange: &Exchange) -> bool {
    let Some(host) = exchange.only("Host") else { return false };
    let named = |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok();
    let without_port = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host.parse::<SocketAddr>().is_ok() || named(host) || named(without_port)
}

fn state(status: u16, word: &str) -> (u16, &'static str, String) {
    (status, "application/json", format!("{{\"status\":\"{word}\"}}"))
}

fn plain(status: u16, text: &str) -> Response<io::Cursor<Vec<u8>>> {
    Response::from_string(text).with_status_code(status)
}

fn with(
    response: Response<io::Cursor<Vec<u8>>>,
    name: &'static str,
    value: &'static str,
) -> Response<io::Cursor<Vec<u8>>> {
    match Header::from_bytes(name, value) {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}
