//! Streams of events.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::admin::figure;
use crate::client::{Client, each, ids};
use crate::contract::{self, Answered, Asked};
use crate::server::{PATIENCE, STORES, until};
use crate::sessions::{again, log_out};
use crate::stage::Stage;
use crate::wire::{Wire, get, post, request};

/// Streams that one user may have.
const MAX_STREAMS_PER_USER: usize = 16;
const ACCEPT: &str = "Accept: text/event-stream\r\n";

impl Stage {
    fn listen(&self, client: &Client, query: &str) -> Stream {
        Stream::open(self.server.addr(), client, query, "")
    }
}

/// A client's view of a stream.
struct Stream {
    lines: BufReader<Content>,
    fields: Vec<(String, String)>,
    last_id: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    /// Its own id, or that of the last event that had one.
    id: u64,
    is_numbered: bool,
    kind: String,
    data: Value,
}

/// The content of an answer, in chunks or not.
struct Content {
    wire: BufReader<TcpStream>,
    chunked: bool,
    left: usize,
    ended: bool,
}

impl Stream {
    fn open(addr: SocketAddr, client: &Client, query: &str, fields: &str) -> Stream {
        let line = format!("GET /api/events{query} HTTP/1.1");
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Stream::over(stream, &request(client, &line, &format!("{ACCEPT}{fields}"), ""))
    }

    /// Sends a request on a connection, and reads the head, which is checked against the contract.
    fn over(mut stream: TcpStream, request: &str) -> Stream {
        stream.write_all(request.as_bytes()).unwrap();
        let mut wire = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            wire.read_line(&mut line).unwrap();
            let Some(line) = line.strip_suffix("\r\n") else { panic!("{head:?} {line:?}") };
            if line.is_empty() {
                break;
            }
            head.push(line.to_owned());
        }
        assert_eq!(head[0], "HTTP/1.1 200 OK", "{head:?}");
        let field = |line: &String| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        let fields: Vec<_> = head[1..].iter().map(field).collect();
        let target = request.split(' ').nth(1).unwrap();
        let asked = Asked { method: "GET", target };
        contract::check(Some(asked), &Answered { status: 200, fields: &fields, body: b"" })
            .unwrap();
        let chunked = head.iter().any(|line| line == "Transfer-Encoding: chunked");
        let content = Content { wire, chunked, left: 0, ended: false };
        Stream { lines: BufReader::new(content), fields, last_id: None }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(its_name, _)| its_name == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The next event; `None` at the end of the stream. As the standard has it, and no more.
    fn next(&mut self) -> io::Result<Option<Told>> {
        let (mut kind, mut data, mut is_numbered) = (String::new(), String::new(), false);
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.strip_suffix('\n').expect("a whole line");
            match line.split_once(':') {
                None if line.is_empty() && data.is_empty() => {
                    kind.clear();
                    is_numbered = false;
                }
                None if line.is_empty() => {
                    let id = self.last_id.as_deref().unwrap().parse().unwrap_or(0);
                    let data = serde_json::from_str(&data).unwrap();
                    return Ok(Some(Told { id, is_numbered, kind, data }));
                }
                Some(("", _)) => {}
                Some((name, value)) => match (name, value.strip_prefix(' ').unwrap_or(value)) {
                    ("id", value) => {
                        self.last_id = Some(value.to_owned());
                        is_numbered = true;
                    }
                    ("event", value) => value.clone_into(&mut kind),
                    ("data", value) => data += value,
                    ("retry", value) => assert!(value.parse::<u64>().unwrap() > 0),
                    _ => panic!("{line:?}"),
                },
                None => panic!("{line:?}"),
            }
        }
    }

    fn event(&mut self) -> Told {
        self.next().unwrap().expect("an event")
    }

    fn take(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.event().id).collect()
    }

    /// Returns whether the stream ends in good order, without another event.
    fn ends(&mut self) -> bool {
        matches!(self.next(), Ok(None)) && self.lines.get_ref().ended
    }

    fn socket(&self) -> &TcpStream {
        self.lines.get_ref().wire.get_ref()
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.chunked {
            let read = self.wire.read(buffer)?;
            self.ended |= read == 0;
            return Ok(read);
        }
        if self.left == 0 {
            let mut size = String::new();
            if self.wire.read_line(&mut size)? == 0 {
                return Ok(0);
            }
            self.left = usize::from_str_radix(size.trim_end(), 16).unwrap();
            if self.left == 0 {
                let mut rest = String::new();
                self.wire.read_to_string(&mut rest)?;
                assert_eq!(rest, "\r\n", "the connection ends behind the last chunk");
                self.ended = true;
                return Ok(0);
            }
        }
        let most = self.left.min(buffer.len());
        let read = self.wire.read(&mut buffer[..most])?;
        self.left -= read;
        if self.left == 0 {
            self.wire.read_exact(&mut [0; 2])?;
        }
        Ok(read)
    }
}

