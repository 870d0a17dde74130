use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::*;
use crate::http::streams::subscriber::MAX_UNSENT_BYTES;

type Sockets = Arc<Mutex<HashMap<SocketAddr, Result<OwnedFd, AmbiguousPeer>>>>;

/// Subscribers with a clock of the test's own.
struct Stage {
    subscribers: Subscribers<&'static str>,
    sockets: Sockets,
    chunk_bytes: Arc<AtomicUsize>,
    now: Instant,
}

fn peer(id: StreamId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(id).unwrap() + 1))
}

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

impl Stage {
    fn set() -> Stage {
        let (sockets, chunk_bytes, now) = (Sockets::default(), Arc::default(), Instant::now());
        let its_sockets = Arc::clone(&sockets);
        let find = move |peers: &HashSet<SocketAddr>| {
            its_sockets.lock().unwrap().extract_if(|peer, _| peers.contains(peer)).collect()
        };
        Stage {
            subscribers: Subscribers::new(find, &chunk_bytes, now).unwrap(),
            sockets,
            chunk_bytes,
            now,
        }
    }

    fn chunk(&self, text: &str) -> Arc<Chunk> {
        Chunk::new(text.as_bytes(), &self.chunk_bytes)
    }

    /// Opens a stream without a head, whose socket is not found yet.
    fn open_without_socket(&mut self, id: StreamId, of: u64, seconds: u64) {
        let opening = StreamOpening {
            id,
            exchange: "exchange",
            peer: peer(id),
            begun: self.now,
            user: user(of),
            in_chunks: false,
            head: Chunk::head(Vec::new(), &self.chunk_bytes),
            hello: self.chunk("hello "),
            expires: self.now + Duration::from_secs(seconds),
        };
        self.subscribers.execute(StreamCommand::Open(Box::new(opening)), self.now);
    }

    /// Opens a live stream.
    fn open(&mut self, id: StreamId, of: u64, seconds: u64) -> UnixStream {
        let (own, client) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        self.sockets.lock().unwrap().insert(peer(id), Ok(own.into()));
        self.open_without_socket(id, of, seconds);
        self.run(StreamCommand::Page { id, page: None, is_last: true });
        client
    }

    fn run(&mut self, command: StreamCommand<&'static str>) {
        self.subscribers.execute(command, self.now);
        self.subscribers.next_search = self.now;
        self.subscribers.find_sockets(self.now);
        self.subscribers.flush(self.now);
    }

    fn publish(&mut self, to: Option<[u64; 2]>, text: &str) {
        let segment = StreamSegment { to: to.map(|to| to.map(user)), chunk: self.chunk(text) };
        self.run(StreamCommand::Publish(vec![segment]));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.subscribers.sweep(self.now);
    }

    /// Ended streams, with the reasons.
    fn ended(&mut self) -> Vec<(StreamId, StreamEnd)> {
        let messages = self.subscribers.messages.drain(..).filter_map(|messages| match messages {
            StreamMessage::Ended(EndedStream { id, reason, .. }) => Some((id, reason)),
            StreamMessage::PageSent(_) => None,
        });
        messages.collect()
    }
}

/// Reads what has arrived.
fn read(stream: &mut UnixStream) -> String {
    let mut read = String::new();
    match stream.read_to_string(&mut read) {
        Ok(_) => read + "|end",
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            read
        }
    }
}

