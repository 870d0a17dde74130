//! The thread that tells listeners what happens, and what the loop and it say to each other. Neither
//! the loop nor a worker ever waits for a listener.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::connections::Connections;
use super::exchange::Exchange;
use super::loop_message::{self, LoopMessage};
use super::subscriber::Chunk;
use super::subscribers::Subscribers;
use crate::model::UserId;

/// In bytes: with so much news on the way to this thread no more is sent to it.
const MAX_BACKLOG_BYTES: usize = 128 * 1024;
/// In bytes: with so much in memory for listeners nothing more is read for them.
pub(super) const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;
/// Sockets that are looked after at once.
const MAX_READY: usize = 512;
/// In place of a stream's number: there are commands.
const BELL: u64 = u64::MAX;

/// Never given out twice.
pub(super) type StreamId = u64;

/// What the loop has to say.
pub(super) enum StreamCommand<E = Exchange> {
    /// A stream begins. It is not told any news before its last page.
    Open(Box<StreamOpening<E>>),
    /// Events of the past, which are [told](Told::Ready) to be out. Behind the last page come the
    /// news.
    Page { id: StreamId, page: Option<Arc<Chunk>>, is_last: bool },
    /// Something has happened.
    Publish(Vec<StreamSegment>),
    /// Something is so, which these are told however far they are.
    Tell { ids: Vec<StreamId>, chunk: Arc<Chunk> },
    /// A stream is to end.
    End(StreamId),
}

/// A stream that begins.
pub(super) struct StreamOpening<E> {
    pub(super) id: StreamId,
    /// Kept until the end: as long as it is not answered the connection is its own.
    pub(super) exchange: E,
    pub(super) peer: SocketAddr,
    /// When its request was taken in.
    pub(super) begun: Instant,
    pub(super) user: UserId,
    pub(super) in_chunks: bool,
    pub(super) head: Arc<Chunk>,
    pub(super) hello: Arc<Chunk>,
    pub(super) expires: Instant,
}

/// News for the same listeners.
pub(super) struct StreamSegment {
    /// `None` for all.
    pub(super) to: Option<[UserId; 2]>,
    pub(super) chunk: Arc<Chunk>,
}

/// What the loop is told.
pub(super) enum StreamMessage<E = Exchange> {
    /// A page is out.
    Ready(StreamId),
    /// A stream has ended, and so has its connection.
    Ended(EndedStream<E>),
}

/// A stream that has ended.
pub(super) struct EndedStream<E> {
    pub(super) id: StreamId,
    pub(super) exchange: E,
    /// Bytes that were sent.
    pub(super) sent: u64,
    pub(super) why: StreamEnd,
}

/// Why a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The loop wanted it.
    Asked,
    /// Its token has expired.
    Expired,
    /// Its client has ended the connection, or will send nothing more on it.
    Gone,
    /// Its client does not keep up.
    TooSlow,
    /// Its client sends a head of too much behind it.
    EndlessHead,
    /// Which connection it is on is not known. Nothing was sent, and the connection goes on.
    Unknown,
}

/// The loop's hold on the thread.
pub(super) struct Broadcaster {
    commands: mpsc::Sender<StreamCommand>,
    bell: Arc<OwnedFd>,
    /// Bytes of news that the thread has not taken.
    backlog: Arc<AtomicUsize>,
    /// Bytes of all chunks.
    held: Arc<AtomicUsize>,
}

impl Broadcaster {
    pub(super) fn start(
        connections: Connections,
        events: loop_message::Sender,
    ) -> io::Result<Broadcaster> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let held = Arc::<AtomicUsize>::default();
        let find = move |peers: &HashSet<SocketAddr>| connections.find_all(peers);
        let audience = Subscribers::new(find, &held, Instant::now())?;
        let bell_data = EventData::new_u64(BELL);
        epoll::add(audience.epoll(), &*bell, bell_data, EventFlags::IN)?;
        let (commands, receiver) = mpsc::channel();
        let backlog = Arc::<AtomicUsize>::default();
        let (its_bell, its_backlog) = (Arc::clone(&bell), Arc::clone(&backlog));
        thread::Builder::new()
            .name("broadcaster".to_owned())
            .spawn(move || run(audience, &receiver, &its_bell, &its_backlog, &events))?;
        Ok(Broadcaster { commands, bell, backlog, held })
    }

    /// Says something that is heard when the [bell rings](Broadcaster::ring).
    pub(super) fn send(&self, command: StreamCommand) {
        self.backlog.fetch_add(command.news_bytes(), Ordering::Relaxed);
        // Nobody is there any more if it has panicked; then nobody listens, either.
        let _ = self.commands.send(command);
    }

    pub(super) fn ring(&self) {
        // It fails only if it rings already, as often as it can.
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
    }

    /// Content for listeners.
    pub(super) fn chunk(&self, content: &[u8]) -> Arc<Chunk> {
        Chunk::new(content, &self.held)
    }

    /// What stands before all content.
    pub(super) fn head(&self, head: Vec<u8>) -> Arc<Chunk> {
        Chunk::head(head, &self.held)
    }

    /// Whether it takes no news at the moment.
    pub(super) fn is_behind(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) >= MAX_BACKLOG_BYTES || self.is_full()
    }

    /// Whether there is no room for pages.
    pub(super) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= MAX_HELD_BYTES
    }
}

impl<E> StreamCommand<E> {
    fn news_bytes(&self) -> usize {
        match self {
            StreamCommand::Publish(segments) => {
                segments.iter().map(|segment| segment.chunk.len()).sum()
            }
            StreamCommand::Tell { chunk, .. } => chunk.len(),
            StreamCommand::Open(_) | StreamCommand::Page { .. } | StreamCommand::End(_) => 0,
        }
    }
}

/// Tells all that listen what the loop has to say, until that has ended.
fn run(
    mut audience: Subscribers<Exchange>,
    commands: &Receiver<StreamCommand>,
    bell: &OwnedFd,
    backlog: &AtomicUsize,
    events: &loop_message::Sender,
) {
    let mut ready = Vec::with_capacity(MAX_READY);
    loop {
        let pause = audience.pause(Instant::now());
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        ready.clear();
        // It fails only when a signal comes.
        let _ = epoll::wait(audience.epoll(), spare_capacity(&mut ready), pause.as_ref());
        let now = Instant::now();
        for event in &ready {
            if event.data.u64() == BELL {
                let _ = rustix::io::read(bell, &mut [0; 8]);
            } else {
                audience.hear(event.data.u64(), event.flags, now);
            }
        }
        let mut news_bytes = 0;
        loop {
            match commands.try_recv() {
                Ok(command) => {
                    news_bytes += command.news_bytes();
                    audience.obey(command, now);
                }
                Err(TryRecvError::Empty) => break,
                // The loop has ended: so does everything else.
                Err(TryRecvError::Disconnected) => return audience.cut_all(),
            }
        }
        audience.search(now);
        audience.flush(now);
        audience.sweep(now);
        backlog.fetch_sub(news_bytes, Ordering::Relaxed);
        audience.told().for_each(|told| events.send(LoopMessage::Stream(told)));
    }
}