#[test]
fn events_are_streamed() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let bob = Client::signed_up(&stage.server, "bob");
        let eve = Client::signed_up(&stage.server, "eve");
        ann.say("before");
        let [mut anns, mut bobs, mut eves] = [&ann, &bob, &eve].map(|it| stage.listen(it, ""));
        assert_eq!(anns.header("Content-Type"), Some("text/event-stream"));
        assert_eq!(anns.header("Cache-Control"), Some("no-store"));
        assert_eq!(anns.header("Content-Length"), None);
        ann.say("hello");
        ann.tell(2, "psst");
        ann.tell(1, "note");
        bob.say("bye");
        let expected = anns.take(4);
        assert_eq!(expected, [1, 2, 3, 4], "{store}");
        assert_eq!(bobs.take(3), [1, 2, 4], "{store}");
        assert_eq!(eves.take(2), [1, 4], "{store}");
        // The same objects as in the list.
        let listed = bob.get("/api/events?after=0").items();
        let mut again = stage.listen(&bob, "?after=0&limit=1&wait=9");
        for item in &listed {
            let told = again.event();
            assert_eq!((&told.data, told.kind.as_str()), (item, item["type"].as_str().unwrap()));
            assert_eq!(Some(told.id), item["id"].as_u64());
            assert!(told.is_numbered);
        }
        stage.server.stop();
    }
}

/// A mark set on one device is sent to the user's others, and to nobody else. It is no event: it
/// has no number, and no page has it.
#[test]
fn read_marks_are_sent_to_the_users_own_devices() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let bob = Client::signed_up(&stage.server, "bob");
        let phone = again(&stage.server, "bob");
        ann.tell(2, "psst");
        ann.say("hello");
        let mut of_bob = [&bob, &phone].map(|device| stage.listen(device, ""));
        let mut of_ann = stage.listen(&ann, "");
        stage.wait_for("veche_streams", 3);
        // A mark that does not move is not sent again.
        for (with, up_to) in [(1, 0), (1, 0), (0, 1), (0, 0)] {
            let mut wire = Wire::connect(stage.server.addr());
            let body = json!({ "up_to": up_to }).to_string();
            let line = format!("PUT /api/users/me/conversations/{with}/read HTTP/1.1");
            let length = format!("Content-Length: {}\r\n", body.len());
            wire.send(request(&phone, &line, &length, &body));
            assert_eq!(wire.answer().status, 200);
        }
        ann.say("bye");
        for stream in &mut of_bob {
            for (with, up_to) in [(1, 0), (0, 1)] {
                let told = stream.event();
                assert_eq!((told.kind.as_str(), told.is_numbered), ("conversation.read", false));
                assert_eq!(told.data, json!({ "with_user": with, "up_to": up_to }), "{store}");
            }
            let told = stream.event();
            assert_eq!((told.id, told.kind.as_str()), (2, "message.created"), "{store}");
        }
        assert_eq!(of_ann.event().kind, "message.created", "{store}");
        assert_eq!(bob.get("/api/events?after=-1").ids(), [0, 1, 2]);
        // The marks have not moved the cursor: a stream after 1 goes on with 2.
        let mut again = stage.listen(&bob, "?after=1");
        assert_eq!(again.event().id, 2);
        stage.server.stop();
    }
}