/// A connection that has ended may still exist beside the one of the stream.
#[test]
fn nothing_is_sent_to_another_connection_from_the_same_port() {
    let mut stage = Stage::set();
    for id in [1, 2] {
        for known in 1..=id {
            stage.sockets.lock().unwrap().insert(peer(known), Err(AmbiguousPeer));
        }
        stage.open_without_socket(id, id, 60);
        let secret = Some(stage.chunk("secret"));
        stage.run(StreamCommand::Page { id, page: secret, is_last: true });
        assert!(stage.subscribers.messages.is_empty(), "its socket is not found yet");
    }
    let (own, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    for (id, socket) in [(1, Err(AmbiguousPeer)), (2, Ok(own.into()))] {
        stage.sockets.lock().unwrap().insert(peer(id), socket);
    }
    stage.now += SEARCH_TIMEOUT;
    stage.publish(None, " news");
    assert_eq!(stage.ended(), [(1, StreamEnd::UnknownConnection)]);
    assert_eq!(read(&mut client), "hello secret news");
}

#[test]
fn events_reach_only_users_who_may_see_them() {
    let mut stage = Stage::set();
    let [mut ann, mut bob, mut eve] = [1, 2, 3].map(|id| stage.open(id, id, 60));
    let mut anns_other = stage.open(4, 1, 60);
    stage.publish(None, "a");
    stage.publish(Some([1, 2]), "b");
    stage.publish(Some([3, 3]), "c");
    stage.publish(None, "d");
    for (stream, expected) in [
        (&mut ann, "hello abd"),
        (&mut anns_other, "hello abd"),
        (&mut bob, "hello abd"),
        (&mut eve, "hello acd"),
    ] {
        assert_eq!(read(stream), expected);
    }
}

/// An event that is published before the last page is on a page.
#[test]
fn live_events_begin_after_the_last_page() {
    let mut stage = Stage::set();
    let (own, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    stage.sockets.lock().unwrap().insert(peer(1), Ok(own.into()));
    stage.open_without_socket(1, 1, 60);
    stage.publish(None, "a");
    let page = |stage: &Stage, text| Some(stage.chunk(text));
    let first = page(&stage, "page ");
    stage.run(StreamCommand::Page { id: 1, page: first, is_last: false });
    assert!(matches!(stage.subscribers.messages[..], [StreamMessage::PageSent(1)]));
    stage.publish(None, "b");
    let last = page(&stage, "last ");
    stage.run(StreamCommand::Page { id: 1, page: last, is_last: true });
    stage.publish(None, "c");
    assert_eq!(read(&mut client), "hello page last c");
    assert_eq!(stage.subscribers.messages.len(), 1, "the last page is not reported");
}

/// State is sent whatever the phase, and only to the named streams.
#[test]
fn state_is_sent_at_once() {
    let mut stage = Stage::set();
    let [mut live, mut other] = [1, 2].map(|id| stage.open(id, 1, 60));
    let (own, mut begun) = UnixStream::pair().unwrap();
    begun.set_nonblocking(true).unwrap();
    stage.sockets.lock().unwrap().insert(peer(3), Ok(own.into()));
    stage.open_without_socket(3, 1, 60);
    let chunk = stage.chunk("state");
    stage.run(StreamCommand::Notify { ids: vec![1, 3, 9], chunk });
    for (stream, expected) in
        [(&mut live, "hello state"), (&mut other, "hello "), (&mut begun, "hello state")]
    {
        assert_eq!(read(stream), expected);
    }
    assert!(stage.subscribers.messages.is_empty(), "no page was sent");
}

#[test]
fn only_a_slow_subscriber_is_cut_off() {
    let mut stage = Stage::set();
    let (slow, mut quick) = (stage.open(1, 1, 60), stage.open(2, 2, 60));
    let text = "x".repeat(20_000);
    let mut expected = "hello ".to_owned();
    let mut seen = String::new();
    let mut ended = Vec::new();
    while ended.is_empty() {
        stage.publish(None, &text);
        expected += &text;
        seen += &read(&mut quick);
        // As if the kernel reported room again.
        stage.subscribers.on_socket_event(2, EventFlags::OUT, stage.now);
        stage.subscribers.flush(stage.now);
        ended = stage.ended();
        assert!(expected.len() < 100 * MAX_UNSENT_BYTES);
    }
    assert_eq!(ended, [(1, StreamEnd::TooSlow)]);
    assert!(expected.len() > MAX_UNSENT_BYTES);
    seen += &read(&mut quick);
    assert_eq!(seen, expected);
    drop(slow);
    assert!(
        stage.chunk_bytes.load(Ordering::Relaxed) < 100,
        "nothing is kept for the ended stream"
    );
}

#[test]
fn a_stalled_subscriber_is_cut_off() {
    let mut stage = Stage::set();
    let _silent = stage.open(1, 1, 600);
    // Less than the limit, but more than the socket takes.
    while stage.subscribers.members[&1].subscriber.is_idle() {
        stage.publish(None, &"x".repeat(10_000));
    }
    stage.pass(STALL_DEADLINE.checked_sub(Duration::from_secs(1)).unwrap());
    assert_eq!(stage.ended(), []);
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.ended(), [(1, StreamEnd::TooSlow)]);
}

/// Has a client read a page slowly and steadily. Returns the time after which it is cut off.
fn trickle(stage: &mut Stage, most: Duration) -> Duration {
    let mut trickling = stage.open(1, 1, 600);
    let page = Some(stage.chunk(&"x".repeat(4_000_000)));
    stage.run(StreamCommand::Page { id: 1, page, is_last: false });
    let second = Duration::from_secs(1);
    let mut passed = Duration::ZERO;
    while stage.subscribers.members.contains_key(&1) {
        let mut some = [0; 10_000];
        assert!(trickling.read(&mut some).unwrap() > 0);
        stage.subscribers.on_socket_event(1, EventFlags::OUT, stage.now);
        stage.subscribers.flush(stage.now);
        stage.pass(second);
        passed += second;
        assert!(passed <= most + second, "it is not cut off");
    }
    assert_eq!(stage.ended(), [(1, StreamEnd::TooSlow)]);
    passed
}

/// While memory is short, pages have a shorter deadline.
#[test]
fn pages_have_a_shorter_deadline_when_memory_is_short() {
    for (chunk_bytes, deadline) in
        [(PRESSURE_BYTES, SHORT_PAGE_DEADLINE), (PRESSURE_BYTES / 2, PAGE_DEADLINE)]
    {
        let mut stage = Stage::set();
        stage.chunk_bytes.fetch_add(chunk_bytes, Ordering::Relaxed);
        assert!(trickle(&mut stage, deadline) >= deadline);
    }
}

/// A page has a deadline even if its client reads steadily.
#[test]
fn a_page_has_a_deadline() {
    let mut stage = Stage::set();
    assert!(trickle(&mut stage, PAGE_DEADLINE) >= PAGE_DEADLINE);
    // A page that is sent in time has no deadline any more.
    let mut reading = stage.open(2, 1, 600);
    let page = Some(stage.chunk("page"));
    stage.run(StreamCommand::Page { id: 2, page, is_last: true });
    assert_eq!(read(&mut reading), "hello page");
    stage.pass(PAGE_DEADLINE);
    while stage.subscribers.members[&2].subscriber.is_idle() {
        stage.publish(None, &"x".repeat(10_000));
    }
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.ended(), []);
}

