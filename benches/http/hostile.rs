//! `cargo bench --bench http -- --hostile`: measures how much longer an ordinary client waits
//! beside hostile ones, compared with the same client alone right before.
//!
//! Measurements that are compared follow one another, so that other load on the machine affects
//! both. A request that is not answered well is an error; a ratio beyond its target is not.
//!
//! Connections that are reset never reach veche: `tiny_http` accepts and drops them. There the
//! control is a bare `tiny_http` beside the same clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::SockRef;

use crate::Result;
use crate::bare;
use crate::client::Client;
use crate::report::{Report, Spread, Target};
use crate::subject::{Kind, Store, built_now};

/// The permitted ratio of the 99th percentiles, beside hostile clients and alone.
const P99_RATIO: f64 = 10.0;
/// The permitted ratio of the 99th percentiles, on veche and on a bare `tiny_http`, both beside the
/// same clients.
const P99_OF_BARE: f64 = 3.0;
/// Requests of the neighbour in each measurement: half of them read, half of them write.
const REQUESTS: usize = 2_000;
/// The neighbour's pause between two requests.
const REST: Duration = Duration::from_millis(1);
/// The head start of the hostile clients.
const WARM_UP: Duration = Duration::from_secs(1);
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// Messages of the greatest length, which make a page of a megabyte.
const LONG: usize = 250;
const LONGEST_TEXT: usize = 4096;
const NEIGHBOUR: &str = "neighbour";
/// The sizes of the bare server's answers: about those of veche's answers to the neighbour.
const PAGE_BYTES: usize = 120;
const RECEIPT_BYTES: usize = 24;

/// The behaviour of the hostile clients.
struct Nuisance {
    name: &'static str,
    /// The number of clients, each on a thread of its own.
    clients: usize,
    act: fn(&Scene, &AtomicBool) -> Result<()>,
    control: Control,
}

/// The measurement that the neighbour's wait is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    /// The wait without the hostile clients.
    Alone,
    /// The wait on a bare `tiny_http`, beside the same clients.
    Bare,
}

const NUISANCES: [Nuisance; 6] = [
    Nuisance {
        name: "200 bodies, a byte each 20 ms",
        clients: 4,
        act: drip_bodies,
        control: Control::Alone,
    },
    Nuisance { name: "400 half heads", clients: 4, act: hold_half_heads, control: Control::Alone },
    Nuisance {
        name: "8 that do not read 1 MB",
        clients: 4,
        act: read_nothing,
        control: Control::Alone,
    },
    Nuisance {
        name: "what is no request, on 4 connections",
        clients: 4,
        act: talk_nonsense,
        control: Control::Alone,
    },
    Nuisance { name: "resets by 4 clients", clients: 4, act: come_and_go, control: Control::Bare },
    Nuisance {
        name: "refused logins by 4 clients",
        clients: 4,
        act: guess,
        control: Control::Alone,
    },
];

/// The server under attack.
#[derive(Clone)]
struct Scene {
    addr: SocketAddr,
    token: String,
}

/// A connection that reads whole answers.
struct Line(BufReader<TcpStream>);

/// Measures each nuisance this many times, on sled.
pub(crate) fn measure(report: &mut Report, dir: &Path, rounds: usize) -> Result<()> {
    let store = Store::empty(built_now().into(), Kind::Sled, dir.join("hostile"))?;
    let server = store.open_with(&["--login-limit", "off"])?;
    let client = Client::new(server.address);
    client.register(NEIGHBOUR)?;
    let scene = Scene { addr: server.address, token: client.log_in(NEIGHBOUR)? };
    let text = json!({ "text": "x".repeat(LONGEST_TEXT) }).to_string();
    for _ in 0..LONG {
        client.post("/api/messages", Some(&scene.token), &text, 201)?;
    }
    let bare = bare::start(PAGE_BYTES, RECEIPT_BYTES)?;
    let bare_scene = Scene { addr: bare.address, ..scene.clone() };
    for nuisance in &NUISANCES {
        eprintln!("{}", nuisance.name);
        let (mut control, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = match nuisance.control {
                Control::Alone => scene.visit()?,
                Control::Bare => nuisance.beside(&bare_scene, || bare_scene.visit())?,
            };
            let meanwhile = nuisance.beside(&scene, || scene.visit())?;
            ratios.push(percentile(&meanwhile, 99) / percentile(&before, 99));
            control.push(before);
            beside.push(meanwhile);
        }
        let (of, most) = match nuisance.control {
            Control::Alone => ("alone", P99_RATIO),
            Control::Bare => ("on a bare tiny_http beside them", P99_OF_BARE),
        };
        let measure = format!("neighbour's p99 beside {}, of p99 {of}", nuisance.name);
        report.measure(&measure, Target::AtMost(most), "", Spread::of(ratios));
        for (what, times) in [(of, &control), ("beside", &beside)] {
            let spread = |figure: fn(&Vec<f64>) -> f64| Spread::of(times.iter().map(figure));
            report.load(
                &format!("neighbour {what}: {}", nuisance.name),
                spread(|times| 1000.0 / mean(times)),
                spread(|times| percentile(times, 50)),
                spread(|times| percentile(times, 99)),
            );
        }
    }
    server.stop()
}