/// Every visible event comes once, in order, however many clients write, and however often a stream
/// is cut off meanwhile.
#[test]
fn exactly_once_across_reconnects() {
    const WRITERS: usize = 20;
    const LISTENERS: usize = 10;
    const ROUNDS: usize = 9;
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let people: Vec<Client> =
            (0..3).map(|n| Client::signed_up(&stage.server, &format!("user{n}"))).collect();
        let (written, addr) = (AtomicUsize::new(0), stage.server.addr());
        let seen = each(WRITERS + LISTENERS, |n| {
            if n < WRITERS {
                let me = &people[n % 3];
                for round in 0..ROUNDS {
                    // General and private messages, which are then edited or deleted.
                    let id = match round % 3 {
                        0 => me.say(&format!("{n} {round}")),
                        _ => me.tell(1 + ((n + round) % 3) as u64, "private"),
                    };
                    let path = format!("/api/messages/{id}");
                    let mut wire = Wire::connect(addr);
                    if round % 2 == 0 {
                        wire.send(request(me, &format!("DELETE {path} HTTP/1.1"), "", ""));
                        assert_eq!(wire.answer().status, 204);
                    } else {
                        let body = json!({ "text": "edited" }).to_string();
                        let length = format!("Content-Length: {}\r\n", body.len());
                        wire.send(request(me, &format!("PATCH {path} HTTP/1.1"), &length, &body));
                        assert_eq!(wire.answer().status, 200);
                    }
                }
                written.fetch_add(1, Ordering::SeqCst);
                return Vec::new();
            }
            let me = &people[n % 3];
            let (mut seen, mut last) = (Vec::new(), "-1".to_owned());
            let mut luck = n as u64;
            loop {
                luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let fields = format!("Last-Event-ID: {last}\r\n");
                // The cursor in the address does not count any more.
                let mut stream = Stream::open(addr, me, "?after=3", &fields);
                let is_done = written.load(Ordering::SeqCst) == WRITERS;
                let all = || me.follow("/api/events", 1000).0;
                if is_done {
                    let all = all();
                    while seen.len() < all.len() {
                        seen.push(stream.event().data);
                    }
                    break;
                }
                for _ in 0..luck >> 59 {
                    stream.socket().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    let Ok(Some(told)) = stream.next() else { break };
                    seen.push(told.data);
                }
                // Only a complete event counts.
                if let Some(event) = seen.last() {
                    last = event["id"].to_string();
                }
                if luck & (1 << 40) == 0 {
                    let _ = stream.socket().shutdown(Shutdown::Both);
                }
            }
            seen
        });
        for (n, seen) in seen.iter().enumerate().skip(WRITERS) {
            let all = people[n % 3].follow("/api/events", 1000).0;
            assert_eq!(ids(seen), ids(&all), "{store}, listener {n}");
            let same =
                |a: &Value, b: &Value| a["type"] == b["type"] && a["by_user"] == b["by_user"];
            assert!(seen.iter().zip(&all).all(|(a, b)| same(a, b)), "{store}");
            let to = |event: &Value| {
                let (from, to) = (&event["message"]["from_user"], &event["message"]["to_user"]);
                *to == 0 || *to == 1 + n as u64 % 3 || *from == 1 + n as u64 % 3
            };
            assert!(seen.iter().all(to), "{store}: only what the listener may see");
        }
        stage.wait_for("veche_streams", 0);
        stage.server.stop();
    }
}

/// Past events come page by page, and new ones right after them.
#[test]
fn a_long_past_is_caught_up_with() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        for n in 0..450 {
            ann.say(&format!("{n} {}", "x".repeat(if n % 9 == 0 { 4000 } else { 1 })));
        }
        let mut stream = stage.listen(&ann, "?after=-1");
        ann.say("now");
        assert!(stream.take(451).into_iter().eq(0..451), "{store}");
        ann.say("later");
        assert_eq!(stream.event().id, 451);
        // A stream from the newest id has only later events.
        let mut ahead = stage.listen(&ann, "?after=451");
        for expected in 452..455 {
            assert_eq!(ann.say("and on"), expected);
        }
        assert!(ahead.take(3).into_iter().eq(452..455), "{store}");
        stage.server.stop();
    }
}

