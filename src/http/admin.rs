//! The operator's listener: health, metrics and backups.
//!
//! It has a thread, an acceptor and probes of its own, so that it answers when the loop does not.
//! It accepts no request bodies, and trusts everyone who can connect.

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

/// Time after which an idle connection ends: longer than the usual interval of scrapes.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// The media type of `OpenMetrics` 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The listener, before it answers.
pub(super) struct Admin {
    acceptor: Acceptor,
    local_addr: SocketAddr,
}

/// The state of the listener's thread.
struct AdminLoop {
    acceptor: Acceptor,
    connections: Connections,
    self_probe: SelfProbe,
    messages: Receiver<LoopMessage>,
    metrics: Arc<Metrics>,
    backups: Backups,
    /// Peers that receive a backup. Their further requests are refused.
    busy: HashSet<SocketAddr>,
}

/// Answer to a request.
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

    /// Answers until the process ends. `main_loop` leads to the loop, which has the store.
    pub(super) fn start(self, metrics: Arc<Metrics>, main_loop: Sender) -> io::Result<()> {
        let Admin { acceptor, local_addr } = self;
        let (sender, messages) = loop_message::channel(acceptor.waker());
        let connections = Connections { local_port: local_addr.port() };
        let reaper = Reaper::new(connections, IDLE_TIMEOUT, None);
        let deadlines = Deadlines::new(connections);
        let backups = Backups::start(main_loop, sender.clone(), deadlines.clone(), connections)?;
        let watched = vec![deadlines];
        let watchdog =
            Watchdog::new(watched, reaper, acceptor.listen_state(), sender, Box::new(()));
        let self_probe = SelfProbe::start(local_addr, watchdog)?;
        let busy = HashSet::new();
        let mut admin_loop =
            AdminLoop { acceptor, connections, self_probe, messages, metrics, backups, busy };
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
                Arrival::Request(request, _) => self.on_request(request),
                Arrival::AcceptFailed(error) => {
                    log::warn!("the operator's listener accepts no connections: {error}");
                    self.self_probe.report_activity();
                }
            }
            arrival = self.acceptor.next();
        }
        while let Ok(event) = self.messages.try_recv() {
            match event {
                LoopMessage::Swept(sweep) => {
                    let idle = sweep.overdue.iter().map(|(descriptor, _)| descriptor);
                    for descriptor in idle.filter(|it| !self.busy.contains(&it.peer)) {
                        descriptor.shut_down();
                    }
                }
                LoopMessage::NotAccepting { shed } => {
                    if let Err(error) = self.acceptor.renew(shed) {
                        log::warn!("the operator's listener still accepts no connections: {error}");
                    }
                }
                LoopMessage::ConnectionEnded(pipeline) => {
                    self.busy.remove(&pipeline.peer);
                }
                _ => {}
            }
        }
    }

    fn on_request(&mut self, request: tiny_http::Request) {
        if self.self_probe.is_probe(request.url()) {
            let _ = request.respond(Response::empty(204));
            return;
        }
        self.self_probe.report_activity();
        // A connection has one request in flight here, so there are no pipelines.
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
                None => with(plain(503, "another backup is in progress\n"), "Retry-After", "60"),
            },
        };
        // A client that does not read what fits into its socket is disconnected.
        if exchange.request.respond(response).is_err() {
            self.connections.shut_down_all(peer);
        }
    }

    /// Disconnects a client that sends a body, or a request while a backup is sent.
    fn refuse(&self, exchange: Exchange) {
        self.connections.shut_down_all(exchange.peer());
        let unread = exchange.request.body_length().unwrap_or(0) as u64;
        if unread > MAX_DROPPED_BYTES {
            // Dropping it would allocate the declared length.
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
            // A web page whose host name is rebound to this address could read the backup.
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

/// Returns whether the `Host` field is an IP address or `localhost`, neither of which can be
/// rebound.
fn is_plainly_addressed(exchange: &Exchange) -> bool {
    let Some(host) = exchange.only("Host") else { return false };
    let named = |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok();
    let without_port = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host.parse::<SocketAddr>().is_ok() || named(host) || named(without_port)
}

fn state(status: u16, status_text: &str) -> (u16, &'static str, String) {
    (status, "application/json", format!("{{\"status\":\"{status_text}\"}}"))
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
