//! Long polls and streams: the delay until waiting clients have a message, and the cost of each
//! client.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::Result;
use crate::client::Client;
use crate::process::Server;
use crate::report::{Report, Spread, Target};
use crate::subject::{Kind, Store, built_now};

/// The numbers of waiting clients.
const CROWDS: [usize; 3] = [100, 1000, 5000];
/// The crowd that has to be told within [`TOLD_WITHIN`] milliseconds, and the one by which the
/// memory is measured.
const TOLD: usize = 1000;
const TOLD_WITHIN: f64 = 100.0;
const RESIDENT_KIB: f64 = 32.0;
/// Waiting requests, or streams, of one user.
const PER_USER: usize = 16;
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(50);
/// The heartbeat of a stream, as a chunk.
const HEARTBEAT: &str = "3\r\n:\n\n\r\n";
/// Longer than any answer.
const ANSWER_BYTES: usize = 4096;

/// The way of waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Poll,
    Stream,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Way::Poll => "long poll",
            Way::Stream => "stream",
        }
    }

    const fn figure(self) -> &'static str {
        match self {
            Way::Poll => "veche_parked",
            Way::Stream => "veche_streams",
        }
    }

    /// Returns whether this is the answer, or the event, for one message.
    fn is_told(self, answer: &str) -> bool {
        match self {
            Way::Poll => answer.starts_with("HTTP/1.1 200") && answer.ends_with("Z\"}]"),
            Way::Stream => {
                answer.contains("\nevent: message.created\n") && answer.ends_with("}\n\n\r\n")
            }
        }
    }
}

/// A waiting client, on a connection of its own.
struct Waiter {
    stream: TcpStream,
    token: usize,
}

/// A server, and the clients that will wait there.
struct Stage {
    server: Server,
    admin: SocketAddr,
    tokens: Vec<String>,
}

/// The delays of a message, in milliseconds from before it was sent until each client had it.
struct Told {
    p50: f64,
    p99: f64,
    last: f64,
}

/// Measures each crowd this many times, on a sled store of its own in `dir`.
pub(crate) fn measure(report: &mut Report, dir: &Path, rounds: usize) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    for way in [Way::Poll, Way::Stream] {
        // A new server for each crowd, because a server keeps memory after an earlier one.
        let stage = Stage::set(dir, way)?;
        measure_way(report, &stage, way, rounds)?;
        stage.server.stop()?;
    }
    Ok(())
}

fn measure_way(report: &mut Report, stage: &Stage, way: Way, rounds: usize) -> Result<()> {
    for crowd in CROWDS {
        let name = way.name();
        eprintln!("{crowd} by {name}");
        let before = stage.server.resident()?;
        let mut waiters = stage.gather(crowd)?;
        let (mut told, mut resident) = (Vec::new(), 0);
        for round in 0..rounds {
            match way {
                Way::Poll => stage.park(&mut waiters)?,
                // The stream goes on.
                Way::Stream if round == 0 => stage.listen(&mut waiters)?,
                Way::Stream => {}
            }
            resident = resident.max(stage.server.resident()?);
            told.push(stage.tell(way, &mut waiters)?);
        }
        let spread = |figure: fn(&Told) -> f64| Spread::of(told.iter().map(figure));
        let (p50, p99, last) =
            (spread(|told| told.p50), spread(|told| told.p99), spread(|told| told.last));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = Spread::of([resident.saturating_sub(before) as f64 / 1024.0 / crowd as f64]);
        report.crowd(&format!("{crowd} by {name}"), p50, p99, last, each);
        if crowd == TOLD {
            let measure = format!("{name}: p99 from a post until one of {crowd} has it");
            report.measure(&measure, Target::AtMost(TOLD_WITHIN), " ms", p99);
        }
        if CROWDS.last() == Some(&crowd) {
            let measure = format!("{name}: resident for each of {crowd} that wait");
            report.measure(&measure, Target::AtMost(RESIDENT_KIB), " KiB", each);
        }
        drop(waiters);
        stage.wait_for(way, 0)?;
    }
    Ok(())
}

impl Stage {
    fn set(dir: &Path, way: Way) -> Result<Stage> {
        let store = Store::empty(built_now().into(), Kind::Sled, dir.join(way.figure()))?;
        // The server prints the address that it was given; one that was free a moment ago will do.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let server = store.open_with(&["--admin-listen", &admin.to_string()])?;
        let client = Client::new(server.address);
        let users = CROWDS.iter().max().copied().unwrap_or_default().div_ceil(PER_USER);
        let mut tokens = Vec::with_capacity(users);
        for number in 0..users {
            let name = format!("waiter-{number}");
            client.register(&name)?;
            tokens.push(client.log_in(&name)?);
        }
        Ok(Stage { server, admin, tokens })
    }