/// A client that is cut off before the first event knows from where to go on.
#[test]
fn the_beginning_has_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    for (query, expected) in [("", "-1"), ("?after=-1", "-1"), ("?after=0", "0")] {
        let mut stream = stage.listen(&ann, query);
        stream.socket().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.next().unwrap_err();
        assert_eq!(stream.last_id.as_deref(), Some(expected), "{query}");
    }
    stage.server.stop();
}

#[test]
fn invalid_requests_for_a_stream_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    for (query, fields, status) in [
        ("?before=3", "", 400),
        ("?after=x", "", 400),
        ("?limit=0", "", 400),
        ("", "Last-Event-ID: x\r\n", 400),
        ("", "Last-Event-ID: -2\r\n", 400),
        ("", "Last-Event-ID: 1\r\nLast-Event-ID: 1\r\n", 400),
        ("?after=1&epoch=0123456789abcdef", "", 410),
        ("?after=9", "", 410),
        ("?after=-1", "Last-Event-ID: 9\r\n", 410),
    ] {
        let mut wire = Wire::connect(stage.server.addr());
        let line = format!("GET /api/events{query} HTTP/1.1");
        wire.send(request(&ann, &line, &format!("{ACCEPT}{fields}"), ""));
        assert_eq!(wire.answer().status, status, "{query} {fields}");
    }
    // A client that does not ask for a stream gets a page, whatever else it accepts.
    for accept in ["", "Accept: */*\r\n", "Accept: application/json, text/event-stream\r\n"] {
        let mut wire = Wire::connect(stage.server.addr());
        wire.send(request(&ann, "GET /api/events HTTP/1.1", accept, ""));
        assert_eq!(wire.answer().header("Content-Type"), Some("application/json"));
    }
    let mut wire = Wire::connect(stage.server.addr());
    wire.send(request(&Client::new(&stage.server), "GET /api/events HTTP/1.1", ACCEPT, ""));
    assert_eq!(wire.answer().status, 401);
    stage.server.stop();
}

#[test]
fn a_head_is_a_head() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut wire = Wire::connect(stage.server.addr());
    wire.send(request(&ann, "HEAD /api/events HTTP/1.1", ACCEPT, ""));
    let head = wire.head_answer();
    assert_eq!(head.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(head.header("Content-Length"), None);
    // The connection goes on.
    wire.send(get(&ann, "/api/events"));
    assert_eq!(wire.answer().status, 200);
    stage.server.stop();
}

#[test]
fn an_old_client_gets_no_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let wire = TcpStream::connect(stage.server.addr()).unwrap();
    wire.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked = request(&ann, "GET /api/events HTTP/1.0", ACCEPT, "");
    let mut stream = Stream::over(wire, &asked);
    assert_eq!(stream.header("Transfer-Encoding"), None);
    ann.say("hello");
    assert_eq!(stream.event().id, 0);
    stage.server.signal(Signal::TERM);
    assert!(stream.ends());
    assert_eq!(stage.server.wait().0, Some(0));
}

/// tiny_http reads no further after such a request, which does not end the stream.
#[test]
fn a_half_closed_client_gets_its_stream() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut stream = Stream::open(stage.server.addr(), &ann, "", "Connection: close\r\n");
    ann.say("hello");
    assert_eq!(stream.event().id, 0);
    stream.socket().shutdown(Shutdown::Write).unwrap();
    assert!(stream.ends());
    stage.server.stop();
}

#[test]
fn a_stream_ends_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set_with("memory", dir.path(), &["--token-ttl", "10"]);
    let ann = Client::signed_up(&stage.server, "ann");
    let mut stream = stage.listen(&ann, "");
    ann.say("hello");
    assert_eq!(stream.event().id, 0);
    assert!(stream.ends());
    stage.wait_for("veche_streams", 0);
    stage.server.stop();
}