impl Nuisance {
    /// Returns the result of `measure`, run during the nuisance.
    fn beside<T>(&self, scene: &Scene, measure: impl FnOnce() -> Result<T>) -> Result<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<JoinHandle<Result<()>>> = (0..self.clients)
            .map(|_| {
                let (scene, stop, act) = (scene.clone(), Arc::clone(&stop), self.act);
                thread::spawn(move || act(&scene, &stop))
            })
            .collect();
        thread::sleep(WARM_UP);
        let measured = measure();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| format!("a client of {:?} panicked", self.name))??;
        }
        measured
    }
}

impl Scene {
    /// The duration of each of the neighbour's requests, in milliseconds and in ascending order: on
    /// a connection that it keeps and on new ones.
    fn visit(&self) -> Result<Vec<f64>> {
        let (read, write) =
            (self.request("GET", "/api/messages?limit=1", ""), self.post("good morning"));
        let (mut times, mut kept) = (Vec::with_capacity(REQUESTS), Line::open(self.addr)?);
        for round in 0..REQUESTS {
            let (request, status) = if round % 2 == 0 { (&read, 200) } else { (&write, 201) };
            let begun = Instant::now();
            if round % 4 < 2 {
                kept.ask(request, status)?;
            } else {
                Line::open(self.addr)?.ask(request, status)?;
            }
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            thread::sleep(REST);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    fn request(&self, method: &str, path: &str, fields: &str) -> String {
        let token = &self.token;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{fields}\r\n"
        )
    }

    fn post(&self, text: &str) -> String {
        let body = json!({ "text": text }).to_string();
        let length = format!("Content-Length: {}\r\n", body.len());
        self.request("POST", "/api/messages", &length) + &body
    }

    /// Connections on which `said` was sent.
    fn lines(&self, count: usize, said: &str) -> Result<Vec<Line>> {
        let open = |_| {
            let mut line = Line::open(self.addr)?;
            line.send(said)?;
            Ok(line)
        };
        (0..count).map(open).collect()
    }
}

impl Line {
    fn open(addr: SocketAddr) -> Result<Line> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Line(BufReader::new(stream)))
    }

    fn send(&mut self, bytes: &str) -> Result<()> {
        Ok(self.0.get_mut().write_all(bytes.as_bytes())?)
    }

    fn ask(&mut self, request: &str, status: u16) -> Result<()> {
        self.send(request)?;
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line)?;
        if !line.starts_with(&format!("HTTP/1.1 {status} ")) {
            return Err(format!("{line:?} and not {status}").into());
        }
        while line != "\r\n" {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err("half of an answer".into());
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse()?;
            }
        }
        Ok(self.0.read_exact(&mut vec![0; length])?)
    }
}

/// Runs `act` until the end, with a pause.
fn until_over(
    stop: &AtomicBool,
    pause: Duration,
    mut act: impl FnMut() -> Result<()>,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        act()?;
        thread::sleep(pause);
    }
    Ok(())
}

fn drip_bodies(scene: &Scene, stop: &AtomicBool) -> Result<()> {
    let begun = scene.request("POST", "/api/messages", "Content-Length: 2000\r\n");
    let mut lines = scene.lines(50, &begun)?;
    until_over(stop, Duration::from_millis(20), || {
        for line in &mut lines {
            // Clients that took too long are cut off, and come again.
            if line.send(" ").is_err() {
                *line = Line::open(scene.addr)?;
                line.send(&begun)?;
            }
        }
        Ok(())
    })
}

fn hold_half_heads(scene: &Scene, stop: &AtomicBool) -> Result<()> {
    let _lines = scene.lines(100, "GET /api/messages HTTP/1.1\r\nHost: ")?;
    until_over(stop, Duration::from_millis(50), || Ok(()))
}

fn read_nothing(scene: &Scene, stop: &AtomicBool) -> Result<()> {
    let page = scene.request("GET", &format!("/api/messages?after=-1&limit={LONG}"), "");
    until_over(stop, Duration::from_millis(500), || scene.lines(2, &page).map(drop))
}

fn talk_nonsense(scene: &Scene, stop: &AtomicBool) -> Result<()> {
    until_over(stop, Duration::ZERO, || {
        let mut line = Line::open(scene.addr)?;
        line.send("nonsense\r\n\r\n")?;
        // A bare refusal and the end, or a reset.
        let _ = line.0.read_to_end(&mut Vec::new());
        Ok(())
    })
}

fn come_and_go(scene: &Scene, stop: &AtomicBool) -> Result<()> {
    until_over(stop, Duration::ZERO, || {
        let line = Line::open(scene.addr)?;
        Ok(SockRef::from(line.0.get_ref()).set_linger(Some(Duration::ZERO))?)
    })
}

fn guess(scene: &Scene, stop: &AtomicBool) -> Result<()> {
    let body = json!({ "username": NEIGHBOUR, "password": "battery staple" }).to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let login = scene.request("POST", "/login", &length) + &body;
    let mut line = Line::open(scene.addr)?;
    until_over(stop, Duration::ZERO, || line.ask(&login, 401))
}

fn mean(times: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let count = times.len() as f64;
    times.iter().sum::<f64>() / count
}

/// A percentile of figures in ascending order.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}
