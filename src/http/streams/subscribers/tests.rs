use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::*;
use crate::http::streams::subscriber::MAX_UNSENT_BYTES;

type Sockets = Arc<Mutex<HashMap<SocketAddr, Result<OwnedFd, AmbiguousPeer>>>>;

/// An subscribers whose time is told to it.
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

    /// A stream without a head, whose socket is not found yet.
    fn open_unfound(&mut self, id: StreamId, of: u64, seconds: u64) {
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

    /// One that is live.
    fn open(&mut self, id: StreamId, of: u64, seconds: u64) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.sockets.lock().unwrap().insert(peer(id), Ok(ours.into()));
        self.open_unfound(id, of, seconds);
        self.say(StreamCommand::Page { id, page: None, is_last: true });
        theirs
    }

    fn say(&mut self, command: StreamCommand<&'static str>) {
        self.subscribers.execute(command, self.now);
        self.subscribers.next_search = self.now;
        self.subscribers.find_sockets(self.now);
        self.subscribers.flush(self.now);
    }

    fn publish(&mut self, to: Option<[u64; 2]>, text: &str) {
        let segment = StreamSegment { to: to.map(|to| to.map(user)), chunk: self.chunk(text) };
        self.say(StreamCommand::Publish(vec![segment]));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.subscribers.sweep(self.now);
    }

    /// Who has ended, and why.
    fn ended(&mut self) -> Vec<(StreamId, StreamEnd)> {
        let told = self.subscribers.messages.drain(..).filter_map(|told| match told {
            StreamMessage::Ended(EndedStream { id, reason, .. }) => Some((id, reason)),
            StreamMessage::PageSent(_) => None,
        });
        told.collect()
    }
}

/// What is there by now.
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

/// A connection that has ended may be there for a moment beside the one that asks.
#[test]
fn nobody_is_told_what_another_connection_from_their_port_asked_for() {
    let mut stage = Stage::set();
    for id in [1, 2] {
        for known in 1..=id {
            stage.sockets.lock().unwrap().insert(peer(known), Err(AmbiguousPeer));
        }
        stage.open_unfound(id, id, 60);
        let secret = Some(stage.chunk("secret"));
        stage.say(StreamCommand::Page { id, page: secret, is_last: true });
        assert!(stage.subscribers.messages.is_empty(), "it is looked for");
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    for (id, socket) in [(1, Err(AmbiguousPeer)), (2, Ok(ours.into()))] {
        stage.sockets.lock().unwrap().insert(peer(id), socket);
    }
    stage.now += SEARCH_TIMEOUT;
    stage.publish(None, " news");
    assert_eq!(stage.ended(), [(1, StreamEnd::UnknownConnection)]);
    assert_eq!(read(&mut theirs), "hello secret news");
}

#[test]
fn news_are_for_who_may_see_them() {
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

/// What is published before the last page is on that page or before it.
#[test]
fn news_begin_behind_the_last_page() {
    let mut stage = Stage::set();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    stage.sockets.lock().unwrap().insert(peer(1), Ok(ours.into()));
    stage.open_unfound(1, 1, 60);
    stage.publish(None, "a");
    let page = |stage: &Stage, text| Some(stage.chunk(text));
    let first = page(&stage, "page ");
    stage.say(StreamCommand::Page { id: 1, page: first, is_last: false });
    assert!(matches!(stage.subscribers.messages[..], [StreamMessage::PageSent(1)]));
    stage.publish(None, "b");
    let last = page(&stage, "last ");
    stage.say(StreamCommand::Page { id: 1, page: last, is_last: true });
    stage.publish(None, "c");
    assert_eq!(read(&mut theirs), "hello page last c");
    assert_eq!(stage.subscribers.messages.len(), 1, "nobody waits for the last one");
}

/// What is so is told however far one is, and to those only who are named.
#[test]
fn state_is_told_at_once() {
    let mut stage = Stage::set();
    let [mut live, mut other] = [1, 2].map(|id| stage.open(id, 1, 60));
    let (ours, mut begun) = UnixStream::pair().unwrap();
    begun.set_nonblocking(true).unwrap();
    stage.sockets.lock().unwrap().insert(peer(3), Ok(ours.into()));
    stage.open_unfound(3, 1, 60);
    let chunk = stage.chunk("state");
    stage.say(StreamCommand::Notify { ids: vec![1, 3, 9], chunk });
    for (stream, expected) in
        [(&mut live, "hello state"), (&mut other, "hello "), (&mut begun, "hello state")]
    {
        assert_eq!(read(stream), expected);
    }
    assert!(stage.subscribers.messages.is_empty(), "no page was asked for");
}

#[test]
fn who_does_not_keep_up_is_cut_off_and_nobody_else() {
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
        // It has room again, as the system would say.
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
    assert!(stage.chunk_bytes.load(Ordering::Relaxed) < 100, "nothing is kept for who has gone");
}

#[test]
fn who_takes_nothing_for_long_is_cut_off() {
    let mut stage = Stage::set();
    let _silent = stage.open(1, 1, 600);
    // Less than may wait, but more than the socket takes.
    while stage.subscribers.members[&1].subscriber.is_idle() {
        stage.publish(None, &"x".repeat(10_000));
    }
    stage.pass(STALL_DEADLINE.checked_sub(Duration::from_secs(1)).unwrap());
    assert_eq!(stage.ended(), []);
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.ended(), [(1, StreamEnd::TooSlow)]);
}

/// Has one read a page slowly, but all the time. After how many seconds it is cut off.
fn trickle(stage: &mut Stage, most: Duration) -> Duration {
    let mut trickling = stage.open(1, 1, 600);
    let page = Some(stage.chunk(&"x".repeat(4_000_000)));
    stage.say(StreamCommand::Page { id: 1, page, is_last: false });
    let second = Duration::from_secs(1);
    let mut passed = Duration::ZERO;
    while stage.subscribers.members.contains_key(&1) {
        let mut some = [0; 10_000];
        assert!(trickling.read(&mut some).unwrap() > 0);
        stage.subscribers.on_socket_event(1, EventFlags::OUT, stage.now);
        stage.subscribers.flush(stage.now);
        stage.pass(second);
        passed += second;
        assert!(passed <= most + second, "it is still there");
    }
    assert_eq!(stage.ended(), [(1, StreamEnd::TooSlow)]);
    passed
}

/// While memory is short, pages may not stay in it for as long.
#[test]
fn a_page_is_hurried_where_memory_is_short() {
    for (chunk_bytes, deadline) in
        [(PRESSING_BYTES, SHORT_PAGE_DEADLINE), (PRESSING_BYTES / 2, PAGE_DEADLINE)]
    {
        let mut stage = Stage::set();
        stage.chunk_bytes.fetch_add(chunk_bytes, Ordering::Relaxed);
        assert!(trickle(&mut stage, deadline) >= deadline);
    }
}

/// However slowly it reads, as long as it reads: a page is in memory for its sake alone.
#[test]
fn a_page_is_not_there_for_ever() {
    let mut stage = Stage::set();
    assert!(trickle(&mut stage, PAGE_DEADLINE) >= PAGE_DEADLINE);
    // What is out in time is forgotten: so is when it had to be.
    let mut reading = stage.open(2, 1, 600);
    let page = Some(stage.chunk("page"));
    stage.say(StreamCommand::Page { id: 2, page, is_last: true });
    assert_eq!(read(&mut reading), "hello page");
    stage.pass(PAGE_DEADLINE);
    while stage.subscribers.members[&2].subscriber.is_idle() {
        stage.publish(None, &"x".repeat(10_000));
    }
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.ended(), []);
}