/// The stream of a session that was logged out ends, and streams of other sessions go on.
#[test]
fn a_stream_ends_with_its_session() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let bob = Client::signed_up(&stage.server, "bob");
        let (laptop, phone) =
            (Client::signed_up(&stage.server, "ann"), again(&stage.server, "ann"));
        let [mut of_bob, mut of_laptop, mut of_phone] =
            [&bob, &laptop, &phone].map(|client| stage.listen(client, ""));
        stage.wait_for("veche_streams", 3);
        log_out(&phone, "/logout");
        assert!(of_phone.ends(), "{store}");
        bob.say("to who is left");
        assert_eq!([&mut of_bob, &mut of_laptop].map(|stream| stream.event().id), [0, 0]);
        log_out(&laptop, "/logout/all");
        assert!(of_laptop.ends(), "{store}");
        bob.say("to himself");
        assert_eq!(of_bob.event().id, 1);
        stage.wait_for("veche_streams", 1);
        stage.server.stop();
    }
}

/// A stream requested together with the session's end, and before it, does not outlive it.
#[test]
fn a_stream_does_not_outlive_a_session_that_ends_in_the_same_turn() {
    const ROUNDS: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("sled", dir.path());
    Client::signed_up(&stage.server, "ann");
    for round in 0..ROUNDS {
        let phone = again(&stage.server, "ann");
        // Connections with an earlier request, so that only their requests are still to come.
        let known = || {
            let mut wire = Wire::connect(stage.server.addr());
            wire.send(get(&phone, "/api/users/me"));
            assert_eq!(wire.answer().status, 200);
            wire
        };
        let mut wires: Vec<Wire> = (0..MAX_STREAMS_PER_USER).map(|_| known()).collect();
        let mut farewell = known();
        // Requests sent while it is stopped are there at once when it goes on, in any order.
        stage.server.signal(Signal::STOP);
        for (n, wire) in wires.iter_mut().enumerate() {
            if n == MAX_STREAMS_PER_USER / 2 {
                farewell.send(post(&phone, "/logout", ""));
            }
            wire.send(request(&phone, "GET /api/events HTTP/1.1", ACCEPT, ""));
        }
        stage.server.signal(Signal::CONT);
        assert_eq!(farewell.answer().status, 204);
        stage.wait_for("veche_streams", 0);
        for wire in &mut wires {
            let answer = wire.answer();
            let is_over = match answer.status {
                200 => wire.rest().ends_with("\r\n0\r\n\r\n"),
                status => status == 401,
            };
            assert!(is_over, "round {round}: {answer:?}");
        }
    }
    stage.server.stop();
}

#[test]
fn a_stop_ends_all() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let mut streams: Vec<Stream> = (0..9).map(|_| stage.listen(&ann, "")).collect();
        stage.wait_for("veche_streams", 9);
        stage.server.stop_at_once();
        assert!(streams.iter_mut().all(Stream::ends), "{store}");
    }
}