#[test]
fn heartbeats_are_sent_only_to_idle_subscribers() {
    let mut stage = Stage::set();
    let (mut messages, mut silent) = (stage.open(1, 1, 600), stage.open(2, 2, 600));
    assert_eq!(
        (read(&mut messages), read(&mut silent)),
        ("hello ".to_owned(), "hello ".to_owned())
    );
    let half = HEARTBEAT_INTERVAL / 2;
    stage.pass(half);
    stage.publish(Some([1, 1]), "a");
    stage.pass(half);
    assert_eq!((read(&mut messages), read(&mut silent)), ("a".to_owned(), ":\n\n".to_owned()));
    stage.pass(half);
    assert_eq!((read(&mut messages), read(&mut silent)), (":\n\n".to_owned(), String::new()));
    assert!(stage.subscribers.pause(stage.now).unwrap() <= half);
}

#[test]
fn a_stream_ends_with_its_token() {
    let mut stage = Stage::set();
    let mut streams = [stage.open(1, 1, 10), stage.open(2, 1, 20)];
    stage.pass(Duration::from_secs(9));
    assert_eq!(stage.ended(), []);
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.ended(), [(1, StreamEnd::Expired)]);
    assert_eq!(streams.each_mut().map(read), ["hello |end", "hello "]);
    // The loop's command comes after the end.
    stage.run(StreamCommand::End(1));
    stage.run(StreamCommand::End(2));
    assert_eq!(stage.ended(), [(2, StreamEnd::Requested)]);
}

#[test]
fn a_stream_ends_when_its_client_disconnects() {
    let mut stage = Stage::set();
    drop(stage.open(1, 1, 60));
    stage.publish(None, "a");
    assert_eq!(stage.ended(), [(1, StreamEnd::Disconnected)]);
    // Its connection does not exist.
    stage.open_without_socket(2, 1, 60);
    stage.publish(None, "a");
    assert_eq!(stage.ended(), [(2, StreamEnd::Disconnected)]);
    let mut half_closed = stage.open(3, 1, 60);
    stage.subscribers.on_socket_event(3, EventFlags::RDHUP, stage.now);
    assert_eq!(
        (stage.ended(), read(&mut half_closed)),
        (vec![(3, StreamEnd::Disconnected)], "hello |end".into())
    );
    assert!(stage.subscribers.members.is_empty() && stage.subscribers.live.is_empty());
}

/// A client is not left on a connection that is never answered.
#[test]
fn a_stream_does_not_end_before_its_socket_is_found() {
    let mut stage = Stage::set();
    let (own, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    stage.open_without_socket(1, 1, 10);
    stage.pass(Duration::from_secs(10));
    assert_eq!(stage.ended(), []);
    stage.sockets.lock().unwrap().insert(peer(1), Ok(own.into()));
    stage.subscribers.find_sockets(stage.now);
    assert_eq!(stage.ended(), [(1, StreamEnd::Expired)]);
    assert_eq!(read(&mut client), "hello |end");
}

/// A stream that ends early has its head and first bytes all the same.
#[test]
fn an_early_end_is_a_whole_stream() {
    let mut stage = Stage::set();
    let (own, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    stage.open_without_socket(1, 1, 60);
    stage.subscribers.execute(StreamCommand::Page { id: 1, page: None, is_last: true }, stage.now);
    stage.subscribers.execute(StreamCommand::End(1), stage.now);
    assert_eq!(stage.ended(), []);
    // Events after the end are not sent.
    let general = StreamSegment { to: None, chunk: stage.chunk("news ") };
    let private = StreamSegment { to: Some([1, 2].map(user)), chunk: stage.chunk("private ") };
    let chunk = stage.chunk("mark ");
    for command in [
        StreamCommand::Publish(vec![general, private]),
        StreamCommand::Notify { ids: vec![1], chunk },
    ] {
        stage.subscribers.execute(command, stage.now);
    }
    stage.sockets.lock().unwrap().insert(peer(1), Ok(own.into()));
    stage.subscribers.find_sockets(stage.now);
    assert_eq!(stage.ended(), [(1, StreamEnd::Requested)]);
    assert_eq!(read(&mut client), "hello |end");
}