    fn gather(&self, crowd: usize) -> Result<Vec<Waiter>> {
        let connect = |number: usize| -> Result<Waiter> {
            let stream = TcpStream::connect(self.server.address)?;
            stream.set_nodelay(true)?;
            Ok(Waiter { stream, token: number / PER_USER })
        };
        (0..crowd).map(connect).collect()
    }

    /// Has all of them send the request that waits.
    fn park(&self, waiters: &mut [Waiter]) -> Result<()> {
        let newest = Client::new(self.server.address).get("/api/messages?limit=1", &self.tokens[0]);
        let newest: serde_json::Value = serde_json::from_str(&newest?)?;
        let after = newest[0]["id"].as_i64().unwrap_or(-1);
        for Waiter { stream, token } in waiters.iter_mut() {
            let mut request = format!("GET /api/messages?after={after}&wait=60 HTTP/1.1\r\n");
            write!(
                request,
                "Host: bench\r\nAuthorization: Bearer {}\r\n\r\n",
                self.tokens[*token]
            )?;
            stream.write_all(request.as_bytes())?;
        }
        self.wait_for(Way::Poll, waiters.len())
    }

    /// Has all of them follow events from now on.
    fn listen(&self, waiters: &mut [Waiter]) -> Result<()> {
        for Waiter { stream, token } in waiters.iter_mut() {
            let request = format!(
                "GET /api/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\
                 Accept: text/event-stream\r\n\r\n",
                self.tokens[*token]
            );
            stream.write_all(request.as_bytes())?;
        }
        self.wait_for(Way::Stream, waiters.len())?;
        for Waiter { stream, .. } in waiters.iter_mut() {
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut hello = String::new();
            while !hello.ends_with("\n\n\r\n") {
                let mut part = [0; ANSWER_BYTES];
                let len = stream.read(&mut part)?;
                hello += &String::from_utf8_lossy(&part[..len]);
                if len == 0 || !hello.starts_with("HTTP/1.1 200") {
                    return Err(format!("a stream begins with {hello:?}").into());
                }
            }
        }
        Ok(())
    }

    /// Posts a message, and waits until all have it.
    fn tell(&self, way: Way, waiters: &mut [Waiter]) -> Result<Told> {
        let waiting = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, waiter) in waiters.iter().enumerate() {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&waiting, &waiter.stream, data, epoll::EventFlags::IN)?;
        }
        let mut poster = TcpStream::connect(self.server.address)?;
        poster.set_nodelay(true)?;
        poster.set_read_timeout(Some(PATIENCE))?;
        let text = r#"{"text":"to all who wait"}"#;
        let request = format!(
            "POST /api/messages HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{text}",
            self.tokens[0],
            text.len()
        );
        // Lets the connection get its thread before it is measured.
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        poster.write_all(request.as_bytes())?;
        let mut told = Vec::with_capacity(waiters.len());
        let mut events = Vec::with_capacity(256);
        while told.len() < waiters.len() {
            events.clear();
            let patience = Timespec::try_from(PATIENCE)?;
            epoll::wait(&waiting, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
            if events.is_empty() {
                return Err(format!("{} of {} were told", told.len(), waiters.len()).into());
            }
            for event in &events {
                let number = usize::try_from(event.data.u64())?;
                let waiter = &mut waiters[number];
                let mut answer = [0; ANSWER_BYTES];
                let len = waiter.stream.read(&mut answer)?;
                let answer = String::from_utf8_lossy(&answer[..len]);
                let answer = answer.replace(HEARTBEAT, "");
                if answer.is_empty() && len > 0 {
                    continue;
                }
                if !way.is_told(&answer) {
                    return Err(format!("one that waits was answered {answer:?}").into());
                }
                told.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
        let mut receipt = [0; ANSWER_BYTES];
        let len = poster.read(&mut receipt)?;
        if !receipt[..len].starts_with(b"HTTP/1.1 201") {
            return Err("the message was not accepted".into());
        }
        told.sort_by(f64::total_cmp);
        let at = |percent: usize| told[(told.len() * percent).div_ceil(100) - 1];
        Ok(Told { p50: at(50), p99: at(99), last: at(100) })
    }

    fn wait_for(&self, way: Way, count: usize) -> Result<()> {
        let wanted = format!("{} {count}", way.figure());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics()?;
            if metrics.lines().any(|line| line == wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let found = metrics.lines().find(|line| line.starts_with(way.figure()));
                return Err(format!("{found:?}, and not {wanted}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}