/// When descriptors run short, streams give way as well, once all other connections have: complete,
/// so that clients can go on from their end.
#[test]
fn streams_give_way_in_good_order() {
    const DESCRIPTORS: usize = 256;
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set_behind(&format!("ulimit -n {DESCRIPTORS}"), dir.path());
    // As many streams as the server allows.
    let users: Vec<Client> =
        (0..5).map(|n| Client::signed_up(&stage.server, &format!("user{n}"))).collect();
    let max = DESCRIPTORS / 5 * 4 / 3;
    let mut streams: Vec<Stream> =
        (0..max).map(|n| stage.listen(&users[n / MAX_STREAMS_PER_USER], "")).collect();
    stage.wait_for("veche_streams", max);
    let before = figure(stage.admin, "veche_streams").unwrap();
    let mut one_more = Wire::connect(stage.server.addr());
    one_more.send(request(&users[4], "GET /api/events HTTP/1.1", ACCEPT, ""));
    assert_eq!(one_more.answer().problem(), "too-many-requests");
    let mut idle = Vec::new();
    while stage.server.descriptors() < DESCRIPTORS / 10 * 9 + 8 {
        assert!(idle.len() < DESCRIPTORS, "descriptors do not run short");
        let mut wire = Wire::connect(stage.server.addr());
        wire.send("GET /problems/forbidden HTTP/1.1\r\nHost: x\r\n\r\n");
        match wire.try_answer() {
            Ok(_) => idle.push(wire),
            // They have run short already.
            Err(_) => break,
        }
    }
    let settled = until(PATIENCE, || {
        let is_over = stage.server.descriptors() < DESCRIPTORS / 10 * 9;
        let left = figure(stage.admin, "veche_streams")?;
        (is_over && left < before).then_some(left)
    });
    settled.expect("streams give way");
    drop(idle);
    Client::new(&stage.server).with_token(users[0].token()).say("to who is left");
    let mut left = 0;
    for stream in &mut streams {
        match stream.next().unwrap() {
            Some(told) => {
                assert_eq!(told.id, 0);
                left += 1;
            }
            None => assert!(stream.lines.get_ref().ended, "in good order"),
        }
    }
    assert!((1..max).contains(&left), "{left} are left");
    stage.server.stop();
}

/// When the store fails, streams end, and no client has received what may be lost.
#[test]
fn a_failure_ends_streams_and_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    // The signal sent with the error would end the process.
    let stage = Stage::set_behind("trap '' XFSZ", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let bob = Client::signed_up(&stage.server, "bob");
    let mut streams = [&ann, &ann, &bob].map(|listener| stage.listen(listener, "?after=-1"));
    stage.wait_for("veche_streams", streams.len());
    ann.say("durable");
    assert_eq!(streams.each_mut().map(|stream| stream.event().id), [0; 3]);
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(stage.server.pid()), Resource::Fsize, nothing).expect("our own child");
    let refused = ann.post("/api/messages", &json!({ "text": "lost" }));
    assert_eq!((refused.status, refused.problem().as_str()), (500, "internal-error"));
    for stream in &mut streams {
        // It ends without a last chunk, like a connection that is cut.
        let told = stream.next();
        assert!(matches!(told, Ok(None) | Err(_)), "{told:?}");
        assert!(!told.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it goes on");
    }
    let (code, _) = stage.server.wait();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}

#[test]
fn another_request_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut stream = stage.listen(&ann, "");
    stream.socket().write_all(get(&ann, "/api/users").as_bytes()).unwrap();
    assert!(stream.ends());
    // At once, too.
    let wire = TcpStream::connect(stage.server.addr()).unwrap();
    let first = request(&ann, "GET /api/events HTTP/1.1", ACCEPT, "");
    let mut stream = Stream::over(wire, &format!("{first}{}", get(&ann, "/api/users")));
    assert!(stream.ends());
    stage.wait_for("veche_streams", 0);
    stage.server.stop();
}

/// An endless request after a stream is not read for ever, however many events are sent meanwhile.
#[test]
fn an_endless_head_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut other = stage.listen(&ann, "");
    let mut wire = Wire::connect(stage.server.addr());
    wire.send(request(&ann, "GET /api/events HTTP/1.1", ACCEPT, ""));
    stage.wait_for("veche_streams", 2);
    assert_eq!(wire.answer().status, 200);
    wire.send_head_until_cut("X: y\r\n");
    stage.wait_for("veche_streams", 1);
    let closed = "veche_connections_closed_total{reason=\"endless_head\"}";
    assert_eq!(figure(stage.admin, closed), Some(1.0));
    ann.say("hello");
    assert_eq!(other.event().id, 0);
    stage.server.stop();
}