#[test]
fn a_heart_beats_where_nothing_else_is_said() {
    let mut stage = Stage::set();
    let (mut told, mut silent) = (stage.open(1, 1, 600), stage.open(2, 2, 600));
    assert_eq!((read(&mut told), read(&mut silent)), ("hello ".to_owned(), "hello ".to_owned()));
    let half = HEARTBEAT_INTERVAL / 2;
    stage.pass(half);
    stage.publish(Some([1, 1]), "a");
    stage.pass(half);
    assert_eq!((read(&mut told), read(&mut silent)), ("a".to_owned(), ":\n\n".to_owned()));
    stage.pass(half);
    assert_eq!((read(&mut told), read(&mut silent)), (":\n\n".to_owned(), String::new()));
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
    // That the loop wanted it to end is late then.
    stage.say(StreamCommand::End(1));
    stage.say(StreamCommand::End(2));
    assert_eq!(stage.ended(), [(2, StreamEnd::Requested)]);
}

#[test]
fn who_has_gone_ends() {
    let mut stage = Stage::set();
    drop(stage.open(1, 1, 60));
    stage.publish(None, "a");
    assert_eq!(stage.ended(), [(1, StreamEnd::Disconnected)]);
    // Nowhere to be found.
    stage.open_unfound(2, 1, 60);
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

/// However it ends, a client is not left on a connection that nobody answers on.
#[test]
fn nobody_ends_before_there_is_something_to_end() {
    let mut stage = Stage::set();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    stage.open_unfound(1, 1, 10);
    stage.pass(Duration::from_secs(10));
    assert_eq!(stage.ended(), []);
    stage.sockets.lock().unwrap().insert(peer(1), Ok(ours.into()));
    stage.subscribers.find_sockets(stage.now);
    assert_eq!(stage.ended(), [(1, StreamEnd::Expired)]);
    assert_eq!(read(&mut theirs), "hello |end");
}

/// Who is to end before it has begun is greeted all the same.
#[test]
fn an_early_end_is_a_whole_stream() {
    let mut stage = Stage::set();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    stage.open_unfound(1, 1, 60);
    stage.subscribers.execute(StreamCommand::Page { id: 1, page: None, is_last: true }, stage.now);
    stage.subscribers.execute(StreamCommand::End(1), stage.now);
    assert_eq!(stage.ended(), []);
    // What happens behind the end is not for who has ended.
    let general = StreamSegment { to: None, chunk: stage.chunk("news ") };
    let private = StreamSegment { to: Some([1, 2].map(user)), chunk: stage.chunk("private ") };
    let chunk = stage.chunk("mark ");
    for command in [
        StreamCommand::Publish(vec![general, private]),
        StreamCommand::Notify { ids: vec![1], chunk },
    ] {
        stage.subscribers.execute(command, stage.now);
    }
    stage.sockets.lock().unwrap().insert(peer(1), Ok(ours.into()));
    stage.subscribers.find_sockets(stage.now);
    assert_eq!(stage.ended(), [(1, StreamEnd::Requested)]);
    assert_eq!(read(&mut theirs), "hello |end");
}