/// Without a free descriptor there is no stream: the client gets an error and does not wait.
#[test]
fn a_client_without_a_descriptor_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut wire = Wire::connect(stage.server.addr());
    wire.send(get(&ann, "/api/users/me"));
    assert_eq!(wire.answer().status, 200);
    let limit = |limit| prlimit(Some(stage.server.pid()), Resource::Nofile, limit);
    let before = getrlimit(Resource::Nofile);
    let before = limit(Rlimit { current: Some(3), ..before }).expect("our own child");
    wire.send(request(&ann, "GET /api/events HTTP/1.1", ACCEPT, ""));
    let is_closed = wire.is_closed();
    limit(before).expect("our own child");
    assert!(is_closed);
    let mut stream = stage.listen(&ann, "");
    ann.say("hello");
    assert_eq!(stream.event().id, 0);
    stage.wait_for("veche_streams", 1);
    stage.server.stop();
}

#[test]
fn clients_that_have_gone_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let ann = Client::signed_up(&stage.server, "ann");
    let mut streams: Vec<_> = (0..MAX_STREAMS_PER_USER).map(|_| stage.listen(&ann, "")).collect();
    let mut wire = Wire::connect(stage.server.addr());
    wire.send(request(&ann, "GET /api/events HTTP/1.1", ACCEPT, ""));
    let refused = wire.answer();
    assert_eq!((refused.status, refused.header("Retry-After").is_some()), (429, true));
    assert_eq!(figure(stage.admin, "veche_refused_total{queue=\"streams\"}"), Some(1.0));
    // Other users have places, and this user has for other requests.
    let bob = Client::signed_up(&stage.server, "bob");
    drop(stage.listen(&bob, ""));
    assert_eq!(ann.get("/api/events?after=0&wait=0").status, 200);
    // One half-closes, one is reset, one closes.
    let mut half_closed = streams.pop().unwrap();
    half_closed.socket().shutdown(Shutdown::Write).unwrap();
    assert!(half_closed.ends());
    let reset = streams.pop().unwrap();
    socket2::SockRef::from(reset.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop((reset, streams.pop()));
    stage.wait_for("veche_streams", MAX_STREAMS_PER_USER - 3);
    drop(stage.listen(&ann, ""));
    stage.server.stop();
}

/// A client that does not read is cut off, disturbs no other, and loses nothing.
#[test]
fn a_client_that_does_not_keep_up_is_cut_off() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::set(store, dir.path());
        let ann = Client::signed_up(&stage.server, "ann");
        let bob = Client::signed_up(&stage.server, "bob");
        let mut slow = Wire::connect_narrow(stage.server.addr());
        slow.send(request(&bob, "GET /api/events?after=-1 HTTP/1.1", ACCEPT, ""));
        stage.wait_for("veche_streams", 1);
        let mut quick = stage.listen(&ann, "?after=-1");
        let body = json!({ "text": "x".repeat(4000) }).to_string();
        let mut posted = 0;
        while figure(stage.admin, "veche_streams_cut_off_total") == Some(0.0) {
            let mut wire = Wire::connect(stage.server.addr());
            for _ in 0..50 {
                wire.send(post(&ann, "/api/messages", &body));
                assert_eq!(wire.answer().status, 201);
                assert_eq!(quick.event().id, posted, "{store}");
                posted += 1;
            }
            assert!(posted < 5000, "{store}: nobody is cut off");
        }
        bob.is_served("a stream is not read");
        let all: BTreeSet<u64> = stage.listen(&bob, "?after=-1").take(50).into_iter().collect();
        assert_eq!(all.len(), 50);
        stage.wait_for("veche_streams", 1);
        assert!(stage.server.log().contains("it does not keep up with its stream"));
        stage.server.stop();
    }
}

/// The stream is silent for longer than any connection may be idle.
#[test]
fn a_stream_is_not_idle() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set_with("memory", dir.path(), &["--idle-timeout", "1"]);
    let ann = Client::signed_up(&stage.server, "ann");
    let mut idle = Wire::connect(stage.server.addr());
    let mut stream = stage.listen(&ann, "");
    // Only this connection shows that the time is over.
    assert!(idle.is_closed());
    let bob = Client::signed_up(&stage.server, "bob");
    bob.say("hello");
    assert_eq!(stream.event().id, 0);
    stage.server.stop();
}
